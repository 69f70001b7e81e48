"""The full objective (paper Eq. 4) on a batch of windows: motion and action losses, and the contrastive term."""

from __future__ import annotations

from dataclasses import dataclass, fields, is_dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from uma.model.contrastive import ProjectionHead, info_nce
from uma.model.masks import MaskMix
from uma.model.uma import Uma
from uma.settings import within
from uma_train.data.batch import Batch
from uma_train.training.views import ViewSampling, augmented, hard_negative

NEAR_M = 0.1
"""Distance of a stated place that counts like the spread of all tasks, metres."""


@dataclass(frozen=True)
class Objective:
    """Loss weights and mask regimes.

    Attributes:
        motion_weight, action_weight: lambda_x and lambda_a (paper A.3).
        contrastive_weight: lambda_c (paper A.3); 0 omits the term and its passes of the task encoder.
        contrastive_share: fraction of the micro-batches with the contrastive term, which is divided by it. The expected
            loss is the same, and costs less.
        temperature: tau of the contrastive term (paper A.1).
        views: views and hard negatives of the contrastive term.
        control_draws: masks, flow times and noises per window of a batch without motion tokens. They share the
            expensive encoding of observation and task. The loss is their mean; the paper uses 1.
        task_dropout: fraction of samples with zeroed task tokens, so that the policy without a task stays in
            distribution.
        language_conditioning: fraction of the tasks with text whose denoiser is conditioned on h_omega(text) instead of
            h_psi(o_0, x_c). In the paper's A.1 it is 0: language tokens enter the contrastive pool only, which aligns
            their projections. Above 0, the language encoder also learns from the denoiser's loss.
        language_alignment: weight of `alignment`. Not in the paper.
        masks: the regimes.
    """

    motion_weight: float = 1.0
    action_weight: float = 2.0
    contrastive_weight: float = 0.001
    contrastive_share: float = 1.0
    temperature: float = 0.07
    views: ViewSampling = ViewSampling()
    control_draws: int = 1
    task_dropout: float = 0.1
    language_conditioning: float = 0.0
    language_alignment: float = 0.0
    masks: MaskMix = MaskMix()

    def __post_init__(self) -> None:
        within(self, {"control_draws": (1, None), "contrastive_share": (0, 1)}, "objective.")
        if not self.contrastive_share:
            raise ValueError("objective.contrastive_share: 0, must be above 0; contrastive_weight 0 omits the term")


def repeated(value: Any, times: int) -> Any:
    """Repeat every row of the tensors in a dataclass, list or (named) tuple ``times`` times in succession."""
    if times == 1 or value is None:
        return value
    if isinstance(value, Tensor):
        return value.repeat_interleave(times, 0)
    if is_dataclass(value):
        return type(value)(**{f.name: repeated(getattr(value, f.name), times) for f in fields(value)})
    if hasattr(value, "_fields"):
        return type(value)(*(repeated(v, times) for v in value))
    return type(value)(repeated(v, times) for v in value)


def to_device(device: torch.device, value: Any) -> Any:
    """Move a dataclass of tensors to ``device``."""
    if isinstance(value, Tensor):
        return value.to(device, non_blocking=True)
    if is_dataclass(value):
        return type(value)(**{f.name: to_device(device, getattr(value, f.name)) for f in fields(value)})
    return value


def contrastive_loss(
    model: Uma,
    head: ProjectionHead,
    batch: Batch,
    task: Tensor,
    objective: Objective,
    rng: np.random.Generator,
    language: tuple[Tensor, Tensor] | None = None,
) -> Tensor:
    """L_c (paper Eq. 9) over task tokens ``(B, M, d)``, augmented views, hard negatives and language views.

    Its gradient reaches only the task encoder, the language encoder and the head, because no other module is on its
    path.

    Args:
        language: language tokens ``(n, M, d)`` and the rows ``(n,)`` of their tasks; they are positives of the task
            (paper A.1).
    """
    B, device = len(task), task.device
    own = torch.arange(B)
    z, group = [head(task)], [own]
    for _ in range(objective.views.views):
        z.append(
            head(
                model.encode_task(
                    *(
                        to_device(device, v)
                        for v in augmented(batch.initial_points, batch.reference, objective.views, rng)
                    )
                )
            )
        )
        group.append(own)
    for i in range(objective.views.hard_negatives):
        other = hard_negative(batch.reference, objective.views, rng)
        z.append(head(model.encode_task(to_device(device, batch.initial_points), to_device(device, other))))
        group.append(own + (i + 1) * B)
        for _ in range(objective.views.negative_views):
            z.append(
                head(
                    model.encode_task(
                        *(to_device(device, v) for v in augmented(batch.initial_points, other, objective.views, rng))
                    )
                )
            )
            group.append(own + (i + 1) * B)
    if language is not None:
        z.append(head(language[0]))
        group.append(language[1])
    return info_nce(torch.cat(z), torch.cat(group).to(device), objective.temperature)


