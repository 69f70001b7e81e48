"""Masks as files, such as those of SAM 3's video model: the value of a pixel is the number of an object, 0 is none."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from uma.types import InputError
from uma_train.curation.adapters.results import Results, path_of, read
from uma_train.curation.clip import Clip
from uma_train.curation.segment import LEAST_PX, MOMENTS, most_changed
from uma_train.curation.views import View
from uma_train.data.optional import needed

MAX_PIXELS = 2**25
"""Largest image."""

MOVED_M = 0.01
"""Least way of an object's middle, metres."""


@dataclass(frozen=True)
class MaskFiles(Results):
    """The segmentation stage by files: ``NAME.npz`` with ``masks``, or images ``NAME/*.png`` in the order of time.

    ``masks`` is (T, h, w) or (h, w), whole numbers or bool; an image has grey values or a palette. The clip has one
    mask for every image, or one for the first. Of several objects, the one that moves farthest is taken.
    """

    def __call__(self, clip: Clip) -> np.ndarray:
        """Return the thing's pixels in the first image, ``(H, W)`` bool.

        Raises:
            InputError: no masks, of the wrong shape, or no object that moves.
        """
        masks = self.of(clip)
        numbers, counts = np.unique(masks[0][masks[0] > 0], return_counts=True)
        numbers = numbers[counts >= LEAST_PX * masks[0].size / (640 * 360)]
        if not len(numbers):
            raise InputError(f"{clip.name}: the mask of the first image holds no object of {LEAST_PX} pixels")
        if len(numbers) == 1:
            return masks[0] == numbers[0]
        if len(masks) == 1:
            return most_changed(clip, [masks[0] == number for number in numbers])
        ways = [_way(clip, masks == number) for number in numbers]
        if max(ways) < MOVED_M:
            raise InputError(f"{clip.name}: the objects move by {max(ways):.3f} m, must be {MOVED_M} m")
        return masks[0] == numbers[int(np.argmax(ways))]

    def of(self, clip: Clip) -> np.ndarray:
        """Return the masks ``(T or 1, H, W)`` at the clip's size.

        Raises:
            InputError: none, damaged, or of the wrong shape.
        """
        import cv2

        T, H, W = clip.video.shape[:3]
        masks, where = self._read(clip.name)
        masks = masks[None] if masks.ndim == 2 else masks
        if masks.ndim != 3 or not masks.size or len(masks) not in (1, T) or masks.dtype.kind not in "iub":
            raise InputError(f"{where}: masks: {masks.dtype} {masks.shape}, must be whole numbers ({T} or 1, h, w)")
        return np.stack([cv2.resize(m.astype(np.int32), (W, H), interpolation=cv2.INTER_NEAREST) for m in masks])

    def _read(self, name: str) -> tuple[np.ndarray, Path]:
        images = sorted((Path(self.folder) / name).glob("*.png"), key=_number)
        if not images or path_of(self.folder, name) is not None:
            arrays, path = read(self.folder, name)
            if "masks" not in arrays:
                raise InputError(f"{path}: masks: absent, the file has {', '.join(sorted(arrays)) or 'nothing'}")
            return arrays["masks"], path
        masks = [_image(path) for path in images]
        if {mask.shape for mask in masks} != {masks[0].shape}:
            raise InputError(f"{images[0].parent}: masks of several sizes, must be one")
        return np.stack(masks), images[0].parent


def _number(path: Path) -> tuple[int, str]:
    """Order images by the last number of their name, so that 10.png comes after 2.png."""
    numbers = re.findall(r"\d+", path.stem)
    return int(numbers[-1]) if numbers else -1, path.name


def _image(path: Path) -> np.ndarray:
    pillow = needed("PIL.Image", "perception")
    try:
        with pillow.open(path) as image:
            if image.width * image.height > MAX_PIXELS:
                raise InputError(f"{path}: {image.width} x {image.height} pixels, limit {MAX_PIXELS} in all")
            if image.mode not in ("1", "L", "P", "I", "I;16"):
                raise InputError(f"{path}: {image.mode}, must have grey values or a palette")
            return np.asarray(image).astype(np.int32)
    except InputError:
        raise
    except Exception as error:  # Pillow raises kinds of its own, such as for a decompression bomb
        raise InputError(f"{path}: no readable image: {type(error).__name__}: {error}") from error


def _way(clip: Clip, mask: np.ndarray) -> float:
    """Return how far the middle of an object's visible surface moves, ``mask`` (T, H, W), metres."""
    middles = [_middle(clip, mask[t], t) for t in (0, *(min(int(s * len(mask)), len(mask) - 1) for s in MOMENTS))]
    return max((float(np.linalg.norm(m - middles[0])) for m in middles if np.isfinite(m).all()), default=0.0)


def _middle(clip: Clip, mask: np.ndarray, t: int) -> np.ndarray:
    v, u = np.nonzero(mask)
    points, ok = View(clip, t).lifted(np.stack([u, v], 1).astype(np.float64))
    return np.median(points[ok], axis=0) if ok.sum() >= LEAST_PX else np.full(3, np.nan)
