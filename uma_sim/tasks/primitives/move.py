"""Training primitive "move": grasps an object among others and moves it along a Bézier curve of 6-DoF waypoints (paper
B.2).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import mujoco
import numpy as np

from uma.geometry import se3
from uma.types import ReferenceMotion
from uma_sim import scene
from uma_sim.objects import catalog as shapes
from uma_sim.objects.catalog import CatalogShape, Finish
from uma_sim.objects.tracked import RigidObject
from uma_sim.planning import grasping, paths
from uma_sim.planning import sketches as reference
from uma_sim.planning.paths import Path
from uma_sim.scene import Room
from uma_sim.station import Task

if TYPE_CHECKING:
    from uma_sim.station import Station

GRASPED = ("box", "bar", "can", "bottle", "pebble", "mug", "utensil", "stick", "rake", "hook")
AROUND = ("box", "bar", "can", "pebble", "bowl", "utensil")
"""Kinds of the moved object, and of the others, which are low enough to be passed over."""


@dataclass(frozen=True)
class Scene:
    """One sampled scene.

    Attributes:
        room: robot, camera and light.
        things, finishes, places: the objects on the table, the moved one first; places ``(n, 3)`` x, y, yaw.
        ways: two gripper paths, both from the grasp.
        goal: index of the goal path; only the reference motion reveals it.
    """

    room: Room
    things: tuple[CatalogShape, ...]
    finishes: tuple[Finish, ...]
    places: np.ndarray
    ways: tuple[Path, Path]
    goal: int


def scatter(
    rng: np.random.Generator, radii: list[float], low: tuple[float, float], high: tuple[float, float], gap: float
) -> np.ndarray:
    """Place objects with footprints of ``radii`` metres at least ``gap`` metres apart: ``(n, 3)`` x, y, yaw.

    The first has more room, for the open gripper. Objects without a place after a hundred tries are put out of reach.
    """
    out: list[np.ndarray] = []
    for i, radius in enumerate(radii):
        for _ in range(100):
            place = rng.uniform(low, high)
            need = [radius + radii[j] + gap + (0.04 if j == 0 else 0.0) for j in range(len(out))]
            if all(np.linalg.norm(place - other[:2]) > n for other, n in zip(out, need, strict=True)):
                break
        else:
            place = np.array([0.75, -0.5 + 0.13 * i])
        out.append(np.array([*place, rng.uniform(-np.pi, np.pi)]))
    return np.array(out)


def resting(thing: CatalogShape, place: np.ndarray) -> np.ndarray:
    """Return the initial ``(4, 4)`` pose of ``thing`` at ``place`` (3,): x, y, yaw."""
    c, s = np.cos(place[2]), np.sin(place[2])
    return se3.make_pose(np.array([[c, -s, 0], [s, c, 0], [0, 0, 1.0]]), np.array([*place[:2], thing.half_height]))


def thing_grasp(thing: CatalogShape, T: np.ndarray, yaw_ee: float) -> np.ndarray:
    """Return a ``(4, 4)`` top-down grasp of ``thing`` at pose ``T``, across its x axis."""
    low, high = thing.grasp_axis or (0.0, 0.0)
    yaw = grasping.turn_to(grasping.bearing(T[:3, 0]), yaw_ee)
    point = T[:3, 3] + 0.5 * (low + high) * T[:3, 0]
    return grasping.top_down(yaw, np.array([*point[:2], max(float(point[2]) + thing.grasp_z, grasping.GRASP_HEIGHT)]))


def sample(seed: int, held_out: bool = False) -> Scene:
    """Sample the scene of ``seed``; ``held_out`` draws the moved object from the evaluation-only shapes."""
    rng = np.random.default_rng([seed, 50])
    room = scene.varied_room(rng)
    count = int(rng.integers(3, 7))
    things = (shapes.sample(rng, GRASPED, held_out), *(shapes.sample(rng, AROUND, False) for _ in range(count - 1)))
    finishes = tuple(shapes.finish(rng) for _ in things)
    places = scatter(rng, [t.radius for t in things], (0.36, -0.24), (0.62, 0.26), 0.02)
    T = resting(things[0], places[0])
    T_grasp = thing_grasp(things[0], T, 0.0)
    ways = []
    while len(ways) < 2:
        way = paths.random_path(rng, T_grasp, lets_go=bool(rng.uniform() < 0.5))
        end = way.poses[-1, :2, 3]
        is_free = not way.lets_go or all(
            np.linalg.norm(end - p[:2]) > things[0].radius + t.radius + 0.045
            for t, p in zip(things[1:], places[1:], strict=True)
        )
        is_move = np.linalg.norm(end - places[0, :2]) > 0.12
        if is_free and is_move and (not ways or np.linalg.norm(end - ways[0].poses[-1, :2, 3]) > 0.14):
            ways.append(way)
    return Scene(room, things, finishes, places, (ways[0], ways[1]), int(rng.integers(2)))


def add_bodies(spec: mujoco.MjSpec, drawn: Scene) -> None:
    """Add the free bodies ``thing0``, ``thing1``, ..."""
    for i, (thing, look, place) in enumerate(zip(drawn.things, drawn.finishes, drawn.places, strict=True)):
        shapes.add_thing(spec, thing, look, f"thing{i}", place[:2], float(place[2]))


def track(station: Station) -> RigidObject:
    """The first object."""
    thing = station.scene.things[0]
    return RigidObject(
        station.model, station.data, "thing0", thing.points, thing.grasp_axis or (0.0, 0.0), thing.grasp_z
    )


def points_on(station: Station, things: range) -> np.ndarray:
    """Return ``(n, 3)``: four current points on each of the scene's ``things``, by index, in the base frame."""
    out = []
    for i in things:
        body = station.data.body(f"thing{i}")
        out.append(se3.apply(se3.make_pose(body.xmat.reshape(3, 3), body.xpos), station.scene.things[i].points[:4]))
    return np.concatenate([np.zeros((0, 3)), *out])


