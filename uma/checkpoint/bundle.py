"""Save and load checkpoint bundles.

A bundle is a folder with everything that a deployment needs:

* ``model.safetensors``: the weights
* ``config.json``: the architecture and the contract
* ``normalization.json``: the input statistics
* ``manifest.json``: the SHA-256 hashes of these three files, and the training record
* ``README.md``: the model card
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from dataclasses import dataclass
from pathlib import Path

import safetensors
import torch
from safetensors.torch import load_file, save_file

from uma.checkpoint.typed import from_json, to_json
from uma.model.config import ModelConfig
from uma.model.frame import PolicyFrame
from uma.model.inputs import Normalization
from uma.model.uma import Uma
from uma.robot import DROID
from uma.settings import within
from uma.types import HORIZON, MAX_KEYPOINTS, RATE_HZ

SCHEMA = 1
MAX_JSON = 16 * 1024 * 1024
"""Largest JSON file that is read, bytes."""
FILES = ("model.safetensors", "config.json", "normalization.json")


class BundleError(ValueError):
    """A bundle is missing, damaged or of another schema. The message names the file and the reason."""


@dataclass(frozen=True)
class Contract:
    """The interface between a checkpoint and a robot.

    Attributes:
        rate_hz, horizon: action rate and number of actions of a chunk.
        max_keypoints: most keypoints in a reference motion.
        ee_frame: the end-effector frame of the actions and of the measured pose.
        image_width, image_height: image size in training, pixels. The point cloud does not depend on it.
        min_depth_m, max_depth_m: depth range in training.
        policy_frame: the frame of the model's inputs and outputs.
    """

    rate_hz: float = RATE_HZ
    horizon: int = HORIZON
    max_keypoints: int = MAX_KEYPOINTS
    ee_frame: str = DROID.ee_frame
    image_width: int = 320
    image_height: int = 180
    min_depth_m: float = 0.3
    max_depth_m: float = 3.0
    policy_frame: PolicyFrame = PolicyFrame()

    def __post_init__(self) -> None:
        within(
            self,
            {
                "rate_hz": (1.0, 1000.0),
                "horizon": (1, 1024),
                "max_keypoints": (1, MAX_KEYPOINTS),
                "image_width": (1, 4096),
                "image_height": (1, 4096),
                "min_depth_m": (0.0, 100.0),
                "max_depth_m": (0.0, 100.0),
            },
        )
        if not self.ee_frame:
            raise ValueError("ee_frame: empty, must name the frame that the actions place")


@dataclass(frozen=True)
class Bundle:
    """A loaded checkpoint; ``checkpoint_id`` is the first 12 digits of the weights' SHA-256."""

    model: Uma
    contract: Contract
    checkpoint_id: str
    training: dict


def _sha256(path: Path) -> str:
    digest = hashlib.sha256()
    with open(path, "rb") as f:
        while block := f.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def save_bundle(
    path: str | Path, model: Uma, contract: Contract, *, training: dict, card: str, dtype: torch.dtype = torch.float32
) -> None:
    """Write a bundle atomically: ``path`` is either a complete bundle or unchanged.

    Args:
        training: JSON values that describe the training run (command, seed, data, steps, time).
        card: text of the model card.
        dtype: of the stored weights.
    """
    path = Path(path)
    part = path.with_name(path.name + ".part")
    shutil.rmtree(part, ignore_errors=True)
    part.mkdir(parents=True)
    save_file(
        {k: v.detach().to(dtype).contiguous().cpu() for k, v in model.state_dict().items()}, part / "model.safetensors"
    )
    config = {"schema": SCHEMA, "model": to_json(model.config), "contract": to_json(contract)}
    (part / "config.json").write_text(json.dumps(config, indent=2) + "\n")
    (part / "normalization.json").write_text(json.dumps(to_json(model.normalization), indent=2) + "\n")
    manifest = {"sha256": {name: _sha256(part / name) for name in FILES}, "training": training}
    (part / "manifest.json").write_text(json.dumps(manifest, indent=2) + "\n")
    (part / "README.md").write_text(card)
    old = path.with_name(path.name + ".old")
    shutil.rmtree(old, ignore_errors=True)
    if path.exists():
        os.rename(path, old)
    os.rename(part, path)
    shutil.rmtree(old, ignore_errors=True)


def load_bundle(path: str | Path) -> Bundle:
    """Load a bundle strictly: every hash, key and shape must match. No code from the folder is executed.

    Raises:
        BundleError: a file is missing, altered or of another schema, or the weights do not fit the configuration.
    """
    path = Path(path)
    for name in (*FILES, "manifest.json"):
        if not (path / name).is_file():
            raise BundleError(f"checkpoint {path}: {name} is missing")
    manifest, config, norm = (_read_json(path, name) for name in ("manifest.json", "config.json", "normalization.json"))
    if not isinstance(config, dict) or config.get("schema") != SCHEMA:
        raise BundleError(
            f"checkpoint {path}: config.json schema "
            f"{config.get('schema') if isinstance(config, dict) else None}, this version reads {SCHEMA}"
        )
    if not isinstance(manifest, dict) or not isinstance(hashes := manifest.get("sha256"), dict):
        raise BundleError(f"checkpoint {path}: manifest.json: no mapping sha256 with the hashes of the other files")
    for name in FILES:
        if (found := _sha256(path / name)) != hashes.get(name):
            raise BundleError(
                f"checkpoint {path}: {name} has hash {found[:12]}, manifest.json records {str(hashes.get(name))[:12]}"
            )
    try:
        model_config = from_json(ModelConfig, config.get("model"), "config.model")
        contract = from_json(Contract, config.get("contract"), "config.contract")
        normalization = from_json(Normalization, norm, "normalization")
        _check_fit(path / "model.safetensors", model_config)
        model = Uma(model_config, normalization)
        weights = {k: v.float() for k, v in load_file(path / "model.safetensors").items()}
        model.load_state_dict(weights, strict=True)
    except (ValueError, RuntimeError, OSError, safetensors.SafetensorError) as e:
        raise BundleError(f"checkpoint {path}: {e}") from e
    training = manifest.get("training", {})
    return Bundle(
        model.eval(), contract, hashes["model.safetensors"][:12], training if isinstance(training, dict) else {}
    )


def _read_json(path: Path, name: str) -> object:
    try:
        if (path / name).stat().st_size > MAX_JSON:
            raise BundleError(f"checkpoint {path}: {name} has {(path / name).stat().st_size} bytes, limit {MAX_JSON}")
        return json.loads((path / name).read_text("utf-8"))
    except (ValueError, RecursionError, OSError) as e:
        if isinstance(e, BundleError):
            raise
        raise BundleError(f"checkpoint {path}: {name} is not JSON: {str(e)[:200]}") from e


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
