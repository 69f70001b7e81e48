"""The gripper as points, and an action as their motion. The end-effector frame has z out of the gripper, and the
fingers close along y.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

STROKE = 0.085
"""Distance of the pads of the open gripper (Robotiq 2F-85), metres."""

_FINGER = [(x, 0.0, z) for x in (-0.011, 0.011) for z in (-0.06, -0.035, -0.01, 0.012)]
_PALM = [(x, y, z) for x in (-0.03, 0.03) for y in (-0.035, 0.035) for z in (-0.09, -0.14)]

POINTS = 2 * len(_FINGER) + len(_PALM)
"""R, points of the gripper: 8 of each finger and 8 of the palm."""


def hand_points(gripper: Tensor) -> Tensor:
    """Return the gripper's points ``(..., R, 3)`` in the end-effector frame, metres.

    Args:
        gripper: ``(...)``, 0 open to 1 closed.
    """
    half = 0.5 * STROKE * (1 - gripper)[..., None, None]
    finger, palm = gripper.new_tensor(_FINGER), gripper.new_tensor(_PALM)
    aside = half * half.new_tensor([0.0, 1.0, 0.0])
    return torch.cat([finger + aside, finger - aside, palm.expand(*gripper.shape, -1, -1)], -2)


@dataclass(frozen=True)
class HandMotion:
    """Poses of the gripper, the current one first.

    Attributes:
        poses: ``(N, S + 1, 4, 4)`` in the policy frame's axes, relative to the measured end effector's position.
        gripper: ``(N, S + 1)``, 0 open to 1 closed.
    """

    poses: Tensor
    gripper: Tensor

    def points(self) -> Tensor:
        """Return the point flow ``(N, R, S + 1, 3)``, metres."""
        R, p = self.poses[..., :3, :3], self.poses[..., :3, 3]
        return (hand_points(self.gripper) @ R.transpose(-1, -2) + p[..., None, :]).transpose(1, 2)

    def window(self, start: int, steps: int) -> HandMotion:
        """Return the motion from step ``start`` over ``steps`` steps; the hand rests after the last known one."""
        index = torch.arange(start, start + steps + 1).clamp_max(self.poses.shape[1] - 1)
        return HandMotion(self.poses[:, index], self.gripper[:, index])
