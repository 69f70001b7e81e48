"""Training primitive "stand": turns a long object upright along a Bézier curve and holds it or drops it into a
container (paper B.2).

It extends `primitives/move` by waypoints that raise the object. Most containers are deeper than the object is long.
No utensil goes into a container here, and containers have other numbers of sides than the benchmark's holders.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import mujoco
import numpy as np

from uma.geometry import se3
from uma_sim import scene
from uma_sim.objects import catalog as shapes
from uma_sim.objects import holders
from uma_sim.objects.catalog import CatalogShape
from uma_sim.objects.holders import Holder
from uma_sim.planning import grasping, paths
from uma_sim.planning.paths import Path
from uma_sim.station import Task
from uma_sim.tasks.primitives import move as primitive_move

if TYPE_CHECKING:
    from uma_sim.station import Station

GRASPED = ("bar", "stick", "utensil")
CONTAINED = ("bar", "stick")
"""Kinds of raised objects, and those that may go into a container."""

DEEP, ABOVE = 0.7, (0.008, 0.035)
"""Share of the scenes with containers whose containers are deeper than the object is long, and by how many metres."""

BESIDE = 0.012
"""Distance of the ends of a planned object from the walls of a deep container, metres."""

PROUD = 0.002
"""Greatest height of the object's upper end above the rim of a deep container, metres."""

SIDES = (5, 6, 10)
"""Numbers of sides of a container; the benchmark's holders have 4 or 8."""


@dataclass(frozen=True)
class Scene(primitive_move.Scene):
    """One sampled scene, extending `primitive_move.Scene`.

    Attributes:
        containers: one below the end of each path, or none.
        color: RGBA of the containers.
        is_deep: whether the object lies completely inside a container, and must.
    """

    containers: tuple[Holder, ...] = ()
    color: tuple[float, ...] = (0.5, 0.5, 0.5, 1.0)
    is_deep: bool = False


def upright_grasp(thing: CatalogShape, T: np.ndarray, T_ee: np.ndarray) -> np.ndarray:
    """Return a ``(4, 4)`` top-down grasp of the lying ``thing`` at pose ``T``, toward its later upper end."""
    low, high = thing.grasp_axis or (0.0, 0.0)
    end = grasping.choose_end(T, T_ee)
    offset = float(np.clip(0.38 * end * thing.radius, low, high))
    point = T[:3, 3] + offset * T[:3, 0]
    return grasping.top_down(
        grasping.bearing(end * T[:3, 0]),
        np.array([*point[:2], max(float(point[2]) + thing.grasp_z, grasping.GRASP_HEIGHT)]),
    )


def ends(thing: CatalogShape) -> tuple[float, float]:
    """Return the ends of the object along its x, metres from its origin."""
    return (-thing.radius, thing.radius) if thing.tip is None else (0.03 - thing.radius, float(thing.tip[0]))


def _end(
    thing: CatalogShape, T_ee_object: np.ndarray, T_grasp: np.ndarray, place: Holder, tilt: float
) -> tuple[np.ndarray, float]:
    """Return ``(4, 4)`` T_base_ee with the object upright over ``place``, and the height of its lower end."""
    R = grasping.carrying_rotation(T_grasp, np.array(place.center), tilt)
    low, high = ends(thing)
    T_end, low = grasping.insertion_pose(-low if T_ee_object[0, 0] >= 0 else high, place, T_ee_object, R)
    return T_end, float(low[2])


