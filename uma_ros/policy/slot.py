"""The task in force and the next one, shared by the node's thread and the worker's."""

from __future__ import annotations

import threading
from collections import deque
from dataclasses import dataclass
from enum import Enum

from uma.types import InputError
from uma_ros.policy.tasks import Encoded, GivenTask


class Phase(Enum):
    """Where a given task is."""

    WAITING = "waits for its encoding"
    ACTIVE = "in force"
    FINISHED = "finished"
    REFUSED = "refused"
    GONE = "replaced or dropped"


@dataclass(frozen=True)
class ActiveTask:
    """The task in force.

    Attributes:
        given: its source.
        encoded: its tokens, echo and reference.
        frame: the camera frame of its first observation.
    """

    given: GivenTask
    encoded: Encoded
    frame: str


class TaskSlot:
    """Holds one task in force and one next task. Every method may be called from any thread.

    A given task is compared by identity: the same message twice is two tasks.

    Args:
        lock: reentrant.
    """

    def __init__(self, lock: threading.Condition) -> None:
        self._lock = lock
        self._next: GivenTask | None = None
        self._encoding: GivenTask | None = None
        self._active: ActiveTask | None = None
        self._before: ActiveTask | None = None
        self._is_finished = False
        self._refused: deque[tuple[GivenTask, str]] = deque(maxlen=8)

    @property
    def active(self) -> ActiveTask | None:
        """The task in force, finished or not."""
        return self._active

    @property
    def is_finished(self) -> bool:
        return self._is_finished

    @property
    def has_next(self) -> bool:
        return self._next is not None

    @property
    def runs(self) -> bool:
        """Whether the task in force still needs chunks."""
        return self._active is not None and not self._is_finished

    @property
    def has_work(self) -> bool:
        """Whether there is a task to encode or one that still needs chunks."""
        with self._lock:
            return self.runs or self._next is not None or self._encoding is not None

    def give(self, given: GivenTask) -> None:
        """Set the next task. It replaces one that is not yet encoded."""
        with self._lock:
            self._next = given

    def take(self) -> GivenTask | None:
        """Return the next task for its encoding; None without one."""
        with self._lock:
            self._encoding, self._next = self._next, None
            return self._encoding

    def accept(self, task: ActiveTask) -> bool:
        """Put a taken task in force. Return False if it was dropped meanwhile."""
        with self._lock:
            if self._encoding is not task.given:
                return False
            if self._active is not None:
                self._before = self._active
            self._active, self._is_finished, self._encoding = task, False, None
            return True

    def previous(self) -> ActiveTask:
        """Return the task that was in force before the present one, to be given again.

        Raises:
            InputError: there was none.
        """
        with self._lock:
            if self._before is None:
                raise InputError("previous task: there was none before the present one")
            return self._before

    def refuse(self, given: GivenTask, reason: str) -> None:
        """Refuse a taken task. The task in force stays."""
        with self._lock:
            self._refused.append((given, reason))
            self._encoding = None

    def release(self) -> None:
        """Make a taken task, which was neither accepted nor refused, the next one again, unless there is another."""
        with self._lock:
            self._next, self._encoding = self._next or self._encoding, None

    def finish(self, task: ActiveTask) -> None:
        """Mark ``task`` as finished, if it is in force."""
        with self._lock:
            self._is_finished = self._is_finished or self._active is task

    def drop(self, given: GivenTask) -> None:
        """Remove ``given``, wherever it is."""
        with self._lock:
            self._next = None if self._next is given else self._next
            self._encoding = None if self._encoding is given else self._encoding
            if self._active is not None and self._active.given is given:
                self._active, self._is_finished = None, False

    def phase(self, given: GivenTask) -> tuple[Phase, str]:
        """Return where ``given`` is, with the reason of a refusal or the name of the task in force."""
        with self._lock:
            for refused, reason in self._refused:
                if refused is given:
                    return Phase.REFUSED, reason
            if given is self._next or given is self._encoding:
                return Phase.WAITING, ""
            name = "" if self._active is None else str(self._active.encoded)
            if self._active is not None and self._active.given is given:
                return (Phase.FINISHED if self._is_finished else Phase.ACTIVE), name
            return Phase.GONE, name
