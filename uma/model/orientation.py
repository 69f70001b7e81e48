"""Explicit rotation features of keypoints and gripper (`ModelConfig.orientation`); angles are hard to learn from
positions.

The paper leaves rotations to the network. For results see `doc/results/log-2026-11.md`.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

TURN_FEATURES, AXIS_FEATURES = 28, 6
"""Widths of `turns` and `axis`."""

LINE = slice(0, 6)
"""The line of the points' spread now, in `turns`."""

NEAR_M = 0.05
"""Length scale of the neighbourhood of a keypoint at its start, metres: points of one object rotate together."""

SMALL_M = 0.01
"""Length scale below which offsets from the common centre carry little rotation information, metres."""

SAME_PHASE = 0.05
"""Phase scale within which two waypoints count as simultaneous."""


def axis(direction: Tensor) -> Tensor:
    """``(..., 3)`` -> ``(..., 6)`` products of the coordinates, invariant to the sign: a line, not an arrow.

    Half a turn about the approach axis leaves a gripper, or a straight blade, unchanged.
    """
    x, y, z = direction.unbind(-1)
    return torch.stack([x * x, y * y, z * z, x * y, x * z, y * z], -1)


class Neighbours:
    """Waypoints of the same phase whose keypoints start near each other, weighted by distance.

    Args:
        start: ``(B, L, 3)`` metres.
        phase, is_valid: ``(B, L)``.
    """

    def __init__(self, start: Tensor, phase: Tensor, is_valid: Tensor):
        apart = (start[:, :, None] - start[:, None]).square().sum(-1) / (2 * NEAR_M**2) + (
            phase[:, :, None] - phase[:, None]
        ).square() / (2 * SAME_PHASE**2)
        weight = torch.exp(-apart) * is_valid[:, None]
        self._weight = (weight / weight.sum(-1, keepdim=True).clamp(min=1e-6))[..., None]

    def mean(self, values: Tensor) -> Tensor:
        """``(B, L, L, F)`` values of the neighbours -> ``(B, L, F)``."""
        # Not a matrix product, because half precision would lose millimetres.
        return (values * self._weight).sum(2)

    def offsets(self, place: Tensor) -> Tensor:
        """``(B, L, L, 3)`` offsets of each keypoint j from the centre of the neighbours of i."""
        difference = place[:, None] - place[:, :, None]
        return difference - self.mean(difference)[:, :, None]

    def size(self, offset: Tensor) -> Tensor:
        """Return the ``(B, L, 1)`` mean square of `offsets`, and a small constant."""
        return self.mean(offset.square().sum(-1, keepdim=True)) + SMALL_M**2


def products(position: Tensor, start: Tensor, phase: Tensor, is_valid: Tensor) -> Tensor:
    """Return the ``(B, L, 9)`` means of ``now then^T`` of neighbouring keypoints about their centre, of trace up to 1.

    `uma.model.turn.fit` gives their rotation since the start. Arguments as in `turns`.
    """
    near = Neighbours(start, phase, is_valid)
    now, then = near.offsets(position), near.offsets(start)
    both = (near.size(now) * near.size(then)).sqrt()
    return near.mean((now[..., :, None] * then[..., None, :]).flatten(-2)) / both


def turns(position: Tensor, start: Tensor, phase: Tensor, is_valid: Tensor) -> Tensor:
    """Return the rotation of neighbouring keypoints about their common centre since the start, at every waypoint.

    The means of products encode the rotation without solving for it, which two or three collinear points would not
    determine. ``then x now`` gives the axis times the sine of the angle, and ``then . now`` its cosine.

    Args:
        position, start: ``(B, L, 3)`` metres.
        phase: ``(B, L)``.
        is_valid: ``(B, L)`` bool.

    Returns:
        ``(B, L, 28)``, in this order:

        * lines of the points' spread about their centre, now and at the start (`axis`, 6 each)
        * line of the keypoint's own displacement (`axis`, 6)
        * axis of the rotation times its sine (3), and its cosine (1)
        * direction from the centre to the keypoint, now and at the start (3 each)

        All but the keypoint's own displacement are near zero for a keypoint without neighbours.
    """
    near = Neighbours(start, phase, is_valid)
    mean, size = near.mean, near.size

    def direction(offset: Tensor) -> Tensor:
        return offset / (offset.square().sum(-1, keepdim=True) + SMALL_M**2).sqrt()

    def own(offset: Tensor) -> Tensor:
        return direction(offset.diagonal(dim1=1, dim2=2).mT)

    now, then = near.offsets(position), near.offsets(start)
    sine, cosine = mean(torch.linalg.cross(then, now)), mean((then * now).sum(-1, keepdim=True))
    both = (size(now) * size(then)).sqrt()
    spread = (mean(axis(offset)) / size(offset) for offset in (now, then))
    return torch.cat([*spread, axis(direction(position - start)), sine / both, cosine / both, own(now), own(then)], -1)


class Addition(nn.Sequential):
    """An MLP ``a -> b`` with a zero initial output, so that adding it leaves a trained network unchanged."""

    def __init__(self, a: int, b: int):
        first, last = nn.Linear(a, b), nn.Linear(b, b)
        super().__init__(first, nn.GELU(approximate="tanh"), last)
        nn.init.zeros_(last.weight)
        nn.init.zeros_(last.bias)
