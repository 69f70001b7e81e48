"""The full objective (paper Eq. 4) on a batch of windows: motion and action reconstruction, and the contrastive term."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from uma.model.contrastive import ProjectionHead, info_nce
from uma.model.masks import MaskMix
from uma.model.uma import Uma
from uma_train.data.windows import Batch
from uma_train.views import ViewSampling, augmented, hard_negative


@dataclass(frozen=True)
class Objective:
    """Weights and regimes.

    Attributes:
        motion_weight, action_weight: lambda_x and lambda_a (paper A.3).
        contrastive_weight: lambda_c (paper A.3); 0 leaves the term and its extra passes of the task encoder out.
        temperature: tau of the contrastive term (paper A.1).
        views: its views and hard negatives.
        task_dropout: share of samples whose task tokens are zeroed, so that the policy without a task is in distribution
            and can be compared with.
        masks: the regimes.
    """

    motion_weight: float = 1.0
    action_weight: float = 2.0
    contrastive_weight: float = 0.001
    temperature: float = 0.07
    views: ViewSampling = ViewSampling()
    task_dropout: float = 0.1
    masks: MaskMix = MaskMix()


def contrastive_loss(model: Uma, head: ProjectionHead, batch: Batch, task: Tensor, objective: Objective, rng: np.random.Generator) -> Tensor:
    """L_c (paper Eq. 9) over the unaugmented task tokens ``(B, M, d)``, augmented views and hard negatives.

    Its gradient reaches the task encoder and the head alone, because no other module is on its way.
    """
    B = len(task)
    own = torch.arange(B)
    z, group = [head(task)], [own]
    for _ in range(objective.views.views):
        z.append(head(model.encode_task(*augmented(batch.initial_points, batch.reference, objective.views, rng))))
        group.append(own)
    for i in range(objective.views.hard_negatives):
        z.append(head(model.encode_task(batch.initial_points, hard_negative(batch.reference, objective.views, rng))))
        group.append(own + (i + 1) * B)
    return info_nce(torch.cat(z), torch.cat(group), objective.temperature)


def losses(model: Uma, head: ProjectionHead, batch: Batch, objective: Objective, generator: torch.Generator) -> dict[str, Tensor]:
    """``action`` L_a, ``motion`` L_x, ``contrastive`` L_c (if weighted) and their weighted sum ``total``."""
    B, T, K, _ = batch.grid.motion.shape
    task = model.encode_task(batch.initial_points, batch.reference)
    each = task.repeat_interleave(batch.windows_per_task, 0)
    keep = (torch.rand(B, generator=generator) >= objective.task_dropout).to(task.dtype).to(task.device)
    cache = model.prepare_context(batch.points, batch.ee, each * keep[:, None, None])
    mask = objective.masks.draw(B, T, K, generator)
    out = model.flow_losses(batch.grid, mask, cache, generator)
    out["total"] = objective.action_weight * out["action"] + objective.motion_weight * out["motion"]
    if objective.contrastive_weight:
        rng = np.random.default_rng(int(torch.randint(2**31, (1,), generator=generator)))
        out["contrastive"] = contrastive_loss(model, head, batch, task, objective, rng)
        out["total"] = out["total"] + objective.contrastive_weight * out["contrastive"]
    return out
