"""The way from the end effector to the reference motion (`ModelConfig.ways`).

Each task token states the place of the reference at its phase in three channels of its own. The context gets the
differences between these places and the measured end effector, which a network must otherwise learn to subtract.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from uma.model.config import ModelConfig
from uma.model.encoders import EndEffectorBatch
from uma.model.inputs import Normalization
from uma.model.orientation import Addition

NEAR_M = (0.06, 0.02)
"""Length scales at which the bounded features saturate, metres."""

WAY_FEATURES = 3 * (1 + len(NEAR_M))
"""Width of `features`."""


def features(way: Tensor, local_scale: float) -> Tensor:
    """``(..., 3)`` metres -> ``(..., 9)``: the way, and bounded copies that resolve its last centimetres."""
    return torch.cat([way / local_scale, *(torch.tanh(way / near) for near in NEAR_M)], -1)


class Ways(nn.Module):
    """Adds the ways to the task tokens, and all of them to the end-effector token.

    The initial output is zero. Without a robot, every way is zero.
    """

    center: Tensor

    def __init__(self, config: ModelConfig, norm: Normalization):
        super().__init__()
        self.normalization = norm
        self.register_buffer("center", torch.tensor(norm.point_center), persistent=False)
        self.each = Addition(WAY_FEATURES, config.width)
        self.together = Addition(config.task_tokens * WAY_FEATURES, config.width)

    def forward(self, place: Tensor, ee: EndEffectorBatch) -> tuple[Tensor, Tensor]:
        """``(B, M, 3)`` normalised places -> additions to the task tokens ``(B, M, d)`` and to the state ``(B, d)``."""
        n = self.normalization
        way = place * n.point_scale + self.center - ee.pose[:, None, :3, 3]
        if ee.is_known is not None:
            way = way * ee.is_known[:, None, None]
        x = features(way, n.local_scale)
        return self.each(x), self.together(x.flatten(1))
