"""Task inference by soft prompt (paper 3.4, Eq. 7): optimises only the M task tokens, with frozen weights."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from rich.console import Console
from rich.progress import Progress
from torch import Tensor

from uma.checkpoint.bundle import load_bundle
from uma.checkpoint.prompt import Prompt, save_prompt
from uma.checkpoint.typed import to_json
from uma.model.masks import MaskMix
from uma.model.uma import Uma
from uma.settings import within
from uma_train.data.batch import Batch
from uma_train.data.mixtures import open_all, parse_sources
from uma_train.training.objectives import to_device


@dataclass(frozen=True)
class Adaptation:
    """Settings of the token optimisation.

    Attributes:
        steps, batch_size, lr: of Adam on the tokens.
        keypoints: motion tokens per step in batches with motion.
        motion_weight, action_weight: lambda'_x and lambda'_a of Eq. 7; ``action_weight`` 0 is motion-only supervision.
        prior_weight: lambda'_c, the pull to c_0, per squared unit of the tokens.
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
    masks: MaskMix = MaskMix()
    seed: int = 0

    def __post_init__(self) -> None:
        within(self, {name: (1, None) for name in ("steps", "batch_size", "keypoints")})
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


def adapt(
    model: Uma,
    draw: Callable[[int, int, np.random.Generator], Batch],
    start: Tensor,
    config: Adaptation,
    on_step: Callable[[int, float], None] | None = None,
) -> tuple[Tensor, list[float]]:
    """Optimise c* of Eq. 7.

    Args:
        model: is not modified, which is checked.
        draw: (windows, keypoints, generator) -> a batch of the demonstrations.
        start: c_0, ``(M, d)``.
        on_step: called with the step and its loss.

    Returns:
        The tokens ``(M, d)`` and the loss of every step.

    Raises:
        RuntimeError: a weight changed.
    """
    before = weights_hash(model)
    had_gradient = [p.requires_grad for p in model.parameters()]
    was_training = model.training
    model.requires_grad_(False).eval()
    start = start.detach().float()
    tokens = start.clone().requires_grad_(True)
    optimizer = torch.optim.Adam([tokens], lr=config.lr)
    history = []
    device = model.step.device
    # Without action supervision, a batch without motion tokens has no loss.
    with_motion = config.masks.with_motion if config.action_weight else 1.0
    try:
        for step in range(config.steps):
            rng = np.random.default_rng([config.seed, step])
            K = config.keypoints if rng.random() < with_motion else 0
            batch = draw(config.batch_size, K, rng)
            generator = torch.Generator().manual_seed((config.seed * 1_000_003 + step) % (1 << 62))
            B, T, K, _ = batch.grid.motion.shape
            grid = batch.grid
            if not config.action_weight:  # as in human video: no action is a target or given
                grid = replace(grid, is_supervised_action=torch.zeros(B, dtype=torch.bool))
            cache = model.prepare_context(
                to_device(device, batch.points), to_device(device, batch.ee), tokens.expand(B, -1, -1)
            )
            mask = config.masks.draw(B, T, K, generator, history=T - model.config.horizon - 1)
            out = model.flow_losses(to_device(device, grid), to_device(device, mask), cache, generator)
            loss = (
                config.motion_weight * out["motion"]
                + config.action_weight * out["action"]
                + config.prior_weight * ((tokens - start) ** 2).sum()
            )
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            history.append(loss.item())
            if on_step:
                on_step(step, history[-1])
    finally:
        for p, flag in zip(model.parameters(), had_gradient, strict=True):
            p.requires_grad_(flag)
        model.train(was_training)
    if weights_hash(model) != before:
        raise RuntimeError("weights: changed during the adaptation, must stay equal")
    return tokens.detach(), history


@dataclass(frozen=True)
class AdaptConfig:
    """Configuration of `uma adapt`: a prompt from a few demonstrations.

    Attributes:
        checkpoint: bundle; its weights stay unchanged.
        data: folders of the demonstrations, as for `uma train`.
        out: the prompt file.
        name: of the task, for display.
        start: c_0: the "mean" of the demonstrations' encoded references, the "reference" of the first demonstration, or
            "zero".
        adaptation: settings of the optimisation.
    """

    checkpoint: str = "models/primitives-small"
    data: tuple[str, ...] = ("data/demonstrations",)
    out: str = "runs/prompt.safetensors"
    name: str = ""
    start: Literal["mean", "reference", "zero"] = "mean"
    adaptation: Adaptation = Adaptation()


@torch.no_grad()
def first_tokens(model: Uma, draw: Callable[[int, int, np.random.Generator], Batch], start: str, seed: int) -> Tensor:
    """Return c_0, ``(M, d)``; see `AdaptConfig.start`."""
    if start == "zero":
        return torch.zeros(model.config.task_tokens, model.config.width)
    batch = draw(32 if start == "mean" else 1, 0, np.random.default_rng([seed, 0]))
    return model.encode_task(batch.initial_points, batch.reference).mean(0)


def adapt_prompt(config: AdaptConfig, console: Console | None = None) -> Prompt:
    """Adapt a prompt, write its file and print a summary.

    Raises:
        EpisodeError, BundleError: no usable data or checkpoint.
    """
    console = console or Console()
    bundle = load_bundle(config.checkpoint)
    windows = open_all(parse_sources(config.data), frame=bundle.contract.policy_frame)
    norm = bundle.model.normalization

    def draw(size: int, keypoints: int, rng: np.random.Generator) -> Batch:
        return windows.draw(size, keypoints, norm, rng, with_image=bundle.model.config.image.kind != "none")

    began = time.monotonic()
    with Progress(console=console) as progress:
        bar = progress.add_task("adapt", total=config.adaptation.steps)
        start = first_tokens(bundle.model, draw, config.start, config.adaptation.seed)
        tokens, history = adapt(
            bundle.model,
            draw,
            start,
            config.adaptation,
            lambda step, loss: progress.update(bar, advance=1, description=f"loss {loss:.3f}"),
        )
    n = max(1, len(history) // 10)
    training = {
        "config": to_json(config),
        "demonstrations": len(windows.episodes),
        "loss_first": float(np.mean(history[:n])),
        "loss_last": float(np.mean(history[-n:])),
        "weights_sha256": weights_hash(bundle.model),
        "seconds": round(time.monotonic() - began, 1),
    }
    prompt = Prompt(tokens, bundle.checkpoint_id, config.name, training)
    save_prompt(config.out, prompt)
    console.print(
        f"{config.out}: {Path(config.out).stat().st_size / 1024:.1f} kB for checkpoint "
        f"{bundle.checkpoint_id} from {len(windows.episodes)} demonstrations; "
        f"loss {training['loss_first']:.3f} -> {training['loss_last']:.3f} (means over the first and last "
        f"{n} steps); all weights unchanged"
    )
    return prompt
