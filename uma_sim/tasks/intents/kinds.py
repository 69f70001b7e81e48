"""One function per kind of goal: draws a motion of the moved object as a person sketches it."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from scipy.spatial.transform import Rotation

from uma.geometry import fr3, se3
from uma_sim.objects import containers
from uma_sim.planning import grasping
from uma_sim.planning.grasping import UP, bearing, wrap
from uma_sim.robot.gripper import T_LINK8_TCP
from uma_sim.robot.ik import Kinematics
from uma_sim.tasks.intents.goals import Goal
from uma_sim.tasks.intents.layout import AIR, Layout
from uma_sim.tasks.primitives.move import thing_grasp

LOW, HIGH = np.array([0.36, -0.20]), np.array([0.62, 0.26])
"""Corners of the area in which motions end, base frame, metres."""

YAW = 2.5
"""Largest yaw of the gripper at either end of a turn, radians; the wrist's range leaves a margin for the arm's
bearing."""

FAR = 0.12
"""Least distance from start to end of a motion across the table, metres."""


def turned(T: np.ndarray, yaw: float) -> np.ndarray:
    """Return the rotation ``(3, 3)`` of ``T`` after a turn by ``yaw`` radians about the vertical."""
    return Rotation.from_rotvec(yaw * UP).as_matrix() @ T[:3, :3]


def side_for(T: np.ndarray, turn: float) -> int | None:
    """Return `Goal.side` that keeps the gripper's yaw small before and after a ``turn``; None if none does."""
    yaws = {side: bearing(side * T[:3, 0]) for side in (1, -1)}
    most = {side: max(abs(yaw), abs(yaw + turn)) for side, yaw in yaws.items()}
    side = min(most, key=lambda s: most[s])
    return side if most[side] < YAW else None


def grasp(layout: Layout, T: np.ndarray, side: int) -> np.ndarray:
    """Return the ``(4, 4)`` grasp of the object at ``T`` with the gripper's x along ``side`` times the object's."""
    T_grasp = thing_grasp(layout.things[0], T, bearing(side * T[:3, 0]))
    return grasping.top_down(bearing(side * T[:3, 0]), T_grasp[:3, 3])


def is_reachable(layout: Layout, goal: Goal) -> bool:
    """Whether the arm can follow the goal; only a tilt is checked, in steps of about 0.3 rad.

    Rotations about the vertical are in reach by `side_for`, and places by `LOW`, `HIGH` and `AIR`.
    """
    if goal.kind != "tilt":
        return True
    kinematics, waypoints = Kinematics(T_LINK8_TCP), goal.waypoints
    T_object_ee = se3.invert(layout.start) @ grasp(layout, layout.start, goal.side)
    q, metres, radians = kinematics.solve(waypoints[0] @ T_object_ee, fr3.REST, 40)
    for a, b in zip(waypoints[:-1], waypoints[1:], strict=True):
        steps = 1 + int(se3.rotation_angle(a[:3, :3], b[:3, :3]) / 0.3)
        for s in np.linspace(0, 1, steps + 1)[1:]:
            q, metres, radians = kinematics.solve(se3.interpolate(a, b, float(s)) @ T_object_ee, q, 14)
            if metres > 0.005 or radians > 0.04:
                return False
    return bool(metres < 0.005 and radians < 0.04)


def _poses(rng: np.random.Generator, start: np.ndarray, points: list[np.ndarray], turn: float) -> np.ndarray:
    """Return the poses of a motion over ``points``; the turn is along the legs or on the last one alone."""
    n = len(points)
    share = np.linspace(0, 1, n + 1)[1:] if rng.uniform() < 0.5 else (np.arange(1, n + 1) == n).astype(float)
    return np.stack([start, *(se3.make_pose(turned(start, turn * s), p) for s, p in zip(share, points, strict=True))])


def _between(rng: np.random.Generator, a: np.ndarray, b: np.ndarray, count: int, low: float) -> list[np.ndarray]:
    """Draw ``count`` points between ``a`` and ``b`` (3,), up to 6 cm aside, not below ``low`` metres."""
    out = []
    for s in np.linspace(0, 1, count + 2)[1:-1]:
        aside = rng.uniform(-0.06, 0.06, 2)
        height = max(float((1 - s) * a[2] + s * b[2] + rng.uniform(-0.05, 0.05)), low)
        out.append(np.array([*((1 - s) * a[:2] + s * b[:2] + aside), height]))
    return out


