"""Severity of a node's state for its log and its diagnostics, and the log of what a node waits for."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from enum import IntEnum

from uma.control.session import State


class Severity(IntEnum):
    """Severities with the numbers of diagnostic_msgs/DiagnosticStatus."""

    OK = 0
    WARN = 1
    ERROR = 2


def severity_of(state: int) -> Severity:
    """Return the severity of a state of the session: HOLD is a warning, FAULT an error."""
    return {State.HOLD: Severity.WARN, State.FAULT: Severity.ERROR}.get(State(state), Severity.OK)


def judged(
    state: int | None, reason: str, problems: Mapping[str, str], errors: Collection[str], otherwise: str
) -> tuple[Severity, str]:
    """Return severity and message for the diagnostics.

    Args:
        state: state of the session; None for a node without one.
        reason: reason of the state.
        problems: name -> text of each problem.
        errors: names of the problems that are errors; the others are warnings.
        otherwise: message if nothing is wrong.
    """
    severity = Severity.OK if state is None else severity_of(state)
    texts = [reason] if severity > Severity.OK else []
    for name, text in problems.items():
        severity = max(severity, Severity.ERROR if name in errors else Severity.WARN)
        if text not in texts:
            texts.append(f"{name}: {text}")
    return severity, "; ".join(texts) or otherwise


class WaitLog:
    """Decides when a node logs what it waits for, on the caller's monotonic clock in seconds.

    A wait for inputs is logged every `PERIOD`, as a warning from `WARN_AFTER` on. A wait for a person is logged once,
    because a robot may stand ready for hours.
    """

    PERIOD = 5.0
    WARN_AFTER = 10.0

    def __init__(self) -> None:
        self._waiting_for = ""  # "inputs", or what is asked of a person
        self._since = self._logged_at = 0.0

    def due(self, now: float, inputs: Sequence[str], person: str = "") -> tuple[Severity, str] | None:
        """Return severity and text of the line that is due now; None if none is.

        Args:
            inputs: missing inputs, one sentence each.
            person: what is asked of a person; counts only if no input is missing.
        """
        waiting_for = "inputs" if inputs else person
        if waiting_for != self._waiting_for:
            self._waiting_for, self._since, self._logged_at = waiting_for, now, now
        if not waiting_for or now - self._logged_at < self.PERIOD:
            return None
        waited, self._logged_at = now - self._since, now if inputs else float("inf")
        if not inputs:
            return Severity.OK, person
        severity = Severity.WARN if waited >= self.WARN_AFTER else Severity.OK
        return severity, f"waiting for {waited:.0f} s: {'; '.join(inputs)}"
