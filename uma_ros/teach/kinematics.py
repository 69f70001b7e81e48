"""Poses of all links of the robot from the measured joints, for the drawing."""

from __future__ import annotations

import numpy as np
from scipy.spatial.transform import Rotation

from uma.geometry.se3 import make_pose
from uma.robot import RobotConfig
from uma_ros.messages.description.tree import RobotTree


def link_poses(tree: RobotTree, positions: dict[str, float]) -> dict[str, np.ndarray]:
    """Return link -> ``(4, 4)`` pose in the root's frame. Joints without a position stay at 0.

    Args:
        positions: joint -> rad.
    """
    poses = {tree.root: np.eye(4)}
    for joint in tree.joints:
        T = joint.T_parent_child
        if joint.turn is not None:
            angle = joint.turn.factor * positions.get(joint.source, 0.0)
            turn = Rotation.from_rotvec(angle * np.array(joint.turn.axis)).as_matrix()
            T = T @ make_pose(turn, np.zeros(3))
        poses[joint.child] = poses[joint.parent] @ T
    return poses


def positions_of(joints: np.ndarray, gripper: float, config: RobotConfig) -> dict[str, float]:
    """Return joint -> rad.

    Args:
        joints: ``(7,)`` rad.
        gripper: 0 open to 1 closed.
    """
    named = dict(zip(config.arm_joints, map(float, joints), strict=True))
    return {**named, config.gripper_joint: gripper * config.gripper_closed}
