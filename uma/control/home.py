"""The way home: up, across at the greater height, and down, at a speed for a room with people."""

from __future__ import annotations

import math

import numpy as np

from uma.geometry import se3
from uma.types import RATE_HZ, ActionChunk

SPEED = 0.15
"""Largest speed, m/s."""
TURN_SPEED = 0.6
"""Largest rotational speed, rad/s."""
PEAK = 1.875
"""Largest speed of a minimum-jerk motion in units of its mean speed."""


def way_home(start: np.ndarray, home: np.ndarray, stamp: float, frame: str, ee_frame: str) -> ActionChunk:
    """Return the way from one end-effector pose to another as one chunk.

    The end effector rises to the greater of both heights, crosses and turns there, and goes down. Each leg starts and
    ends at rest.

    Args:
        start, home: ``(4, 4)`` poses in ``frame``, whose z axis points up.
        stamp: time at which the way begins, seconds.

    Returns:
        Its gripper actions are 0 and have no meaning.
    """
    top = max(start[2, 3], home[2, 3])
    above_start, above_home = start.copy(), home.copy()
    above_start[2, 3] = above_home[2, 3] = top
    corners = (start, above_start, above_home, home)
    poses = [pose for a, b in zip(corners, corners[1:]) for pose in _leg(a, b)] or [home]
    return ActionChunk(np.stack(poses), np.zeros(len(poses)), stamp, frame, ee_frame)


def _leg(a: np.ndarray, b: np.ndarray) -> list[np.ndarray]:
    """Return the poses after ``a`` of a minimum-jerk motion to ``b`` at `RATE_HZ`; empty if they are the same."""
    length = float(np.linalg.norm(b[:3, 3] - a[:3, 3]))
    angle = float(se3.rotation_angle(a[:3, :3], b[:3, :3]))
    steps = math.ceil(PEAK * max(length / SPEED, angle / TURN_SPEED) * RATE_HZ)
    phase = np.arange(1, steps + 1) / max(steps, 1)
    return [se3.interpolate(a, b, float(s)) for s in phase**3 * (10 - 15 * phase + 6 * phase**2)]
