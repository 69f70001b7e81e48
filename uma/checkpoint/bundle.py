"""Save and load checkpoint bundles of UMA. `uma.checkpoint.folder` describes the files."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import safetensors
import torch

from uma.checkpoint.contract import Contract
from uma.checkpoint.folder import FILES, UMA, BundleError, Stored, read_bundle, write_bundle
from uma.checkpoint.typed import from_json
from uma.model.config import ModelConfig
from uma.model.uma import Uma

__all__ = ["FILES", "Bundle", "BundleError", "Contract", "built", "load_bundle", "save_bundle"]


@dataclass(frozen=True)
class Bundle:
    """A loaded checkpoint; ``checkpoint_id`` is the first 12 digits of the weights' SHA-256."""

    model: Uma
    contract: Contract
    checkpoint_id: str
    training: dict


def save_bundle(
    path: str | Path,
    model: Uma,
    contract: Contract,
    *,
    training: dict[str, Any],
    card: str,
    dtype: torch.dtype = torch.float32,
    system: str = UMA,
) -> None:
    """Write a bundle atomically; arguments as of `write_bundle`."""
    write_bundle(path, system, model, contract, training=training, card=card, dtype=dtype)


def load_bundle(path: str | Path) -> Bundle:
    """Load a bundle strictly: every hash, key and shape must match. No code from the folder is executed.

    Raises:
        BundleError: a file is missing, altered or of another schema, the checkpoint is of another system, or the
            weights do not fit the configuration.
    """
    stored = read_bundle(path)
    if stored.system != UMA:
        raise BundleError(f"checkpoint {path}: of system '{stored.system}', must be of '{UMA}' here")
    return built(stored)


def built(stored: Stored) -> Bundle:
    """Build UMA's network from a bundle's files.

    Raises:
        BundleError: the weights do not fit the configuration.
    """
    try:
        config = from_json(ModelConfig, stored.model, "config.model")
        _check_fit(stored.weights_file, config)
        model = Uma(config, stored.normalization)
        model.load_state_dict(stored.weights(), strict=True)
    except (ValueError, RuntimeError, OSError, safetensors.SafetensorError) as e:
        raise e if isinstance(e, BundleError) else BundleError(f"checkpoint {stored.path}: {e}") from e
    return Bundle(model.eval(), stored.contract, stored.checkpoint_id, stored.training)


def _check_fit(path: Path, config: ModelConfig) -> None:
    """Raise ValueError unless the header of the weights fits the configured number of layers and width.

    These two values determine the memory. `ModelConfig.LIMITS` bounds all others, and `load_state_dict` checks them.
    """
    with safetensors.safe_open(path, "pt") as f:
        held = {name: tuple(f.get_slice(name).get_shape()) for name in f.keys()}
    layers = config.layers + config.task_layers + config.language.layers * (config.language.kind != "none")
    if layers > len(held):
        raise ValueError(f"{path.name}: {len(held)} tensors for a configuration of {layers} layers")
    width = (held.get("action_in.weight") or (0,))[0]
    if width != config.width:
        raise ValueError(f"{path.name}: weights of width {width}, config.json has width {config.width}")
