"""A kinematic baseline of motion prediction: keypoints move rigidly with a closed hand."""

from __future__ import annotations

import numpy as np

from uma.geometry import se3
from uma.model.carry import CLOSED, HELD

REACH = 0.15
"""Largest distance of a held point from the end effector, metres."""


def carried(
    points: np.ndarray, pose: np.ndarray, gripper: float, targets: np.ndarray, commands: np.ndarray
) -> np.ndarray:
    """Return ``(H, K, 3)`` points that move rigidly with the commanded hand while the gripper is closed, and rest
    otherwise.

    Only points within `REACH` of the closed end effector move.

    Args:
        points: ``(K, 3)`` current positions, metres.
        pose, gripper: ``(4, 4)`` measured end effector, and gripper.
        targets, commands: ``(H, 4, 4)`` and ``(H,)``, the actions.
    """
    poses = np.concatenate([pose[None], targets])
    closed = np.concatenate([[gripper > HELD], commands > CLOSED])
    now, out = points, []
    for i in range(len(targets)):
        if closed[i] and closed[i + 1]:
            is_held = np.linalg.norm(now - poses[i][:3, 3], axis=-1, keepdims=True) < REACH
            now = np.where(is_held, se3.apply(poses[i + 1] @ se3.invert(poses[i]), now), now)
        out.append(now)
    return np.stack(out)
