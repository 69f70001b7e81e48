"""The interface of a pixel system's network, with the parts that all of them share."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from uma.model.config import ModelConfig
from uma.model.encoders import PointBatch, ReferenceBatch, TaskEncoder
from uma.model.inputs import Normalization
from uma.types import InputError
from uma_train.baselines.pixels.inputs import PixelBatch
from uma_train.baselines.pixels.tokeniser import Tokeniser
from uma_train.data.clips import Layout


class PixelModel(nn.Module):
    """A network over images and actions, conditioned on UMA's task tokens.

    The papers of these systems give the task as text, or not at all. Here all get UMA's task encoder, trained along, so
    that a comparison is one of the systems and not of their task inputs.

    Args:
        config: of the system, a dataclass with ``layout``, a `Layout`, and ``uma``, the `ModelConfig` of the encoder.
        norm: of the data.
    """

    tokeniser: Tokeniser

    def __init__(self, config: Any, norm: Normalization):
        super().__init__()
        self.config, self.normalization = config, norm
        self.task_encoder = TaskEncoder(self.encoder_config, norm)

    @property
    def layout(self) -> Layout:
        return self.config.layout

    @property
    def encoder_config(self) -> ModelConfig:
        return self.config.uma

    def encode_task(self, points: PointBatch, reference: ReferenceBatch) -> Tensor:
        """Task tokens c = h_psi(o_0, x_c), ``(B, M, d)`` (paper Eq. 3)."""
        return self.task_encoder(points, reference)

    def blocks(self) -> list[nn.Module]:
        """Return the modules that may be compiled."""
        return []

    def losses(self, batch: PixelBatch, generator: torch.Generator) -> dict[str, Tensor]:
        """Return the losses and their weighted sum ``total``; ``generator`` is on the CPU."""
        raise NotImplementedError

    def act(self, batch: PixelBatch, num_steps: int, samples: int, generator: torch.Generator) -> Tensor:
        """Sample normalised actions ``(B, samples, H, 10)`` from past images, states and task alone (policy mode)."""
        raise NotImplementedError

    def foresee(self, batch: PixelBatch, num_steps: int, generator: torch.Generator) -> Tensor:
        """Sample the latents ``(B, F, N, c)`` of the future images under the batch's chunks (forward mode).

        Raises:
            InputError: the system has no such mode.
        """
        raise InputError(f"forward mode: {type(self).__name__} has none")

    def infer(self, batch: PixelBatch, num_steps: int, generator: torch.Generator) -> Tensor:
        """Sample normalised actions ``(B, H, 10)`` between the past and the future images (inverse mode).

        Raises:
            InputError: the system has no such mode.
        """
        raise InputError(f"inverse mode: {type(self).__name__} has none")
