"""Frozen SigLIP 2 towers from a local folder; they are neither downloaded nor part of a bundle."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn

from uma.types import InputError


class Frozen(nn.Module):
    """A frozen pretrained module outside the module tree: not in the state dict, the parameter list or training mode.

    It has no gradients. It moves between devices with its owner and keeps its own precision.
    """

    anchor: Tensor
    module: Any  # of transformers, which has no types

    def __init__(self, module: nn.Module):
        super().__init__()
        self.register_buffer("anchor", torch.empty(0), persistent=False)  # holds the owner's device
        object.__setattr__(
            self, "module", module.eval().requires_grad_(False)
        )  # bypasses nn.Module, which would register a child

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Frozen:
        super()._apply(fn, recurse)
        self.module.to(self.anchor.device)
        return self

    @torch.no_grad()
    def forward(self, *args: Any, **kwargs: Any) -> Any:
        return self.module(*args, **kwargs)


def load_tower(path: str | Path, sha256: str, part: Literal["vision", "text"], field: str) -> Frozen:
    """Load the vision or text tower of a SigLIP or SigLIP 2 checkpoint in transformers' format, float32, on the CPU.

    The folder holds ``config.json`` and ``model.safetensors`` of one or both towers, as google/siglip2-base-patch16-224
    and google/siglip2-base-patch16-naflex on the hub. A missing weight or a wrong shape is an error. Surplus weights
    are ignored.

    Args:
        sha256: of ``model.safetensors``; empty = not checked.
        part: the tower to load.
        field: "image" or "language", for the messages.

    Raises:
        InputError: the folder or a file is missing, altered or of another kind.
        ImportError: transformers is not installed.
    """
    path = Path(path)
    for name in ("config.json", "model.safetensors"):
        if not (path / name).is_file():
            raise InputError(
                f"{field}.path: {path} lacks {name}; must be a local folder of SigLIP 2 weights in transformers' format"
            )
    if sha256:
        with open(path / "model.safetensors", "rb") as f:
            found = hashlib.file_digest(f, "sha256").hexdigest()
        if found != sha256.lower():
            raise InputError(f"{field}.sha256: {path / 'model.safetensors'} has {found}, must be {sha256}")
    model_type = json.loads((path / "config.json").read_text()).get("model_type")
    families = {name: family for family in ("siglip", "siglip2") for name in (family, f"{family}_{part}_model")}
    if model_type not in families:
        raise InputError(
            f"{field}.path: {path / 'config.json'} has model_type '{model_type}', must be one of {', '.join(families)}"
        )
    try:
        import transformers
    except ImportError as error:
        raise ImportError(
            f"{field}.kind 'siglip2' needs the package transformers: pip install 'uma[siglip2]'"
        ) from error
    from safetensors import SafetensorError, safe_open

    name = {"siglip": "Siglip", "siglip2": "Siglip2"}[families[model_type]] + part.capitalize()
    config = getattr(transformers, name + "Config").from_pretrained(path, local_files_only=True)
    tower = getattr(transformers, name + "Model")(config)
    prefix = f"{part}_model."
    try:
        with safe_open(path / "model.safetensors", framework="pt") as f:  # reads this tower only
            keys = list(f.keys())
            own = [k for k in keys if k.startswith(prefix)] or [k for k in keys if "_model." not in k]
            missing = tower.load_state_dict(
                {k.removeprefix(prefix): f.get_tensor(k).float() for k in own}, strict=False
            ).missing_keys
        if missing:
            raise RuntimeError(f"missing {', '.join(missing)}")
    except (SafetensorError, RuntimeError) as error:
        raise InputError(
            f"{field}.path: {path / 'model.safetensors'} does not hold the {part} tower of its config.json: "
            f"{str(error)[:400]}"
        ) from error
    return Frozen(tower)
