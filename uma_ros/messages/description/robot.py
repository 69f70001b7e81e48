"""The robot of config/robot.yaml: an FR3 with a 2F-85."""

from __future__ import annotations

from uma.robot import DROID, RobotConfig
from uma_ros.messages.description.arm import arm
from uma_ros.messages.description.gripper import gripper
from uma_ros.messages.description.tree import RobotTree


def fr3_2f85(config: RobotConfig = DROID, prefix: str = "") -> RobotTree:
    """Return the tree of an FR3 with a 2F-85.

    Args:
        config: names of base, flange and gripper joint, the gripper's mount and its closed angle.
        prefix: stands before the name of every link and joint, such as ``left_``. A name of ``config`` that already
            begins with it stays as it is.
    """

    def named(name: str) -> str:
        return name if name.startswith(prefix) else prefix + name

    arm_links, arm_joints = arm(config, named)
    gripper_links, gripper_joints = gripper(config, named)
    return RobotTree(
        f"{prefix}fr3_2f85", (*arm_links, *gripper_links), arm=tuple(arm_joints), gripper=tuple(gripper_joints)
    )
