"""The poses of a hand-held depth camera: image motion with PnP, then alignment of depth to a keyframe.

What moves by itself is left out by trying: pixels whose depth does not follow the static scene drop from the next fit.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from uma.geometry import se3
from uma.types import InputError
from uma_train.curation.clip import Clip
from uma_train.curation.klt import corners, flow
from uma_train.curation.surfaces import Surface, align, surface_of
from uma_train.curation.views import View

KEYFRAME = 8
FEATURES = 400
LEAST = 30
"""Fewest image motions that agree with one camera pose."""


@dataclass(frozen=True)
class KnownOrOdometry:
    """The camera stage without weights: what is known stays; poses of an RGB-D clip are estimated.

    Attributes:
        name: as `Stage.name`.
    """

    name: str = "klt-pnp-icp"

    def __call__(self, clip: Clip) -> Clip:
        """Return the clip with poses.

        Raises:
            InputError: depth or intrinsics are unknown, or too few image motions agree.
        """
        clip.depth(0)
        clip.camera(0)
        return clip if clip.extrinsics is not None else replace(clip, extrinsics=odometry(clip))


def odometry(clip: Clip, movers: np.ndarray | None = None) -> np.ndarray:
    """Return ``(T, 4, 4)`` world to camera of an RGB-D clip; the world is the first camera.

    Args:
        movers: ``(T, H, W)`` bool, pixels that move by themselves; None if unknown.

    Raises:
        InputError: fewer than `LEAST` image motions agree between two images.
    """
    T = np.tile(np.eye(4), (len(clip.video), 1, 1))
    posed = replace(clip, extrinsics=T)  # shares T, which fills up below
    rng = np.random.default_rng(0)
    key = _key(posed, 0, movers, rng)
    for t in range(1, len(T)):
        if clip.has_image is not None and not clip.has_image[t]:
            T[t] = T[t - 1]
            continue
        before = View(posed, t - 1)
        T[t] = _pnp(before, View(posed, t), _free(posed, t - 1, movers), rng)
        moved = align(View(posed, t), key, np.eye(4), np.eye(4), 1.0)
        if np.isfinite(moved.rms):
            T[t] = T[t] @ moved.T
        if t % KEYFRAME == 0:
            key = _key(posed, t, movers, rng)
    return T


def _free(clip: Clip, t: int, movers: np.ndarray | None) -> np.ndarray:
    mask = View(clip, t).depth > 0
    return mask if movers is None else mask & ~movers[t]


def _key(clip: Clip, t: int, movers: np.ndarray | None, rng: np.random.Generator) -> Surface:
    return surface_of(View(clip, t), _free(clip, t, movers), rng)


def _pnp(before: View, now: View, mask: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Return ``(4, 4)`` world to camera of ``now`` by image motion from ``before``."""
    import cv2

    uv = corners(before, mask, FEATURES, rng)
    end, ok = flow(before, now, uv, uv)
    points, valid = before.lifted(uv)
    ok &= valid
    fx, fy, cx, cy = now.K
    K = np.array([[fx, 0, cx], [0, fy, cy], [0, 0, 1]])
    local = se3.apply(before.T, points[ok])
    options = {"reprojectionError": 1.0, "iterationsCount": 200, "confidence": 0.999}
    is_found, r, p, inliers = (False, None, None, None)
    if ok.sum() >= LEAST:
        is_found, r, p, inliers = cv2.solvePnPRansac(local, end[ok], K, None, **options)
    count = 0 if inliers is None else len(inliers)
    if not is_found or count < LEAST:
        raise InputError(f"{now.clip.name}: {count} image motions agree in image {now.t}, must be {LEAST}")
    return se3.make_pose(cv2.Rodrigues(r)[0], p[:, 0]) @ before.T
