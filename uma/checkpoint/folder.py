"""The files of a checkpoint bundle, for any system: written atomically, read strictly, without executing code.

* ``model.safetensors``: the weights
* ``config.json``: the system, its architecture and the contract
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
from typing import Any

import safetensors
import torch
from safetensors.torch import load_file, save_file

from uma.checkpoint.contract import Contract
from uma.checkpoint.typed import from_json, to_json
from uma.model.inputs import Normalization

SCHEMA = 1
MAX_JSON = 16 * 1024 * 1024
"""Largest JSON file that is read, bytes."""
FILES = ("model.safetensors", "config.json", "normalization.json")
UMA = "uma"
"""The system of a bundle whose config.json names none."""


class BundleError(ValueError):
    """A bundle is missing, damaged or of another schema. The message names the file and the reason."""


@dataclass(frozen=True)
class Stored:
    """A bundle's files, checked against their hashes.

    Attributes:
        path: the folder.
        system: a key of `uma.policy.systems.SYSTEMS`.
        model: the architecture as JSON values, which the system interprets.
        contract, normalization: as typed values.
        checkpoint_id: the first 12 digits of the weights' SHA-256.
        training: JSON values that describe the training run.
    """

    path: Path
    system: str
    model: Any
    contract: Contract
    normalization: Normalization
    checkpoint_id: str
    training: dict[str, Any]

    @property
    def weights_file(self) -> Path:
        return self.path / "model.safetensors"

    def weights(self) -> dict[str, torch.Tensor]:
        """Read the weights in single precision.

        Raises:
            BundleError: not a safetensors file.
        """
        try:
            return {k: v.float() for k, v in load_file(self.weights_file).items()}
        except (OSError, safetensors.SafetensorError) as e:
            raise BundleError(f"checkpoint {self.path}: {e}") from e


def write_bundle(
    path: str | Path,
    system: str,
    model: torch.nn.Module,
    contract: Contract,
    *,
    training: dict[str, Any],
    card: str,
    dtype: torch.dtype = torch.float32,
) -> None:
    """Write a bundle atomically: ``path`` is either a complete bundle or unchanged.

    Args:
        system: a key of `uma.policy.systems.SYSTEMS`.
        model: with ``config``, a dataclass, and ``normalization``.
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
    config = {"schema": SCHEMA, "system": system, "model": to_json(model.config), "contract": to_json(contract)}
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


def read_bundle(path: str | Path) -> Stored:
    """Read a bundle strictly: every hash must match.

    Raises:
        BundleError: a file is missing, altered or of another schema.
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
    if not isinstance(system := config.get("system", UMA), str):
        raise BundleError(f"checkpoint {path}: config.json: system {str(system)[:40]}, must be a name")
    if not isinstance(manifest, dict) or not isinstance(hashes := manifest.get("sha256"), dict):
        raise BundleError(f"checkpoint {path}: manifest.json: no mapping sha256 with the hashes of the other files")
    for name in FILES:
        if (found := _sha256(path / name)) != hashes.get(name):
            raise BundleError(
                f"checkpoint {path}: {name} has hash {found[:12]}, manifest.json records {str(hashes.get(name))[:12]}"
            )
    try:
        contract = from_json(Contract, config.get("contract"), "config.contract")
        normalization = from_json(Normalization, norm, "normalization")
    except ValueError as e:
        raise BundleError(f"checkpoint {path}: {e}") from e
    training = manifest.get("training", {})
    return Stored(
        path,
        system,
        config.get("model"),
        contract,
        normalization,
        hashes["model.safetensors"][:12],
        training if isinstance(training, dict) else {},
    )


def _sha256(path: Path) -> str:
    digest = hashlib.sha256()
    with open(path, "rb") as f:
        while block := f.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def _read_json(path: Path, name: str) -> object:
    try:
        if (path / name).stat().st_size > MAX_JSON:
            raise BundleError(f"checkpoint {path}: {name} has {(path / name).stat().st_size} bytes, limit {MAX_JSON}")
        return json.loads((path / name).read_text("utf-8"))
    except (ValueError, RecursionError, OSError) as e:
        if isinstance(e, BundleError):
            raise
        raise BundleError(f"checkpoint {path}: {name} is not JSON: {str(e)[:200]}") from e
