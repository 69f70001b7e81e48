"""How far a predicted motion leaves the path that it was asked to follow."""

from __future__ import annotations

import numpy as np

from uma.geometry import polyline
from uma.types import MotionPrediction, ReferenceMotion


def departure(motion: MotionPrediction, reference: ReferenceMotion) -> float:
    """The largest mean distance over the keypoints, metres, of any step of ``motion`` from the reference's paths.

    Raises:
        ValueError: they are in other frames or have other numbers of keypoints.
    """
    if motion.frame != reference.frame or motion.points.shape[1] != len(reference.waypoints):
        raise ValueError(
            f"motion of {motion.points.shape[1]} keypoints in {motion.frame!r}: the reference has "
            f"{len(reference.waypoints)} in {reference.frame!r}"
        )
    paths = [w[v] for w, v in zip(reference.waypoints, reference.is_valid, strict=True)]
    return float(np.mean([polyline.distance(motion.points[:, k], path) for k, path in enumerate(paths)], 0).max())
