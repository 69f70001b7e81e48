"""Links, joints and shapes of a robot, as plain data."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from uma.geometry.se3 import make_pose


@dataclass(frozen=True)
class Box:
    """A box about its centre.

    Attributes:
        size: edges along x, y and z, m.
    """

    size: tuple[float, float, float]


@dataclass(frozen=True)
class Cylinder:
    """A cylinder about its centre, along z. ``radius`` and ``length`` are in metres."""

    radius: float
    length: float


@dataclass(frozen=True)
class Sphere:
    """A sphere about its centre. ``radius`` is in metres."""

    radius: float


Shape = Box | Cylinder | Sphere


@dataclass(frozen=True)
class Solid:
    """A shape of a link.

    Attributes:
        T_link_shape: ``(4, 4)`` pose of the shape in the link.
        color: key of `COLORS`.
    """

    shape: Shape
    T_link_shape: np.ndarray
    color: str


COLORS = {
    "white": (0.93, 0.93, 0.94, 1.0),
    "grey": (0.80, 0.81, 0.83, 1.0),
    "metal": (0.46, 0.47, 0.49, 1.0),
    "black": (0.13, 0.13, 0.14, 1.0),
    "blue": (0.10, 0.45, 0.80, 1.0),
}
"""Name -> red, green, blue and opacity, 0 to 1."""


@dataclass(frozen=True)
class Link:
    """A rigid body of the robot.

    Attributes:
        name: name, and frame in ``/tf``.
        solids: shapes in the link's frame.
        mesh: name of its mesh file; empty for none.
    """

    name: str
    solids: tuple[Solid, ...] = ()
    mesh: str = ""


@dataclass(frozen=True)
class Turn:
    """How a joint turns: a revolute joint with its limits.

    Attributes:
        axis: ``(3,)`` unit vector in the joint's frame.
        lower, upper: rad.
        speed: rad/s.
        effort: Nm.
        follows: joint whose position this one takes, multiplied by ``factor``; empty for none.
    """

    axis: tuple[float, float, float]
    lower: float
    upper: float
    speed: float
    effort: float
    follows: str = ""
    factor: float = 1.0


@dataclass(frozen=True)
class Joint:
    """A joint between two links. The child's frame is the joint's frame.

    Attributes:
        T_parent_child: ``(4, 4)`` pose of the child in its parent, with the joint at 0.
        turn: None for a fixed joint.
    """

    name: str
    parent: str
    child: str
    T_parent_child: np.ndarray
    turn: Turn | None = None

    @property
    def source(self) -> str:
        """Name of the joint whose measured position this one needs; empty for a fixed joint."""
        return "" if self.turn is None else self.turn.follows or self.name


@dataclass(frozen=True)
class RobotTree:
    """A robot: an arm with a gripper.

    Attributes:
        links: the root first.
        arm, gripper: joints whose positions arrive in one message, from the root outward.
    """

    name: str
    links: tuple[Link, ...]
    arm: tuple[Joint, ...] = field(default=())
    gripper: tuple[Joint, ...] = field(default=())

    @property
    def joints(self) -> tuple[Joint, ...]:
        return (*self.arm, *self.gripper)

    @property
    def root(self) -> str:
        return self.links[0].name


def rod(start: tuple[float, float, float], end: tuple[float, float, float], radius: float, color: str) -> Solid:
    """Return a cylinder between two points of a link, m."""
    a, b = np.array(start), np.array(end)
    length = float(np.linalg.norm(b - a))
    z = (b - a) / length
    x = np.cross([0.0, 1.0, 0.0] if abs(z[1]) < 0.9 else [0.0, 0.0, 1.0], z)
    x /= np.linalg.norm(x)
    return Solid(Cylinder(radius, length), make_pose(np.stack([x, np.cross(z, x), z], -1), (a + b) / 2), color)


def ball(centre: tuple[float, float, float], radius: float, color: str) -> Solid:
    """Return a sphere about a point of a link, m."""
    return Solid(Sphere(radius), make_pose(np.eye(3), np.array(centre)), color)


def box(
    centre: tuple[float, float, float], size: tuple[float, float, float], color: str, R: np.ndarray | None = None
) -> Solid:
    """Return a box about a point of a link, m, with its axes along the columns of ``R`` ``(3, 3)``."""
    return Solid(Box(size), make_pose(np.eye(3) if R is None else R, np.array(centre)), color)
