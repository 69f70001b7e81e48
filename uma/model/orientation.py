"""Which way things are turned, spelled out as features (`ModelConfig.orientation`): a network that is given places
alone learns angles slowly.

The paper leaves it to the network to find rotations in its keypoints. `doc/results/log-2026-11.md` tells what that came
to.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

TURN_FEATURES, AXIS_FEATURES = 28, 6
"""Widths of `turns` and `axis`."""

NEAR_M = 0.05
"""How far apart two keypoints are at their start, about, that tell of one another's turn: points of one thing, not of
two, metres."""

SMALL_M = 0.01
"""Keypoints nearer than this to their common middle tell little of the turn, metres."""

SAME_PHASE = 0.05
"""Difference of phase, about, at which two waypoints are of one time."""


def axis(direction: Tensor) -> Tensor:
    """``(..., 3)`` -> ``(..., 6)`` products of the coordinates, which forget the sign: a line, not an arrow.

    A gripper turned by half a turn about its approach is the same gripper, and so is a straight blade.
    """
    x, y, z = direction.unbind(-1)
    return torch.stack([x * x, y * y, z * z, x * y, x * z, y * z], -1)


def turns(position: Tensor, start: Tensor, phase: Tensor, is_valid: Tensor) -> Tensor:
    """How the keypoints near each other at the start have turned about their common middle, at every waypoint.

    The means of products say by themselves how a set of points is turned: of ``then x now``, the axis times the sine of
    the angle, and of ``then . now``, its cosine, as far as the points lie across the axis. No best rotation is solved
    for, which two or three points in a line would not determine.

    Args:
        position, start: ``(B, L, 3)`` metres. phase: ``(B, L)``. is_valid: ``(B, L)`` bool.

    Returns:
        ``(B, L, 28)``: along which lines the points spread about their middle, now and at the start, and along which
        the keypoint itself has come
        (`axis`, 6 each); axis times sine (3) and cosine (1) of their turn; the direction from the middle to the
        keypoint itself, now and
        at the start (3 each). All but the third are near zero for a keypoint that has no neighbours.
    """
    apart = (start[:, :, None] - start[:, None]).square().sum(-1) / (2 * NEAR_M**2) + (
        phase[:, :, None] - phase[:, None]
    ).square() / (2 * SAME_PHASE**2)
    weight = torch.exp(-apart) * is_valid[:, None]
    weight = (weight / weight.sum(-1, keepdim=True).clamp(min=1e-6))[..., None]

    def mean(values: Tensor) -> Tensor:
        # Not a matrix product, which would be made in half precision: places of a metre would be off by millimetres.
        return (values * weight).sum(2)

    def offsets(place: Tensor) -> Tensor:
        """``(B, L, L, 3)`` of each keypoint j from the middle of the neighbours of i."""
        difference = place[:, None] - place[:, :, None]
        return difference - mean(difference)[:, :, None]

    def size(offset: Tensor) -> Tensor:
        return mean(offset.square().sum(-1, keepdim=True)) + SMALL_M**2

    def direction(offset: Tensor) -> Tensor:
        return offset / (offset.square().sum(-1, keepdim=True) + SMALL_M**2).sqrt()

    def own(offset: Tensor) -> Tensor:
        return direction(offset.diagonal(dim1=1, dim2=2).mT)

    now, then = offsets(position), offsets(start)
    sine, cosine = mean(torch.linalg.cross(then, now)), mean((then * now).sum(-1, keepdim=True))
    both = (size(now) * size(then)).sqrt()
    spread = (mean(axis(offset)) / size(offset) for offset in (now, then))
    return torch.cat([*spread, axis(direction(position - start)), sine / both, cosine / both, own(now), own(then)], -1)


class Addition(nn.Sequential):
    """An MLP ``a -> b`` whose output begins at zero, so that what is added to a trained network leaves it as it was."""

    def __init__(self, a: int, b: int):
        first, last = nn.Linear(a, b), nn.Linear(b, b)
        super().__init__(first, nn.GELU(approximate="tanh"), last)
        nn.init.zeros_(last.weight)
        nn.init.zeros_(last.bias)
