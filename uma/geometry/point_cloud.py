"""Point clouds: supporting plane, voxels, farthest points and space-filling curves. Plain NumPy, deterministic."""

from __future__ import annotations

import functools
from collections.abc import Callable

import numpy as np

PLANE_SAMPLE = 1500
"""Points in the sample of the plane fit."""

MATRIX_ENTRIES, MATRIX_ROWS = 2000, 128
"""Limits of the distance matrix of `farthest_points`: entries per step, and rows per block."""

CURVE_BITS = 10
"""Bits of a cell index along each axis in `curve_codes`."""


def fit_plane(points: np.ndarray, *, tolerance: float = 0.006, hypotheses: int = 96, seed: int = 0) -> np.ndarray:
    """Fit the dominant plane of ``(N, 3)`` points (the table) by RANSAC and least squares.

    Returns:
        ``(4,)`` unit normal and offset with ``n . p + d`` the height in metres. The normal points toward the camera
        (the origin has positive height).

    Raises:
        ValueError: fewer than 50 points, or all on one line.
    """
    return plane_and_support(points, tolerance=tolerance, hypotheses=hypotheses, seed=seed)[0]


def plane_and_support(
    points: np.ndarray, *, tolerance: float = 0.006, hypotheses: int = 96, seed: int = 0
) -> tuple[np.ndarray, float]:
    """Return the plane of `fit_plane`, and the fraction of sampled points within ``tolerance`` metres of it.

    Raises:
        ValueError: as `fit_plane`.
    """
    if len(points) < 50:
        raise ValueError(f"plane: {len(points)} valid points, at least 50 required")
    rng = np.random.default_rng(seed)
    count = min(len(points), PLANE_SAMPLE)
    sample = points[rng.choice(len(points), count, replace=False)].astype(np.float64)
    plane = _best_hypothesis(sample, rng.integers(0, count, (hypotheses, 3)), tolerance)
    for _ in range(2):
        inliers = sample[np.abs(sample @ plane[:3] + plane[3]) < tolerance]
        if len(inliers) < 10:
            break
        centre = inliers.mean(0)
        n = np.linalg.svd(inliers - centre, full_matrices=False)[2][2]
        plane = np.append(n, -n @ centre)
    support = float(np.mean(np.abs(sample @ plane[:3] + plane[3]) < tolerance))
    return (plane if plane[3] > 0 else -plane), support


def _best_hypothesis(sample: np.ndarray, triples: np.ndarray, tolerance: float) -> np.ndarray:
    """Return the plane ``(4,)`` with the most inliers, among those through ``(h, 3)`` triples of ``(n, 3)`` points."""
    a, b, c = (sample[i] for i in triples.T)
    normals = np.cross(b - a, c - a)
    norms = np.linalg.norm(normals, axis=1)
    keep = norms > 1e-6
    if not keep.any():
        raise ValueError("plane: all points lie on one line")
    normals = normals[keep] / norms[keep, None]
    offsets = -(normals * a[keep]).sum(1)
    distance = sample @ normals.T
    distance += offsets
    np.abs(distance, out=distance)
    # A product with ones counts faster than a sum over booleans, and is exact.
    votes = np.ones(len(sample), np.float32) @ (distance < tolerance).astype(np.float32)
    return np.append(normals[votes.argmax()], offsets[votes.argmax()])


def voxel_indices(points: np.ndarray, size: float) -> np.ndarray:
    """Return the index of the first point in each occupied cube of ``size`` metres."""
    if len(points) == 0:
        return np.zeros(0, np.int64)
    cells = np.floor(points / size).astype(np.int64)
    cells -= cells.min(0)
    _, width, depth = (int(v) + 1 for v in cells.max(0))
    key = (cells[:, 0] * width + cells[:, 1]) * depth + cells[:, 2]
    bits = len(points).bit_length()
    if (int(cells[:, 0].max()) + 1) * width * depth >= 1 << (63 - bits):
        return np.sort(np.unique(cells, axis=0, return_index=True)[1])
    # The index occupies the key's lowest bits, because sorting integers is faster than a stable argsort.
    key = np.sort((key << bits) | np.arange(len(points)))
    is_first = np.ones(len(key), bool)
    np.not_equal(key[1:] >> bits, key[:-1] >> bits, out=is_first[1:])
    return np.sort(key[is_first] & ((1 << bits) - 1))


