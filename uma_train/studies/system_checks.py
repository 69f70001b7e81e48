"""`uma mechanisms --system NAME`: trains a pixel system on the synthetic world in pixels, and measures its checks."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from rich.console import Console

from uma.checkpoint.contract import Contract
from uma.checkpoint.folder import BundleError, read_bundle, write_bundle
from uma.checkpoint.typed import to_json
from uma.model.config import tiny
from uma_train.baselines.pixels.tokeniser import Tokeniser, TokeniserConfig
from uma_train.baselines.uva.network import UvaConfig, UvaNetwork
from uma_train.baselines.uwm.network import UwmConfig, UwmNetwork
from uma_train.studies import motus_study, pixel_world, uva_checks, uwm_checks
from uma_train.studies.findings import Finding
from uma_train.studies.pixel_training import toy_tokeniser, train_toy
from uma_train.studies.small_model import MechanismsConfig

WIDTH, LAYERS, HEADS = 64, 2, 4
TOKENISER = TokeniserConfig(pixel_world.LAYOUT, (16, 32), 4)
VIDEOS = 0.2
"""Fraction of the training steps without actions."""


def settings(system: str, **changes: Any) -> Any:
    """Return the configuration of a system's small network."""
    common: dict[str, Any] = dict(
        layout=pixel_world.LAYOUT,
        uma=replace(tiny(), width=WIDTH, heads=HEADS),
        tokeniser=TOKENISER,
        width=WIDTH,
        layers=LAYERS,
        heads=HEADS,
        **changes,
    )
    if system == "uva":
        return UvaConfig(head_width=96, head_layers=2, **common)
    return UwmConfig(registers=4, **common)


def trained(config: MechanismsConfig, name: str, network: type, chosen: Any, console: Console) -> Any:
    """Return the trained network of a run; one with the same configuration is read from its folder."""
    folder = Path(config.out) / name
    record = {
        "seed": config.seed,
        "steps": config.system_steps,
        "batch_size": config.batch_size,
        "model": to_json(chosen),
    }
    try:
        stored = read_bundle(folder)
        if stored.training == record:
            model = network(chosen, stored.normalization)
            model.load_state_dict(stored.weights())
            return model.eval()
    except BundleError:
        pass  # none yet, or an incomplete one
    model = train_toy(
        network,
        chosen,
        tokeniser(config, console),
        config.system_steps,
        console,
        seed=config.seed,
        size=config.batch_size,
        videos=VIDEOS,
    )
    write_bundle(folder, config.system, model, Contract(), training=record, card=f"# {name} on the pixel world\n")
    return model


def tokeniser(config: MechanismsConfig, console: Console) -> Tokeniser:
    return toy_tokeniser(
        pixel_world.LAYOUT, max(20, config.system_steps // 5), console, channels=TOKENISER.channels, seed=config.seed
    )


def system_findings(config: MechanismsConfig, console: Console) -> list[Finding]:
    """Train and measure `MechanismsConfig.system`."""
    torch.manual_seed(config.seed)
    if config.system == "uva":
        return uva_checks.findings(trained(config, "uva", UvaNetwork, settings("uva"), console), config.samples)
    if config.system == "motus":
        return motus_study.findings(config, tokeniser(config, console), console)
    own = uwm_checks.findings(trained(config, "uwm", UwmNetwork, settings("uwm"), console), config.samples)
    control = trained(config, "uwm-shared-step", UwmNetwork, settings("uwm", shared_step=True), console)
    return own + uwm_checks.control_findings(control, config.samples)
