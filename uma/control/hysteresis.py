"""When the gripper is told to close or open: its action is a number, its command is not."""

from __future__ import annotations


class Hysteresis:
    """Closes above one threshold and opens below a lower one; between them it stays as it is."""

    def __init__(self, close_above: float, open_below: float) -> None:
        self.close_above, self.open_below = close_above, open_below
        self.closed: bool | None = None

    def update(self, value: float) -> bool | None:
        """The new command, True to close, if it changes; None if not."""
        wanted = True if value > self.close_above else False if value < self.open_below else self.closed
        if wanted is None or wanted == self.closed:
            return None
        self.closed = wanted
        return wanted
