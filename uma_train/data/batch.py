"""The inputs of one training step."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from torch import Tensor

from uma.model.encoders import EndEffectorBatch, PointBatch, ReferenceBatch
from uma.model.inputs import Normalization
from uma.model.uma import TokenGrid


@dataclass(frozen=True)
class Clip:
    """Colour images around the windows' current steps.

    Attributes:
        images: ``(B, n, 3, h, w)`` in 0 to 1, at the requested steps.
        is_seen: ``(B, n)`` bool; False where the episode stores no image within a step of the requested one, as before
            its start and after its end. The nearest stored image stands there.
    """

    images: Tensor
    is_seen: Tensor


@dataclass(frozen=True)
class Batch:
    """Inputs of one training step: o_t, o_0 with its reference, and the token grid (``K`` may be 0).

    ``initial_points``, ``reference`` and ``text`` (None without text) have one entry per task. ``windows_per_task``
    consecutive rows of the other fields belong to each task. ``is_moving`` ``(B, K)`` bool marks keypoints that move in
    their episode; evaluations use these. ``clip`` has the images that `Windows.draw` was asked for.
    """

    points: PointBatch
    ee: EndEffectorBatch
    initial_points: PointBatch
    reference: ReferenceBatch
    grid: TokenGrid
    T_cam_ee: np.ndarray
    windows_per_task: int = 1
    text: tuple[str | None, ...] | None = None
    is_moving: Tensor | None = None
    clip: Clip | None = None


class Drawable(Protocol):
    """A source of batches: `Windows` or a `Mixture` of sources."""

    def draw(
        self, size: int, keypoints: int, norm: Normalization, rng: np.random.Generator, **options: Any
    ) -> Batch: ...
