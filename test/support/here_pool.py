"""A worker of `uma_train.jobs` in the process of the test: quick to start."""

from uma_train.jobs.schedule import READY, attempt, set_up


class HerePool:
    def __init__(self, work, setup=None):
        self._work, self._setup, self._events = work, setup, []

    def start(self):
        handle = object()
        kind, self._state = set_up(self._setup)
        self._events.append((handle, kind, None if kind == READY else self._state))
        return handle

    def submit(self, handle, item):
        self._events.append((handle, *attempt(self._work, item, self._state)))

    def wait(self, seconds):
        events, self._events = self._events, []
        return events

    def kill(self, handle):
        pass

    def close(self):
        pass