def static_points(station: Station) -> np.ndarray:
    """Return ``(n, 3)``: four points on each of up to two other objects, in the base frame."""
    return points_on(station, range(1, min(3, len(station.scene.things))))


def grasp_pose(station: Station) -> np.ndarray:
    """Return the expert's current grasp ``(4, 4)`` of the object."""
    return thing_grasp(station.scene.things[0], station.object_pose(), grasping.bearing(station.ee_pose()[:3, 0]))


def planned(station: Station, goal: int, count: int) -> list[np.ndarray]:
    """Return ``count`` object poses ``(4, 4)`` along path ``goal``, from its initial pose."""
    way, T = station.scene.ways[goal], resting(station.scene.things[0], station.scene.places[0])
    T_ee_object = se3.invert(way.poses[0]) @ T
    poses = [T_ee @ T_ee_object for T_ee in way.spread(count)]
    poses[-1] = poses[-1].copy() if way.rest is None else way.rest.copy()
    poses[-1][2, 3] -= way.drop if way.rest is None else 0.0
    return poses


def has_arrived(station: Station, goal: int) -> bool:
    """Whether the object is at the end of path ``goal``: put down within 4 cm, or held within 3 cm and 0.3 rad."""
    T, way = planned(station, goal, 2)[-1], station.scene.ways[goal]
    now = station.object_pose()
    apart = float(np.linalg.norm(now[:3, 3] - T[:3, 3]))
    if way.lets_go:
        return apart < 0.04
    return station.grasped() and apart < 0.03 and float(se3.rotation_angle(now[:3, :3], T[:3, :3])) < 0.3


def outcome(station: Station) -> tuple[str, str]:
    """Return ``(verdict, reason)``.

    A success is an object at the end of its path (`has_arrived`): held, or released with the gripper open and away, and
    at rest.
    """
    return judged(station, has_arrived)


