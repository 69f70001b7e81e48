"""Joints of a person's hand, from files or from the hand models of MediaPipe."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import numpy as np

from uma.geometry import se3
from uma.types import InputError
from uma_train.curation.adapters.hand_models import FILES, HandModels
from uma_train.curation.adapters.results import Results, first, read
from uma_train.curation.clip import Clip
from uma_train.curation.hand import JOINTS
from uma_train.curation.views import View
from uma_train.data.sources.parts import key_of

LEAST = 6
"""Fewest joints with depth for the distance of a hand."""
SCALE = 0.6, 1.6
"""Smallest and largest ratio of measured distance to that of a hand of usual size."""


@dataclass(frozen=True)
class HandFiles(Results):
    """Joints of one hand by files, in the order of `uma_train.curation.hand`.

    Keys: ``joints`` (T, 21, 3) metres in the camera of each image, NaN or zeros where no hand is seen.
    """

    def __call__(self, clip: Clip) -> Clip:
        """Return the clip with ``hand``.

        Raises:
            InputError: no file, or a field of the wrong shape.
        """
        arrays, path = read(self.folder, clip.name)
        joints, shape = first(arrays, ("joints",), path), (len(clip.video), JOINTS, 3)
        if joints is None or joints.shape != shape:
            raise InputError(f"{path}: joints: shape {getattr(joints, 'shape', None)}, must be {shape}")
        return with_hand(clip, joints.astype(np.float64))


@dataclass(frozen=True)
class HandDetector:
    """Joints of one hand by MediaPipe's models for palm and landmarks.

    The landmarks' shape in metres is placed by their pixels, and its distance by depth.

    Attributes:
        folder: with `FILES` of `uma_train.curation.adapters.hand_models`.
    """

    folder: str

    @property
    def name(self) -> str:
        """As `Stage.name`."""
        return "mediapipe-" + "-".join(key_of(Path(self.folder) / file) for file in FILES)

    @cached_property
    def _models(self) -> HandModels:
        return HandModels.load(self.folder)

    def __call__(self, clip: Clip) -> Clip:
        """Return the clip with ``hand``; NaN where none is seen.

        Raises:
            InputError: a model is absent or damaged.
        """
        joints = np.full((len(clip.video), JOINTS, 3), np.nan)
        last = None
        for t in range(len(clip.video)):
            if clip.has_image is not None and not clip.has_image[t]:
                continue
            last = self._models.find(clip.video[t], last)
            if last is not None:
                found = placed(View(clip, t), last.pixels, last.shape)
                joints[t] = np.nan if found is None else found
        return with_hand(clip, joints)


def with_hand(clip: Clip, joints: np.ndarray) -> Clip:
    """Return a clip with a hand from ``(T, 21, 3)`` joints in the camera of each image."""
    is_seen = np.isfinite(joints).all((1, 2)) & (joints != 0).any((1, 2))
    hand = np.full(joints.shape, np.nan, np.float32)
    for t in np.flatnonzero(is_seen):
        hand[t] = se3.apply(se3.invert(clip.T_cam_world(int(t))), joints[t])
    return replace(clip, hand=hand)


def placed(view: View, pixels: np.ndarray, shape: np.ndarray) -> np.ndarray | None:
    """Return the joints ``(21, 3)`` in the camera; None if depth or pixels do not fit a hand.

    Args:
        pixels: ``(21, 2)`` (u, v).
        shape: ``(21, 3)`` metres, joints of a hand of usual size in any frame.
    """
    import cv2

    fx, fy, cx, cy = view.K
    K = np.array([[fx, 0, cx], [0, fy, cy], [0, 0, 1]])
    is_found, r, p = cv2.solvePnP(shape, pixels, K, None, flags=cv2.SOLVEPNP_SQPNP)
    if not is_found:
        return None
    x = shape @ cv2.Rodrigues(r)[0].T + p.ravel()
    depth = view.at(view.depth, pixels)
    ok = (depth > 0) & view.inside(pixels) & (x[:, 2] > 0.05)
    if ok.sum() < LEAST:
        return None
    scale = float(np.median(depth[ok] / x[ok, 2]))
    z = x[:, 2] * scale
    ray = np.stack([(pixels[:, 0] - cx) / fx, (pixels[:, 1] - cy) / fy, np.ones(len(z))], 1)
    return ray * z[:, None] if SCALE[0] < scale < SCALE[1] else None
