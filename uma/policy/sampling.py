"""The sampler's configuration, apart from torch: nodes and commands declare their settings from it before torch is
loaded."""

from __future__ import annotations

from dataclasses import dataclass

from uma.model.config import FLOW_METHODS
from uma.types import InputError

DEVICES = ("auto", "cpu", "cuda")
PRECISIONS = ("float32", "bfloat16")


@dataclass(frozen=True)
class SamplerConfig:
    """How answers are drawn, and on what. Every default of these settings is stated here alone.

    Attributes:
        num_steps: steps of the flow.
        num_samples: samples of each answer.
        consensus_fraction: share of them that is averaged, at least one: those that lie closest together.
        method: "euler", or "heun", which evaluates the model twice a step.
        device: "cpu", "cuda", or "auto", a GPU where there is one.
        precision: of the products, "float32" or "bfloat16".
        compile: fuse the operations with torch.compile; the first answer of every shape then takes minutes.
        graph: on a GPU, replay one CUDA graph per shape; off starts every kernel from the host.
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
        if not 1 <= self.num_steps <= 200:
            raise InputError(f"num_steps: {self.num_steps}, must be 1 to 200")
        if not 1 <= self.num_samples <= 64:
            raise InputError(f"num_samples: {self.num_samples}, must be 1 to 64")
        if not 0 < self.consensus_fraction <= 1:
            raise InputError(f"consensus_fraction: {self.consensus_fraction}, must be more than 0 and at most 1")
        for name, known in (("method", FLOW_METHODS), ("device", DEVICES), ("precision", PRECISIONS)):
            if getattr(self, name) not in known:
                raise InputError(f"{name}: {getattr(self, name)!r}, must be one of {known}")
