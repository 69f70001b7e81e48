"""Flow matching (paper 3.2, [49]): the straight path from noise to data, and one sampler for all masks.

Flow time runs from 0 (noise) to 1 (data): ``x_t = (1 - t) noise + t data``, velocity ``data - noise``.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from uma.model.config import FLOW_METHODS as METHODS


def path(data: Tensor, noise: Tensor, flow_time: Tensor) -> Tensor:
    """Return the point on the path at ``(B,)`` flow times, for tensors ``(B, ...)``."""
    t = flow_time.view(-1, *([1] * (data.dim() - 1)))
    return (1 - t) * noise + t * data


def draw_flow_time(batch: int, kind: str, generator: torch.Generator) -> Tensor:
    """Draw ``(B,)`` training times: "uniform", or "beta" = 1 - Beta(1.5, 1), with more weight on noise."""
    u = torch.rand(batch, generator=generator)
    return u if kind == "uniform" else 1.0 - u ** (1 / 1.5)


State = tuple[Tensor, Tensor]
"""An action tensor ``(B, T, A)`` and a motion tensor ``(B, T, K, 3)``."""


def sample(
    velocity: Callable[[State, float], State],
    noise: State,
    given: State,
    is_target: State,
    num_steps: int,
    method: str = "euler",
) -> State:
    """Integrate from noise to data. Given tokens keep their clean values at every evaluation.

    Args:
        velocity: maps the state and the flow time to velocities.
        noise: initial target tokens.
        given: clean values of the given tokens (arbitrary at targets).
        is_target: bool masks broadcastable to the state.
        num_steps: steps, >= 1.
        method: "euler", one evaluation per step, or "heun", two: the mean of the velocities at both ends.

    Raises:
        ValueError: ``num_steps`` is below 1, or ``method`` is unknown.
    """
    if num_steps < 1:
        raise ValueError(f"num_steps {num_steps}: must be >= 1")
    if method not in METHODS:
        raise ValueError(f"method '{method}': must be one of {METHODS}")

    def step(x: State, v: State) -> State:
        action, motion = (
            torch.where(m, a + b.to(a.dtype) / num_steps, g) for m, a, b, g in zip(is_target, x, v, given, strict=True)
        )
        return action, motion

    action, motion = (torch.where(m, n, g) for m, n, g in zip(is_target, noise, given, strict=True))
    x = action, motion
    for i in range(num_steps):
        v = velocity(x, i / num_steps)
        if method == "heun":
            end = velocity(step(x, v), (i + 1) / num_steps)
            v = (v[0] + end[0]) / 2, (v[1] + end[1]) / 2
        x = step(x, v)
    return x
