"""The robot configuration: frames, joint names, tool on the flange, home posture and gripper joint."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from uma.geometry import fr3, se3
from uma.settings import setting
from uma.types import InputError


@dataclass(frozen=True)
class ToolMount:
    """The pose of the end effector in the frame of the flange."""

    xyz: tuple[float, ...] = setting((0.0, 0.0, 0.1597), "m; position of the end effector in the flange", -1.0, 1.0)
    xyzw: tuple[float, ...] = setting(
        (0.0, 0.0, 0.0, 1.0), "unit quaternion (x, y, z, w); orientation of the end effector in the flange", -1.0, 1.0
    )

    def matrix(self) -> np.ndarray:
        """Return ``(4, 4)`` T_flange_ee."""
        return se3.from_quaternion(np.array(self.xyz), np.array(self.xyzw))


@dataclass(frozen=True)
class RobotConfig:
    """An FR3 with a gripper and a camera. The defaults are DROID's: a Robotiq 2F-85, mounted straight.

    Two robots in one tree of frames need different names: see `with_prefixes`.

    Raises:
        InputError: a name is empty, a list has a wrong length, the quaternion is not a unit quaternion, or
            home exceeds the joint limits.
    """

    base_frame: str = setting("fr3_link0", "base frame of the robot")
    flange_frame: str = setting("fr3_link8", "end-effector frame of the robot's Cartesian controller")
    ee_frame: str = setting(
        "robotiq_2f85_tcp", "end-effector frame of the policy's actions: the closed pads' pinch point"
    )
    T_flange_ee: ToolMount = field(default_factory=ToolMount)
    home: tuple[float, ...] = setting(
        tuple(fr3.REST.tolist()), "rad; joint positions at the start of a task", -5.0, 5.0
    )
    gripper_joint: str = setting("robotiq_85_left_knuckle_joint", "name of the gripper's joint in joint_states")
    gripper_closed: float = setting(0.8, "rad; position of that joint in a closed gripper; 0 is open", 0.01, 10.0)
    camera_frame: str = setting("zed_left_camera_frame_optical", "optical frame of the camera")
    frame_prefix: str = setting("", "text before every frame, such as left_, as robot_state_publisher's frame_prefix")
    joint_prefix: str = setting("", "text before every joint in joint_states, such as left_")

    def __post_init__(self) -> None:
        for name in (*FRAMES, "gripper_joint"):
            if not getattr(self, name):
                raise InputError(f"{name}: '', must be a name")
        mount = self.T_flange_ee
        for name, values, length in (
            ("T_flange_ee.xyz", mount.xyz, 3),
            ("T_flange_ee.xyzw", mount.xyzw, 4),
            ("home", self.home, len(fr3.REST)),
        ):
            if len(values) != length:
                raise InputError(f"{name}: {len(values)} numbers, must be {length}")
        if abs(np.linalg.norm(mount.xyzw) - 1.0) > 1e-3:
            raise InputError(f"T_flange_ee.xyzw: {list(mount.xyzw)}, must be a unit quaternion")
        for i, (q, low, high) in enumerate(zip(self.home, fr3.LOWER, fr3.UPPER)):
            if not low <= q <= high:
                raise InputError(f"home[{i}]: {q:g} rad, must be {low:g} to {high:g}")

    @property
    def arm_joints(self) -> tuple[str, ...]:
        """Names of the arm's seven joints in joint_states, from the base to the flange."""
        return tuple(self.joint_prefix + name for name in fr3.JOINT_NAMES)

    @property
    def kinematics(self) -> tuple[str, str]:
        """Base and end-effector frames of the kinematics in `uma.geometry.fr3` on this robot."""
        return self.frame_of("fr3_link0"), self.frame_of("fr3_link8")

    def frame_of(self, name: str) -> str:
        """Return this robot's frame for a name without a prefix, such as the end effector of a checkpoint."""
        return self.frame_prefix + name

    def with_prefixes(self) -> RobotConfig:
        """Return the robot with its prefixes put before its frames and its gripper's joint."""
        frames: dict[str, Any] = {name: self.frame_of(getattr(self, name)) for name in FRAMES}
        return replace(self, **frames, gripper_joint=self.joint_prefix + self.gripper_joint)


FRAMES = ("base_frame", "flange_frame", "ee_frame", "camera_frame")
"""Fields of `RobotConfig` that are names of frames."""

DROID = RobotConfig()
"""The robot configuration of the DROID data set."""
