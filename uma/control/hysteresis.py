"""Hysteresis from the continuous gripper action to a binary command."""

from __future__ import annotations


class Hysteresis:
    """Closes above one threshold and opens below a lower one; in between the command stays."""

    def __init__(self, close_above: float, open_below: float) -> None:
        self.close_above, self.open_below = close_above, open_below
        self.closed: bool | None = None

    def update(self, value: float) -> bool | None:
        """Return the new command, True to close; None if it does not change."""
        wanted = True if value > self.close_above else False if value < self.open_below else self.closed
        if wanted is None or wanted == self.closed:
            return None
        self.closed = wanted
        return wanted
