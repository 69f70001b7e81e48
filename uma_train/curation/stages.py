"""The stages of the curation as protocols: any callable object of that shape can take a stage's place.

In the order of paper B.1: camera and depth, metric scale, what to track, where its keypoints are, and their tracks. The
hand of a person is found before what to track. A stage has a ``name`` for receipts and cards.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np

from uma_train.curation.clip import Clip


class Stage(Protocol):
    """What all stages share."""

    @property
    def name(self) -> str:
        """For receipts; a changed name makes a clip again."""
        ...


class CameraStage(Stage, Protocol):
    """Stage 1: poses, intrinsics and depth, where a clip lacks them."""

    def __call__(self, clip: Clip) -> Clip:
        """Return the clip with depths, intrinsics and extrinsics.

        Raises:
            InputError: they cannot be determined.
        """
        ...


class ScaleStage(Stage, Protocol):
    """Stage 2: metres, in a clip that is known up to scale."""

    def __call__(self, clip: Clip) -> Clip:
        """Return the clip in metres.

        Raises:
            InputError: the scale cannot be determined.
        """
        ...


class HandStage(Stage, Protocol):
    """Stage 2b: a person's hand, in a clip without a robot."""

    def __call__(self, clip: Clip) -> Clip:
        """Return the clip with ``hand``.

        Raises:
            InputError: the results are absent or malformed.
        """
        ...


class MaskStage(Stage, Protocol):
    """Stage 3a: what to track."""

    def __call__(self, clip: Clip) -> np.ndarray:
        """Return the thing's pixels in the first image, ``(H, W)`` bool.

        Raises:
            InputError: nothing was found.
        """
        ...


class QueryStage(Stage, Protocol):
    """Stage 3b: keypoints."""

    def __call__(self, clip: Clip) -> Clip:
        """Return the clip with ``query`` and ``on_object``, from its ``is_object``."""
        ...


@dataclass(frozen=True)
class Tracked:
    """Tracks.

    Attributes:
        coords, visibs: as in `Clip`.
        kind: how they were made, such as "rigid".
    """

    coords: np.ndarray
    visibs: np.ndarray
    kind: str


class TrackStage(Stage, Protocol):
    """Stage 4: tracks of the queries."""

    def __call__(self, clip: Clip) -> Tracked:
        """Return the tracks of the clip's queries."""
        ...
