"""The joint objective (paper Eq. 4) on a batch of windows."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from uma.model.masks import MaskMix
from uma.model.uma import Uma
from uma_train.data.windows import Batch


@dataclass(frozen=True)
class Objective:
    """Weights and regimes.

    Attributes:
        motion_weight, action_weight: lambda_x and lambda_a (paper A.3).
        task_dropout: share of samples whose task tokens are zeroed, so that the policy without a task is in distribution
            and can be compared with.
        masks: the regimes.
    """

    motion_weight: float = 1.0
    action_weight: float = 2.0
    task_dropout: float = 0.1
    masks: MaskMix = MaskMix()


def losses(model: Uma, batch: Batch, objective: Objective, generator: torch.Generator) -> dict[str, Tensor]:
    """L_a, L_x and their weighted sum ``total``."""
    B, T, K, _ = batch.grid.motion.shape
    task = model.encode_task(batch.initial_points, batch.reference)
    keep = (torch.rand(B, generator=generator) >= objective.task_dropout).to(task.dtype).to(task.device)
    cache = model.prepare_context(batch.points, batch.ee, task * keep[:, None, None])
    mask = objective.masks.draw(B, T, K, generator)
    out = model.flow_losses(batch.grid, mask, cache, generator)
    out["total"] = objective.action_weight * out["action"] + objective.motion_weight * out["motion"]
    return out
