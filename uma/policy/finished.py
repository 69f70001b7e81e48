"""End of a task: a policy that has done its task predicts chunks that stay where the arm is.

Training windows continue with still actions after a success, so still chunks mean done.
"""

from __future__ import annotations

import numpy as np

from uma.geometry.se3 import rotation_angle
from uma.types import ActionChunk, KeypointState, Observation

STILL_M, STILL_RAD = 0.02, 0.15
"""Largest distance of a still chunk's poses from the measured pose, metres and radians.

Sampled chunks of an arm at rest spread by 5 to 20 mm and up to 0.15 rad. Chunks in motion go 30 mm and more.
"""

MOVED_M, MOVED_RAD = 0.03, 0.2
"""Distance from the task's first pose at which the arm has moved, metres and radians."""

MAX_GAP_S = 1.0
"""Longest time between two chunks of one still period, seconds."""

CLOSED = 0.5
"""Gripper values above it close, the others open."""


class FinishDetector:
    """Detects the end of a task from its chunks.

    A task is finished when its chunks were still for ``after_s`` seconds, after the arm has moved. A chunk is still if
    all its poses are near the measured pose, and all its gripper values are on one side of `CLOSED`. The side must be
    the same in the whole still period.

    Args:
        after_s: length of the still period, seconds of the observations' stamps; 0 = never finished.
    """

    def __init__(self, after_s: float) -> None:
        self.after_s = after_s
        self.reset()

    def reset(self) -> None:
        """Start a new task."""
        self._first: np.ndarray | None = None
        self._has_moved = False
        self._break()

    def _break(self) -> None:
        """End the still period."""
        self._since = self._last = float("nan")
        self._is_closed = False

    def update(self, observation: Observation, chunk: ActionChunk) -> bool:
        """Return whether the task is finished with this chunk.

        Args:
            observation: o_t of the chunk.
            chunk: in the observation's camera frame.
        """
        here, t = observation.T_cam_ee, observation.stamp
        if self._first is None:
            self._first = here
        self._has_moved |= _away(here[None], self._first, MOVED_M, MOVED_RAD)
        closed = chunk.gripper > CLOSED
        is_still = not _away(chunk.poses, here, STILL_M, STILL_RAD) and closed.all() == closed.any()
        goes_on = self._last < t <= self._last + MAX_GAP_S and closed[0] == self._is_closed
        if not is_still or not self._has_moved:
            self._break()
            return False
        if not goes_on:
            self._since, self._is_closed = t, bool(closed[0])
        self._last = t
        return self.after_s > 0 and t - self._since >= self.after_s


def _away(poses: np.ndarray, pose: np.ndarray, metres: float, radians: float) -> bool:
    """Return whether any of ``(N, 4, 4)`` poses is farther from ``pose`` than a limit."""
    distance = np.linalg.norm(poses[:, :3, 3] - pose[:3, 3], axis=1)
    return bool((distance > metres).any() or (rotation_angle(poses[:, :3, :3], pose[:3, :3]) > radians).any())


def end_distance(keypoints: KeypointState | None, goals: np.ndarray) -> float:
    """Return the mean distance of the visible keypoints to the reference's end, metres; NaN without any.

    Args:
        keypoints: tracked positions; None = not tracked.
        goals: ``(K, 3)`` last waypoints, metres in the same frame.
    """
    if keypoints is None or not keypoints.is_visible.any():
        return float("nan")
    seen = keypoints.is_visible
    return float(np.linalg.norm(keypoints.positions[seen] - goals[seen], axis=1).mean())
