"""The operator's consent: what was previewed moves the robot only once it is confirmed."""

from __future__ import annotations

MODES = ("off", "task", "chunk")


class Gate:
    """Lets chunks through, or not yet.

    Args:
        mode: "off" (everything passes), "task" (each new task waits for one confirmation), "chunk" (each confirmation
            lets one chunk be followed to its end, and then the pose is held).

    Raises:
        ValueError: another mode.
    """

    def __init__(self, mode: str = "off") -> None:
        if mode not in MODES:
            raise ValueError(f"confirm: {mode!r}, must be one of {', '.join(MODES)}")
        self.mode = mode
        self._open = mode == "off"
        self._taken = False

    @property
    def waiting(self) -> str:
        """What has to come before anything moves; empty if nothing has to."""
        return "" if self._open else f"/uma/confirm (this {self.mode})"

    @property
    def accepts(self) -> bool:
        """Whether a chunk that comes now may be followed."""
        return self._open and not self._taken

    def confirm(self) -> bool:
        """The operator agrees. False if nothing was waiting for it."""
        was_waiting, self._open = not self._open, True
        self._taken = self._taken and not was_waiting
        return was_waiting

    def close(self) -> None:
        """Another task, a stop, or a start from anew: what was agreed to before does not count for it."""
        if self.mode != "off":
            self._open = self._taken = False

    def took(self) -> None:
        """A chunk is being followed."""
        self._taken = self.mode == "chunk"

    def finished(self) -> None:
        """The plan that was followed is over."""
        if self._taken:
            self.close()
