"""Stored prompts: task tokens from adaptation (paper Eq. 7), a few kilobytes each.

Any deployment of the same checkpoint can load them.
"""

from __future__ import annotations

import json
import os
from dataclasses import dataclass, field
from pathlib import Path

import safetensors
import torch
from safetensors.torch import save_file

SCHEMAS = {"1": False, "2": True}
"""Schema -> `Prompt.in_scene`; older versions refuse the second."""

MAX_BYTES = 64 * 1024 * 1024
"""Largest file that is read, bytes; a prompt has a few kilobytes."""


class PromptError(ValueError):
    """A prompt is missing, damaged or of another checkpoint. The message names the file and the reason."""


@dataclass(frozen=True)
class Prompt:
    """A task, represented by optimised task tokens.

    Attributes:
        tokens: ``(M, d)`` float32.
        checkpoint_id: the checkpoint for which the tokens were optimised. They are invalid for other weights.
        name: for display.
        training: JSON values that describe the adaptation.
        in_scene: whether the initial scene completes the tokens where they are used (`uma.model.uma.Uma.in_scene`).
    """

    tokens: torch.Tensor
    checkpoint_id: str
    name: str = ""
    training: dict = field(default_factory=dict)
    in_scene: bool = False


def save_prompt(path: str | Path, prompt: Prompt) -> None:
    """Write a ``.safetensors`` file atomically."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(path.name + ".part")
    about = {
        "schema": "2" if prompt.in_scene else "1",
        "checkpoint_id": prompt.checkpoint_id,
        "name": prompt.name,
        "training": json.dumps(prompt.training),
    }
    save_file({"tokens": prompt.tokens.detach().float().contiguous().cpu()}, part, metadata=about)
    os.replace(part, path)


def load_prompt(path: str | Path) -> Prompt:
    """Load a prompt.

    Raises:
        PromptError: the file is missing, or is not a prompt of this schema.
    """
    path = Path(path)
    if not path.is_file():
        raise PromptError(f"prompt {path}: no such file")
    try:
        if path.stat().st_size > MAX_BYTES:
            raise PromptError(f"prompt {path}: {path.stat().st_size} bytes, limit {MAX_BYTES}")
        with safetensors.safe_open(path, "pt") as f:
            about, names = f.metadata() or {}, list(f.keys())
            schema = about.get("schema", "")
            if schema not in SCHEMAS or names != ["tokens"]:
                raise PromptError(
                    f"prompt {path}: schema {about.get('schema')} with tensors {names}, this version reads "
                    f"{' and '.join(SCHEMAS)} with ['tokens']"
                )
            tokens = f.get_tensor("tokens")
            training = json.loads(about.get("training", "{}"))
    except (safetensors.SafetensorError, ValueError, RecursionError, OSError) as e:
        if isinstance(e, PromptError):
            raise
        raise PromptError(f"prompt {path}: damaged: {str(e)[:200]}") from e
    if (
        tokens.dim() != 2
        or tokens.dtype not in (torch.float16, torch.bfloat16, torch.float32, torch.float64)
        or not torch.isfinite(tokens).all()
    ):
        raise PromptError(
            f"prompt {path}: tokens {tokens.dtype} of shape {tuple(tokens.shape)}, must be finite floats of "
            "shape (M, d)"
        )
    if not isinstance(training, dict):
        raise PromptError(f"prompt {path}: training: {str(training)[:80]}, must be a mapping")
    return Prompt(tokens.float(), about.get("checkpoint_id", ""), about.get("name", ""), training, SCHEMAS[schema])