def encode_text(model: Uma, batch: Batch) -> tuple[Tensor, Tensor] | None:
    """Encode the texts of the batch: language tokens and their rows; None without text or language encoder."""
    rows = [i for i, text in enumerate(batch.text or ()) if text]
    if model.language_encoder is None or not rows:
        return None
    texts, index = [batch.text[i] for i in rows], torch.tensor(rows)
    if model.grounding is None:
        return model.encode_instruction(texts), index
    points = to_device(model.step.device, rows_of(batch.initial_points, index))
    return model.encode_instruction(texts, points), index


def rows_of(value: Any, index: Tensor) -> Any:
    """Take some rows of the tensors in a dataclass."""
    if isinstance(value, Tensor):
        return value[index]
    return None if value is None else type(value)(*(rows_of(getattr(value, f.name), index) for f in fields(value)))


def alignment(model: Uma, task: Tensor, language: tuple[Tensor, Tensor]) -> Tensor:
    """How far the tokens of texts are from those of the references of the same rows, which stay as they are.

    The sum of the mean distances of the places in units of `NEAR_M`, of the mean differences of the other stated
    channels, and of the mean squared differences of the tokens in units of the references' variance.
    """
    said, wanted = language[0].float(), task[language[1].to(task.device)].detach().float()
    d = model.config.width
    each = (said - wanted)[..., d:]
    out = (said - wanted)[..., :d].square().mean() / wanted[..., :d].var().clamp_min(1e-6)
    if model.config.ways:
        out = out + (each[..., :3] * model.normalization.point_scale).norm(dim=-1).mean() / NEAR_M
    if each.shape[-1] > 3:
        out = out + each[..., 3:].abs().mean()
    return out


def losses(
    model: Uma, head: ProjectionHead, batch: Batch, objective: Objective, generator: torch.Generator
) -> dict[str, Tensor]:
    """Compute ``action`` L_a, ``motion`` L_x, ``contrastive`` L_c and ``alignment`` (if weighted), and their weighted
    sum ``total``.

    Args:
        batch: on the CPU; the model's inputs are moved to its device.
        generator: on the CPU, so that masks, noise and views are equal on every device.
    """
    B, T, K, _ = batch.grid.motion.shape
    device = model.step.device
    task = model.encode_task(to_device(device, batch.initial_points), to_device(device, batch.reference))
    conditioned, language = task, encode_text(model, batch)
    if language is not None and objective.language_conditioning:
        rows = language[1]
        by_text = torch.zeros(len(task), dtype=torch.bool)
        by_text[rows] = torch.rand(len(rows), generator=generator) < objective.language_conditioning
        conditioned = torch.where(
            by_text.to(device)[:, None, None],
            torch.zeros_like(task).index_copy(0, rows.to(device), language[0].to(task.dtype)),
            task,
        )
    each = conditioned.repeat_interleave(batch.windows_per_task, 0)
    keep = (torch.rand(B, generator=generator) >= objective.task_dropout).to(device, task.dtype)
    cache = model.prepare_context(
        to_device(device, batch.points), to_device(device, batch.ee), each * keep[:, None, None]
    )
    n = 1 if K else objective.control_draws
    mask = to_device(device, objective.masks.draw(B * n, T, K, generator, history=T - model.config.horizon - 1))
    out = model.flow_losses(to_device(device, repeated(batch.grid, n)), mask, repeated(cache, n), generator)
    out["total"] = objective.action_weight * out["action"] + objective.motion_weight * out["motion"]
    if language is not None and objective.language_alignment:
        out["alignment"] = alignment(model, task, language)
        out["total"] = out["total"] + objective.language_alignment * out["alignment"]
    if objective.contrastive_weight:
        share = objective.contrastive_share
        out["contrastive"] = torch.zeros((), device=device)
        if share == 1.0 or torch.rand(1, generator=generator).item() < share:
            rng = np.random.default_rng(int(torch.randint(2**31, (1,), generator=generator)))
            out["contrastive"] = contrastive_loss(model, head, batch, task, objective, rng, language) / share
        out["total"] = out["total"] + objective.contrastive_weight * out["contrastive"]
    return out
