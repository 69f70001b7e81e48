"""Keypoints spread over the visible surface of an object."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.ndimage import binary_erosion

from uma.geometry.point_cloud import farthest_points
from uma.settings import check_range
from uma.sketch.segment import LEAST_POINTS, Scene
from uma.types import MAX_KEYPOINTS, InputError

CANDIDATES = 4000
"""Most pixels among which the keypoints are chosen."""


@dataclass(frozen=True)
class Keypoints:
    """Points on an object.

    Attributes:
        points: ``(K, 3)`` metres, camera frame.
        pixels: ``(K, 2)`` int, (u, v).
    """

    points: np.ndarray
    pixels: np.ndarray


def keypoints(scene: Scene, is_object: np.ndarray, count: int = 6) -> Keypoints:
    """Choose ``count`` keypoints far from each other on the object; the same frame gives the same points.

    Depth is wrong at an object's rim, so rim pixels are dropped unless too few remain: the object is thin.

    Args:
        is_object: ``(H, W)`` bool, see `uma.sketch.segment.select`.
        count: 1 to `MAX_KEYPOINTS`.

    Raises:
        InputError: ``count`` out of its range, a mask of another shape, or fewer pixels with depth than ``count``.
    """
    check_range("count", count, 1, MAX_KEYPOINTS)
    if is_object.shape != scene.height.shape:
        raise InputError(f"is_object: shape {is_object.shape}, must be {scene.height.shape}")
    usable = is_object & np.isfinite(scene.height)
    if np.count_nonzero(usable) < count:
        raise InputError(f"count: {count}, must be at most {np.count_nonzero(usable)}, the object's pixels with depth")
    inner = inside(usable)
    rows, columns = np.nonzero(inner if np.count_nonzero(inner) >= max(count, LEAST_POINTS) else usable)
    every = -(-len(rows) // CANDIDATES)
    points = scene.points[rows, columns][::every]
    chosen = farthest_points(points, count) * every
    pixels = np.stack([columns[chosen], rows[chosen]], -1)
    return Keypoints(scene.points[rows[chosen], columns[chosen]].astype(np.float64), pixels)


def inside(mask: np.ndarray) -> np.ndarray:
    """Return the pixels ``(H, W)`` bool of a mask whose four neighbours belong to it."""
    return binary_erosion(mask, border_value=1)
