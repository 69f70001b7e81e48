"""`uma mechanisms --system motus`: latent actions, the three stages, and the measurements of checks 1 to 5."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

from rich.console import Console
from torch import nn

from uma.checkpoint.contract import Contract
from uma.checkpoint.folder import BundleError, read_bundle, write_bundle
from uma.checkpoint.typed import to_json
from uma.model.config import tiny
from uma_train.baselines.motus.config import MotusConfig
from uma_train.baselines.motus.network import MotusNetwork
from uma_train.baselines.pixels.tokeniser import Tokeniser, TokeniserConfig
from uma_train.studies import motus_checks, motus_latents, pixel_world
from uma_train.studies.findings import Finding
from uma_train.studies.motus_latents import Learned
from uma_train.studies.motus_training import build, learn, train_stage
from uma_train.studies.small_model import MechanismsConfig

WIDTHS, LAYERS, HEADS = (64, 48, 32), 2, 4
"""Widths of the video, action and understanding experts."""

SHARES = (0.15, 0.35, 0.5)
"""Shares of `MechanismsConfig.system_steps` of the three stages."""

LATENT_SHARE, TUNE_SHARE = 0.15, 0.1
"""Steps of the latent actions, and of the fine-tuning on few demonstrations, as shares of the same number."""

Kept = TypeVar("Kept", bound=nn.Module)


def settings(tokeniser: TokeniserConfig, **changes: Any) -> MotusConfig:
    """Return the configuration of the small network."""
    video, action, task = WIDTHS
    return MotusConfig(
        layout=pixel_world.LAYOUT,
        uma=replace(tiny(), width=video, heads=HEADS),
        tokeniser=tokeniser,
        width=video,
        action_width=action,
        task_width=task,
        layers=LAYERS,
        heads=HEADS,
        **changes,
    )


def kept(config: MechanismsConfig, name: str, untrained: Kept, train: Callable[[Kept], Any], system: str) -> Kept:
    """Return the trained network of a run; one with the same configuration is read from its folder."""
    folder = Path(config.out) / name
    record = {
        "seed": config.seed,
        "steps": config.system_steps,
        "batch_size": config.batch_size,
        "model": to_json(untrained.config),
    }
    try:
        stored = read_bundle(folder)
        if stored.training == record:
            untrained.load_state_dict(stored.weights())
            return untrained.eval()
    except BundleError:
        pass  # none yet, or an incomplete one
    train(untrained)
    write_bundle(folder, system, untrained, Contract(), training=record, card=f"# {name} on the pixel world\n")
    return untrained.eval()


def stages(
    config: MechanismsConfig, untrained: MotusNetwork, learned: Learned, console: Console
) -> dict[str, MotusNetwork]:
    """Train the three stages one after another, and return the network after each."""
    out, model = {}, untrained
    for stage, share in zip(("video", "latent", "action"), SHARES, strict=True):

        def train(network: MotusNetwork, stage: str = stage, share: float = share) -> None:
            steps = max(2, int(share * config.system_steps))
            size = config.batch_size
            train_stage(network, stage, steps, console, latents=learned.right, seed=config.seed, size=size)

        model = kept(config, f"motus-{stage}", copy.deepcopy(model), train, "motus")
        out[stage] = model
    return out


def findings(config: MechanismsConfig, tokeniser: Tokeniser, console: Console) -> list[Finding]:
    """Train and measure."""
    learned = learn(max(2, int(LATENT_SHARE * config.system_steps)), config.seed, WIDTHS[0], console)
    found = motus_latents.meaning(learned, config.samples)
    untrained = build(settings(tokeniser.config), tokeniser, config.seed)
    trained = stages(config, untrained, learned, console)
    starts = {"stages 1 and 2": trained["latent"], "stage 1 alone": trained["video"], "nothing": untrained}
    tune = max(2, int(TUNE_SHARE * config.system_steps))
    found += motus_latents.transfer(starts, learned.demos, tune, config.samples, config.seed, console)
    return found + motus_checks.findings(trained["action"], config.samples)
