"""Training primitive "cloth": grasps a point of a cloth's edge and moves it along a Bézier curve (paper B.2)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import mujoco
import numpy as np

from uma.geometry import se3
from uma.types import ReferenceMotion
from uma_sim import scene
from uma_sim.objects import cloth
from uma_sim.objects.cloth import COLUMNS, ROWS, Cloth, ClothObject
from uma_sim.objects.utensils import vivid
from uma_sim.planning import grasping, paths
from uma_sim.planning import sketches as reference
from uma_sim.planning.paths import Path
from uma_sim.scene import Room
from uma_sim.station import Task
from uma_sim.tasks import folding
from uma_sim.tasks.primitives.move import side_of

if TYPE_CHECKING:
    from uma_sim.station import Station

EDGE = tuple((r, c) for r in range(ROWS) for c in range(COLUMNS) if r in (0, ROWS - 1) or c in (0, COLUMNS - 1))
"""(row, column) of the vertices on the edge."""

FAR, FARTHEST = 1.7, 2.15
"""Lengths of paths with a release, relative to the distance between the grasped point and the cloth's centre.

Half of them are at least ``FAR``, and all are at most ``FARTHEST``; 2 reaches the opposite edge.
"""

HELD_HEIGHT = 0.06, 0.13
"""Final heights of the TCP on paths without a release, metres.

They are well above `folding.RELEASE_HEIGHT`, because a reference distinguishes the two by height only.
"""


CORNER = 2
"""Vertices between a grasped point and a corner, at least, that make its fold wide."""

WIDE = 1.5
"""Length of a wide fold, at least, relative to the distance between the grasped point and the cloth's centre."""

WIDE_M, NARROW_M = 0.04, 0.07
"""Largest distance between the released point and the end of a wide and of another fold, metres.

A narrow fold springs back. The expert's wide ones end within 3.5 cm.
"""

LIFTED = 0.30
"""Approximate radius of the cloth lifted with a held point, metres."""


@dataclass(frozen=True)
class Scene:
    """One sampled scene; the first four fields are those of `uma_sim.tasks.folding.Scene`.

    Attributes:
        room: robot, camera and light.
        cloth: the cloth.
        position, yaw: ``(2,)`` metres and radians, on the table.
        vertex: (row, column) of the grasped point on the edge.
        ways: two gripper paths, both from the grasp.
        goal: index of the goal path; only the reference motion reveals it.
    """

    room: Room
    cloth: Cloth
    position: np.ndarray
    yaw: float
    vertex: tuple[int, int]
    ways: tuple[Path, Path]
    goal: int


def sample(seed: int) -> Scene:
    """Sample the scene of ``seed``."""
    rng = np.random.default_rng([seed, 70])
    drawn = Cloth(
        spacing=(float(rng.uniform(0.026, 0.031)), float(rng.uniform(0.030, 0.036))),
        mass=float(rng.uniform(0.12, 0.4)),
        stiffness=float(np.exp(rng.uniform(np.log(3e4), np.log(1.2e6)))),
        color=vivid(rng),
    )
    position, yaw = np.array([rng.uniform(0.44, 0.54), rng.uniform(-0.03, 0.08)]), float(rng.uniform(-0.6, 0.6))
    row, column = EDGE[int(rng.integers(len(EDGE)))]
    bare = folding.Scene(scene.varied_room(rng), drawn, position, yaw, 0)
    flat = folding.flat_vertices(bare)
    at = flat[row, column]
    along = flat[row, -1] - flat[row, 0] if row in (0, ROWS - 1) else flat[-1, column] - flat[0, column]
    T_grasp = grasping.top_down(grasping.turn_to(grasping.bearing(along), 0.0), np.array([*at, folding.GRASP_HEIGHT]))
    middle = float(np.linalg.norm(flat.mean((0, 1)) - at))
    inward = (flat.mean((0, 1)) - at) / middle
    ways: list[Path] = []
    while len(ways) < 2:
        lets_go = bool(rng.uniform() < 0.6)
        turn, reach = (
            rng.uniform(-1.0, 1.0),
            rng.uniform(
                FAR * middle if lets_go and rng.uniform() < 0.5 else 0.12, FARTHEST * middle if lets_go else 0.20
            ),
        )
        if lets_go:
            turn *= 0.5
        c, s = np.cos(turn), np.sin(turn)
        end = np.array(
            [
                *(at + reach * (np.array([[c, -s], [s, c]]) @ inward)),
                folding.RELEASE_HEIGHT if lets_go else rng.uniform(*HELD_HEIGHT),
            ]
        )
        between = 0.5 * (at + end[:2]) + rng.uniform(-0.03, 0.03, 2)
        high = max(0.08, 0.3 * reach), max(0.14, 0.6 * reach)
        controls = np.array(
            [[*between, rng.uniform(*high)], [*(end[:2] + 0.2 * (at - end[:2])), rng.uniform(*high)], end]
        )
        if not ways or np.linalg.norm(end - ways[0].poses[-1, :3, 3]) > 0.09:
            ways.append(paths.bezier(T_grasp, controls, T_grasp[:3, :3], lets_go, lift=0.05))
    return Scene(bare.room, drawn, position, yaw, (row, column), (ways[0], ways[1]), int(rng.integers(2)))


def add_bodies(spec: mujoco.MjSpec, drawn: Scene) -> None:
    """Add the cloth."""
    cloth.add_cloth(spec, drawn.cloth, drawn.position, drawn.yaw)


def track(station: Station) -> ClothObject:
    """The cloth."""
    return ClothObject(station.model, station.data)


def static_points(station: Station) -> np.ndarray:
    """Return ``(0, 3)``: nothing else is on the table."""
    return np.zeros((0, 3))


