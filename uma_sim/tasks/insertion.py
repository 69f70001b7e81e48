"""Insertion: a utensil from the table into one of two identical holders.

By default the holders are deeper than the utensil is long, and it must lie completely inside (paper C.2 and C.3).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import mujoco
import numpy as np

from uma.geometry import se3
from uma.types import ReferenceMotion
from uma_sim import scene
from uma_sim.objects import holders, utensils
from uma_sim.objects.holders import Holder
from uma_sim.objects.tracked import RigidObject
from uma_sim.objects.utensils import Utensil
from uma_sim.planning import grasping
from uma_sim.planning import sketches as reference
from uma_sim.scene import Room
from uma_sim.station import Task

if TYPE_CHECKING:
    from uma_sim.station import Station

DEPTH = 0.03
"""Greatest height of a standing utensil's lower end above the table, metres."""

HOLDERS = {"deep": (0.010, 0.028), "shallow": (0.08, 0.11)}
"""Kind of the holders -> range of the rim's height, metres.

The height of a deep one is above the utensil's length, that of a shallow one above the table.
"""

PROUD = 0.002
"""Greatest height of a utensil's upper end above the rim of a deep holder, metres."""

BESIDE = 0.016
"""Distance of the ends of a planned utensil from the walls of a deep holder, metres: half a head's width."""

CLEARANCE = 0.045
"""Least distance of a released gripper's TCP from the utensil's axis, metres."""


@dataclass(frozen=True)
class Scene:
    """One sampled scene.

    Attributes:
        room: robot, camera and light.
        utensil: the utensil.
        utensil_position, utensil_yaw: ``(3,)`` metres and radians, on the table.
        holders: two holders, identical except for their positions.
        goal: index of the goal holder; only the reference motion reveals it.
        holder_color: RGBA.
        is_deep: whether a standing utensil lies completely inside a holder, and must.
    """

    room: Room
    utensil: Utensil
    utensil_position: np.ndarray
    utensil_yaw: float
    holders: tuple[Holder, Holder]
    goal: int
    holder_color: tuple[float, ...]
    is_deep: bool


def sample(seed: int, shape: str | None = None, holders: str = "deep") -> Scene:
    """Sample the scene of ``seed``.

    Args:
        seed: of the scene.
        shape: fixes the utensil's kind and leaves the rest unchanged.
        holders: a key of `HOLDERS`; it changes the rim's height alone.

    Raises:
        ValueError: unknown ``shape`` or ``holders``.
    """
    if holders not in HOLDERS:
        raise ValueError(f"holders {holders!r}: must be one of {', '.join(HOLDERS)}")
    rng = np.random.default_rng(seed)
    utensil = utensils.sample(rng, shape, utensils.UNSEEN)
    is_deep = holders == "deep"
    half_opening, height = float(rng.uniform(0.0375, 0.045)), float(rng.uniform(*HOLDERS[holders]))
    height += utensil.length if is_deep else 0.0
    sides = int(rng.choice([4, 8]))
    near = (float(rng.uniform(0.51, 0.64)), float(rng.uniform(0.12, 0.16)))
    far = (float(rng.uniform(0.51, 0.64)), float(rng.uniform(0.27, 0.32)))
    pair = tuple(Holder(c, float(rng.uniform(-0.4, 0.4)), half_opening, height, sides) for c in (near, far))
    goal = int(rng.integers(2))
    while True:
        position = np.array([rng.uniform(0.38, 0.62), rng.uniform(-0.25, 0.0), utensil.handle_thickness / 2 + 0.004])
        yaw = float(rng.uniform(-np.pi, np.pi))
        axis = np.array([np.cos(yaw), np.sin(yaw)])
        # Keep the utensil, and the open gripper above it, clear of the holders.
        stations = position[:2] + np.linspace(-1, 1, 5)[:, None] * utensil.half_length * axis
        if np.linalg.norm(stations[:, None] - np.array([near, far])[None], axis=-1).min() > half_opening + 0.055:
            break
    T_base_cam, table_color, start_joints = scene.random_camera(rng), scene.random_grey(rng), scene.random_joints(rng)
    holder_color, light = utensils.vivid(rng), scene.random_light(rng)
    room = Room(start_joints, T_base_cam, table_color, light)
    return Scene(room, utensil, position, yaw, pair, goal, holder_color, is_deep)


