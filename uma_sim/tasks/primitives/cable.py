"""Training primitive "cable": grasps a cable at a random link and moves it along a Bézier curve (paper B.2)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import mujoco
import numpy as np

from uma.geometry import se3
from uma.types import ReferenceMotion
from uma_sim import scene
from uma_sim.objects import cables
from uma_sim.objects import catalog as shapes
from uma_sim.objects.cables import Cable, CableObject
from uma_sim.objects.catalog import CatalogShape, Finish
from uma_sim.objects.utensils import vivid
from uma_sim.planning import grasping, paths
from uma_sim.planning import sketches as reference
from uma_sim.planning.paths import Path
from uma_sim.scene import Room
from uma_sim.station import Task
from uma_sim.tasks.primitives.move import AROUND, points_on, scatter, side_of

if TYPE_CHECKING:
    from uma_sim.station import Station

LOW, HIGH = np.array([0.37, -0.22]), np.array([0.60, 0.24])
"""Corners of the cable's area, metres."""

CLEAR = 0.075
"""Radius about the grasp that the rest of the cable keeps clear for the open fingers, metres."""

FOLLOWS = 0.25
"""Distance along the cable from the grasp at which a sketched keypoint is static, metres."""


@dataclass(frozen=True)
class Scene:
    """One sampled scene.

    Attributes:
        room: robot, camera and light.
        cable: the cable.
        link: index of the grasped link.
        things, finishes, places: other objects; places ``(n, 3)`` x, y, yaw.
        ways: two gripper paths, both from the grasp.
        goal: index of the goal path; only the reference motion reveals it.
    """

    room: Room
    cable: Cable
    link: int
    things: tuple[CatalogShape, ...]
    finishes: tuple[Finish, ...]
    places: np.ndarray
    ways: tuple[Path, Path]
    goal: int


def graspable(cable: Cable) -> list[int]:
    """Return the links with room for the open fingers beside the rest of the cable."""
    middles = cable.middles
    along = cable.link * np.abs(np.subtract.outer(np.arange(len(middles)), np.arange(len(middles))))
    apart = np.linalg.norm(middles[:, None] - middles[None], axis=-1)
    return [i for i in range(1, len(middles) - 1) if (apart[i][along[i] > 1.2 * CLEAR] > CLEAR).all()]


def grasp_at(middle: np.ndarray, heading: float, yaw_ee: float) -> np.ndarray:
    """Return a ``(4, 4)`` top-down grasp at ``middle`` (2,), the jaws across a cable along ``heading``, radians."""
    return grasping.top_down(grasping.turn_to(heading, yaw_ee), np.array([*middle[:2], grasping.GRASP_HEIGHT]))


def sample(seed: int) -> Scene:
    """Sample the scene of ``seed``."""
    rng = np.random.default_rng([seed, 80])
    room = scene.varied_room(rng)
    links, link, radius = int(rng.integers(16, 27)), float(rng.uniform(0.014, 0.018)), float(rng.uniform(0.005, 0.008))
    mass, stiffness = (
        links * link * float(rng.uniform(0.05, 0.2)),
        float(np.exp(rng.uniform(np.log(2e-3), np.log(6e-2)))),
    )
    color = vivid(rng)
    while True:
        cable = Cable(link, radius, mass, stiffness, color, cables.draw_line(rng, links, link, LOW, HIGH, 0.05))
        if places_to_grasp := graspable(cable):
            break
    # People mostly grasp cables near their ends; a third of the grasps are elsewhere.
    near_an_end = [i for i in places_to_grasp if min(i, links - 1 - i) < 4]
    chosen = int(rng.choice(near_an_end if near_an_end and rng.uniform() < 0.67 else places_to_grasp))
    around = tuple(shapes.sample(rng, AROUND, False) for _ in range(int(rng.integers(0, 4))))
    finishes = tuple(shapes.finish(rng) for _ in around)
    places = scatter(rng, [t.radius for t in around], (0.36, -0.24), (0.62, 0.26), 0.02)
    is_free = [
        np.linalg.norm(cable.middles - p[:2], axis=-1).min() > t.radius + 0.05
        for t, p in zip(around, places, strict=True)
    ]
    around, finishes, places = (
        tuple(x for x, free in zip(values, is_free, strict=True) if free) for values in (around, finishes, places)
    )
    direction = cable.line[chosen + 1] - cable.line[chosen]
    T_grasp = grasp_at(cable.middles[chosen], float(np.arctan2(direction[1], direction[0])), 0.0)
    ways: list[Path] = []
    while len(ways) < 2:
        way = paths.random_path(rng, T_grasp, lets_go=bool(rng.uniform() < 0.5))
        end = way.poses[-1, :2, 3]
        has_room = all(np.linalg.norm(end - p[:2]) > t.radius + 0.07 for t, p in zip(around, places, strict=True))
        if (
            has_room
            and np.linalg.norm(end - T_grasp[:2, 3]) > 0.10
            and (not ways or np.linalg.norm(end - ways[0].poses[-1, :2, 3]) > 0.12)
        ):
            ways.append(way)
    return Scene(
        room, cable, chosen, around, finishes, np.array(places).reshape(-1, 3), (ways[0], ways[1]), int(rng.integers(2))
    )


