"""The session: a state machine of a node that moves a robot or feeds one.

IDLE -> READY (every input is fresh) -> RUNNING (started, with work) -> HOLD (an input is stale or refused) -> FAULT
(needs `recover`). A stop returns to IDLE from every state but FAULT, and only a start ends it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum

from uma.control.services import Services


class State(IntEnum):
    """States with the numbers of msg/PolicyStatus.msg."""

    IDLE = 0
    READY = 1
    RUNNING = 2
    HOLD = 3
    FAULT = 4


@dataclass(frozen=True)
class Transition:
    """A change of state at ``time`` seconds, with its reason."""

    old: State
    new: State
    reason: str
    time: float


class Session:
    """A state machine on the caller's clock.

    Args:
        autostart: run as soon as there is work; otherwise `start` must be called once.
        hold_limit: seconds in HOLD after which a new start is required (autostart counts as one).
        start: name of the service that starts it, for messages.
    """

    def __init__(self, autostart: bool = False, hold_limit: float = 5.0, start: str = Services.start) -> None:
        self.autostart, self.hold_limit, self._start = autostart, hold_limit, start
        self.state, self.reason, self.since = State.IDLE, "starting", 0.0
        self._started = autostart
        self._stopped = ""

    def update(
        self, now: float, blockers: Sequence[str], has_work: bool, hold: str = "", gate: str = ""
    ) -> Transition | None:
        """Update the state from the inputs.

        Args:
            blockers: stale inputs, one sentence each.
            has_work: whether there is work.
            hold: why the work cannot continue; empty if it can.
            gate: the operator's action that the work waits for; empty if none. The session then waits in READY without
                a time limit.
        """
        if self.state is State.FAULT:
            return None
        if self._stopped:
            return self._to(State.IDLE, self._stopped, now)
        why = "; ".join(blockers) or hold
        if self.state in (State.RUNNING, State.HOLD):
            if why:
                if self.state is State.HOLD and now - self.since > self.hold_limit and self._started != self.autostart:
                    self._started = self.autostart
                    return self._to(
                        State.READY if not blockers else State.IDLE,
                        f"held for over {self.hold_limit:g} s ({why}); start again",
                        now,
                    )
                return self._to(State.HOLD, why, now)
            if not has_work or gate:
                return self._to(State.READY, f"waiting for {gate}" if has_work else "nothing to do", now)
            return self._to(State.RUNNING, "inputs are fresh again" if self.state is State.HOLD else self.reason, now)
        if blockers:
            return self._to(State.IDLE, "waiting for " + why, now)
        if not (has_work and self._started and not hold and not gate):
            missing = "something to do" if not has_work else hold or (gate if self._started else self._start)
            return self._to(State.READY, f"waiting for {missing}", now)
        return self._to(State.RUNNING, "started", now)

    def start(self, now: float) -> Transition | None:
        """Permit RUNNING. Raises RuntimeError in FAULT."""
        if self.state is State.FAULT:
            raise RuntimeError(f"in FAULT ({self.reason}): call recover first")
        self._started, self._stopped = True, ""
        return None

    def stop(self, now: float, reason: str) -> Transition | None:
        self._started, self._stopped = False, reason
        return None if self.state is State.FAULT else self._to(State.IDLE, reason, now)

    def fault(self, now: float, reason: str) -> Transition | None:
        self._started = False
        return self._to(State.FAULT, reason, now)

    def recover(self, now: float) -> Transition | None:
        """Leave FAULT; a new start is required afterwards. Raises RuntimeError in other states."""
        if self.state is not State.FAULT:
            raise RuntimeError(f"in {self.state.name}: nothing to recover from")
        self._started, self._stopped = False, ""
        return self._to(State.IDLE, f"recovered, waiting for {self._start}", now)

    def _to(self, state: State, reason: str, now: float) -> Transition | None:
        if state is self.state:
            self.reason = reason
            return None
        transition = Transition(self.state, state, reason, now)
        self.state, self.reason, self.since = state, reason, now
        return transition
