"""The way that is left for a held object (`ModelConfig.held`).

An object that moves with the hand since the grasp is where the hand's motion has taken it. The context gets what is
left to each phase of the reference: the way of the keypoints' middle and the turn.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from uma.model.config import ModelConfig
from uma.model.encoders import EndEffectorBatch
from uma.model.inputs import Normalization
from uma.model.orientation import Addition
from uma.model.ways import WAY_FEATURES, features

TURN_LEFT = 4
"""Width of the features of a turn: its axis times the sine, and the cosine."""

HELD_FEATURES = WAY_FEATURES + TURN_LEFT
"""Width of the features of a phase."""


def rotation(turn: Tensor) -> Tensor:
    """``(..., 4)`` axis times sine, and cosine -> ``(..., 3, 3)`` rotations; zero if the turn is unknown (zero)."""
    known = turn / (turn.square().sum(-1, keepdim=True) + 1e-3).sqrt()
    s, c = known[..., :3], known[..., 3, None, None]
    x, y, z = s.unbind(-1)
    o = torch.zeros_like(x)
    cross = torch.stack([o, -z, y, z, o, -x, -y, x, o], -1).unflatten(-1, (3, 3))
    outer = s[..., :, None] * s[..., None, :] / (s.square().sum(-1)[..., None, None] + 1e-4)
    eye = torch.eye(3, device=turn.device, dtype=turn.dtype)
    length = (known.square().sum(-1)[..., None, None] + 1e-8).sqrt()  # its gradient is finite at zero
    return c * eye + cross + (length - c) * outer


def turn_features(R: Tensor) -> Tensor:
    """``(..., 3, 3)`` -> ``(..., 4)`` axis times sine, and cosine."""
    sine = torch.stack([R[..., 2, 1] - R[..., 1, 2], R[..., 0, 2] - R[..., 2, 0], R[..., 1, 0] - R[..., 0, 1]], -1)
    cosine = (R.diagonal(dim1=-2, dim2=-1).sum(-1, keepdim=True) - 1.0) / 2.0
    return torch.cat([sine / 2.0, cosine], -1)


def product(a: Tensor, b: Tensor) -> Tensor:
    """Matrix products ``(..., 3, 3)`` in full precision, which autocast would round."""
    return (a[..., :, :, None] * b[..., None, :, :]).sum(-2)


class Held(nn.Module):
    """Adds what is left for a held object to the task tokens, and all of it to the end-effector token.

    The initial output is zero. Nothing is added while the gripper is open or without a robot.
    """

    center: Tensor

    def __init__(self, config: ModelConfig, norm: Normalization):
        super().__init__()
        self.normalization, self.width = norm, config.width
        self.register_buffer("center", torch.tensor(norm.point_center), persistent=False)
        self.each = Addition(HELD_FEATURES, config.width)
        self.together = Addition(config.task_tokens * HELD_FEATURES, config.width)

    def forward(self, place: Tensor, turn: Tensor, ee: EndEffectorBatch) -> tuple[Tensor, Tensor]:
        """Normalised places ``(B, M, 3)`` and turns ``(B, M, 4)`` -> additions ``(B, M, d)`` and ``(B, d)``."""
        if ee.carried is None or ee.holds is None:
            zero = place.new_zeros(len(place), 1, self.width)
            return zero, zero[:, 0]
        x = self.left(place, turn, ee.carried)
        holds = ee.holds[:, None].to(x.dtype)
        return holds[..., None] * self.each(x), holds * self.together(x.flatten(1))

    def left(self, place: Tensor, turn: Tensor, carried: Tensor) -> Tensor:
        """Return the ``(B, M, 13)`` features of what is left after the motion ``carried`` ``(B, 4, 4)``."""
        n = self.normalization
        where = place * n.point_scale + self.center
        R, p = carried[:, :3, :3], carried[:, :3, 3]
        now = (R * where[:, 0, None, :]).sum(-1) + p
        left = product(rotation(turn), R[:, None].transpose(-1, -2))
        return torch.cat([features(where - now[:, None], n.local_scale), turn_features(left)], -1)