def add_bodies(spec: mujoco.MjSpec, drawn: Scene) -> None:
    """Add the cable, and the free bodies ``thing0``, ``thing1``, ..."""
    cables.add_cable(spec, drawn.cable)
    for i, (thing, look, place) in enumerate(zip(drawn.things, drawn.finishes, drawn.places, strict=True)):
        shapes.add_thing(spec, thing, look, f"thing{i}", place[:2], float(place[2]))


def track(station: Station) -> CableObject:
    """The cable."""
    return CableObject(station.model, station.data, station.scene.cable)


def static_points(station: Station) -> np.ndarray:
    """Return ``(n, 3)``: four points on each of up to two other objects, in the base frame."""
    return points_on(station, range(min(2, len(station.scene.things))))


def place(station: Station) -> np.ndarray:
    """Return the current position ``(3,)`` of the grasped link, base frame."""
    return station.object.middles()[station.scene.link]


def grasp_pose(station: Station) -> np.ndarray:
    """Return the expert's current grasp ``(4, 4)`` of the cable."""
    heading = grasping.bearing(station.object.heading(station.scene.link))
    return grasp_at(place(station), heading, grasping.bearing(station.ee_pose()[:3, 0]))


def has_arrived(station: Station, goal: int) -> bool:
    """Whether the grasped link is held within 3 cm of the end of path ``goal``, or was released within 5 cm of it."""
    way = station.scene.ways[goal]
    apart = place(station) - way.poses[-1, :3, 3]
    if way.lets_go:
        return not station.grasped() and float(np.linalg.norm(apart[:2])) < 0.05 and float(place(station)[2]) < 0.03
    return station.grasped() and float(np.linalg.norm(apart)) < 0.03


def outcome(station: Station) -> tuple[str, str]:
    """Return ``(verdict, reason)``.

    A success is a cable whose grasped link is at the end of its path (`has_arrived`): held, or released with the
    gripper open and away, and at rest.
    """
    for index in (station.scene.goal, 1 - station.scene.goal):
        if has_arrived(station, index):
            if station.scene.ways[index].lets_go and (
                station.pads_in_contact() or station.gripper_position() > 0.3 or station.tcp_to_object() < 0.045
            ):
                return "in_progress", "there, not yet let go"
            if station.object_speed() > 0.3:
                return "in_progress", "there, not yet calm"
            return (
                ("success", "at the end of its way")
                if index == station.scene.goal
                else ("wrong_goal", "at the end of the other way")
            )
    return "in_progress", "held" if station.grasped() else "not held"


def taken(station: Station) -> bool:
    """Whether it is held with the grasped link 3 cm above its initial height."""
    return station.grasped() and bool(place(station)[2] > station.scene.cable.radius + 0.03)


def may_drop(station: Station, height: float) -> bool:
    """Whether it is held up by ``height`` metres, near its start, where it does not fall on an object or on itself."""
    at = place(station)
    return station.grasped() and bool(
        height < at[2] < 0.15 and np.linalg.norm(at[:2] - station.scene.ways[0].poses[0, :2, 3]) < 0.05
    )


def instruction(station: Station, goal: int) -> str:
    """Name the end state and the side relative to the other path's end."""
    way = station.scene.ways[goal]
    verb = "put the cable down" if way.lets_go else "hold the cable up"
    return f"{verb} on the {side_of(station, [way.poses[-1, :3, 3] for way in station.scene.ways], goal)}"


def plan_reference(
    station: Station,
    rng: np.random.Generator | None = None,
    num_keypoints: int = 6,
    num_waypoints: int = 4,
    goal: int | None = None,
    pinned: int = 0,
) -> ReferenceMotion:
    """Sketch the reference from the current scene: the tracked points near the grasped link move with it, less with
    distance.

    Args:
        rng: draws the keypoints among the nearest four, or ``num_keypoints`` if more; None takes the nearest.
        num_keypoints: 1 to 16.
        num_waypoints: 2 or more per keypoint, starting at the current position.
        goal: index of the path; None for the scene's.
        pinned: number of additional static keypoints on other objects.

    Returns:
        The motion in the camera frame.

    Raises:
        ValueError: a count is out of range.
    """
    points, drawn = station.object_points(), station.scene
    reference.choose(len(points), num_keypoints, num_waypoints, None)
    along = drawn.cable.link * np.abs(station.object.tracked_indices() - drawn.link)
    near = np.argsort(along, kind="stable")
    chosen = (
        near[reference.choose(max(4, num_keypoints), num_keypoints, num_waypoints, rng)]
        if rng is not None
        else near[:num_keypoints]
    )
    way = drawn.ways[drawn.goal if goal is None else goal]
    moves = way.spread(num_waypoints)[:, :3, 3] - way.poses[0, :3, 3]
    moves[-1, 2] -= way.drop
    share = np.clip(1.0 - along[chosen] / FOLLOWS, 0.0, 1.0)
    T_cam_base = se3.invert(station.T_base_cam)
    rows = np.stack([se3.apply(T_cam_base, points[k] + a * moves) for k, a in zip(chosen, share, strict=True)])
    return reference.sketch(rows, static_points(station)[:pinned], station.T_base_cam, station.camera.frame, "cable")


TASK = Task(
    name="primitives/cable",
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
