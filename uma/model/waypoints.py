"""The reference motion at evenly spaced phases, for the task tokens (`ModelConfig.waypoints`).

The learned queries of the task encoder average over waypoints, which blurs where a motion ends. Task token m also gets
the keypoints' mean place at phase m / (M - 1), which keeps it to the millimetre.
"""

from __future__ import annotations

import torch
from torch import Tensor

SAME = 1e-4
"""Largest difference of two equal phases."""


def at_phases(values: Tensor, phase: Tensor, is_valid: Tensor, count: int) -> Tensor:
    """Return ``(B, count, F)`` values at ``count`` evenly spaced phases from 0 to 1, see `at`."""
    wanted = torch.linspace(0.0, 1.0, count, device=phase.device, dtype=phase.dtype)
    return at(values, phase, is_valid, wanted.expand(len(phase), -1))


def at(values: Tensor, phase: Tensor, is_valid: Tensor, wanted: Tensor) -> Tensor:
    """Return ``(B, W, F)`` values at the phases ``wanted`` ``(B, W)``, linear between the means at neighbouring phases.

    Before the first and after the last phase of a sample its first and last mean hold.

    Args:
        values: ``(B, L, F)`` of the waypoints.
        phase, is_valid: ``(B, L)`` as in `uma.model.encoders.ReferenceBatch`; a sample has at least one valid waypoint.
    """
    each, valid, far = phase[:, None], is_valid[:, None], torch.finfo(phase.dtype).max
    below = torch.where(valid & (each <= wanted[..., None] + SAME), each, -far).amax(-1)
    above = torch.where(valid & (each >= wanted[..., None] - SAME), each, far).amin(-1)
    below, above = torch.where(below == -far, above, below), torch.where(above == far, below, above)
    share = ((wanted - below) / (above - below).clamp_min(SAME)).clamp(0.0, 1.0)
    return torch.lerp(_mean(values, each, valid, below), _mean(values, each, valid, above), share[..., None])


def _mean(values: Tensor, phase: Tensor, is_valid: Tensor, at: Tensor) -> Tensor:
    """Return the ``(B, M, F)`` means over the valid waypoints at the phases ``at`` ``(B, M)``."""
    weight = (is_valid & ((phase - at[..., None]).abs() < SAME)).to(values.dtype)
    # No matrix product: autocast would round the places to bfloat16.
    total = (weight[..., None] * values[:, None]).sum(2)
    return total / weight.sum(-1, keepdim=True).clamp_min(1.0)