def add_bodies(spec: mujoco.MjSpec, drawn: Scene) -> None:
    """Add the utensil, as the free body ``utensil``, and the two holders."""
    utensils.add_body(spec, drawn.utensil, drawn.utensil_position, drawn.utensil_yaw)
    for i, holder in enumerate(drawn.holders):
        holders.add_body(spec, holder, f"holder{i}", drawn.holder_color)


def track(station: Station) -> RigidObject:
    """The utensil."""
    utensil = station.scene.utensil
    return RigidObject(
        station.model, station.data, "utensil", utensil.points(), (-utensil.half_length, utensil.half_length)
    )


def static_points(station: Station) -> np.ndarray:
    """Return ``(8, 3)``: four points on the rim of each holder, in the base frame."""
    return np.concatenate([holder.rim_points() for holder in station.scene.holders])


def grasp_pose(station: Station) -> np.ndarray:
    """Return the expert's current grasp ``(4, 4)`` of the utensil."""
    T_object = station.object_pose()
    return grasping.grasp_pose(
        station.scene.utensil, T_object, grasping.choose_end(T_object, station.ee_pose()), station.scene.holders
    )


def lifted(station: Station) -> bool:
    """Whether the whole utensil is more than 6 cm above the table."""
    return bool(station.object_points()[:, 2].min() > 0.06)


def may_drop(station: Station, height: float) -> bool:
    """Whether it is held above ``height`` metres, and not between the holders, where it could not be grasped again."""
    T_object = station.object_pose()
    gap = min(float(np.linalg.norm(T_object[:2, 3] - h.center)) for h in station.scene.holders)
    return station.grasped() and bool(T_object[2, 3] > height) and gap > 0.18


def instruction(station: Station, goal: int) -> str:
    """Name the utensil and the nearer or farther holder in the camera's view."""
    depth = [float(se3.apply(se3.invert(station.T_base_cam), h.rim_points().mean(0))[2]) for h in station.scene.holders]
    return f"put the {station.scene.utensil.shape} into the {'near' if depth[goal] < depth[1 - goal] else 'far'} holder"


