"""The robot configuration: frames, tool on the flange, home posture and gripper joint."""

from __future__ import annotations

from dataclasses import dataclass, field

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
    """An FR3 with a gripper. The defaults are DROID's: a Robotiq 2F-85, mounted straight.

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

    def __post_init__(self) -> None:
        for name in ("base_frame", "flange_frame", "ee_frame", "gripper_joint"):
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


DROID = RobotConfig()
"""The robot configuration of the DROID data set."""
