"""Licences of the models whose weights or results the curation takes."""

from __future__ import annotations

from types import MappingProxyType

from uma.types import InputError
from uma_train.data.sources.human.licence import Options, check_licence, is_limited

LICENCES = MappingProxyType(
    {
        "tapip3d": "Apache-2.0",
        "tapnext": "Apache-2.0",
        "cotracker3": "CC BY-NC 4.0",
        "depth-anything-3-small": "Apache-2.0",
        "depth-anything-3-base": "Apache-2.0",
        "depth-anything-3-large": "CC BY-NC 4.0",
        "mapanything": "CC BY-NC 4.0",
        "mapanything-apache": "Apache-2.0",
        "megasam": "Apache-2.0; with UniDepth CC BY-NC 4.0",
        "sam3": "SAM License",
        "mediapipe": "Apache-2.0",
        "hamer": "MIT; with MANO for non-commercial use",
        "own": "the user's own",
    }
)
"""Model -> terms of its weights, which its results may inherit."""


def accept(model: str, options: Options) -> str:
    """Return a line with the licence of a model.

    Raises:
        InputError: unknown model, or a licence without commercial use that the options do not accept.
    """
    if model not in LICENCES:
        raise InputError(f"model: {model!r}, must be one of {', '.join(LICENCES)}")
    return f"{model}: {check_licence(model, LICENCES[model], options)}"


def inherited(models: list[str]) -> str:
    """Return the licences that limit what these models made; "" if none does."""
    return "; ".join(f"{model}: {LICENCES[model]}" for model in models if is_limited(LICENCES[model]))
