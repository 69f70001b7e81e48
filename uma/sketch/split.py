"""A pile of touching objects, divided among clicks by distances along its surface."""

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
    normal = _normals(points, is_part).reshape(-1, 3)
    bend = ((normal[second] - normal[first]) * way).sum(1) / np.maximum(length, 1e-6)
    colour = rgb.reshape(-1, 3).astype(np.float32)
    step = np.linalg.norm(colour[second] - colour[first], axis=1) / COLOUR_STEP
    concave = np.clip(-bend - 0.2, 0.0, 1.0)
    length = length + STEP * np.abs(way[:, 2])
    return length * (1.0 + 10.0 * CREASE * concave + EDGE * np.minimum(step, 2.0) ** 2) + 1e-6


def _normals(points: np.ndarray, is_part: np.ndarray) -> np.ndarray:
    """Return ``(H, W, 3)`` unit normals toward the camera of the smoothed surface; 0 where unknown."""
    weight = uniform_filter(is_part.astype(np.float32), 3, mode="constant")
    filled = np.where(is_part[..., None], points, np.float32(0))
    smooth = np.stack([uniform_filter(filled[..., k], 3, mode="constant") for k in range(3)], -1)
    smooth /= np.maximum(weight, 1e-6)[..., None]
    right, down = np.gradient(smooth, axis=1), np.gradient(smooth, axis=0)
    normal = np.cross(down, right)
    size = np.linalg.norm(normal, axis=-1, keepdims=True)
    return np.where(is_part[..., None] & (size > 1e-12), normal / np.maximum(size, 1e-12), 0.0)