def sample(seed: int, held_out: bool = False) -> Scene:
    """Sample the scene of ``seed``; ``held_out`` draws the raised object from the evaluation-only shapes."""
    rng = np.random.default_rng([seed, 80])
    room = scene.varied_room(rng)
    is_contained = bool(rng.uniform() < 0.6)
    things = (
        shapes.sample(rng, CONTAINED if is_contained else GRASPED, held_out),
        *(shapes.sample(rng, primitive_move.AROUND, False) for _ in range(int(rng.integers(0, 4)))),
    )
    finishes = tuple(shapes.finish(rng) for _ in things)
    # A heavy object, grasped off its centre, would swing in the jaws.
    finishes = (replace(finishes[0], mass=float(rng.uniform(0.03, 0.08))), *finishes[1:])
    # Objects lie on the camera's usual side and paths end on the other, so the arm does not reach over or into
    # containers.
    places = primitive_move.scatter(rng, [t.radius for t in things], (0.38, -0.27), (0.62, 0.0), 0.02)
    T = primitive_move.resting(things[0], places[0])
    T_grasp = upright_grasp(things[0], T, grasping.top_down(0.0, np.array([0.4, 0.0, 0.4])))
    T_ee_object = se3.invert(T_grasp) @ T
    half_opening, sides = float(rng.uniform(0.038, 0.062)), int(rng.choice(SIDES))
    depths = np.random.default_rng([seed, 81])
    is_deep = is_contained and bool(depths.uniform() < DEEP)
    low, high = ends(things[0])
    ways: list[Path] = []
    stands: list[Holder] = []
    while len(ways) < 2:
        # Without a container, its rim only defines the final height of the object.
        at = (float(rng.uniform(0.48, 0.64)), float(rng.uniform(0.09, 0.33)))
        yaw, height = float(rng.uniform(-0.6, 0.6)), float(rng.uniform(0.075, 0.11))
        height = high - low + float(depths.uniform(*ABOVE)) if is_deep else height
        stand = Holder(at, yaw, half_opening, height, sides)
        if stands and np.linalg.norm(np.subtract(at, stands[0].center)) < 2 * half_opening + 0.04:
            ways, stands = [], []  # there may be no room for a second container
            continue
        T_end, bottom = _end(things[0], T_ee_object, T_grasp, stand, float(rng.uniform(0.38, 0.50)))
        if not is_contained:
            T_end[2, 3] += rng.uniform(0.0, 0.10)
        stands.append(stand)
        drop = max(0.0, bottom - holders.FLOOR - 0.01) if is_contained else 0.0
        rise = max(0.0, stand.height - bottom) + float(rng.uniform(0.03, 0.06))  # the lower end clears the rim
        way = paths.standing_path(rng, T_grasp, T_end, rise, lets_go=is_contained, drop=drop)
        if is_deep:
            rest = grasping.leaning_pose(T_end @ T_ee_object, (low, high), stand, holders.FLOOR + 0.01, BESIDE)
            way = replace(way, rest=rest)
        ways.append(way)
    containers = tuple(stands) if is_contained else ()
    goal, color = int(rng.integers(2)), shapes.finish(rng).color
    return Scene(room, things, finishes, places, (ways[0], ways[1]), goal, containers, color, is_deep)


def add_bodies(spec: mujoco.MjSpec, drawn: Scene) -> None:
    """Add the free bodies ``thing0``, ``thing1``, ... and the containers."""
    primitive_move.add_bodies(spec, drawn)
    for i, container in enumerate(drawn.containers):
        holders.add_body(spec, container, f"container{i}", drawn.color)


def static_points(station: Station) -> np.ndarray:
    """Return ``(n, 3)`` points on the rims of the containers and on two of the other objects, in the base frame."""
    rims = [container.rim_points() for container in station.scene.containers]
    return np.concatenate([*rims, primitive_move.static_points(station)])


def grasp_pose(station: Station) -> np.ndarray:
    """Return the expert's current grasp ``(4, 4)`` of the object."""
    return upright_grasp(station.scene.things[0], station.object_pose(), station.ee_pose())


def low_and_high(station: Station) -> list[np.ndarray]:
    """Return the object's lower and upper end, each ``(3,)``, base frame."""
    T = station.object_pose()
    return sorted((T[:3, 3] + x * T[:3, 0] for x in ends(station.scene.things[0])), key=lambda p: p[2])


def is_over(station: Station, goal: int) -> bool:
    """Whether the object's lower end is within the walls of container ``goal`` and 2 cm below its rim."""
    low, container = low_and_high(station)[0], station.scene.containers[goal]
    return bool(container.inset(low[:2]) > -0.005 and low[2] < container.height - 0.02)


def is_inside(station: Station, goal: int) -> bool:
    """Whether `has_arrived` holds and, in a deep container, the upper end is at most `PROUD` above the rim."""
    is_below = not station.scene.is_deep or low_and_high(station)[1][2] < station.scene.containers[goal].height + PROUD
    return bool(is_below) and has_arrived(station, goal)


def has_arrived(station: Station, goal: int) -> bool:
    """Whether the object stands in container ``goal`` or, without containers, is held at the end of the path.

    The tolerance at the end is 3 cm and 0.3 rad.
    """
    return is_over(station, goal) if station.scene.containers else primitive_move.has_arrived(station, goal)


def outcome(station: Station) -> tuple[str, str]:
    """As `primitive_move.outcome`, with this module's `is_inside`."""
    return primitive_move.judged(station, is_inside)


def may_drop(station: Station, height: float) -> bool:
    """As `primitive_move.may_drop`, and away from the containers."""
    gap = min(
        (float(np.linalg.norm(station.object_pose()[:2, 3] - c.center)) for c in station.scene.containers), default=1.0
    )
    return gap > 0.18 and primitive_move.may_drop(station, height)


def instruction(station: Station, goal: int) -> str:
    """Name the object, its end state, and the side relative to the other path's end."""
    ends = [way.poses[-1, :3, 3] for way in station.scene.ways]
    side = primitive_move.side_of(station, ends, goal)
    thing = station.scene.things[0].kind
    return (
        f"put the {thing} into the {side} container"
        if station.scene.containers
        else f"hold the {thing} upright on the {side}"
    )


TASK = Task(
    name="primitives/stand",
    sample=sample,
    add_bodies=add_bodies,
    track=primitive_move.track,
    static_points=static_points,
    outcome=outcome,
    plan_reference=primitive_move.plan_reference,
    taken=primitive_move.taken,
    grasp_pose=grasp_pose,
    may_drop=may_drop,
    instruction=instruction,
)
