"""The inputs of one training step."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from torch import Tensor

from uma.model.encoders import EndEffectorBatch, PointBatch, ReferenceBatch
from uma.model.uma import TokenGrid


@dataclass(frozen=True)
class Batch:
    """Inputs of one training step: o_t, o_0 with its reference, and the token grid (``K`` may be 0).

    ``initial_points``, ``reference`` and ``text`` (None without text) have one entry per task. ``windows_per_task``
    consecutive rows of the other fields belong to each task. ``is_moving`` ``(B, K)`` bool marks keypoints that move in
    their episode; evaluations use these.
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
