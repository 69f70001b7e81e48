"""The grasp: where the gripper last closed, while it stays closed."""

from __future__ import annotations

from collections import deque

import numpy as np

CLOSES, OPENS = 0.15, 0.10
"""A measured gripper above the first may hold something; below the second it does not, 0 open to 1 closed."""


class GraspWatch:
    """Finds the grasp in a stream of measurements, also as of an earlier time.

    Args:
        kept: largest number of remembered changes.
    """

    def __init__(self, kept: int = 32) -> None:
        self._changes: deque[tuple[float, np.ndarray | None]] = deque(maxlen=kept)

    def clear(self) -> None:
        self._changes.clear()

    def changes(self, gripper: float) -> bool:
        """Return whether a measurement begins or ends a grasp."""
        holds = bool(self._changes) and self._changes[-1][1] is not None
        return gripper < OPENS if holds else gripper > CLOSES

    def add(self, pose: np.ndarray, gripper: float, stamp: float) -> None:
        """Take one measurement; stamps must not decrease.

        Args:
            pose: ``(4, 4)`` in any fixed frame.
            gripper: 0 open to 1 closed.
            stamp: seconds.
        """
        if self.changes(gripper):
            self._changes.append((stamp, np.array(pose) if gripper > CLOSES else None))

    def at(self, stamp: float = float("inf")) -> tuple[np.ndarray, float] | None:
        """Return the pose and the stamp of the grasp as of ``stamp``; None while the gripper is open."""
        for since, pose in reversed(self._changes):
            if since <= stamp:
                return None if pose is None else (pose, since)
        return None


def grasp_steps(gripper: np.ndarray) -> np.ndarray:
    """Return, for each of ``(S,)`` gripper measurements, the step at which it closed; -1 while it is open."""
    out, since = np.full(len(gripper), -1), -1
    for step, g in enumerate(gripper):
        if since < 0 and g > CLOSES:
            since = step
        elif since >= 0 and g < OPENS:
            since = -1
        out[step] = since
    return out
