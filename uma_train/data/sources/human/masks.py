"""Segmentation of HOI4D: colours of the VOC map, one image per frame."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from uma.types import InputError
from uma_train.data.sources.human.images import read_image
from uma_train.data.sources.human.words import hand_labels

FOLDERS = "2Dseg/mask", "2Dseg/refine_2Dseg", "refine_2Dseg"
LABELS = 8
"""Labels of the map that occur."""


def voc_colours(count: int) -> np.ndarray:
    """Return the ``(count, 3)`` colours of the VOC map."""
    label = np.arange(count)[:, None] >> (3 * np.arange(8))[None]
    bits = (label[:, :, None] >> np.arange(3)) & 1
    return (bits << (7 - np.arange(8))[None, :, None]).sum(1).astype(np.uint8)


def object_in(sequence: Path, step: int, shape: tuple[int, int], pixel: np.ndarray) -> np.ndarray | None:
    """Return the ``(H, W)`` bool mask of the object that has most of some pixels; None without a mask of the step.

    Args:
        shape: of the reduced images.
        pixel: ``(N,)`` flat indices of the pixels in the object's box.

    Raises:
        InputError: the mask is damaged or of another shape.
    """
    names = (f"{step:05d}.png", f"{step}.png")
    file = next((p for folder in FOLDERS for name in names if (p := sequence / folder / name).exists()), None)
    if file is None:
        return None
    image = read_image(file)
    factor = image.shape[0] // shape[0]
    if image.ndim != 3 or factor < 1 or image.shape[:2] != (shape[0] * factor, shape[1] * factor):
        raise InputError(f"{file}: {image.shape}, must be a multiple of {shape} in colour")
    image = image[(factor - 1) // 2 :: factor, (factor - 1) // 2 :: factor]
    is_label = (image[:, :, None, :] == voc_colours(LABELS)).all(3)
    hands = hand_labels(sequence.resolve().parts)
    things = [i for i in range(1, LABELS) if i not in hands]
    in_box = [int(is_label[:, :, i].ravel()[pixel].sum()) for i in things]
    return is_label[:, :, things[int(np.argmax(in_box))]]
