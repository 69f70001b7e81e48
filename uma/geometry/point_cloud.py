"""Point clouds: the supporting plane, voxels, farthest points. Plain NumPy, deterministic."""

from __future__ import annotations

import numpy as np


def fit_plane(points: np.ndarray, *, tolerance: float = 0.006, hypotheses: int = 96, seed: int = 0) -> np.ndarray:
    """The dominant plane of ``(N, 3)`` points by RANSAC and a least-squares polish: a table under a tabletop scene.

    Returns:
        ``(4,)`` unit normal and offset with ``n . p + d`` the height in metres; the normal points toward the camera
        (the origin has positive height).

    Raises:
        ValueError: fewer than 50 points, or all on one line.
    """
    if len(points) < 50:
        raise ValueError(f"plane: {len(points)} valid points, at least 50 are needed")
    rng = np.random.default_rng(seed)
    sample = points[rng.choice(len(points), min(len(points), 1500), replace=False)].astype(np.float64)
    triples = sample[rng.integers(0, len(sample), (hypotheses, 3))]
    normals = np.cross(triples[:, 1] - triples[:, 0], triples[:, 2] - triples[:, 0])
    norms = np.linalg.norm(normals, axis=1)
    keep = norms > 1e-6
    if not keep.any():
        raise ValueError("plane: all points lie on one line")
    normals = normals[keep] / norms[keep, None]
    offsets = -(normals * triples[keep, 0]).sum(1)
    votes = (np.abs(sample @ normals.T + offsets) < tolerance).sum(0)
    plane = np.append(normals[votes.argmax()], offsets[votes.argmax()])
    for _ in range(2):
        inliers = sample[np.abs(sample @ plane[:3] + plane[3]) < tolerance]
        if len(inliers) < 10:
            break
        centre = inliers.mean(0)
        n = np.linalg.svd(inliers - centre, full_matrices=False)[2][2]
        plane = np.append(n, -n @ centre)
    return plane if plane[3] > 0 else -plane


def voxel_indices(points: np.ndarray, size: float) -> np.ndarray:
    """Indices of one point per occupied cube of ``size`` metres, the first in order."""
    cells = np.floor(points / size).astype(np.int64) + (1 << 19)
    key = (cells[:, 0] << 40) | (cells[:, 1] << 20) | cells[:, 2]
    return np.sort(np.unique(key, return_index=True)[1])


def farthest_points(points: np.ndarray, count: int) -> np.ndarray:
    """Indices of up to ``count`` points, each the farthest from those before it, from the point nearest the mean on."""
    n = len(points)
    if n == 0:
        return np.zeros(0, np.int64)
    points = np.ascontiguousarray(points, dtype=np.float32)
    chosen = np.empty(min(count, n), np.int64)
    chosen[0] = ((points - points.mean(0)) ** 2).sum(1).argmin()
    distance = np.full(n, np.inf, np.float32)
    for i in range(1, len(chosen)):
        step = points - points[chosen[i - 1]]
        np.minimum(distance, np.einsum("ij,ij->i", step, step), out=distance)
        chosen[i] = distance.argmax()
    return chosen
