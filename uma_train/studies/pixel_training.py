"""Trains pixel systems on the synthetic world in pixels, within minutes on one core."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from rich.console import Console
from rich.progress import Progress
from torch import Tensor, nn

from uma.model.inputs import Normalization
from uma_train.baselines.pixels.inputs import PixelBatch
from uma_train.baselines.pixels.tokeniser import Tokeniser, TokeniserConfig
from uma_train.data.clips import Layout
from uma_train.studies import pixel_world


def optimise(
    model: nn.Module,
    losses: Callable[[int, torch.Generator], dict[str, Tensor]],
    steps: int,
    lr: float,
    console: Console,
    name: str,
) -> None:
    """Minimise ``losses(step, generator)["total"]`` with AdamW, a warm-up and a cosine decay to 0."""
    chosen = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(chosen, lr, weight_decay=1e-6)
    with Progress(console=console) as progress:
        bar = progress.add_task(name, total=steps)
        for step in range(steps):
            warm = min(1.0, (step + 1) / 50)
            for group in optimizer.param_groups:
                group["lr"] = lr * warm * 0.5 * (1 + math.cos(math.pi * step / steps))
            optimizer.zero_grad(set_to_none=True)
            losses(step, torch.Generator().manual_seed(step))["total"].backward()
            torch.nn.utils.clip_grad_norm_(chosen, 1.0)
            optimizer.step()
            progress.advance(bar)


def toy_tokeniser(
    layout: Layout, steps: int, console: Console, *, channels: tuple[int, ...] = (16, 32), seed: int = 0
) -> Tokeniser:
    """Train a tokeniser on images of the pixel world, and freeze it."""
    torch.manual_seed(seed)
    model = Tokeniser(TokeniserConfig(layout, channels, latent=4))

    def images(step: int, size: int = 32) -> Tensor:
        batch = pixel_world.draw(np.random.default_rng([seed, 1, step]), size, layout=layout)
        return batch.future[:, -1]

    optimise(model, lambda s, g: model.losses(images(s), g), steps, 3e-3, console, "tokeniser")
    with torch.no_grad():
        model.scale.fill_(float(model.encode(images(10**6, 128)).std()))
    return model.eval().requires_grad_(False)


def train_toy(
    network: type,
    config: Any,
    tokeniser: Tokeniser,
    steps: int,
    console: Console,
    *,
    seed: int = 0,
    size: int = 32,
    lr: float = 2e-3,
    videos: float = 0.0,
    change: Callable[[PixelBatch], PixelBatch] = lambda batch: batch,
) -> Any:
    """Train a pixel system's network on the pixel world.

    Args:
        network, config: class of the network, and its configuration.
        videos: fraction of the steps whose batch has no actions.
        change: changes every batch, to break a mechanism.
    """
    torch.manual_seed(seed)
    model = network(config, Normalization())
    model.tokeniser.load_state_dict(tokeniser.state_dict())
    model.train()

    def losses(step: int, generator: torch.Generator) -> dict[str, Tensor]:
        rng = np.random.default_rng([seed, 2, step])
        has_action = bool(rng.random() >= videos)
        batch = pixel_world.draw(rng, size, has_action=has_action, width=config.uma.width, layout=config.layout)
        return model.losses(change(batch), generator)

    optimise(model, losses, steps, lr, console, network.__name__)
    return model.eval()
