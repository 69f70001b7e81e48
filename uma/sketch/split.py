"""Where a pile of touching objects comes apart: at borders that break, and halfway between clicks."""

from __future__ import annotations

import numpy as np
from scipy.ndimage import uniform_filter
from scipy.sparse import csr_matrix
from scipy.sparse.csgraph import dijkstra

STEP, CREASE, EDGE = 4.0, 1.0, 3.0
"""Costs of a metre in depth, of a concave bend of one radian over a metre's way, and of a full colour step, relative
to one metre along the surface."""

COLOUR_STEP = 30.0
"""Colour difference between neighbours that is a full colour step, 0 to 255 per channel (Euclidean)."""


CONCAVE = 0.3
"""Rise of a neighbour over the tangent plane, per metre of way, that makes a border concave."""


def shifted(down: int, right: int) -> tuple[tuple[slice, slice], tuple[slice, slice]]:
    """Return the indices ``[rows, columns]`` of all pixels with a neighbour at an offset, and of those neighbours."""
    rows = (slice(None, -down or None), slice(down, None))
    columns = (slice(max(-right, 0), -right if right > 0 else None), slice(max(right, 0), right if right < 0 else None))
    return (rows[0], columns[0]), (rows[1], columns[1])


def breaks(
    points: np.ndarray, step: np.ndarray, offsets: tuple[tuple[int, int], ...], part: np.ndarray, rest: np.ndarray
) -> float:
    """Return the share of the border between two parts that is a depth step or concave; 0 without a border.

    Args:
        points: ``(H, W, 3)`` metres, camera frame.
        step: ``(H, W)`` metres; a larger difference in depth is a step.
        offsets: (rows, columns) to the neighbours of a pixel.
        part, rest: ``(H, W)`` bool, disjoint.
    """
    index = np.arange(part.size).reshape(part.shape)
    ends = []
    for offset in offsets:
        a, b = shifted(*offset)
        border = part[a] & rest[b] | rest[a] & part[b]
        ends.append((index[a][border], index[b][border]))
    first, second = (np.concatenate(side) for side in zip(*ends, strict=True))
    if not len(first):
        return 0.0
    flat = points.reshape(-1, 3)
    way = (flat[second] - flat[first]).astype(np.float64)
    near = np.zeros(part.shape, bool)
    near.ravel()[first] = near.ravel()[second] = True
    # Each side has its own normals, since a window across the border would round it off.
    normal = (_normals(points, part, near & part) + _normals(points, rest, near & rest)).reshape(-1, 3)
    bend = ((normal[second] - normal[first]) * way).sum(1) / np.maximum(np.linalg.norm(way, axis=1), 1e-6)
    is_step = np.abs(way[:, 2]) > step.ravel()[first]
    return float(np.mean(is_step | (bend < -CONCAVE)))


def nearest_seed(
    points: np.ndarray,
    rgb: np.ndarray,
    pairs: tuple[np.ndarray, np.ndarray],
    is_part: np.ndarray,
    wanted: list[tuple[int, int]],
    unwanted: list[tuple[int, int]],
) -> np.ndarray:
    """Return the pixels of a pile that are nearer to the clicks ``wanted`` than to ``unwanted``: ``(H, W)`` bool.

    The distance runs along the surface. Depth steps, concave creases and colour edges lengthen it.

    Args:
        points: ``(H, W, 3)`` metres, camera frame.
        rgb: ``(H, W, 3)`` uint8.
        pairs: flat indices of neighbouring pixels, two ``(E,)`` arrays.
        is_part: ``(H, W)`` bool, the pile.
        wanted, unwanted: clicks (u, v); those outside the pile have no effect.
    """
    shape = is_part.shape
    flat = is_part.ravel()
    pixels = np.flatnonzero(flat)
    node = np.full(flat.size, -1, np.int64)
    node[pixels] = np.arange(len(pixels))
    first, second = pairs
    keep = flat[first] & flat[second]
    first, second = first[keep], second[keep]
    length = _lengths(points, rgb, first, second, is_part)
    graph = csr_matrix((length, (node[first], node[second])), shape=(len(pixels),) * 2)
    seeds = [int(node[v * shape[1] + u]) for u, v in [*wanted, *unwanted]]
    own = {i for i in seeds[: len(wanted)] if i >= 0}
    inside = np.unique([i for i in seeds if i >= 0])
    if not len(inside):
        return is_part.copy()
    _, _, source = dijkstra(graph, directed=False, indices=inside, return_predecessors=True, min_only=True)
    out = np.zeros(flat.size, bool)
    # Parts that no click reaches belong to the object, since they were selected with it.
    out[pixels] = np.isin(source, list(own)) | (source < 0)
    return out.reshape(shape)


def _lengths(
    points: np.ndarray, rgb: np.ndarray, first: np.ndarray, second: np.ndarray, is_part: np.ndarray
) -> np.ndarray:
    """Return the ``(E,)`` lengths of ways between neighbours, metres with surcharges."""
    flat = points.reshape(-1, 3)
    way = (flat[second] - flat[first]).astype(np.float64)
    length = np.linalg.norm(way, axis=1)
    normal = _normals(points, is_part, is_part).reshape(-1, 3)
    bend = ((normal[second] - normal[first]) * way).sum(1) / np.maximum(length, 1e-6)
    colour = rgb.reshape(-1, 3).astype(np.float32)
    step = np.linalg.norm(colour[second] - colour[first], axis=1) / COLOUR_STEP
    concave = np.clip(-bend - 0.2, 0.0, 1.0)
    length = length + STEP * np.abs(way[:, 2])
    return length * (1.0 + 10.0 * CREASE * concave + EDGE * np.minimum(step, 2.0) ** 2) + 1e-6


def _normals(points: np.ndarray, is_part: np.ndarray, wanted: np.ndarray) -> np.ndarray:
    """Return ``(H, W, 3)`` unit normals toward the camera of a part's planes in 5x5 windows.

    Args:
        wanted: ``(H, W)`` bool; elsewhere the result is 0.
    """
    out = np.zeros(points.shape)
    rows, columns = np.nonzero(wanted)
    if not len(rows):
        return out
    top, left = max(rows.min() - 2, 0), max(columns.min() - 2, 0)
    box = (slice(top, rows.max() + 3), slice(left, columns.max() + 3))
    inside = is_part[box]
    near = np.where(inside[..., None], points[box], 0.0).astype(np.float64)

    def mean(values: np.ndarray) -> np.ndarray:
        return uniform_filter(values, 5, mode="constant")

    rows, columns = rows - top, columns - left
    weight = np.maximum(mean(inside.astype(np.float64)), 1e-9)[rows, columns]
    middle = np.stack([mean(near[..., k])[rows, columns] / weight for k in range(3)], -1)
    spread = np.empty((len(rows), 3, 3))
    for i in range(3):
        for j in range(i, 3):
            moment = mean(near[..., i] * near[..., j])[rows, columns] / weight
            spread[:, i, j] = spread[:, j, i] = moment - middle[:, i] * middle[:, j]
    normal = np.linalg.eigh(spread)[1][..., 0]
    out[wanted] = normal * -np.sign((normal * middle).sum(-1, keepdims=True))
    return out
