"""Where keypoints would be that move with the closed hand, or rest (`ModelConfig.carry`).

Both follow from the actions without learning. The network weighs them against its own prediction for every motion
token.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn

from uma.model.config import ModelConfig
from uma.model.encoders import EndEffectorBatch
from uma.model.inputs import Normalization
from uma.model.orientation import Addition
from uma.model.turn import product

CLOSED = 0.5
"""A commanded gripper above this is closed."""

HELD = 0.3
"""A measured gripper above this may hold something; a thin object stops it well before 1."""

NEAR_M = 0.05
"""Length scale of the bounded position of a keypoint in the hand, metres."""

TOKEN_FEATURES = 3 + 3 + 3
"""Width of the features of a motion token: displacement, bounded position in the hand; closed, held and known."""

PACES = (1.0, 0.65, 0.4)
"""Shares of the way to its target that the hand may do in one step: an arm lags behind its commands."""

OFFSET = 0.05
"""Unit of the network's correction of a candidate, in ``local_scale``."""

LEAST_LEFT = 0.05
"""Least remaining flow time that a velocity is divided by; a sampler of up to 20 steps ends at the candidate."""


class Hand(NamedTuple):
    """The measured hand, in the coordinates of the motion tokens (relative to its position, ``local_scale``).

    Attributes:
        R, p: ``(B, 3, 3)`` and ``(B, 3)``: what the hand has moved since it holds something; none if it does not.
        axes: ``(B, 3, 3)`` its axes.
        gripper: ``(B,)`` measured, in [0, 1].
        holds: ``(B,)`` 1 where it holds something, else 0.
        is_known: ``(B,)`` 1 where a robot is known, else 0.
    """

    R: Tensor
    p: Tensor
    axes: Tensor
    gripper: Tensor
    holds: Tensor
    is_known: Tensor

    def rows(self, count: int) -> Hand:
        """Return the hands of ``count`` rows, a multiple of B that consecutive rows share."""
        return Hand(*(v.repeat_interleave(count // len(v), 0) for v in self))


def rotations(columns: Tensor) -> Tensor:
    """``(..., 6)`` two columns -> ``(..., 3, 3)`` rotations by Gram-Schmidt."""
    x = nn.functional.normalize(columns[..., :3], dim=-1)
    b = columns[..., 3:]
    y = nn.functional.normalize(b - (x * b).sum(-1, keepdim=True) * x, dim=-1)
    return torch.stack([x, y, torch.linalg.cross(x, y)], -1)


def moved(R: Tensor, p: Tensor, points: Tensor) -> Tensor:
    """Apply rotations ``(..., 3, 3)`` and translations ``(..., 3)`` to points ``(..., K, 3)``, in full precision."""
    return (R[..., None, :, :] * points[..., None, :]).sum(-1) + p[..., None, :]


class Carry(nn.Module):
    """Adds features to the motion tokens, and weighs candidates of their positions.

    The candidates are the keypoint's present position, and where the hand takes it at each of `PACES` while the gripper
    is closed at both ends of a step. Without a robot, all are the present position.
    """

    scale: Tensor
    paces: Tensor

    def __init__(self, config: ModelConfig, norm: Normalization):
        super().__init__()
        self.normalization = norm
        scale = torch.tensor(norm.of_steps(config.horizon + 1, 1), dtype=torch.float32)
        self.register_buffer("scale", scale, persistent=False)
        self.register_buffer("paces", torch.tensor(PACES)[:, None], persistent=False)
        self.token = Addition(TOKEN_FEATURES, config.width)
        self.weigh = nn.Linear(config.width, 2 + len(PACES))
        self.offset = nn.Linear(config.width, 3)
        for linear in (self.weigh, self.offset):
            nn.init.zeros_(linear.weight)
            nn.init.zeros_(linear.bias)

    def hand(self, ee: EndEffectorBatch) -> Hand:
        """Return the measured hand."""
        R0, p0, s = ee.pose[:, :3, :3], ee.pose[:, :3, 3], self.normalization.local_scale
        known = ee.gripper.new_ones(len(ee.gripper)) if ee.is_known is None else ee.is_known.to(ee.gripper.dtype)
        if ee.carried is None or ee.holds is None:
            return Hand(torch.eye(3, device=R0.device).expand_as(R0), 0 * p0, R0, ee.gripper, 0 * known, known)
        holds = ee.holds.to(ee.gripper.dtype) * known
        h = holds[:, None]
        R = torch.where(h[..., None] > 0, ee.carried[:, :3, :3], torch.eye(3, device=R0.device))
        p = h * ((R * p0[:, None]).sum(-1) + ee.carried[:, :3, 3] - p0) / s
        return Hand(R, p, R0, ee.gripper, holds, known)

    def now(self, motion: Tensor, identity: Tensor, is_given: Tensor, hand: Hand) -> Tensor:
        """Return ``(B, K, 3)`` present positions: the given ones, else where the hand has taken the initial ones.

        Args:
            motion: ``(B, K, 3)`` the state's tokens of the current step.
            identity: ``(B, K, 3)`` initial positions.
            is_given: ``(B, K)`` bool.
        """
        return torch.where(is_given[..., None], motion, moved(hand.R, hand.p, identity))

    def path(self, action: Tensor, hand: Hand) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Return the motions ``R (B, T, L, 3, 3), p (B, T, L, 3)`` that the hand gives what it holds, by `PACES`,
        from the current step on, its positions ``(B, T, L, 3)`` and whether it is closed ``(B, T)``.

        Args:
            action: ``(B, T, 10)`` action tokens from the current step on.
        """
        a, n = action.float(), self.normalization
        steps = self.scale[: a.shape[1]]
        eye = torch.eye(3, device=a.device)
        columns = a[..., 3:9] * steps * n.rotation_scale + eye[:, :2].mT.flatten()
        goals = torch.cat([a[..., :3] * steps * (n.position_scale / n.local_scale), columns], -1)
        closed = torch.cat([hand.gripper[:, None] > HELD, a[:, 1:, 9] > 2 * CLOSED - 1], 1)
        closed = closed & (hand.is_known[:, None] > 0)
        here = goals[:, :1].expand(-1, len(PACES), -1)
        R = rotations(here[..., 3:])
        turned, shifted, at = [eye.expand_as(R)], [torch.zeros_like(here[..., :3])], [here[..., :3]]
        for i in range(1, a.shape[1]):
            here = torch.lerp(here, goals[:, i : i + 1].expand_as(here), self.paces)
            before, R = R, rotations(here[..., 3:])
            step = product(R, before.mT)
            both = (closed[:, i] & closed[:, i - 1])[:, None, None]
            ahead = (step * (shifted[-1] - at[-1])[..., None, :]).sum(-1) + here[..., :3]
            shifted.append(torch.where(both, ahead, shifted[-1]))
            turned.append(torch.where(both[..., None], product(step, turned[-1]), turned[-1]))
            at.append(here[..., :3])
        return torch.stack(turned, 1), torch.stack(shifted, 1), torch.stack(at, 1), closed

    def candidates(self, action: Tensor, now: Tensor, hand: Hand) -> Tensor:
        """Return the positions ``(B, T, L, K, 3)`` of points now at ``now`` ``(B, K, 3)`` that the hand takes along."""
        R, p, _, _ = self.path(action, hand)
        return moved(R, p, now[:, None, None])

    def features(self, action: Tensor, now: Tensor, is_given: Tensor, hand: Hand) -> Tensor:
        """Return ``(B, T, K, 9)`` of the motion tokens; arguments as in `now` and `candidates`."""
        R, p, at, closed = (v[:, :, 1] if v.dim() > 2 else v for v in self.path(action, hand))
        taken = moved(R, p, now[:, None])
        inside = ((taken - at[:, :, None])[..., None] * hand.axes[:, None, None]).sum(-2)
        flags = (closed[..., None], hand.holds[:, None, None], is_given[:, None])
        near = torch.tanh(inside * (self.normalization.local_scale / NEAR_M))
        parts = [taken - now[:, None], near, *(f.to(near.dtype).expand(near.shape[:-1])[..., None] for f in flags)]
        return torch.cat(parts, -1)

    def weighed(
        self, z: Tensor, velocity: Tensor, motion: Tensor, taken: Tensor, now: Tensor, t: Tensor | float
    ) -> Tensor:
        """Move the velocity of motion towards corrected candidates, by weights that sum to 1 with the network's own.

        Args:
            z: ``(B, T, K, d)`` motion tokens.
            velocity, motion: ``(B, T, K, 3)`` v and x_t.
            taken: ``(B, T, L, K, 3)`` from `candidates`.
            now: ``(B, K, 3)``.
            t: flow time, broadcastable to ``(B, T, K, 3)``, or a number.
        """
        z = nn.functional.layer_norm(z, z.shape[-1:])
        own, still, *carried = self.weigh(z).float().softmax(-1).split(1, -1)
        left = (1 - t).clamp(min=LEAST_LEFT) if isinstance(t, Tensor) else max(1 - t, LEAST_LEFT)
        end = still * now[:, None] + sum(w * taken[:, :, i] for i, w in enumerate(carried))
        end = end + (1 - own) * (OFFSET * self.offset(z).float() - motion)
        return own * velocity + end / left
