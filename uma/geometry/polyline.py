"""Distances of points to a path of straight segments."""

from __future__ import annotations

import numpy as np

BESIDE = 3.0
"""Weight of a metre beside the path against a metre along it, in `remaining`."""

GRID = 33
"""Samples per segment in `remaining`."""


def distance(points: np.ndarray, path: np.ndarray) -> np.ndarray:
    """Return the metres from points to the nearest place on a path.

    Args:
        points: ``(..., 3)`` metres.
        path: ``(T, 3)`` waypoints, metres; a single waypoint is a point.

    Returns:
        ``(...)`` metres.
    """
    start, step, length = _segments(path)
    share = ((points[..., None, :] - start) * step).sum(-1) / np.maximum(length**2, 1e-12)
    place = start + np.clip(share, 0.0, 1.0)[..., None] * step
    return np.linalg.norm(points[..., None, :] - place, axis=-1).min(-1)


def remaining(points: np.ndarray, path: np.ndarray) -> np.ndarray:
    """Return the remaining length of a path from points: the minimum over places of the rest plus `BESIDE` times the
    distance.

    The factor `BESIDE` prevents shortcuts across a bend. On the path, the result is the rest of the path. For a single
    waypoint, it is the distance.

    Args:
        points: ``(..., 3)`` metres.
        path: ``(T, 3)`` waypoints, metres.

    Returns:
        ``(...)`` metres.
    """
    if len(path) == 1:
        return distance(points, path)
    start, step, length = _segments(path)
    left = np.concatenate([np.cumsum(length[::-1])[::-1][1:], [0.0]])  # from the end of each segment
    # The sum of distance and rest is convex along a segment, so a grid finds its minimum closely.
    share = np.linspace(0, 1, GRID)[:, None]
    place = start[:, None] + share * step[:, None]  # (segments, GRID, 3)
    rest = left[:, None] + (1 - share[:, 0]) * length[:, None]
    return (BESIDE * np.linalg.norm(points[..., None, None, :] - place, axis=-1) + rest).min((-1, -2))


def _segments(path: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return ``(S, 3)`` starts, ``(S, 3)`` steps and ``(S,)`` lengths; a single waypoint is one segment of length 0."""
    start, step = (path, np.zeros_like(path)) if len(path) == 1 else (path[:-1], np.diff(path, axis=0))
    return start, step, np.linalg.norm(step, axis=1)
