"""Distance of a predicted motion from its reference path."""

from __future__ import annotations

import numpy as np

from uma.geometry import polyline
from uma.types import MotionPrediction, ReferenceMotion


def departure(motion: MotionPrediction, reference: ReferenceMotion) -> float:
    """Return the largest distance of any step of ``motion`` from the reference paths, as a mean over keypoints, metres.

    Raises:
        ValueError: their frames or numbers of keypoints differ.
    """
    if motion.frame != reference.frame or motion.points.shape[1] != len(reference.waypoints):
        raise ValueError(
            f"motion of {motion.points.shape[1]} keypoints in {motion.frame!r}: the reference has "
            f"{len(reference.waypoints)} in {reference.frame!r}"
        )
    paths = [w[v] for w, v in zip(reference.waypoints, reference.is_valid, strict=True)]
    return float(np.mean([polyline.distance(motion.points[:, k], path) for k, path in enumerate(paths)], 0).max())