def vertex(station: Station) -> np.ndarray:
    """Return the current position ``(3,)`` of the grasped point, base frame."""
    return station.object.vertices()[station.scene.vertex]


def grasp_pose(station: Station) -> np.ndarray:
    """Return a ``(4, 4)`` top-down grasp at the point's current position, with the jaws across the edge."""
    T = station.scene.ways[0].poses[0].copy()
    T[:2, 3] = vertex(station)[:2]
    return T


def is_wide(drawn: Scene, goal: int) -> bool:
    """Whether path ``goal`` folds the cloth along a crease that passes no corner."""
    row, column = drawn.vertex
    if min(row, ROWS - 1 - row) + min(column, COLUMNS - 1 - column) < CORNER:
        return False
    flat = folding.flat_vertices(folding.Scene(drawn.room, drawn.cloth, drawn.position, drawn.yaw, 0))
    way = drawn.ways[goal].poses[:, :2, 3]
    return bool(np.linalg.norm(way[-1] - way[0]) >= WIDE * np.linalg.norm(flat.mean((0, 1)) - flat[row, column]))


def has_arrived(station: Station, goal: int) -> bool:
    """Whether the cloth is held within 4 cm of the end of path ``goal``, or the grasped point was released near it, see
    `WIDE_M` and `NARROW_M`.
    """
    way = station.scene.ways[goal]
    end = way.poses[-1, :3, 3]
    if way.lets_go:
        limit = WIDE_M if is_wide(station.scene, goal) else NARROW_M
        return not station.object.is_held() and bool(np.linalg.norm(vertex(station) - end) < limit)
    held = station.object.held()
    return len(held) > 0 and bool(np.linalg.norm(held.mean(0) - end) < 0.04)


def outcome(station: Station) -> tuple[str, str]:
    """Return ``(verdict, reason)``.

    A success is a point of the edge at the end of its path (`has_arrived`): held, or released with the gripper open and
    5 cm away, and the cloth at rest.
    """
    for index in (station.scene.goal, 1 - station.scene.goal):
        if has_arrived(station, index):
            if station.scene.ways[index].lets_go and (
                station.gripper_position() > 0.3 or station.tcp_to_object() < 0.05
            ):
                return "in_progress", "there, not yet let go"
            if station.object_speed() > 0.3:
                return "in_progress", "there, not yet calm"
            return (
                ("success", "at the end of its way")
                if index == station.scene.goal
                else ("wrong_goal", "at the end of the other way")
            )
    return "in_progress", "held" if station.object.is_held() else "not held"


def may_drop(station: Station, height: float) -> bool:
    """Whether it is held at least a quarter of ``height`` metres up, within 5 cm of its start.

    Farther along, it would fall on the cloth and tangle.
    """
    held = station.object.held()
    return len(held) > 0 and bool(
        held[:, 2].max() > height / 4
        and np.linalg.norm(held[:, :2].mean(0) - station.scene.ways[0].poses[0, :2, 3]) < 0.05
    )


def instruction(station: Station, goal: int) -> str:
    """Name the goal's end in the camera's view."""
    return (
        "pull the edge of the cloth to the "
        f"{side_of(station, [way.poses[-1, :3, 3] for way in station.scene.ways], goal)}"
    )


def plan_reference(
    station: Station,
    rng: np.random.Generator | None = None,
    num_keypoints: int = 6,
    num_waypoints: int = 4,
    goal: int | None = None,
    pinned: int = 0,
) -> ReferenceMotion:
    """Sketch the reference from the current scene: the tracked vertices near the grasped point move with it.

    Args:
        rng: draws the keypoints among the nearest four, or ``num_keypoints`` if more; None takes the nearest.
        num_keypoints: 1 to 16.
        num_waypoints: 2 or more per keypoint, starting at the current position.
        goal: index of the path; None for the scene's.
        pinned: number of additional static keypoints on the farthest tracked vertices, 0 to 4.

    Returns:
        The motion in the camera frame.

    Raises:
        ValueError: a count is out of range.
    """
    points = station.object_points()
    reference.choose(len(points), num_keypoints, num_waypoints, None)
    apart = np.linalg.norm(points - vertex(station), axis=-1)
    near = np.argsort(apart, kind="stable")
    chosen = (
        near[reference.choose(max(4, num_keypoints), num_keypoints, num_waypoints, rng)]
        if rng is not None
        else near[:num_keypoints]
    )
    way = station.scene.ways[station.scene.goal if goal is None else goal]
    moves = way.spread(num_waypoints)[:, :3, 3] - way.poses[0, :3, 3]
    moves[:, 2] = np.maximum(moves[:, 2] - folding.RELEASE_HEIGHT + folding.GRASP_HEIGHT, 0.0)
    # A rough cloth model, as in a person's sketch: points farther from the grasp follow it less, down to zero at the
    # crease.
    crease = 0.5 * float(np.linalg.norm(moves[-1, :2])) if way.lets_go else LIFTED
    share = np.clip(1.0 - apart[chosen] / crease, 0.0, 1.0)
    T_cam_base = se3.invert(station.T_base_cam)
    rows = np.stack([se3.apply(T_cam_base, points[k] + a * moves) for k, a in zip(chosen, share, strict=True)])
    return reference.sketch(rows, points[near[::-1][:pinned]], station.T_base_cam, station.camera.frame, "cloth")


TASK = Task(
    name="primitives/cloth",
    sample=sample,
    add_bodies=add_bodies,
    track=track,
    static_points=static_points,
    outcome=outcome,
    plan_reference=plan_reference,
    taken=folding.taken,
    grasp_pose=grasp_pose,
    may_drop=may_drop,
    instruction=instruction,
    max_steps=160,
)
