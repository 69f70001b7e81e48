"""Trains Motus's parts on the synthetic world in pixels: latent actions, and the stages with and without them."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from rich.console import Console
from torch import Tensor

from uma.model.inputs import Normalization
from uma_train.baselines.motus.config import MotusConfig, Stage
from uma_train.baselines.motus.latent_recipe import latent_chunk
from uma_train.baselines.motus.latents import LatentActions
from uma_train.baselines.motus.network import MotusNetwork
from uma_train.baselines.pixels.inputs import PixelBatch
from uma_train.baselines.pixels.tokeniser import Tokeniser
from uma_train.studies import motus_world
from uma_train.studies.motus_world import LATENTS, Clip
from uma_train.studies.pixel_training import optimise

DEMONSTRATIONS = 10
"""Clips with actions, for latent actions and fine-tuning alike."""

CLIPS = 512
"""Clips without actions from which latent actions are learned."""

TOLD = 0.25
"""Share of the scenes whose task tells the side."""

VIDEOS = 0.1
"""Share of the steps without actions, where a network is trained on actions from the start."""


@dataclass(frozen=True)
class Pool:
    """Flow fields ``(n, 2, h, w)`` and increments ``(n, 10)`` of some clips."""

    flow: Tensor
    increments: Tensor

    @classmethod
    def of(cls, clip: Clip) -> Pool:
        return cls(clip.flow().flatten(0, 1), clip.increments().flatten(0, 1))


def demonstrations(seed: int, width: int) -> Clip:
    """Draw the clips with actions; their tasks tell the side."""
    return motus_world.draw(np.random.default_rng([seed, 4]), DEMONSTRATIONS, width=width, told=1.0)


def train_latents(
    unlabelled: Pool,
    labelled: Pool,
    steps: int,
    console: Console,
    *,
    supervision: float = 1.0,
    shuffled: bool = False,
    seed: int = 0,
    size: int = 64,
) -> LatentActions:
    """Train latent actions on batches of which a tenth is labelled.

    Args:
        supervision: lambda_a.
        shuffled: give every labelled field the increment of another one.
    """
    torch.manual_seed(seed)
    model = LatentActions(replace(LATENTS, supervision=supervision))
    wanted = labelled.increments
    if shuffled:
        wanted = wanted[torch.randperm(len(wanted), generator=torch.Generator().manual_seed(seed))]
    n = max(1, size // 10)

    def losses(step: int, generator: torch.Generator) -> dict[str, Tensor]:
        a = torch.randint(len(unlabelled.flow), (size - n,), generator=generator)
        b = torch.randint(len(wanted), (n,), generator=generator)
        increments = torch.cat([torch.zeros(size - n, wanted.shape[1]), wanted[b]])
        flow = torch.cat([unlabelled.flow[a], labelled.flow[b]])
        return model.losses(flow, increments, torch.arange(size) >= size - n, generator)

    optimise(model, losses, steps, 3e-3, console, "latent actions")
    return model.eval()


@dataclass(frozen=True)
class Learned:
    """Latent actions with labels, without, and with labels of other fields; and the clips that they were trained on."""

    right: LatentActions
    without: LatentActions
    shuffled: LatentActions
    unlabelled: Pool
    demos: Clip


def learn(steps: int, seed: int, width: int, console: Console, clips: int = CLIPS, size: int = 64) -> Learned:
    """Train all three."""
    unlabelled = Pool.of(motus_world.draw(np.random.default_rng([seed, 3]), clips))
    demos = demonstrations(seed, width)
    labelled = Pool.of(demos)
    right, without, shuffled = (
        train_latents(unlabelled, labelled, steps, console, supervision=s, shuffled=other, seed=seed, size=size)
        for s, other in ((1.0, False), (0.0, False), (1.0, True))
    )
    return Learned(right, without, shuffled, unlabelled, demos)


def build(config: MotusConfig, tokeniser: Tokeniser, seed: int = 0) -> MotusNetwork:
    """Return an untrained network with a trained tokeniser."""
    torch.manual_seed(seed)
    model = MotusNetwork(config, Normalization())
    model.tokeniser.load_state_dict(tokeniser.state_dict())
    return model


def train_stage(
    model: MotusNetwork,
    stage: Stage,
    steps: int,
    console: Console,
    *,
    latents: LatentActions | None = None,
    demos: Clip | None = None,
    seed: int = 0,
    size: int = 32,
    lr: float = 4e-3,
) -> MotusNetwork:
    """Train a network in one stage, in place.

    Args:
        latents: for the stage "latent", which never reads the scenes' actions.
        demos: the only scenes of the stage "action"; None = fresh ones.
    """

    def batch(step: int) -> PixelBatch:
        rng = np.random.default_rng([seed, {"video": 5, "latent": 6, "action": 7}[stage], step])
        if demos is not None:
            return rows(demos.batch, torch.from_numpy(rng.integers(0, len(demos.side), size)))
        clip = motus_world.draw(rng, size, layout=model.layout, width=model.config.uma.width, told=TOLD)
        if stage == "latent" and latents is not None:
            return replace(clip.batch, action=latent_chunk(latents, clip.flow()))
        if stage == "action" and rng.random() < VIDEOS:
            return replace(clip.batch, has_action=torch.zeros(size, dtype=torch.bool))
        return clip.batch

    model.train()
    optimise(model, lambda s, g: model.losses(batch(s), g, stage), steps, lr, console, f"stage {stage}")
    return model.eval()


def rows(batch: Any, index: Tensor) -> Any:
    """Return some rows of a batch."""
    return type(batch)(*(getattr(batch, name)[index] for name in type(batch).__dataclass_fields__))
