"""Goals of the intents: an object's motion as a person sketches it, a few waypoints with straight legs between them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.spatial.transform import Rotation

from uma.geometry import se3
from uma_sim.objects.catalog import CatalogShape
from uma_sim.planning.paths import RADIAN_M, Path

KINDS = ("lift", "carry", "put", "turn", "slide", "tilt", "into", "out")
"""Kinds of goals: held up; carried and held; put down; turned; slid; tilted; into a container; out of one."""

RELEASED = ("put", "into", "out")
"""Kinds whose object is let go at the end; the others are held there."""

ROUND = ("can", "bottle")
"""Kinds of objects that are symmetric about their z axis."""

RELEASE_M = 0.003
"""Height above the end of the motion at which the gripper opens, metres, and least height above the table."""


@dataclass(frozen=True)
class Goal:
    """One intended motion of the moved object.

    Attributes:
        kind: one of `KINDS`.
        waypoints: ``(W + 1, 4, 4)`` object poses in the base frame; the first is the initial pose.
        turn: rotation of the object in radians; about the vertical (positive to the left from above), or for "tilt"
            about a horizontal axis.
        side: +1 if the gripper's x axis points along the object's x axis in the grasp, -1 if against it.
        about: index of the scene's object that the goal refers to, such as the container; 0 = none.
        drop: fall of the object after the release, metres.
    """

    kind: str
    waypoints: np.ndarray
    turn: float = 0.0
    side: int = 1
    about: int = 0
    drop: float = 0.0

    @property
    def lets_go(self) -> bool:
        """Whether the object is let go at the end."""
        return self.kind in RELEASED

    def path(self, half_height: float) -> Path:
        """Return the object's path, poses about 1 cm or 0.03 rad apart.

        Args:
            half_height: height of the object's origin on the table, metres.
        """
        poses = [self.waypoints[:1]]
        for a, b in zip(self.waypoints[:-1], self.waypoints[1:], strict=True):
            steps = int(np.ceil(max(length(a, b)[0] / 0.01, length(a, b)[1] / 0.03, 1)))
            share = np.linspace(0, 1, steps + 1)[1:, None]
            R = a[:3, :3] @ Rotation.from_rotvec(share * se3.log(a[:3, :3].T @ b[:3, :3])).as_matrix()
            poses.append(se3.make_pose(R, (1 - share) * a[:3, 3] + share * b[:3, 3]))
        out = np.concatenate(poses)
        out[:, 2, 3] = np.maximum(out[:, 2, 3], half_height + RELEASE_M)
        out[-1, 2, 3] = max(float(out[-1, 2, 3]), float(self.waypoints[-1][2, 3]) + self.drop)
        return Path(out, self.lets_go, self.drop)


def length(T_a: np.ndarray, T_b: np.ndarray) -> tuple[float, float]:
    """Return the distance in metres and the angle in radians between two poses ``(4, 4)``."""
    return float(np.linalg.norm(T_b[:3, 3] - T_a[:3, 3])), float(se3.rotation_angle(T_a[:3, :3], T_b[:3, :3]))


def spread(waypoints: np.ndarray, count: int) -> np.ndarray:
    """Return ``(count, 4, 4)`` poses of a motion with straight legs, including both ends.

    With fewer than its own waypoints, the bluntest bends are left out. With more, the longest legs are halved.
    """
    poses = list(waypoints)
    while len(poses) > count:
        cut = [
            sum(_metres(a, b) for a, b in ((poses[i - 1], poses[i]), (poses[i], poses[i + 1])))
            - _metres(poses[i - 1], poses[i + 1])
            for i in range(1, len(poses) - 1)
        ]
        poses.pop(1 + int(np.argmin(cut)))
    while len(poses) < count:
        i = int(np.argmax([_metres(a, b) for a, b in zip(poses[:-1], poses[1:], strict=True)]))
        poses.insert(i + 1, se3.interpolate(poses[i], poses[i + 1], 0.5))
    return np.stack(poses)


def _metres(T_a: np.ndarray, T_b: np.ndarray) -> float:
    metres, radians = length(T_a, T_b)
    return metres + RADIAN_M * radians


def distance(thing: CatalogShape, T: np.ndarray, T_goal: np.ndarray) -> tuple[float, float]:
    """Return the mean distance of the object's 16 points in metres, and the rotation in radians, to a goal pose.

    For objects of `ROUND`, rotation about their axis does not count.

    Args:
        T, T_goal: ``(4, 4)`` object poses.
    """
    if thing.kind in ROUND:
        R = T_goal[:3, :3].T @ T[:3, :3]
        twist = np.arctan2(R[1, 0] - R[0, 1], R[0, 0] + R[1, 1])
        c, s = np.cos(twist), np.sin(twist)
        T = T @ se3.make_pose(np.array([[c, s, 0], [-s, c, 0], [0, 0, 1.0]]), np.zeros(3))
    apart = se3.apply(T, thing.points) - se3.apply(T_goal, thing.points)
    return float(np.linalg.norm(apart, axis=-1).mean()), length(T, T_goal)[1]
