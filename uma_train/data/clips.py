"""Colour images of a store's episodes, at frames and around steps, and which of them a system takes."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from uma.settings import within
from uma_train.data.batch import Clip
from uma_train.data.episode import EpisodeError
from uma_train.data.store import Store

WITHIN = 1
"""Largest distance of a stored image from the requested step, steps."""

Size = tuple[int, int] | None
"""Height and width of the images, also of a store without any; None = no source has an image."""


@dataclass(frozen=True)
class Layout:
    """Images around the current step.

    Attributes:
        height, width: of the images, pixels. They are the camera's image, averaged over squares.
        past: past images, the current one included; 1 = no history.
        future: images of the future that the system predicts.
        every: control steps from one image to the next.
    """

    height: int = 45
    width: int = 80
    past: int = 2
    future: int = 2
    every: int = 8

    def __post_init__(self) -> None:
        within(
            self,
            {"height": (8, 512), "width": (8, 512), "past": (1, 16), "future": (1, 16), "every": (1, 16)},
            "layout.",
        )

    @property
    def steps(self) -> tuple[int, ...]:
        """Steps of all images relative to the current one, in order."""
        return tuple(self.every * i for i in range(1 - self.past, self.future + 1))

    @property
    def history(self) -> int:
        """Past control steps that the images span."""
        return self.every * (self.past - 1)


def frame_images(store: Store, size: Size, episode: np.ndarray, frame: np.ndarray) -> Tensor:
    """Return ``(B, 3, h, w)`` images in 0 to 1 of frames ``(B,)``, zeros for a frame without an image.

    Raises:
        EpisodeError: no episode has an image.
    """
    out = np.zeros((len(frame), 3, *_known(size)), np.float32)
    row, has = np.zeros(len(frame), int), np.zeros(len(frame), bool)
    for i, (e, f) in enumerate(zip(episode, frame, strict=True)):
        listed = store.rows("image_frame", e)
        row[i] = np.searchsorted(listed, f)
        has[i] = row[i] < len(listed) and listed[row[i]] == f
    if has.any():
        out[has] = store.take("images", episode[has], row[has]).transpose(0, 3, 1, 2) / np.float32(255)
    return torch.from_numpy(out)


def clip_images(store: Store, size: Size, episode: np.ndarray, now: np.ndarray, steps: tuple[int, ...]) -> Clip:
    """Return the stored images nearest to ``steps`` after the current steps ``now`` ``(B,)``, the earlier of two.

    Images of an episode without any are black and unseen.

    Raises:
        EpisodeError: no episode has an image.
    """
    images = np.zeros((len(now), len(steps), 3, *_known(size)), np.float32)
    is_seen = np.zeros(images.shape[:2], bool)
    for i, e in enumerate(episode):
        stored = store.rows("frame_step", e)[store.rows("image_frame", e)]
        if not len(stored):
            continue
        distance = np.abs(stored[None] - (now[i] + np.array(steps))[:, None])
        is_seen[i] = distance.min(1) <= WITHIN
        images[i] = store.rows("images", e)[distance.argmin(1)].transpose(0, 3, 1, 2) / np.float32(255)
    return Clip(torch.from_numpy(images), torch.from_numpy(is_seen))


def _known(size: Size) -> tuple[int, int]:
    if size is None:
        raise EpisodeError(
            "no episode has an image; record with 'uma simulate --images all', or train without image features"
        )
    return size
