"""Trained networks of images that another system uses as they are: its tokeniser, its latent actions."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from torch import nn

from uma.checkpoint.folder import BundleError, read_bundle
from uma.checkpoint.typed import from_json
from uma.model.inputs import Normalization
from uma.types import InputError
from uma_train.data.clips import Layout

Network = TypeVar("Network", bound=nn.Module)


def frozen(
    path: str,
    layout: Layout,
    *,
    field: str,
    system: str,
    settings: type[Any],
    network: Callable[[Any, Normalization], Network],
) -> Network:
    """Load a trained network without gradients.

    Args:
        layout: of the system that uses it.
        field: name of the setting that has ``path``, for messages.
        system, settings, network: what the bundle must be of, with a ``layout`` in its settings.

    Raises:
        BundleError: not a bundle of that system.
        InputError: it is for images of another size.
    """
    stored = read_bundle(path)
    if stored.system != system:
        raise BundleError(f"{field} {path}: a checkpoint of '{stored.system}', must be one of '{system}'")
    config = from_json(settings, stored.model, "config.model")
    own: Layout = config.layout
    if (own.height, own.width) != (layout.height, layout.width):
        raise InputError(
            f"{field} {path}: for images of {own.width} x {own.height}, the system's have "
            f"{layout.width} x {layout.height}"
        )
    model = network(config, stored.normalization)
    model.load_state_dict(stored.weights(), strict=True)
    return model.eval().requires_grad_(False)
