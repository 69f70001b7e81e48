"""The Franka Research 3 as links and joints, with the kinematics of `uma.geometry.fr3` and primitive shapes."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from uma.geometry import fr3
from uma.geometry.se3 import make_pose
from uma.robot import RobotConfig
from uma_ros.messages.description.tree import Joint, Link, Solid, Turn, ball, box, rod

EFFORT = (87.0, 87.0, 87.0, 87.0, 12.0, 12.0, 12.0)
"""Largest torque of each joint, Nm, from Franka's description of the arm."""

_DIAGONAL = np.array([[1.0, -1.0, 0.0], [1.0, 1.0, 0.0], [0.0, 0.0, np.sqrt(2.0)]]) / np.sqrt(2.0)


def _link0(c: str) -> tuple[Solid, ...]:
    return (
        rod((0, 0, 0), (0, 0, 0.14), 0.07, c),
        box((-0.06, 0, 0.05), (0.09, 0.13, 0.1), c),
        box((-0.115, 0, 0.03), (0.05, 0.13, 0.06), c),
        box((-0.065, 0, 0.006), (0.17, 0.17, 0.012), c),
    )


def _link1(c: str) -> tuple[Solid, ...]:
    return (
        rod((0, 0, -0.192), (0, 0, -0.12), 0.055, c),
        rod((0, 0, -0.125), (0, -0.06, -0.02), 0.05, c),
        rod((0, -0.075, 0), (0, 0, 0), 0.055, c),
        ball((0, -0.075, 0), 0.055, c),
    )


def _link2(c: str) -> tuple[Solid, ...]:
    return (
        rod((0, -0.194, 0), (0, -0.12, 0), 0.055, c),
        rod((0, -0.125, 0), (0, -0.02, 0.06), 0.05, c),
        rod((0, 0, 0), (0, 0, 0.075), 0.055, c),
        ball((0, 0, 0.075), 0.055, c),
    )


def _link3(c: str) -> tuple[Solid, ...]:
    return (
        rod((0, 0, -0.121), (0, 0, -0.065), 0.055, c),
        ball((0, 0, -0.065), 0.055, c),
        rod((0, 0, -0.05), (0.0825, 0.03, 0), 0.045, c),
        rod((0.0825, 0, 0), (0.0825, 0.065, 0), 0.055, c),
        ball((0.0825, 0.058, 0), 0.055, c),
    )


def _link4(c: str) -> tuple[Solid, ...]:
    return (
        rod((0, 0, 0), (0, 0, 0.065), 0.055, c),
        ball((0, 0, 0.055), 0.055, c),
        rod((-0.0825, 0.124, 0), (-0.0825, 0.065, 0), 0.055, c),
        ball((-0.0825, 0.065, 0), 0.055, c),
        rod((-0.0825, 0.05, 0), (0, 0, 0.03), 0.045, c),
    )


def _link5(c: str) -> tuple[Solid, ...]:
    return (
        rod((0, 0, -0.259), (0, 0, -0.225), 0.055, c),
        ball((0, 0.01, -0.22), 0.05, c),
        rod((0, 0, -0.225), (0, 0.085, -0.15), 0.04, c),
        rod((0, 0.085, -0.17), (0, 0.1, 0), 0.03, c),
        rod((0, 0.018, 0), (0, 0.085, 0), 0.05, c),
        ball((0, 0.082, 0), 0.049, c),
    )


def _link6(c: str) -> tuple[Solid, ...]:
    return (
        rod((0, 0, -0.016), (0, 0, 0.05), 0.048, c),
        rod((0, 0, 0.02), (0.08, 0.03, 0.012), 0.036, c),
        box((0.06, 0.03, 0.03), (0.1, 0.08, 0.04), c),
        rod((0.088, -0.05, 0), (0.088, 0.07, 0), 0.045, c),
    )


def _link7(c: str) -> tuple[Solid, ...]:
    return (
        rod((0, 0, 0.052), (0, 0, fr3.FLANGE), 0.044, c),
        box((0.037, 0.037, 0.0755), (0.066, 0.06, 0.035), c, _DIAGONAL),
    )


def arm(config: RobotConfig, link: Callable[[str], str], joint: Callable[[str], str]) -> tuple[list[Link], list[Joint]]:
    """Return the links from the base to the flange and the joints between them.

    Args:
        config: names of the base and of the flange.
        link, joint: name of a link or joint without prefix -> name in the tree.
    """
    shapes = (_link0, _link1, _link2, _link3, _link4, _link5, _link6, _link7)
    names = [link(config.base_frame), *(link(f"fr3_link{i}") for i in range(1, 8)), link(config.flange_frame)]
    links = [
        Link(name, shape("white" if i % 2 == 0 else "grey"), f"link{i}_vis.dae")
        for i, (name, shape) in enumerate(zip(names, shapes))
    ]
    joints = [
        Joint(
            joint(name),
            names[i],
            names[i + 1],
            fr3.ORIGINS[i],
            Turn((0.0, 0.0, 1.0), float(fr3.LOWER[i]), float(fr3.UPPER[i]), float(fr3.SPEED[i]), EFFORT[i]),
        )
        for i, name in enumerate(fr3.JOINT_NAMES)
    ]
    T_flange = make_pose(np.eye(3), np.array([0.0, 0.0, fr3.FLANGE]))
    return [*links, Link(names[8])], [*joints, Joint(joint("fr3_joint8"), names[7], names[8], T_flange)]
