"""Motion without a model, from the same knowledge: present keypoints and a chunk of given actions."""

from __future__ import annotations

import numpy as np

from uma.geometry import se3

CLOSED = 0.5
"""A commanded gripper above this is closed."""

HELD = 0.3
"""A measured gripper above this may hold something; a thin thing stops it well before 1."""


REACH = 0.15
"""Points farther than this from the end effector are not in the hand, metres."""


def carried(
    points: np.ndarray, pose: np.ndarray, gripper: float, targets: np.ndarray, commands: np.ndarray
) -> np.ndarray:
    """``(H, K, 3)`` points that move rigidly with the commanded hand while the gripper is closed, and rest otherwise.

    Only what is within `REACH` of the end effector when the gripper is closed goes along.

    Args:
        points: ``(K, 3)`` present positions, metres.
        pose, gripper: ``(4, 4)`` measured end effector and opening.
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
