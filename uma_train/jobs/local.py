"""Workers on this machine: processes with one thread each."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
from collections.abc import Callable
from multiprocessing.connection import Connection, wait
from typing import Any

from uma_train.jobs.schedule import ENDED, READY, STEP, attempt, set_up, take_steps

THREADS = "OMP_NUM_THREADS"
GRACE_S = 5.0


class LocalPool:
    """Processes that are started anew, not forked.

    Args:
        work: (item, what ``setup`` returned) -> result; a function of a module, or an object that can be pickled.
        setup: called once in each worker.
    """

    def __init__(self, work: Callable[[Any, Any], Any], setup: Callable[[], Any] | None = None) -> None:
        self._context = multiprocessing.get_context("spawn")
        self._call = work, setup
        self._processes: dict[Connection, Any] = {}

    def start(self) -> Connection:
        ours, theirs = self._context.Pipe()
        process = self._context.Process(target=_serve, args=(theirs, *self._call), daemon=True)
        before = os.environ.get(THREADS)
        os.environ[THREADS] = "1"
        try:
            process.start()
        finally:
            os.environ.pop(THREADS) if before is None else os.environ.__setitem__(THREADS, before)
        theirs.close()
        self._processes[ours] = process
        return ours

    def submit(self, handle: Connection, item: Any) -> None:
        with contextlib.suppress(OSError):  # a worker that has ended is reported by wait
            handle.send(item)

    def wait(self, seconds: float) -> list[tuple[Connection, str, Any]]:
        events = []
        for handle in wait(list(self._processes), seconds):
            assert isinstance(handle, Connection)
            try:
                events.append((handle, *handle.recv()))
            except (EOFError, OSError):
                events.append((handle, ENDED, f"the worker ended with code {self._end(handle)}"))
        return events

    def kill(self, handle: Connection) -> None:
        if handle in self._processes:
            self._processes[handle].kill()
            self._end(handle)

    def _end(self, handle: Connection) -> int | None:
        process = self._processes.pop(handle)
        handle.close()
        process.join(GRACE_S)
        if process.is_alive():
            process.kill()
            process.join()
        return process.exitcode

    def close(self) -> None:
        for process in self._processes.values():
            process.kill()
        for handle in list(self._processes):
            self._end(handle)


def _serve(connection: Connection, work: Callable[[Any, Any], Any], setup: Callable[[], Any] | None) -> None:
    """Serve items until the pipe is closed. The parent ends its workers after ctrl-C."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)

    def send_step(text: str) -> None:
        with contextlib.suppress(OSError):  # the parent has ended; it costs the item nothing
            connection.send((STEP, text))

    take_steps(send_step)
    kind, state = set_up(setup)
    with contextlib.suppress(EOFError, BrokenPipeError, ConnectionResetError):
        connection.send((kind, None if kind == READY else state))
        while kind == READY:
            connection.send(attempt(work, connection.recv(), state))
