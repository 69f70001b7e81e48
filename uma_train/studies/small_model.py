"""A small model on the synthetic world: its configuration, its training, and sampled windows."""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from rich.console import Console
from rich.progress import Progress
from torch import Tensor

from uma.checkpoint.bundle import Contract, save_bundle
from uma.model.config import ModelConfig, PointConfig
from uma.model.contrastive import ProjectionHead
from uma.model.inputs import ACTION_DIM, decode_actions
from uma.model.masks import MaskMix
from uma.model.uma import Uma
from uma.policy.modes import Mode
from uma_train.data.batch import Batch
from uma_train.data.episode import Episode
from uma_train.data.hindsight import ReferenceSampling
from uma_train.data.normalization import measure_normalization
from uma_train.data.windows import Windows
from uma_train.studies import push_world as push
from uma_train.training.config import TrainConfig
from uma_train.training.loop import Trainer
from uma_train.training.objectives import Objective
from uma_train.training.validation import NUM_STEPS
from uma_train.training.views import ViewSampling

MODEL = ModelConfig(
    width=48,
    heads=4,
    layers=2,
    task_tokens=4,
    groups=(24, 12),
    group_size=6,
    group_widths=(24,),
    task_layers=1,
    points=PointConfig(near=24, low=24, rest=16),
)
"""A model for these worlds that trains in a minute or two on one core."""

MASKS = MaskMix(control=0.25, joint=0.35, dynamics=0.15, inverse=0.15, random=0.1)
"""A mix with every regime frequent enough for a short run."""

KEYPOINTS = 2
"""Motion tokens per step, in modes with motion."""

FRESH = 10_000_000
"""First seed of the test scenes; training uses lower seeds."""


@dataclass(frozen=True)
class MechanismsConfig:
    """Configuration of `uma mechanisms`.

    Attributes:
        out: folder of the trained models and the result; trained models are reused.
        system: whose mechanisms: "uma"; or one of the systems that predict pixels, on a world in pixels; or the point
            flow.
        system_steps: optimiser steps of such a system.
        parts: "push" (coupling of motion and action, task conditioning) and "intents" (contrastive term, soft prompts).
        seed: of weights, data, batches and noise.
        episodes: demonstrations in each world.
        push_steps, intent_steps: optimiser steps.
        batch_size, lr: of both.
        samples: test scenes per number.
        weights: values of lambda_c to compare, with equal data, steps and seed.
        yaw: largest rotation of the intent scenes, radians. At pi, a camera-frame motion carries no information about
            the intent.
        views: of the contrastive term in the intent world. They vary as its scenes do, with hard negatives of its own
            scale; larger ones would differ by their length alone.
        candidates: number of intents in a retrieval.
        demonstrations, adapt_steps: of a soft prompt.
        num_steps: Euler steps of the sampler.
        threads: torch threads.
    """

    out: str = "runs/mechanisms"
    system: Literal["uma", "uva", "uwm", "motus", "point_flow"] = "uma"
    system_steps: int = 1500
    parts: tuple[str, ...] = ("push", "intents")
    seed: int = 0
    episodes: int = 3000
    push_steps: int = 800
    intent_steps: int = 1000
    batch_size: int = 32
    lr: float = 3e-3
    samples: int = 256
    weights: tuple[float, ...] = (0.0, 0.001, 0.1)
    yaw: float = np.pi
    views: ViewSampling = ViewSampling(
        turn_rad=np.pi,
        axis="vertical",
        hard_negatives=2,
        negative_views=1,
        negative_shift_m=0.14,
        negative_turn_rad=1.0,
    )
    candidates: int = 24
    demonstrations: int = 25
    adapt_steps: int = 300
    num_steps: int = NUM_STEPS
    threads: int = 1

    def __post_init__(self) -> None:
        if unknown := set(self.parts) - {"push", "intents"}:
            raise ValueError(f"parts: {sorted(unknown)[0]!r}, must be of push, intents")
        if self.samples < 2 * self.candidates:
            raise ValueError(f"samples {self.samples}: must be at least twice the {self.candidates} candidates")


def run_config(config: MechanismsConfig, folder: Path, steps: int, **changes: Any) -> TrainConfig:
    """Return the configuration of a run from the untrained bundle ``folder/start``."""
    usual = TrainConfig(
        out=str(folder),
        init=str(folder / "start"),
        steps=steps,
        batch_size=config.batch_size,
        micro_batch=config.batch_size,
        windows_per_task=1,
        lr=config.lr,
        warmup=50,
        ema=0.99,
        keypoints=KEYPOINTS,
        seed=config.seed,
        device="cpu",
        bf16=False,  # slower than single precision at this width
    )
    return replace(usual, **changes)