def farthest_points(points: np.ndarray, count: int) -> np.ndarray:
    """Return indices of up to ``count`` points in farthest-point order, starting nearest the mean."""
    n = len(points)
    if n == 0:
        return np.zeros(0, np.int64)
    points = np.ascontiguousarray(points, dtype=np.float32)
    axes = np.ascontiguousarray(points.T)
    steps = min(count, n)
    to_row = (_matrix_rows if n * n <= MATRIX_ENTRIES * steps else _computed_rows)(axes)
    chosen = [int(((points - points.mean(0)) ** 2).sum(1).argmin())]
    distance = np.full(n, np.inf, np.float32)
    for _ in range(1, steps):
        np.minimum(distance, to_row(chosen[-1]), out=distance)
        chosen.append(int(distance.argmax()))
    return np.array(chosen, np.int64)


def _matrix_rows(axes: np.ndarray) -> Callable[[int], np.ndarray]:
    """Return a function from an index to its ``(n,)`` squared distances to ``(3, n)`` points, precomputed."""
    n = axes.shape[1]
    matrix, term = np.empty((n, n), np.float32), np.empty((MATRIX_ROWS, n), np.float32)
    for start in range(0, n, MATRIX_ROWS):
        rows = matrix[start : start + MATRIX_ROWS]
        for k, axis in enumerate(axes):
            out = term[: len(rows)] if k else rows
            np.subtract(axis, axis[start : start + MATRIX_ROWS, None], out=out)
            np.multiply(out, out, out=out)
            if k:
                np.add(rows, out, out=rows)
    return matrix.__getitem__


def _computed_rows(axes: np.ndarray) -> Callable[[int], np.ndarray]:
    """Return the function of `_matrix_rows` without the matrix. Each call overwrites the previous result."""
    step = np.empty_like(axes)
    x, y, z = step

    def row(i: int) -> np.ndarray:
        np.subtract(axes, axes[:, i : i + 1], out=step)
        np.multiply(step, step, out=step)
        np.add(x, y, out=x)
        return np.add(x, z, out=x)

    return row


def spread_points(points: np.ndarray, count: int, head: int, size: float) -> np.ndarray:
    """Return indices of up to ``count`` of ``(N, 3)`` points; the first ``head`` are those of `farthest_points`.

    The rest follow a space-filling curve over cells of ``size`` metres in van der Corput order. They are evenly spread
    too, at the cost of one sort.
    """
    chosen = farthest_points(points, min(count, head))
    if count <= head or len(points) <= head:
        return chosen
    is_left = np.ones(len(points), bool)
    is_left[chosen] = False
    left = np.flatnonzero(is_left)
    left = left[np.argsort(curve_codes(points[left], size), kind="stable")]
    turn = reversed_bits()[np.arange(len(left)) * 65536 // len(left)] if len(left) <= 65536 else np.arange(len(left))
    return np.concatenate([chosen, left[np.argsort(turn, kind="stable")][: count - head]])


def curve_codes(points: np.ndarray, size: float) -> np.ndarray:
    """Return ``(N,)`` int64 Morton codes of the cells of ``size`` metres that hold ``(N, 3)`` points.

    The curve covers ``2 ** CURVE_BITS`` cells along each axis about the origin. Points outside are clamped to its
    border.
    """
    half = 1 << (CURVE_BITS - 1)
    cells = np.clip(np.floor(points / size).astype(np.int64) + half, 0, 2 * half - 1)
    spaced = spaced_bits()[cells]
    return (spaced[:, 0] << 2) | (spaced[:, 1] << 1) | spaced[:, 2]


@functools.cache
def spaced_bits() -> np.ndarray:
    """Return ``(2 ** CURVE_BITS,)`` int64: each number with two zeros before every bit."""
    numbers = np.arange(1 << CURVE_BITS, dtype=np.int64)
    return np.sum([((numbers >> b) & 1) << (3 * b) for b in range(CURVE_BITS)], axis=0)


@functools.cache
def reversed_bits() -> np.ndarray:
    """Return ``(65536,)`` int64: each 16-bit number with reversed bits, the van der Corput sequence."""
    numbers = np.arange(1 << 16, dtype=np.int64)
    return np.sum([((numbers >> b) & 1) << (15 - b) for b in range(16)], axis=0)
