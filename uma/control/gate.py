"""The operator's gate: previewed motion runs only after a confirmation."""

from __future__ import annotations

from uma.control.services import Services

MODES = ("off", "task", "chunk")


class Gate:
    """Admits chunks according to the operator's confirmations.

    Args:
        mode: "off" admits everything. "task" requires one confirmation per new task. "chunk" admits one chunk per
            confirmation and then holds the pose.
        service: name of the service that confirms, for messages.

    Raises:
        ValueError: unknown mode.
    """

    def __init__(self, mode: str = "off", service: str = Services.confirm) -> None:
        if mode not in MODES:
            raise ValueError(f"confirm: {mode!r}, must be one of {', '.join(MODES)}")
        self.mode, self._service = mode, service
        self._open = mode == "off"
        self._taken = False

    @property
    def waiting(self) -> str:
        """The operator's action that the motion waits for; empty if none."""
        return "" if self._open else f"{self._service} (this {self.mode})"

    @property
    def accepts(self) -> bool:
        """Whether a new chunk may be followed."""
        return self._open and not self._taken

    def confirm(self) -> bool:
        """Open the gate. Return False if it was open already."""
        was_waiting, self._open = not self._open, True
        self._taken = self._taken and not was_waiting
        return was_waiting

    def close(self) -> None:
        """Require a new confirmation after a new task, a stop or a restart."""
        if self.mode != "off":
            self._open = self._taken = False

    def took(self) -> None:
        """Record that a chunk is followed."""
        self._taken = self.mode == "chunk"

    def finished(self) -> None:
        """Record that the active plan is over."""
        if self._taken:
            self.close()
