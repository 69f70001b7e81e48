"""The robot of config/robot.yaml: an FR3 with a 2F-85."""

from __future__ import annotations

from collections.abc import Callable

from uma.robot import DROID, RobotConfig
from uma_ros.messages.description.arm import arm
from uma_ros.messages.description.gripper import gripper
from uma_ros.messages.description.tree import RobotTree


def fr3_2f85(config: RobotConfig = DROID, prefix: str = "") -> RobotTree:
    """Return the tree of an FR3 with a 2F-85.

    Args:
        config: names of base, flange and gripper joint, the gripper's mount and its closed angle.
        prefix: stands before the name of every link and joint, such as ``left_``. A name of ``config`` that already
            begins with it stays as it is. Empty: the prefixes of ``config``.
    """
    link, joint = _named(prefix or config.frame_prefix), _named(prefix or config.joint_prefix)
    arm_links, arm_joints = arm(config, link, joint)
    gripper_links, gripper_joints = gripper(config, link, joint)
    links = (*arm_links, *gripper_links)
    return RobotTree(link("fr3_2f85"), links, arm=tuple(arm_joints), gripper=tuple(gripper_joints))


def _named(prefix: str) -> Callable[[str], str]:
    return lambda name: name if name.startswith(prefix) else prefix + name
