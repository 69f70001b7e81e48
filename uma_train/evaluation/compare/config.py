"""What `uma compare` compares, on what, and for how long."""

from __future__ import annotations

from dataclasses import dataclass, field

from uma.policy.systems import SYSTEMS
from uma.settings import within
from uma.types import InputError
from uma_train.training.config import TrainConfig
from uma_train.training.recipe import RECIPES


def known_systems() -> tuple[str, ...]:
    """Return the systems that can be trained and can act, in the order of `SYSTEMS`."""
    return tuple(name for name in SYSTEMS if name in RECIPES)


@dataclass(frozen=True)
class CompareConfig:
    """Configuration of one comparison.

    Attributes:
        train: of every system; ``system`` and ``out`` are ignored. Without ``train.pixels.tokeniser``, the tokeniser of
            the pixel systems is trained first.
        systems: the first is the one that the others are matched to, and compared with scene by scene.
        checkpoint: words "system=folder of a bundle", which is used instead of a training run.
        match: choose each system's width, and where needed its depth, for a parameter count near the first's, see
            `uma_train.evaluation.compare.sizes.matched`. Otherwise they are those of ``train``.
        tolerance: largest relative difference of the trained parameters from the first system's.
        unequal: accept stored checkpoints with other data, steps or batch sizes than the first system's. The
            differences stand in the results.
        tokeniser_steps: optimiser steps of the tokeniser; 0 = as many as the systems'.
        processes: of each training run.
        tasks: closed-loop tasks, each with the scenes ``first_seed`` to ``first_seed + episodes - 1``. The first one is
            also the task of the latency.
        max_steps, workers, streamed_ms: as in `BenchmarkConfig`.
        windows: held-out windows for the open-loop errors.
        predictions: timed predictions for the latency.
        out: folder; a comparison with the same configuration resumes there.
    """

    train: TrainConfig = TrainConfig(steps=1500)
    systems: tuple[str, ...] = field(default_factory=known_systems)
    checkpoint: tuple[str, ...] = ()
    match: bool = True
    tolerance: float = 0.1
    unequal: bool = False
    tokeniser_steps: int = 0
    processes: int = 1
    tasks: tuple[str, ...] = ("insertion", "sweeping", "folding")
    episodes: int = 50
    first_seed: int = 1_000_000
    max_steps: int = 0
    workers: int = 2
    streamed_ms: float = 130.0
    windows: int = 128
    predictions: int = 20
    out: str = "runs/compare"

    def __post_init__(self) -> None:
        within(
            self,
            {
                "tolerance": (0.001, 100),
                "tokeniser_steps": (0, None),
                "processes": (1, None),
                "episodes": (0, None),
                "windows": (2, 100_000),
                "predictions": (2, 10_000),
            },
        )
        if len(self.systems) < 2 or len(set(self.systems)) < len(self.systems):
            raise InputError(f"systems: {' '.join(self.systems)}, must be at least two different ones")
        known = known_systems()
        for name in (*self.systems, *self.stored):
            if name not in known:
                raise InputError(f"systems: {name!r}, must be of {', '.join(known)}")
        if unused := [name for name in self.stored if name not in self.systems]:
            raise InputError(f"checkpoint: {unused[0]}, which is none of the systems {', '.join(self.systems)}")
        if self.train.init:
            raise InputError(f"train.init: {self.train.init}, must be empty: all systems start from new weights")
        if self.train.minutes:
            raise InputError(f"train.minutes: {self.train.minutes:g}, must be 0: all systems take as many steps")
        if not self.tasks:
            raise InputError("tasks: none, must be at least one")

    @property
    def stored(self) -> dict[str, str]:
        """system -> folder of its bundle, of ``checkpoint``."""
        out: dict[str, str] = {}
        for word in self.checkpoint:
            name, equals, path = word.partition("=")
            if not (equals and name and path) or name in out:
                raise InputError(f"checkpoint: {word!r}, must be SYSTEM=FOLDER, once for each system")
            out[name] = path
        return out