def judged(station: Station, arrived: Callable[[Station, int], bool]) -> tuple[str, str]:
    """Return `outcome` for the criterion ``arrived(station, goal)``."""
    for index in (station.scene.goal, 1 - station.scene.goal):
        if not arrived(station, index):
            continue
        if station.scene.ways[index].lets_go:
            if station.pads_in_contact() or station.gripper_position() > 0.3 or station.tcp_to_object() < 0.045:
                return "in_progress", "there, not yet let go"
            if station.object_speed() > 0.03:
                return "in_progress", "there, not yet at rest"
        return (
            ("success", "at the end of its way")
            if index == station.scene.goal
            else ("wrong_goal", "at the end of the other way")
        )
    return "in_progress", "held" if station.grasped() else "not held"


def taken(station: Station) -> bool:
    """Whether it is held 3 cm above its initial height."""
    return station.grasped() and bool(station.object_pose()[2, 3] > station.scene.things[0].half_height + 0.03)


def may_drop(station: Station, height: float) -> bool:
    """Whether it is held above ``height`` metres, keeps its orientation in a fall, and is not above another object."""
    T, things = station.object_pose(), station.scene.things
    gap = min(
        (
            float(np.linalg.norm(T[:2, 3] - p[:2])) - t.radius
            for t, p in zip(things[1:], station.scene.places[1:], strict=True)
        ),
        default=1.0,
    )
    return (
        station.grasped()
        and things[0].half_height < 0.02
        and things[0].half_height + height < T[2, 3] < 0.15
        and gap > 0.10
    )


def side_of(station: Station, points: list[np.ndarray], index: int) -> str:
    """Return "left" or "right": the side of point ``index`` of two, each ``(3,)``, in the camera's view."""
    across = [float(se3.apply(se3.invert(station.T_base_cam), p)[0]) for p in points]
    return "left" if across[index] < across[1 - index] else "right"


def instruction(station: Station, goal: int) -> str:
    """Name the object, the end state, and the side relative to the other path's end."""
    ends = [way.poses[-1, :3, 3] for way in station.scene.ways]
    verb = "put down" if station.scene.ways[goal].lets_go else "hold up"
    return f"{verb} the {station.scene.things[0].kind} on the {side_of(station, ends, goal)}"


def plan_reference(
    station: Station,
    rng: np.random.Generator | None = None,
    num_keypoints: int = 6,
    num_waypoints: int = 4,
    goal: int | None = None,
    pinned: int = 0,
) -> ReferenceMotion:
    """Sketch the reference from the current scene: the object along its path.

    Args:
        rng: draws the keypoints among the object's surface points; None spaces them evenly.
        num_keypoints: 1 to 16.
        num_waypoints: 2 or more per keypoint, starting at the current position.
        goal: index of the path; None for the scene's.
        pinned: number of additional static keypoints on other objects.

    Returns:
        The motion in the camera frame.

    Raises:
        ValueError: a count is out of range.
    """
    points = station.scene.things[0].points
    chosen = reference.choose(len(points), num_keypoints, num_waypoints, rng)
    poses = planned(station, station.scene.goal if goal is None else goal, num_waypoints)
    poses[0] = station.object_pose()
    T_cam_base = se3.invert(station.T_base_cam)
    rows = np.stack([se3.apply(T_cam_base @ T, points[chosen]) for T in poses], axis=1)
    return reference.sketch(
        rows, static_points(station)[:pinned], station.T_base_cam, station.camera.frame, station.scene.things[0].kind
    )


TASK = Task(
    name="primitives/move",
    sample=sample,
    add_bodies=add_bodies,
    track=track,
    static_points=static_points,
    outcome=outcome,
    plan_reference=plan_reference,
    taken=taken,
    grasp_pose=grasp_pose,
    may_drop=may_drop,
    instruction=instruction,
)
