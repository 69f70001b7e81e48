"""How far a predicted motion leaves the path that it was asked to follow."""

from __future__ import annotations

import numpy as np

from uma.types import MotionPrediction, ReferenceMotion


def distance_to_path(points: np.ndarray, path: np.ndarray) -> np.ndarray:
    """``(...)`` metres from ``(..., 3)`` points to the nearest place on the straight pieces between ``(T, 3)``
    waypoints; one waypoint is a point."""
    if len(path) == 1:
        return np.linalg.norm(points - path[0], axis=-1)
    a, d = path[:-1], np.diff(path, axis=0)
    length2 = np.maximum((d * d).sum(-1), 1e-12)
    s = np.clip(((points[..., None, :] - a) * d).sum(-1) / length2, 0.0, 1.0)
    return np.linalg.norm(points[..., None, :] - (a + s[..., None] * d), axis=-1).min(-1)


def departure(motion: MotionPrediction, reference: ReferenceMotion) -> float:
    """The largest mean distance over the keypoints, metres, of any step of ``motion`` from the reference's paths.

    Raises:
        ValueError: they are in other frames or have other numbers of keypoints.
    """
    if motion.frame != reference.frame or motion.points.shape[1] != len(reference.waypoints):
        raise ValueError(
            f"motion of {motion.points.shape[1]} keypoints in {motion.frame!r}: the reference has {len(reference.waypoints)} in {reference.frame!r}"
        )
    paths = [w[v] for w, v in zip(reference.waypoints, reference.is_valid, strict=True)]
    return float(np.mean([distance_to_path(motion.points[:, k], path) for k, path in enumerate(paths)], 0).max())
