"""Task inference by soft prompt (paper 3.4, Eq. 7): optimises only the M task tokens, with frozen weights."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from uma.model.masks import MaskMix
from uma.model.uma import Uma
from uma.settings import within
from uma_train.data.batch import Batch
from uma_train.training.objectives import to_device


@dataclass(frozen=True)
class Adaptation:
    """Settings of the token optimisation.

    Attributes:
        steps, batch_size, lr: of Adam on the tokens.
        keypoints: motion tokens per step in batches with motion.
        motion_weight, action_weight: lambda'_x and lambda'_a of Eq. 7; ``action_weight`` 0 is motion-only supervision.
        prior_weight: lambda'_c, the pull to c_0, per squared unit of the tokens.
        trust: largest distance of each token from its start, relative to the root mean square norm of the start's
            tokens; 0 = no limit.
        check_every: steps between two evaluations on held-out windows, if any are given; the best tokens are kept.
        patience: evaluations without a better result after which the optimisation ends; 0 = never.
        masks: the regimes; without action supervision only those with motion targets count.
        seed: of batches, masks and noise.
    """

    steps: int = 400
    batch_size: int = 32
    lr: float = 0.02
    keypoints: int = 6
    motion_weight: float = 1.0
    action_weight: float = 2.0
    prior_weight: float = 1e-4
    trust: float = 0.0
    check_every: int = 20
    patience: int = 5
    masks: MaskMix = MaskMix()
    seed: int = 0

    def __post_init__(self) -> None:
        within(self, {name: (1, None) for name in ("steps", "batch_size", "keypoints", "check_every")})
        within(self, {"trust": (0, None), "patience": (0, None), "prior_weight": (0, None)})
        if min(self.motion_weight, self.action_weight) < 0 or self.motion_weight + self.action_weight == 0:
            raise ValueError(
                f"motion_weight {self.motion_weight}, action_weight {self.action_weight}: must be >= 0 and not both 0"
            )


def weights_hash(model: torch.nn.Module) -> str:
    """Return the SHA-256 of every parameter and buffer, in order; an adaptation must not change it."""
    digest = hashlib.sha256()
    for name, value in model.state_dict().items():
        digest.update(name.encode())
        digest.update(value.detach().cpu().contiguous().view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


@dataclass(frozen=True)
class Adapted:
    """Result of `adapt`.

    Attributes:
        tokens: ``(M, d)``, the best on the held-out windows, or the last without any.
        losses: of the steps.
        held_out: (step, loss on the held-out windows), from step 0 = the start on.
    """

    tokens: Tensor
    losses: list[float]
    held_out: list[tuple[int, float]]

    @property
    def best(self) -> tuple[int, float]:
        """Step and loss of the tokens on the held-out windows."""
        return min(self.held_out, key=lambda row: row[1])


def adapt(
    model: Uma,
    draw: Callable[[int, int, np.random.Generator], Batch],
    start: Tensor,
    config: Adaptation,
    on_step: Callable[[int, float], None] | None = None,
    held_out: Sequence[Batch] = (),
    state: dict[str, Any] | None = None,
    on_state: Callable[[dict[str, Any]], None] | None = None,
    in_scene: bool = False,
) -> Adapted:
    """Optimise c* of Eq. 7.

    Args:
        model: is not modified, which is checked.
        draw: (windows, keypoints, generator) -> a batch of the demonstrations.
        start: c_0, ``(M, d)``.
        on_step: called with the step and its loss.
        held_out: batches of demonstrations that are not optimised on, for the choice of the step. They get the same
            masks and noise at every evaluation.
        state: of an interrupted run, which continues bit for bit; None at the start.
        on_state: takes the state every ``check_every`` steps.
        in_scene: whether the tokens are those of a text before it sees a scene; each sample completes them with its
            own initial scene (`Uma.in_scene`).

    Raises:
        RuntimeError: a weight changed.
    """
    before = weights_hash(model)
    had_gradient = [p.requires_grad for p in model.parameters()]
    was_training = model.training
    model.requires_grad_(False).eval()
    start = start.detach().float()
    tokens = start.clone().requires_grad_(True)
    best, evaluated = start.clone(), []
    optimizer = torch.optim.Adam([tokens], lr=config.lr)
    losses: list[float] = []
    first = 0
    if state is not None:
        tokens.data.copy_(state["tokens"])
        optimizer.load_state_dict(state["optimizer"])
        best, losses, first = state["best"].clone(), list(state["losses"]), int(state["step"])
        evaluated = [(int(at), float(value)) for at, value in state["held_out"]]
    try:
        for step in range(first, config.steps + 1):
            if on_state and step % config.check_every == 0 and step > first:
                on_state(
                    {
                        "step": step,
                        "tokens": tokens.detach().clone(),
                        "optimizer": optimizer.state_dict(),
                        "best": best,
                        "losses": list(losses),
                        "held_out": list(evaluated),
                    }
                )
            if held_out and (step % config.check_every == 0 or step == config.steps):
                value = held_out_loss(model, tokens.detach(), held_out, config, in_scene)
                if not evaluated or value < min(v for _, v in evaluated):
                    best = tokens.detach().clone()
                evaluated.append((step, value))
                since = (step - min(evaluated, key=lambda row: row[1])[0]) // config.check_every
                if config.patience and since >= config.patience:
                    break
            if step == config.steps:
                break
            rng = np.random.default_rng([config.seed, step])
            K = config.keypoints if rng.random() < _with_motion(config) else 0
            generator = torch.Generator().manual_seed((config.seed * 1_000_003 + step) % (1 << 62))
            loss = supervised_loss(model, tokens, draw(config.batch_size, K, rng), config, generator, in_scene)
            loss = loss + config.prior_weight * ((tokens - start) ** 2).sum()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            if config.trust:
                _project(tokens, start, config.trust)
            losses.append(loss.item())
            if on_step:
                on_step(step, losses[-1])
    finally:
        for p, flag in zip(model.parameters(), had_gradient, strict=True):
            p.requires_grad_(flag)
        model.train(was_training)
    if weights_hash(model) != before:
        raise RuntimeError("weights: changed during the adaptation, must stay equal")
    return Adapted(best if held_out else tokens.detach(), losses, evaluated)


def _with_motion(config: Adaptation) -> float:
    """Return the fraction of batches with motion tokens; without action supervision, others have no loss."""
    return config.masks.with_motion if config.action_weight else 1.0


def _project(tokens: Tensor, start: Tensor, trust: float) -> None:
    """Move each token ``(M, d)`` back to within ``trust`` of its start, in place."""
    limit = trust * start.square().sum(-1).mean().sqrt()
    with torch.no_grad():
        away = tokens - start
        tokens.copy_(start + away * (limit / away.norm(dim=-1, keepdim=True).clamp_min(1e-9)).clamp_max(1.0))


def supervised_loss(
    model: Uma,
    tokens: Tensor,
    batch: Batch,
    config: Adaptation,
    generator: torch.Generator,
    in_scene: bool = False,
) -> Tensor:
    """Return lambda'_x L_x + lambda'_a L_a (Eq. 7) of a batch conditioned on tokens ``(M, d)``; see `adapt`."""
    device = model.step.device
    B, T, K, _ = batch.grid.motion.shape
    grid = batch.grid
    if not config.action_weight:  # as in human video: no action is a target or given
        grid = replace(grid, is_supervised_action=torch.zeros(B, dtype=torch.bool))
    task = tokens.expand(B, -1, -1)
    if in_scene:
        points = to_device(device, batch.initial_points)
        task = model.in_scene(tokens.expand(len(points.xyz), -1, -1), points)
        task = task.repeat_interleave(batch.windows_per_task, 0)
    cache = model.prepare_context(to_device(device, batch.points), to_device(device, batch.ee), task)
    mask = config.masks.draw(B, T, K, generator, history=T - model.config.horizon - 1)
    out = model.flow_losses(to_device(device, grid), to_device(device, mask), cache, generator)
    return config.motion_weight * out["motion"] + config.action_weight * out["action"]


@torch.no_grad()
def held_out_loss(
    model: Uma, tokens: Tensor, batches: Sequence[Batch], config: Adaptation, in_scene: bool = False
) -> float:
    """Return the mean of `supervised_loss` over batches, with fixed masks and noise."""
    values = [
        supervised_loss(model, tokens, batch, config, torch.Generator().manual_seed(i), in_scene).item()
        for i, batch in enumerate(batches)
    ]
    return float(np.mean(values))


def held_out_batches(
    draw: Callable[[int, int, np.random.Generator], Batch], config: Adaptation, count: int = 6
) -> list[Batch]:
    """Draw ``count`` batches for `adapt` with the configured share of motion tokens, at least one with them."""
    motion = max(1, round(count * _with_motion(config)))
    return [
        draw(config.batch_size, config.keypoints if i < motion else 0, np.random.default_rng([config.seed, 1_000 + i]))
        for i in range(count)
    ]
