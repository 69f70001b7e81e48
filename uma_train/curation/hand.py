"""A person's hand: 21 joints, the frame that moves with it, and the space it fills.

Joints are in the order of MediaPipe and MANO: wrist, then four of the thumb, index, middle, ring and little finger,
from the palm to the tip.
"""

from __future__ import annotations

import numpy as np

from uma.geometry import se3

JOINTS = 21
WRIST, THUMB, INDEX, MIDDLE = 0, 4, 8, 9
"""Wrist, tips of thumb and index finger, root of the middle finger."""
BONES = np.array(
    [(0, 1), (0, 5), (0, 9), (0, 13), (0, 17), (5, 9), (9, 13), (13, 17)]
    + [(4 * f + j, 4 * f + j + 1) for f in range(5) for j in (1, 2, 3)]
)
"""Pairs of joints: the palm's, then three of every finger."""
THICK_M = np.array([0.022] * 8 + [0.013] * 15)
"""Distance from a bone within which the hand is, metres."""
OPEN_M, CLOSED_M = 0.06, 0.03
"""Distances of the tips of thumb and index finger: open, and closed."""
TOUCH_M = 0.03
"""A hand whose joint is nearer to a thing than this may hold it, metres."""


def frame_of(joints: np.ndarray) -> np.ndarray | None:
    """Return ``(4, 4)``, the frame of a hand in the frame of its joints ``(21, 3)``; None if it is not seen.

    It turns with the palm. Its origin is between the tips of thumb and index finger.
    """
    if not np.isfinite(joints).all():
        return None
    along = joints[MIDDLE] - joints[WRIST]
    across = joints[17] - joints[5]
    z = np.cross(along, across)
    if np.linalg.norm(z) < 1e-6:
        return None
    x, z = along / np.linalg.norm(along), z / np.linalg.norm(z)
    return se3.make_pose(np.stack([x, np.cross(z, x), z], 1), (joints[THUMB] + joints[INDEX]) / 2)


def closed(joints: np.ndarray) -> float:
    """Return how far thumb and index finger of joints ``(21, 3)`` are closed, 0 open to 1."""
    apart = float(np.linalg.norm(joints[THUMB] - joints[INDEX]))
    return float(np.clip((OPEN_M - apart) / (OPEN_M - CLOSED_M), 0.0, 1.0))


def touches(joints: np.ndarray, points: np.ndarray) -> bool:
    """Return whether a joint is near one of the points ``(n, 3)``."""
    some = points[:: max(1, len(points) // 200)]
    return bool((np.linalg.norm(joints[:, None] - some[None], axis=-1) < TOUCH_M).any())


def inside(joints: np.ndarray, points: np.ndarray) -> np.ndarray:
    """Return ``(n,)`` bool: points that lie in the hand."""
    a, b = joints[BONES[:, 0]], joints[BONES[:, 1]]
    d = b - a
    out = np.zeros(len(points), bool)
    for start, way, thick in zip(a, d, THICK_M, strict=True):
        share = np.clip((points - start) @ way / max(float(way @ way), 1e-9), 0, 1)
        out |= np.linalg.norm(points - start - share[:, None] * way, axis=1) < thick
    return out
