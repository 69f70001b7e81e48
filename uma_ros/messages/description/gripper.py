"""The Robotiq 2F-85 as links and joints: the linkage and the shapes of the simulated gripper.

Names and signs of the joints are those of ros2_robotiq_gripper. Each finger tip follows the inner knuckle, turned back
by the same angle, so that the pads stay parallel.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from scipy.spatial.transform import Rotation

from uma.geometry.se3 import make_pose
from uma.robot import RobotConfig
from uma_ros.messages.description.tree import Joint, Link, Solid, Turn, box, rod

REACH = 0.1597
"""m from the gripper's base to the pinch point of the closed pads, along z."""
SPEED, EFFORT = 0.5, 50.0
"""rad/s and Nm of a knuckle in the description of ros2_robotiq_gripper."""
DRIVER, SPRING, FOLLOWER = (0.0, 0.0306, 0.0657), (0.0, 0.0132, 0.0717), (0.0, 0.037, 0.044)
"""m; pivots of the knuckle and the inner knuckle in the base, and of the finger tip in the inner knuckle, at +y."""


def _base() -> tuple[Solid, ...]:
    return (
        rod((0, 0, 0), (0, 0, 0.011), 0.0375, "grey"),
        rod((0, 0, 0.011), (0, 0, 0.063), 0.0375, "black"),
        box((0, 0, 0.073), (0.075, 0.082, 0.034), "black"),
        box((0, 0, 0.095), (0.053, 0.073, 0.01), "metal"),
        rod((0, 0, 0.028), (0, 0, 0.032), 0.0378, "blue"),
    )


def _knuckle() -> tuple[Solid, ...]:
    lean = Rotation.from_euler("x", -0.13).as_matrix()
    return (
        rod((0, 0, 0), (0, 0.0315, -0.0041), 0.0075, "metal"),
        box((0, 0.0345, 0.02), (0.025, 0.011, 0.048), "black", lean),
    )


def _inner_knuckle() -> tuple[Solid, ...]:
    return tuple(rod((x, 0, 0), (x, *FOLLOWER[1:]), 0.0055, "black") for x in (0.013, -0.013))


def _tip() -> tuple[Solid, ...]:
    return (
        box((0, 0.008, -0.003), (0.015, 0.025, 0.013), "black"),
        box((0, 0.004, 0.0235), (0.021, 0.0056, 0.042), "metal"),
        box((0, -0.0037, 0.02577), (0.022, 0.008, 0.0375), "black"),
    )


def gripper(
    config: RobotConfig, link: Callable[[str], str], joint: Callable[[str], str]
) -> tuple[list[Link], list[Joint]]:
    """Return the links of the gripper and its joints, from the flange outward.

    The pinch point of the closed pads lies at ``config.T_flange_ee``. That frame itself is no link: the calibration has
    the tool of a real robot, and the extrinsics node publishes it.

    Args:
        config: names of the flange and of the gripper's joint, and the mount.
        link, joint: name of a link or joint without prefix -> name in the tree.
    """
    base, driver = link("robotiq_85_base_link"), joint(config.gripper_joint)
    T_mount = config.T_flange_ee.matrix() @ make_pose(np.eye(3), np.array([0.0, 0.0, -REACH]))
    links = [Link(base, _base())]
    joints = [Joint(joint("robotiq_85_base_joint"), link(config.flange_frame), base, T_mount)]
    # The left finger is the right one, turned by half a turn about z. Its knuckle is the joint that is measured.
    for side, sign in (("left", 1.0), ("right", -1.0)):
        half = np.diag([-sign, -sign, 1.0])
        stem = f"robotiq_85_{side}"
        knuckle, inner, tip = (link(f"{stem}_{part}_link") for part in ("knuckle", "inner_knuckle", "finger_tip"))
        links += [Link(knuckle, _knuckle()), Link(inner, _inner_knuckle()), Link(tip, _tip())]
        own = driver if side == "left" else joint(f"{stem}_knuckle_joint")
        joints += [
            Joint(own, base, knuckle, make_pose(half, half @ DRIVER), _turn(config, own, driver, sign, sign)),
            Joint(
                joint(f"{stem}_inner_knuckle_joint"),
                base,
                inner,
                make_pose(half, half @ SPRING),
                _turn(config, "", driver, sign, sign),
            ),
            Joint(
                joint(f"{stem}_finger_tip_joint"),
                inner,
                tip,
                make_pose(np.eye(3), np.array(FOLLOWER)),
                _turn(config, "", driver, sign, -sign),
            ),
        ]
    return links, joints


def _turn(config: RobotConfig, name: str, driver: str, axis: float, factor: float) -> Turn:
    """Return the turn of a joint about ``axis`` times x that follows ``driver`` times ``factor``, or is the driver."""
    end = factor * config.gripper_closed
    follows = "" if name == driver else driver
    return Turn((axis, 0.0, 0.0), min(0.0, end), max(0.0, end), SPEED, EFFORT, follows, factor)
