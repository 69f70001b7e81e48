"""Which keypoints of a reference move as one body with the hand.

A person who shows a sweep draws the brush and the scraps. The hand takes the brush, so the place that the task tokens
state (`uma.model.ways`, `uma.model.follow`) must be that of the brush alone. It is the keypoints that move first.
"""

from __future__ import annotations

import torch
from torch import Tensor

from uma.model.waypoints import SAME, at

MOVED_M, STILL_M = 0.02, 0.01
"""Ways of a keypoint that has begun to move, and of one that stays, metres."""

LEAST_M, MOST_M, SHARE = 0.02, 0.05, 0.35
"""Tolerated change of a distance on one body: a share of the leading keypoint's way within two limits, metres."""

ROUNDING_M = 1e-5
"""Largest difference of a coordinate that rounding makes, metres."""


def one_body(position: Tensor, start: Tensor, phase: Tensor, is_valid: Tensor) -> Tensor:
    """Return ``(B, L)`` bool: waypoints of the keypoints that keep their distance to the one that leads.

    The leading keypoint is the first to have moved by `MOVED_M`, of several the one that has moved most. All valid
    waypoints count if none has.

    Args:
        position, start: ``(B, L, 3)`` metres. The waypoints of a keypoint share its start.
        phase: ``(B, L)``.
        is_valid: ``(B, L)`` bool.
    """
    moved = (position - start).square().sum(-1).sqrt()
    begun = is_valid & (moved > MOVED_M)
    far = torch.finfo(phase.dtype).max
    first = torch.where(begun, phase, far).amin(1, keepdim=True)
    leads = torch.where(begun & (phase <= first + SAME), moved, -1.0).argmax(1)
    index = leads[:, None, None].expand(-1, 1, 3)
    origin = start.gather(1, index)
    is_leader = is_valid & _equal(start, origin)
    # A keypoint stays at its last waypoint, where it must still fit to the leader's end.
    same = _equal(start[:, :, None], start[:, None]) & is_valid[:, None]
    is_last = phase >= torch.where(same, phase[:, None], -far).amax(-1) - SAME
    end = torch.where(is_leader, phase, -far).amax(1, keepdim=True)
    apart = (start - origin).square().sum(-1).sqrt()

    def strain(when: Tensor) -> Tensor:
        now = at(position, phase, is_leader, when)
        return ((position - now).square().sum(-1).sqrt() - apart).abs()

    worst = torch.maximum(strain(phase), torch.where(is_last, strain(end.expand_as(phase)), 0.0))
    worst = torch.where(same, worst[:, None], 0.0).amax(-1)
    way = torch.where(is_leader, moved, 0.0).amax(1, keepdim=True)
    own = torch.where(same, moved[:, None], 0.0).amax(-1)  # a still keypoint across the motion keeps its distance
    kept = is_valid & (own > STILL_M) & (worst <= (SHARE * way).clamp(LEAST_M, MOST_M))
    return torch.where(begun.any(1, keepdim=True), kept, is_valid)


def _equal(a: Tensor, b: Tensor) -> Tensor:
    """Whether places ``(..., 3)`` are those of one keypoint, but for rounding."""
    return (a - b).abs().amax(-1) < ROUNDING_M