def _maybe_turn(rng: np.random.Generator, most: float) -> float:
    return float(rng.uniform(-most, most)) if rng.uniform() < 0.4 else 0.0


def _place(rng: np.random.Generator, layout: Layout) -> np.ndarray | None:
    """Draw a place ``(2,)`` across the table; None if it is too near to the start."""
    place = rng.uniform(LOW, HIGH)
    return place if np.linalg.norm(place - layout.start[:2, 3]) > FAR else None


def lift(rng: np.random.Generator, layout: Layout) -> Goal | None:
    """Straight up by 8 to 25 cm, held."""
    start, rise = layout.start[:3, 3], float(rng.uniform(0.08, 0.25))
    points = [start + s * rise * UP for s in np.linspace(0, 1, int(rng.integers(1, 4)) + 1)[1:]]
    return _goal("lift", layout, _poses(rng, layout.start, points, 0.0))


def carry(rng: np.random.Generator, layout: Layout) -> Goal | None:
    """Through the air over 1 to 6 waypoints, held at the end."""
    place = _place(rng, layout)
    if place is None:
        return None
    end = np.array([*place, max(layout.low(), rng.uniform(*AIR))])
    angle = _maybe_turn(rng, 1.0)
    return _goal("carry", layout, _over(rng, layout, end, int(rng.integers(1, 7)), angle, layout.low()), angle)


def _over(rng: np.random.Generator, layout: Layout, end: np.ndarray, count: int, turn: float, low: float) -> np.ndarray:
    """Return the poses of a motion of ``count`` waypoints to ``end`` in the air.

    Of several waypoints, the first is often straight above the start; always if the object is inside a container.
    """
    points: list[np.ndarray] = []
    start = layout.start[:3, 3]
    count = max(count, 2) if layout.is_inside else count
    if count > 1 and (layout.is_inside or rng.uniform() < 0.7):
        points.append(np.array([*start[:2], max(low, rng.uniform(*AIR))]))
    points += _between(rng, points[-1] if points else start, end, count - 1 - len(points), low)
    return _poses(rng, layout.start, [*points, end], turn)


def put(rng: np.random.Generator, layout: Layout) -> Goal | None:
    """Through the air over 2 to 6 waypoints and down on a free place."""
    place = _place(rng, layout)
    if place is None:
        return None
    end = np.array([*place, layout.things[0].half_height])
    return _goal("put", layout, *_down(rng, layout, end, layout.low()))


def _down(rng: np.random.Generator, layout: Layout, end: np.ndarray, low: float) -> tuple[np.ndarray, float]:
    """Return the poses of a motion that comes down on ``end``, and its turn."""
    turn, count = _maybe_turn(rng, 1.5), int(rng.integers(2, 7))
    if count == 2 and not layout.is_inside and low <= AIR[0]:
        peak = 0.5 * (layout.start[:3, 3] + end)
        return _poses(rng, layout.start, [np.array([*peak[:2], rng.uniform(*AIR)]), end], turn), turn
    above = np.array([*end[:2], max(low, float(end[2] + rng.uniform(0.05, 0.14)))])
    poses = _over(rng, layout, above, max(count - 1, 2), turn, low)
    last = poses[-1].copy()
    last[:3, 3] = end
    return np.concatenate([poses, last[None]]), turn


def turn(rng: np.random.Generator, layout: Layout) -> Goal | None:
    """Up and about the vertical by 30 to 120 degrees, held."""
    angle = float(rng.choice([-1, 1]) * np.radians(rng.uniform(30, 120)))
    top = layout.start[:3, 3] + rng.uniform(0.05, 0.16) * UP
    count = int(rng.integers(1, 4))
    if count == 1:
        poses = _poses(rng, layout.start, [top], angle)
    else:
        share = np.linspace(0, 1, count)
        rest = [se3.make_pose(turned(layout.start, angle * s), top) for s in share]
        poses = np.stack([layout.start, *rest])
    return _goal("turn", layout, poses, angle)


