"""The person's hand in HOI4D: 21 points in the image."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from uma.geometry.camera import project
from uma.types import CameraModel, InputError
from uma_train.data.sources.human.unpickle import load_arrays

RADIUS_M = 0.02
"""Points of the scene within this distance of a point of the hand, across the view, belong to the hand."""


def away_from_hand(sequence: Path, step: int, points: np.ndarray, camera: CameraModel) -> np.ndarray:
    """Return the ``(N, 3)`` points, camera frame, that the hand of a step does not cover; all without a hand.

    Args:
        camera: of the whole images.

    Raises:
        InputError: the file of the hand is malformed.
    """
    folder = sequence / "handpose"
    file = next((p for name in (f"{step}", f"{step:05d}") if (p := folder / f"{name}.pickle").exists()), None)
    if file is None or not len(points):
        return points
    hand = np.asarray(load_arrays(file).get("kps2D"))
    if hand.shape != (21, 2) or hand.dtype.kind != "f" or not np.isfinite(hand).all():
        raise InputError(f"{file}: kps2D is {hand.dtype} {hand.shape}, must be (21, 2) of finite numbers")
    apart = np.linalg.norm(project(points, camera)[:, None] - hand[None], axis=2).min(1) * points[:, 2] / camera.fx
    return points[apart > RADIUS_M]
