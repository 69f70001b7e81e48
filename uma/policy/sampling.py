"""The sampler's configuration, separate from torch, so that nodes and commands can declare it without importing
torch."""

from __future__ import annotations

from dataclasses import dataclass

from uma.model.config import FLOW_METHODS
from uma.settings import within
from uma.types import InputError

DEVICES = ("auto", "cpu", "cuda")
PRECISIONS = ("float32", "bfloat16")


@dataclass(frozen=True)
class SamplerConfig:
    """Settings of the sampler. All their defaults are defined here.

    Attributes:
        num_steps: steps of the flow.
        num_samples: samples per prediction.
        consensus_fraction: fraction of the closest samples that is averaged, at least one sample.
        method: "euler", or "heun" with two model evaluations per step.
        device: "cpu", "cuda", or "auto", a GPU if available.
        precision: of matrix products, "float32" or "bfloat16".
        compile: use torch.compile; the first prediction of every shape then takes minutes.
        graph: on a GPU, replay one CUDA graph per shape; off launches every kernel from the host.
    """

    num_steps: int = 2
    num_samples: int = 8
    consensus_fraction: float = 0.5
    method: str = "euler"
    device: str = "cpu"
    precision: str = "float32"
    compile: bool = False
    graph: bool = True

    def __post_init__(self) -> None:
        within(self, {"num_steps": (1, 200), "num_samples": (1, 64)})
        if not 0 < self.consensus_fraction <= 1:
            raise InputError(f"consensus_fraction: {self.consensus_fraction}, must be above 0 and at most 1")
        for name, known in (("method", FLOW_METHODS), ("device", DEVICES), ("precision", PRECISIONS)):
            if getattr(self, name) not in known:
                raise InputError(f"{name}: {getattr(self, name)!r}, must be one of {known}")