def low_and_rim(station: Station, index: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return lower end, upper end, and the axis' intersection with the rim plane; each ``(3,)``, base frame."""
    T = station.object_pose()
    h = station.scene.utensil.half_length
    ends = sorted((T[:3, 3] + h * T[:3, 0], T[:3, 3] - h * T[:3, 0]), key=lambda p: p[2])
    rise = max(float(ends[1][2] - ends[0][2]), 1e-6)
    s = (station.scene.holders[index].height - ends[0][2]) / rise
    return ends[0], ends[1], ends[0] + s * (ends[1] - ends[0])


def stands(station: Station, index: int) -> bool:
    """Whether the utensil stands in holder ``index``.

    Its lower end is inside the walls and less than `DEPTH` above the table. Its axis stays within the opening up to
    the rim, or up to its own upper end.
    """
    holder = station.scene.holders[index]
    low, high, rim = low_and_rim(station, index)
    top = rim if high[2] > holder.height else high
    return bool(low[2] < DEPTH and holder.inset(low[:2]) > -0.002 and holder.inset(top[:2]) > -0.002)


def is_inside(station: Station, index: int) -> bool:
    """Whether the utensil stands in holder ``index`` and, if that is deep, ends below its rim (`PROUD`)."""
    _, high, _ = low_and_rim(station, index)
    is_below = high[2] < station.scene.holders[index].height + PROUD
    return stands(station, index) and (is_below or not station.scene.is_deep)


def is_over(station: Station, index: int) -> bool:
    """Whether the lower end is inside the walls of holder ``index`` and at least 2 cm below its rim."""
    low, _, _ = low_and_rim(station, index)
    holder = station.scene.holders[index]
    return bool(holder.inset(low[:2]) > 0.0 and low[2] < holder.height - 0.02)


def outcome(station: Station) -> tuple[str, str]:
    """Return ``(verdict, reason)``.

    A utensil that lies completely inside the holder is a success, as in the paper (C.3). In a shallow holder, which is
    shorter than the utensil, it must stand. It must be at rest, and the gripper open and at least 4.5 cm away.

    The verdict is "success", "wrong_goal" (the same for the other holder), or "in_progress"; the reason explains it.
    """
    goal = station.scene.goal
    held = station.pads_in_contact() > 0
    for index in (goal, 1 - goal):
        if is_inside(station, index):
            if held or station.gripper_position() > 0.3 or station.tcp_to_object() < CLEARANCE:
                return "in_progress", "inside, not yet let go"
            if station.object_speed() > 0.03:
                return "in_progress", "inside, not yet at rest"
            return (
                ("success", "stands in the goal holder")
                if index == goal
                else ("wrong_goal", "stands in the other holder")
            )
    if held:
        return "in_progress", "held"
    if stands(station, goal):
        return "in_progress", "stands, but reaches above the rim"
    low, high, _ = low_and_rim(station, goal)
    if high[2] < 0.05:
        return "in_progress", "lies on the table"
    return "in_progress", "leans on a holder"


def _planned_poses(station: Station, index: int) -> list[np.ndarray]:
    """Return utensil poses ``(4, 4)`` in the base frame: start, lifted, upright above holder ``index``, inserted."""
    utensil, holder = station.scene.utensil, station.scene.holders[index]
    start = station.object_pose()
    end = grasping.choose_end(start, station.ee_pose())
    T_grasp = grasping.grasp_pose(utensil, start, end, station.scene.holders)
    T_ee_object = se3.invert(T_grasp) @ start
    T_insert, low = grasping.insertion_pose(
        utensil.half_length, holder, T_ee_object, grasping.carrying_rotation(T_grasp, np.array(holder.center))
    )
    released = T_insert @ T_ee_object
    lifted, above = start.copy(), released.copy()
    lifted[2, 3] += 0.15
    above[2, 3] += holder.height + 0.05 - low[2]
    return [start, lifted, above, _resting(utensil, holder, released, station.scene.is_deep)]


def _resting(utensil: Utensil, holder: Holder, released: np.ndarray, is_deep: bool) -> np.ndarray:
    """Return the utensil's pose ``(4, 4)`` after its fall from ``released`` to the holder's floor, base frame.

    It leans on the rim of a shallow holder, and between the walls of a deep one.
    """
    foot, half = holders.FLOOR + 0.5 * utensil.handle_width, utensil.half_length
    if is_deep:
        return grasping.leaning_pose(released, (-half, half), holder, foot, BESIDE)
    out = released.copy()
    out[2, 3] = foot + half * abs(float(out[2, 0]))
    return out


def plan_reference(
    station: Station,
    rng: np.random.Generator | None = None,
    num_keypoints: int = 6,
    num_waypoints: int = 4,
    goal: int | None = None,
    pinned: int = 0,
) -> ReferenceMotion:
    """Sketch the reference from the current scene: the utensil is lifted, upright above the holder, and inserted.

    Args:
        rng: draws the keypoints among the utensil's surface points; None spaces them evenly.
        num_keypoints: 1 to 16.
        num_waypoints: 2 or more per keypoint, starting at the current position.
        goal: index of the holder; None for the scene's.
        pinned: number of additional static keypoints on the holder's rim, 0 to 4.

    Returns:
        The motion in the camera frame.

    Raises:
        ValueError: a count is out of range.
    """
    points = station.scene.utensil.points()
    chosen = reference.choose(len(points), num_keypoints, num_waypoints, rng)
    index = station.scene.goal if goal is None else goal
    poses = reference.interpolated(_planned_poses(station, index), num_waypoints)
    T_cam_base = se3.invert(station.T_base_cam)
    paths = np.stack([se3.apply(T_cam_base @ T, points[chosen]) for T in poses], axis=1)
    rim = station.scene.holders[index].rim_points()[:pinned]
    return reference.sketch(paths, rim, station.T_base_cam, station.camera.frame, station.scene.utensil.shape)


TASK = Task(
    name="insertion",
    sample=sample,
    add_bodies=add_bodies,
    track=track,
    static_points=static_points,
    outcome=outcome,
    plan_reference=plan_reference,
    taken=lifted,
    grasp_pose=grasp_pose,
    may_drop=may_drop,
    instruction=instruction,
)
