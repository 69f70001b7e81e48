"""Items to workers, one at a time: workers that end or are too slow are replaced."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

READY, DONE, ERROR, ENDED, SETUP, STEP = "ready", "done", "error", "ended", "setup", "step"
"""What a worker reports: ready for items; a result; an error of the work; that it ended; an error of its setup; how far
an item is."""
MAX_STARTS = 3
"""Workers in a row that do not become ready, before the run stops."""
TICK_S = 0.5


class Stopped(RuntimeError):
    """No worker becomes ready."""


class Pool(Protocol):
    """Workers of one kind. A handle is any hashable object.

    `wait` returns (handle, what it reports, value) after at most some seconds.
    """

    def start(self) -> Any: ...
    def submit(self, handle: Any, item: Any) -> None: ...
    def wait(self, seconds: float) -> list[tuple[Any, str, Any]]: ...
    def kill(self, handle: Any) -> None: ...
    def close(self) -> None: ...


@dataclass(frozen=True)
class Event:
    """An item is finished, or has made a step.

    Attributes:
        kind: `DONE`, `ERROR`, `ENDED` or `STEP`.
        value: the result, the reason, or what `tell_step` was given.
        seconds: duration in the worker.
    """

    item: Any
    kind: str
    value: Any
    seconds: float


def run_items(pool: Pool, items: Iterable[Any], workers: int, timeout_s: float = 0.0) -> Generator[Event, None, None]:
    """Yield an event per item, in the order in which they finish, and one per step.

    The pool is closed at the end, or on an error.

    Args:
        timeout_s: a worker that takes longer for an item is killed; 0 = no limit.

    Raises:
        Stopped: `MAX_STARTS` workers in a row did not become ready. Unfinished items have no event.
    """
    try:
        yield from _Run(pool, deque(items), workers, timeout_s).events()
    finally:
        pool.close()


@dataclass
class _Run:
    pool: Pool
    waiting: deque[Any]
    workers: int
    timeout_s: float

    def __post_init__(self) -> None:
        self.busy: dict[Any, tuple[Any, float]] = {}
        self.starting: set[Any] = set()
        self.failed_starts = 0

    def events(self) -> Iterator[Event]:
        while self.waiting or self.busy:
            while len(self.busy) + len(self.starting) < self.workers and len(self.starting) < len(self.waiting):
                self.starting.add(self.pool.start())
            for handle, kind, value in self.pool.wait(TICK_S):
                event = self._take(handle, kind, value)
                if event is not None:
                    yield event
            yield from self._overdue()

    def _take(self, handle: Any, kind: str, value: Any) -> Event | None:
        if handle in self.starting:
            self.starting.discard(handle)
            if kind != READY:
                self._failed_start(handle, value)
                return None
            self.failed_starts = 0
            self._next(handle)
            return None
        if handle not in self.busy:
            return None
        if kind == STEP:
            return Event(self.busy[handle][0], STEP, value, 0.0)
        item, began = self.busy.pop(handle)
        if kind != ENDED:
            self._next(handle)
        return Event(item, kind, value, time.monotonic() - began)

    def _next(self, handle: Any) -> None:
        if not self.waiting:
            self.pool.kill(handle)
            return
        item = self.waiting.popleft()
        self.busy[handle] = item, time.monotonic()
        self.pool.submit(handle, item)

    def _failed_start(self, handle: Any, reason: Any) -> None:
        self.pool.kill(handle)
        self.failed_starts += 1
        if self.failed_starts >= MAX_STARTS:
            raise Stopped(f"{MAX_STARTS} workers in a row did not become ready: {reason}")

    def _overdue(self) -> Sequence[Event]:
        if not self.timeout_s:
            return ()
        now = time.monotonic()
        late = [h for h, (_, began) in self.busy.items() if now - began > self.timeout_s]
        events = []
        for handle in late:
            item, began = self.busy.pop(handle)
            self.pool.kill(handle)
            events.append(Event(item, ENDED, f"more than {self.timeout_s:g} s", now - began))
        return events


_listeners: list[Callable[[str], object]] = []


def tell_step(text: str) -> None:
    """Report how far the worker's item is, for the progress; without effect outside of a worker of `LocalPool`."""
    for listener in _listeners:
        listener(text)


def take_steps(listener: Callable[[str], object]) -> None:
    """Call a function with the text of every later `tell_step` of this process."""
    _listeners.append(listener)


def attempt(work: Callable[[Any, Any], Any], item: Any, state: Any) -> tuple[str, Any]:
    """Return what a worker reports for an item."""
    try:
        return DONE, work(item, state)
    except Exception as error:
        return ERROR, f"{type(error).__name__}: {error}"


def set_up(setup: Callable[[], Any] | None) -> tuple[str, Any]:
    """Return `READY` and what a worker's setup returns, or `SETUP` and the reason."""
    try:
        return READY, setup() if setup is not None else None
    except Exception as error:
        return SETUP, f"setup: {type(error).__name__}: {error}"
