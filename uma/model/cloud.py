"""From an RGB-D image of any size to the model's point set, in NumPy; `uma.model.cloud_torch` is its GPU counterpart.

An image is first reduced to about `PIXELS` pixels, so that cost and density do not depend on its size.
"""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass

import numpy as np

from uma.geometry.camera import unproject_pixels
from uma.geometry.point_cloud import plane_and_support, spread_points, voxel_indices
from uma.model.config import PointConfig
from uma.types import InputError, Observation

PIXELS = 320 * 180
"""Pixels per cloud; larger images are reduced to about this number."""

PHASES = (0.125, 0.625, 0.375, 0.875)
"""Position of the sampled pixel in its block, as a fraction of the block's edge: across by block row, down by block
column.

A constant position could miss a thin object along the rows or columns.
"""

PROBES = ((0.0, 0.0), (0.5, 0.5), (0.75, 0.25), (0.25, 0.75))
"""Further positions to search for valid depth, in this order: down and across from the first, modulo the block."""

VOXELS_M = (0.004, 0.005, 0.012)
"""Voxel edges of the strata near, low and rest, metres."""

HEAD = 512
"""Points per stratum in exact farthest-point order, see `uma.geometry.point_cloud.spread_points`."""

MIN_VALID, MIN_ABOVE = 200, 20
"""Least numbers of valid pixels and of points above the table."""


@dataclass(frozen=True)
class PointSet:
    """The points of one image, ordered so that every prefix is spread over the scene.

    Attributes:
        xyz: ``(N, 3)`` float32 metres, camera frame.
        rgb: ``(N, 3)`` uint8.
        height: ``(N,)`` float32 metres above the supporting plane.
        plane: ``(4,)`` float64 unit normal and offset (metres) of that plane, camera frame; None if unknown.
        support: fraction of the image's points on the plane; NaN if unknown.
    """

    xyz: np.ndarray
    rgb: np.ndarray
    height: np.ndarray
    plane: np.ndarray | None = None
    support: float = math.nan


def point_set(observation: Observation, config: PointConfig) -> PointSet:
    """Draw a `PointSet` from an RGB-D image: reduce, crop, remove the table, fill three strata, order for spread.

    Raises:
        InputError: too few valid depth pixels to find the table, or too few points above it.
    """
    pixel = representatives(observation.depth, config.range_m)
    check_valid(len(pixel), config)
    cloud = unproject_pixels(observation.depth, pixel, observation.camera)
    try:
        plane, support = plane_and_support(cloud)
    except ValueError as error:
        raise InputError(f"depth: {error}") from None
    height = (cloud @ plane[:3] + plane[3]).astype(np.float32)

    over = np.flatnonzero(height > config.table_m)
    cloud, height, pixel = cloud[over], height[over], pixel[over]
    is_near = ((cloud - observation.T_cam_ee[:3, 3]) ** 2).sum(1) < config.near_m**2
    kept = np.flatnonzero(is_near | (height < config.height_m))
    cloud, height, pixel, is_near = cloud[kept], height[kept], pixel[kept], is_near[kept]
    check_above(len(cloud))

    is_low = ~is_near & (height < config.low_m)
    strata = (is_near, is_low, ~is_near & ~is_low)
    chosen = [_drawn(cloud, *of) for of in zip(strata, counts(config), VOXELS_M)]
    chosen = np.concatenate(chosen)[interleaving(counts(config))]
    rgb = observation.rgb.reshape(-1, 3)[pixel[chosen]]
    return PointSet(cloud[chosen], rgb, height[chosen], plane, support)


def _drawn(cloud: np.ndarray, members: np.ndarray, count: int, size: float) -> np.ndarray:
    """Return ``(count,)`` point indices of a stratum, repeated if it is short; an empty stratum uses all points.

    Args:
        cloud: ``(N, 3)`` metres.
        members: ``(N,)`` bool.
        size: voxel edge, metres; each voxel contributes one point.
    """
    index = np.flatnonzero(members)
    if len(index) == 0:
        index = np.arange(len(cloud))
    index = index[voxel_indices(cloud[index], size)]
    return np.resize(index[spread_points(cloud[index], count, HEAD, size)], count)


def check_valid(count: int, config: PointConfig) -> None:
    """Raise `InputError` if ``count`` valid pixels (after the reduction) are too few."""
    if count < MIN_VALID:
        raise InputError(f"depth: {count} valid pixels nearer than {config.range_m} m, at least {MIN_VALID} required")


def check_above(count: int) -> None:
    """Raise `InputError` if ``count`` points above the table are too few."""
    if count < MIN_ABOVE:
        raise InputError(f"depth: {count} points above the table, at least {MIN_ABOVE} required")


def counts(config: PointConfig) -> tuple[int, int, int]:
    """Return the numbers of points of the strata near, low and rest."""
    return config.near, config.low, config.rest


@functools.lru_cache(maxsize=16)
def interleaving(counts: tuple[int, ...]) -> np.ndarray:
    """Return the ``(N,)`` order that interleaves consecutive strata, so that every prefix holds its share of each."""
    rank = np.concatenate([(np.arange(count) + 0.5) / count for count in counts])
    return np.argsort(rank, kind="stable")


def grid_size(height: int, width: int) -> tuple[int, int]:
    """Return the rows and columns of the block grid of an image; a small image keeps its own size."""
    scale = math.sqrt(height * width / PIXELS)
    if scale <= 1.0:
        return height, width
    rows = min(height, max(1, round(height / scale)))
    return rows, min(width, max(1, round(width / scale)), math.ceil(PIXELS * 1.01 / rows))


@functools.lru_cache(maxsize=8)
def probe_pixels(height: int, width: int) -> np.ndarray:
    """Return ``(p, blocks)`` int64 flat indices of the candidate pixels per block, in search order.

    An image that is not reduced has blocks of one pixel and p = 1.
    """
    rows, columns = grid_size(height, width)
    if (rows, columns) == (height, width):
        return np.arange(height * width)[None]
    phase, row, column = np.array(PHASES), np.arange(rows)[:, None], np.arange(columns)
    top, left = row * height // rows, column * width // columns
    tall, wide = (row + 1) * height // rows - top, (column + 1) * width // columns - left
    pixels = []
    for down, across in PROBES:
        v = top + ((phase[column % len(phase)] + down) % 1.0 * tall).astype(np.int64)
        u = left + ((phase[row % len(phase)] + across) % 1.0 * wide).astype(np.int64)
        pixels.append((v * width + u).ravel())
    return np.stack(pixels)


def representatives(depth: np.ndarray, range_m: float) -> np.ndarray:
    """Return ``(n,)`` int64 flat indices, row by row, of one valid pixel per block of ``(H, W)`` depth in metres.

    Each block contributes its first valid pixel among `PROBES`. A mean across a depth edge would be a point in mid-air.
    Blocks without a valid pixel are omitted.
    """
    first, *others = probe_pixels(*depth.shape)
    flat = depth.ravel()
    z = flat[first] if others else flat
    is_valid = (z > 0) & (z < range_m)
    if not others:
        return np.flatnonzero(is_valid)
    pixel, missing = first.copy(), np.flatnonzero(~is_valid)
    for probe in others:
        candidate = probe[missing]
        z = flat[candidate]
        found = (z > 0) & (z < range_m)
        pixel[missing[found]] = candidate[found]
        is_valid[missing[found]] = True
        missing = missing[~found]
    return pixel[is_valid]