def train_world(
    config: MechanismsConfig, name: str, episodes: list[Episode], objective: Objective, steps: int, console: Console
) -> tuple[Uma, ProjectionHead]:
    """Train `MODEL` on ``episodes``, or resume the run. Return the averaged model and the projection head.

    Raises:
        ValueError: the folder holds a run with another configuration.
    """
    folder = Path(config.out) / name
    norm = measure_normalization(episodes)
    if not (folder / "start").exists():
        torch.manual_seed(config.seed)
        save_bundle(
            folder / "start",
            Uma(MODEL, norm),
            Contract(),
            training={"seed": config.seed},
            card=f"# {name}: untrained\n",
        )
    trainer = Trainer(
        run_config(config, folder, steps, objective=objective),
        Windows(episodes),
        norm,
    )
    state = folder / "state.pt"
    if state.exists():
        trainer.load(state)
    with Progress(console=console) as progress:
        bar = progress.add_task(name, total=steps, completed=trainer.step)
        began = time.monotonic() - trainer.seconds
        while not trainer.is_done():
            trainer.update(trainer.draw(trainer.step))
            trainer.seconds = time.monotonic() - began
            progress.update(bar, completed=trainer.step)
            if trainer.step % 500 == 0 or trainer.step == steps:
                trainer.save(state)
    console.print(f"{name}: {trainer.step} steps of {config.batch_size} in {trainer.seconds:.0f} s")
    return trainer.averaged(), trainer.head.eval()


def evenly(model: Uma, episodes: list[Episode], keypoints: int, seed: int) -> Batch:
    """Return one window per episode, with a full reference."""
    windows = Windows(episodes, first_is_initial=1.0, sampling=ReferenceSampling(to_the_end=1.0, pinned=0.0))
    return windows.draw(
        len(episodes), keypoints, model.normalization, np.random.default_rng(seed), np.arange(len(episodes))
    )


@torch.no_grad()
def encode_references(model: Uma, episodes: list[Episode], seed: int = 0) -> Tensor:
    """Encode a reference drawn from each episode as task tokens ``(B, M, d)``."""
    batch = evenly(model, episodes, 0, seed)
    return model.encode_task(batch.initial_points, batch.reference)


@dataclass(frozen=True)
class Endpoints:
    """Final object positions of sampled windows, in the objects' first frames, ``(B, 3)`` metres.

    Attributes:
        acted: from the world's physics under the sampled actions.
        moved: from the sampled motion; empty without motion tokens.
    """

    acted: np.ndarray
    moved: np.ndarray


@torch.no_grad()
def sample_windows(
    model: Uma,
    episodes: list[Episode],
    task: Tensor,
    mode: Mode,
    *,
    seed: int = 0,
    num_steps: int = NUM_STEPS,
) -> Endpoints:
    """Sample one window per episode, each with its own noise.

    Args:
        task: ``(B, M, d)`` tokens, or one ``(M, d)`` for all.
        mode: target tokens; the others are given from the episode.
    """
    keypoints = KEYPOINTS if mode.has_motion else 0
    batch, B = evenly(model, episodes, keypoints, seed), len(episodes)
    T = batch.grid.action.shape[1]
    generator = torch.Generator().manual_seed(seed)
    noise = (torch.randn(B, T, ACTION_DIM, generator=generator), torch.randn(B, T, keypoints, 3, generator=generator))
    cache = model.prepare_context(batch.points, batch.ee, task.expand(B, -1, -1))
    action, motion = model.sample(batch.grid, mode.pattern(B, T, keypoints), cache, noise, num_steps)
    norm = model.normalization
    acted, moved = [], []
    for i, e in enumerate(episodes):
        T_cam_object = np.array(e.meta["T_cam_object"])
        poses, _ = decode_actions(action[i, 1:].numpy(), batch.T_cam_ee[i], norm)
        acted.append(push.carried(T_cam_object, poses))
        if keypoints:
            travelled = norm.local_scale * (motion[i, -1] - batch.grid.identity[i]).numpy().mean(0)
            moved.append(travelled @ T_cam_object[:3, :3])
    return Endpoints(np.array(acted), np.array(moved))


def side(ends: np.ndarray) -> np.ndarray:
    """Return 1 for ends on the object's left and -1 for its right."""
    return np.sign(ends[:, 1])


def zero_tokens() -> Tensor:
    """Return zero task tokens, which carry no task information."""
    return torch.zeros(MODEL.task_tokens, MODEL.width)
