"""Answers that must come within a time. Each request gets exactly one: the answer, or word of its absence."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any


class Waiting:
    """Open requests with their limits. Every method may be called from any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._open: dict[int, tuple[float, Callable[[], object]]] = {}
        self._next = 0

    def expect(
        self, answered: Callable[..., object], missed: Callable[[], object], until: float
    ) -> Callable[..., bool]:
        """Return a function that passes on the first answer, unless it was missed before; it tells whether it did.

        Args:
            missed: called by `check` once, without an answer by then.
            until: monotonic, seconds.
        """
        with self._lock:
            number, self._next = self._next, self._next + 1
            self._open[number] = until, missed

        def answer(*result: Any) -> bool:
            with self._lock:
                is_first = self._open.pop(number, None) is not None
            if is_first:
                answered(*result)
            return is_first

        return answer

    def check(self, now: float) -> None:
        """Give up the requests whose time is over."""
        with self._lock:
            late = [number for number, (until, _) in self._open.items() if now > until]
            missed = [self._open.pop(number)[1] for number in late]
        for give_up in missed:
            give_up()
