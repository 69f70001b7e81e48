"""Denoising diffusion, as UVA and UWM use it, with the velocity as the network's output (Salimans and Ho, 2022).

Step 0 is clean data and step T is pure noise: x_t = sqrt(alpha_t) x_0 + sqrt(1 - alpha_t) eps. The cumulated alpha_t is
the cosine schedule of Nichol and Dhariwal (2021).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

CLIP = 3.0
"""Largest absolute value of a predicted clean value; data are normalised."""


@dataclass(frozen=True)
class Schedule:
    """The cosine schedule.

    Attributes:
        steps: T.
    """

    steps: int = 100

    def alpha(self, t: Tensor) -> Tensor:
        """Return the cumulated alpha at steps ``t`` in 0 to T; 1 at 0 and nearly 0 at T."""

        def f(u: Tensor) -> Tensor:
            return torch.cos((u + 0.008) / 1.008 * math.pi / 2) ** 2

        return (f(t.float() / self.steps) / f(torch.zeros(()))).clamp(1e-5, 1.0)

    def noised(self, x: Tensor, noise: Tensor, t: Tensor) -> Tensor:
        """Return x_t for data ``(B, ...)``, noise of that shape, and steps ``(B,)``."""
        a = self.alpha(t).to(x).view(-1, *(1,) * (x.dim() - 1))
        return a.sqrt() * x + (1 - a).sqrt() * noise

    def velocity(self, x: Tensor, noise: Tensor, t: Tensor) -> Tensor:
        """Return sqrt(alpha) eps - sqrt(1 - alpha) x_0, the target of a network at steps ``(B,)``.

        The papers' networks predict eps. Its error hardly counts at steps near T, where alone the given tokens decide
        between modes, so such networks need far longer to train.
        """
        a = self.alpha(t).to(x).view(-1, *(1,) * (x.dim() - 1))
        return a.sqrt() * noise - (1 - a).sqrt() * x

    def noise_of(self, x: Tensor, output: Tensor, t: Tensor) -> Tensor:
        """Return the predicted noise of x_t ``(B, ...)`` at steps ``(B,)`` from a network's output, the velocity."""
        a = self.alpha(t).to(x).view(-1, *(1,) * (x.dim() - 1))
        return (1 - a).sqrt() * x + a.sqrt() * output

    def grid(self, num_steps: int) -> list[int]:
        """Return ``num_steps + 1`` steps from T down to 0."""
        return [round(self.steps * (num_steps - i) / num_steps) for i in range(num_steps + 1)]

    def back(self, x: Tensor, predicted: Tensor, t: int, to: int) -> Tensor:
        """Go from step ``t`` to the earlier step ``to`` without new noise (DDIM).

        Args:
            x: x_t.
            predicted: its noise.
        """
        a, b = (self.alpha(torch.tensor(s)).to(x) for s in (t, to))
        clean = ((x - (1 - a).sqrt() * predicted) / a.sqrt()).clamp(-CLIP, CLIP)
        rest = (x - a.sqrt() * clean) / (1 - a).sqrt()
        return b.sqrt() * clean + (1 - b).sqrt() * rest

    def sample(self, predict: Callable[[Tensor, int], Tensor], noise: Tensor, num_steps: int) -> Tensor:
        """Denoise from pure noise; ``predict(x_t, t)`` returns the noise."""
        grid, x = self.grid(num_steps), noise
        for t, to in zip(grid, grid[1:], strict=False):
            x = self.back(x, predict(x, t), t, to)
        return x
