"""Parameter counts of systems, and the width that gives a system as many parameters as another."""

from __future__ import annotations

import math
import warnings
from dataclasses import dataclass, fields, is_dataclass, replace

import torch
from torch import nn

from uma.model.inputs import Normalization
from uma.types import InputError
from uma_train.training.config import TrainConfig
from uma_train.training.recipe import recipe_of


@dataclass(frozen=True)
class Size:
    """Parameters of a network.

    Attributes:
        trained: with a gradient.
        frozen: without, such as those of an image tokeniser.
    """

    trained: int
    frozen: int = 0


def size_of(network: nn.Module) -> Size:
    """Count the parameters of a network."""
    counts = {True: 0, False: 0}
    for p in network.parameters():
        counts[p.requires_grad] += p.numel()
    return Size(counts[True], counts[False])


def size_in(config: TrainConfig) -> Size:
    """Count the parameters of the network that a training run would have, without allocating it.

    Raises:
        InputError: the configuration does not fit the system.
    """
    with warnings.catch_warnings(), torch.device("meta"):
        warnings.filterwarnings("ignore", message=".*non-meta parameter.*")
        return size_of(recipe_of(config, Normalization()).model)


def matched(config: TrainConfig, target: int, tolerance: float = 0.1) -> TrainConfig:
    """Return the configuration whose count of trained parameters is near ``target``.

    The width is the one with the nearest count, among multiples of the heads and of 8. Where that misses by more than
    half of ``tolerance``, the depth is the nearest to the configured one that does not, from 1 layer to twice as many.
    Heads stay. A system whose size no width changes, such as COIL, stays as it is.
    """
    choice = _width_choice(config)
    if choice is None:
        return config
    depth = getattr(config, choice).layers
    best: tuple[TrainConfig, int] | None = None
    most = 2 * depth
    for layers in sorted(range(1, 2 * depth + 1), key=lambda n: (abs(n - depth), n)):
        if layers > most:
            continue
        found = _nearest(_with(config, choice, layers=layers), choice, target)
        if getattr(found[0], choice).width == _step(config, choice) and found[1] > target:
            most = layers  # the narrowest is too large already
        if best is None or abs(found[1] - target) < abs(best[1] - target):
            best = found
        if abs(best[1] - target) <= tolerance / 2 * target:
            break
    assert best is not None
    return best[0]


def _nearest(config: TrainConfig, choice: str, target: int) -> tuple[TrainConfig, int]:
    """Return the configuration with the width whose count is nearest to ``target``, and its count."""
    step = _step(config, choice)

    def at(n: int) -> tuple[TrainConfig, int]:
        wide = _with(config, choice, width=n * step)
        return wide, size_in(wide).trained

    low, high = 1, 2
    while at(high)[1] < target and high * step < 2048:
        low, high = high, 2 * high
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if at(middle)[1] < target else (low, middle)
    return min(at(low), at(high), key=lambda found: abs(found[1] - target))


def _width_choice(config: TrainConfig) -> str | None:
    """Return the field of `TrainConfig` whose ``width`` changes the system's size."""
    for f in fields(config):
        value = getattr(config, f.name)
        if not (is_dataclass(value) and hasattr(value, "width") and hasattr(value, "layers")):
            continue
        step = _step(config, f.name)
        if size_in(_with(config, f.name, width=step)) != size_in(_with(config, f.name, width=2 * step)):
            return f.name
    return None


def _step(config: TrainConfig, choice: str) -> int:
    return math.lcm(8, getattr(getattr(config, choice), "heads", 1))


def _with(config: TrainConfig, choice: str, **values: int) -> TrainConfig:
    changes: dict[str, object] = {choice: replace(getattr(config, choice), **values)}
    return replace(config, **changes)  # type: ignore[arg-type]


def check_sizes(sizes: dict[str, Size], tolerance: float) -> None:
    """Compare the trained parameters with those of the first system.

    Raises:
        InputError: they differ by more than ``tolerance``; all counts are named.
    """
    first, target = next((name, size.trained) for name, size in sizes.items())
    far = {n: s.trained / target - 1 for n, s in sizes.items() if abs(s.trained / target - 1) > tolerance}
    if far:
        counts = ", ".join(f"{name} {size.trained / 1e6:.3f} M" for name, size in sizes.items())
        worst = ", ".join(f"{name} {100 * part:+.0f} %" for name, part in far.items())
        raise InputError(
            f"parameters: {counts}; {worst} against {first}, must be within {100 * tolerance:g} %. "
            "Choose other layers, heads or widths (train.pixels, train.flow, train.preset), or another tolerance"
        )
