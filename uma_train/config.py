"""The typed configuration of a training run."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from uma_train.data.reference import ReferenceSampling
from uma_train.objectives import Objective


@dataclass(frozen=True)
class TrainConfig:
    """One training run.

    Attributes:
        data: folder of episodes.
        out: folder of the run: training state, log, and the bundle under ``bundle/``.
        preset: architecture preset of `uma.model.config`.
        steps: optimiser steps.
        minutes: end the run, its schedule included, after this long if ``steps`` have not been reached by then; 0 = no limit.
            Where cores are shared it is the time that is known beforehand. Such a run resumes, but not bit for bit.
        batch_size: windows a step.
        windows_per_task: windows that share an initial observation, a reference and their encoding.
        lr: peak learning rate. The paper's 1e-4 is for width 768; narrow models take more.
        warmup: steps of linear warm-up (paper: 10,000 of a far longer run); afterwards the rate falls as a cosine to 0.
        weight_decay, clip_norm: paper A.3.
        ema: decay of the averaged weights, which are what is validated and shipped.
        keypoints: motion tokens a step in batches that have them.
        seed: of weights, batches and noise.
        threads: torch threads; 0 = torch's own choice.
        bf16: bfloat16 autocast.
        validation_episodes: the last episodes of the folder, held out.
        validate_every, save_every: in steps.
        init: bundle whose weights start the run, or empty.
        sampling, objective: how references and masks are drawn and weighted.
    """

    data: str = "data/insertion"
    out: str = "runs/train"
    preset: Literal["tiny", "small", "base"] = "small"
    steps: int = 6000
    minutes: float = 0.0
    batch_size: int = 64
    windows_per_task: int = 2
    lr: float = 1e-3
    warmup: int = 200
    weight_decay: float = 1e-6
    clip_norm: float = 1.0
    ema: float = 0.998
    keypoints: int = 4
    seed: int = 0
    threads: int = 0
    bf16: bool = True
    validation_episodes: int = 24
    validate_every: int = 500
    save_every: int = 250
    init: str = ""
    sampling: ReferenceSampling = ReferenceSampling()
    objective: Objective = Objective()

    def __post_init__(self) -> None:
        for name, low in (("steps", 1), ("batch_size", 1), ("keypoints", 1), ("validate_every", 1), ("save_every", 1), ("validation_episodes", 1)):
            if getattr(self, name) < low:
                raise ValueError(f"{name} {getattr(self, name)}: must be >= {low}")
        if not 0 < self.ema < 1:
            raise ValueError(f"ema {self.ema}: must lie in (0, 1)")
