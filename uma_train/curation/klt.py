"""Image motion between two views by pyramidal Lucas-Kanade, started at a guess and checked forward and backward."""

from __future__ import annotations

import numpy as np

from uma_train.curation.views import View

WINDOW, LEVELS = (15, 15), 3


def flow(
    before: View, now: View, uv: np.ndarray, guess: np.ndarray, limit_px: float = 1.0
) -> tuple[np.ndarray, np.ndarray]:
    """Return where ``(n, 2)`` pixels of ``before`` are in ``now``, and ``(n,)`` bool whether the way back agrees.

    Args:
        guess: ``(n, 2)`` pixels where the search starts.
        limit_px: largest distance between start and way back.
    """
    import cv2

    if not len(uv):
        return np.zeros((0, 2)), np.zeros(0, bool)
    start = np.ascontiguousarray(uv, np.float32).reshape(-1, 1, 2)
    first = np.ascontiguousarray(guess, np.float32).reshape(-1, 1, 2).copy()
    options = {"winSize": WINDOW, "maxLevel": LEVELS, "flags": cv2.OPTFLOW_USE_INITIAL_FLOW}
    end, ok, _ = cv2.calcOpticalFlowPyrLK(before.gray, now.gray, start, first, **options)
    back, ok_back, _ = cv2.calcOpticalFlowPyrLK(now.gray, before.gray, end, start.copy(), **options)
    found = end.reshape(-1, 2).astype(np.float64)
    near = np.linalg.norm((back - start).reshape(-1, 2), axis=1) < limit_px
    return found, (ok.ravel() > 0) & (ok_back.ravel() > 0) & near & now.inside(found, 1.0)


def corners(view: View, mask: np.ndarray, count: int, rng: np.random.Generator) -> np.ndarray:
    """Return up to ``2 * count`` pixels ``(n, 2)`` of a mask: the best corners, and random ones."""
    import cv2

    found = cv2.goodFeaturesToTrack(view.gray, count, 0.002, 2, mask=mask.astype(np.uint8))
    at = np.zeros((0, 2)) if found is None else found.reshape(-1, 2).astype(np.float64)
    v, u = np.nonzero(mask)
    some = rng.permutation(len(u))[:count]
    return np.concatenate([at, np.stack([u[some], v[some]], 1).astype(np.float64)])
