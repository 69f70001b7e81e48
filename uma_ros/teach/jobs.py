"""One thread for all work of the page, in order, so that the server's thread stays free for Stop."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable


class Jobs:
    """Runs submitted calls one after another, and a periodic call between them.

    Args:
        tick: called every ``period`` seconds if the thread is free.
        failed: receives every exception.
    """

    def __init__(self, tick: Callable[[], None], period: float, failed: Callable[[Exception], None]) -> None:
        self._tick, self._period, self._failed = tick, period, failed
        self._queue: queue.Queue[Callable[[], None] | None] = queue.Queue(maxsize=200)
        self._thread = threading.Thread(target=self._run, name="page", daemon=True)

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def submit(self, job: Callable[[], None]) -> bool:
        """Add a call; return whether there was room for it."""
        try:
            self._queue.put_nowait(job)
        except queue.Full:
            return False
        return True

    def close(self) -> None:
        """End the thread after the call in progress."""
        while True:
            try:
                self._queue.get_nowait()
            except queue.Empty:
                break
        self._queue.put(None)
        self._thread.join(timeout=3.0)

    def _run(self) -> None:
        due = time.monotonic()
        while True:
            try:
                job = self._queue.get(timeout=max(due - time.monotonic(), 0.001))
            except queue.Empty:
                self._attempt(self._tick)
                due = time.monotonic() + self._period
                continue
            if job is None:
                return
            self._attempt(job)

    def _attempt(self, call: Callable[[], None]) -> None:
        try:
            call()
        except Exception as error:
            self._failed(error)