def slide(rng: np.random.Generator, layout: Layout) -> Goal | None:
    """Along the table over 1 to 3 waypoints by 8 to 30 cm, held at the end."""
    start = layout.start[:3, 3]
    place = rng.uniform(LOW, HIGH)
    if not 0.08 < np.linalg.norm(place - start[:2]) < 0.30:
        return None
    end = np.array([*place, start[2]])
    points = [p * [1, 1, 0] + start * [0, 0, 1] for p in _between(rng, start, end, int(rng.integers(0, 3)), 0.0)]
    angle = _maybe_turn(rng, 0.8)
    return _goal("slide", layout, _poses(rng, layout.start, [*points, end], angle), angle)


def tilt(rng: np.random.Generator, layout: Layout) -> Goal | None:
    """Over a place or another object and there by 40 to 100 degrees about a horizontal axis, held."""
    others = [i for i in range(1, len(layout.things)) if (layout.places[i, :2] < HIGH).all()]
    about = int(rng.choice(others)) if others and rng.uniform() < 0.5 else 0
    place = layout.places[about, :2] if about else _place(rng, layout)
    if place is None or np.linalg.norm(place - layout.start[:2, 3]) < FAR:
        return None
    end = np.array([*place, rng.uniform(0.20, 0.28)])
    poses = _over(rng, layout, end, int(rng.integers(1, 5)), 0.0, layout.low())
    # A person pours across the hand or along it.
    axis = bearing(poses[-1][:3, 0]) + rng.integers(4) * np.pi / 2 + rng.uniform(-0.3, 0.3)
    angle = float(np.radians(rng.uniform(40, 100)))
    last = poses[-1].copy()
    last[:3, :3] = Rotation.from_rotvec(angle * np.array([np.cos(axis), np.sin(axis), 0.0])).as_matrix() @ last[:3, :3]
    poses = np.concatenate([poses if rng.uniform() < 0.7 or len(poses) == 2 else poses[:-1], last[None]])
    return _goal("tilt", layout, poses, angle, about, yaw=0.0)


def into(rng: np.random.Generator, layout: Layout) -> Goal | None:
    """Over a container's rim and down into it."""
    thing, at = layout.things[0], layout.places[layout.container, :2]
    if not layout.container or np.linalg.norm(at - layout.start[:2, 3]) < FAR:
        return None
    end = np.array([*at, containers.FLOOR + thing.half_height])
    poses, angle = _down(rng, layout, end, layout.over_rim())
    drop = max(0.0, layout.release() - float(end[2]) - thing.grasp_z)
    return _goal("into", layout, poses, angle, layout.container, drop=drop)


def out(rng: np.random.Generator, layout: Layout) -> Goal | None:
    """Out of a container over its rim, and down on a free place."""
    place = _place(rng, layout)
    if place is None:
        return None
    end = np.array([*place, layout.things[0].half_height])
    poses, angle = _down(rng, layout, end, layout.over_rim())
    return _goal("out", layout, poses, angle, layout.container)


def _goal(
    kind: str,
    layout: Layout,
    poses: np.ndarray,
    turn: float = 0.0,
    about: int = 0,
    drop: float = 0.0,
    yaw: float | None = None,
) -> Goal | None:
    """Build the goal if the wrist reaches its turn and the object passes the others.

    Args:
        yaw: turn about the vertical; None = ``turn``.
    """
    side = side_for(layout.start, wrap(turn if yaw is None else yaw))
    if side is None:
        return None
    goal = Goal(kind, poses, turn, side, about, drop)
    ignored = about if kind == "into" else layout.container if layout.is_inside else 0
    return goal if layout.is_clear(goal.path(layout.things[0].half_height).poses, ignored) else None


DRAW: dict[str, Callable[[np.random.Generator, Layout], Goal | None]] = {
    "lift": lift,
    "carry": carry,
    "put": put,
    "turn": turn,
    "slide": slide,
    "tilt": tilt,
    "into": into,
    "out": out,
}
"""kind -> function that draws a goal, or None if the draw does not suit the layout."""
