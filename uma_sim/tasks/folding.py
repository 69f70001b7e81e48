"""Folding: jeans laid flat are folded in half, from the one side or from the other."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import mujoco
import numpy as np
from scipy.spatial.transform import Rotation

from uma.geometry import se3
from uma.types import ReferenceMotion
from uma_sim import scene
from uma_sim.objects import cloth
from uma_sim.objects.cloth import COLUMNS, ROWS, Cloth, ClothObject
from uma_sim.planning import grasping
from uma_sim.planning import sketches as reference
from uma_sim.planning.grasping import wrap
from uma_sim.scene import Room
from uma_sim.station import Task

if TYPE_CHECKING:
    from uma_sim.station import Station

TOLERANCE = np.radians(10.0)
"""Largest difference between the fold angle and the target, 180 degrees (paper C.3)."""

GRASP_HEIGHT = 0.0165
"""Height of the TCP above the table in a grasp, metres."""

RELEASE_HEIGHT = 0.028
"""The same when the edge is let go."""

SHORT = 0.014
"""How far before the resting edge the carried one is let go, metres: the bend at the crease takes that much of its
reach."""

ARC = 0.65
"""Height of the edge's way over a half circle's."""


@dataclass(frozen=True)
class Scene:
    """One drawn scene.

    Attributes:
        room: robot, camera and light.
        cloth, position (2,), yaw: what lies on the table, where, radians.
        goal: which edge is carried over to the other: 0 the first row of vertices (the near side as the camera sees
            it), 1 the last; only the reference motion tells.
    """

    room: Room
    cloth: Cloth
    position: np.ndarray
    yaw: float
    goal: int


def sample(seed: int) -> Scene:
    """Draw the scene of ``seed``."""
    rng = np.random.default_rng([seed, 30])
    blue = rng.uniform([0.12, 0.20, 0.38], [0.25, 0.36, 0.62])
    jeans = Cloth(
        spacing=(float(rng.uniform(0.027, 0.030)), float(rng.uniform(0.033, 0.036))),
        mass=float(rng.uniform(0.2, 0.4)),
        stiffness=float(rng.uniform(7e5, 1.3e6)),
        color=(*(float(c) for c in blue), 1.0),
    )
    position, yaw = np.array([rng.uniform(0.44, 0.56), rng.uniform(-0.02, 0.10)]), float(rng.uniform(-0.35, 0.35))
    return Scene(scene.random_room(rng), jeans, position, yaw, int(rng.integers(2)))


def add_bodies(spec: mujoco.MjSpec, drawn: Scene) -> None:
    """The flex."""
    cloth.add_cloth(spec, drawn.cloth, drawn.position, drawn.yaw)


def track(station: Station) -> ClothObject:
    """The cloth."""
    return ClothObject(station.model, station.data)


def flat_vertices(drawn: Scene) -> np.ndarray:
    """``(ROWS, COLUMNS, 2)`` where the vertices lie before anything moves, base frame."""
    c, s = np.cos(drawn.yaw), np.sin(drawn.yaw)
    return drawn.cloth.flat() @ np.array([[c, s], [-s, c]]) + drawn.position


def rows_of(goal: int) -> tuple[int, int]:
    """Row of the edge that is carried, and of the edge that stays."""
    return (0, ROWS - 1) if goal == 0 else (ROWS - 1, 0)


def fold_angle(vertices: np.ndarray) -> float:
    """Radians by which the one half is folded onto the other: 0 lies flat, pi lies folded.

    Each half has a direction, from the middle of the crease (between the two middle rows) to the middle of its edge;
    the fold angle is what is missing from the straight angle between the two. A fold that ends askew therefore misses
    as much as one that stands up.

    Args:
        vertices: ``(ROWS, COLUMNS, 3)``.
    """
    crease = vertices[ROWS // 2 - 1 : ROWS // 2 + 1].mean((0, 1))
    a, b = vertices[0].mean(0) - crease, vertices[-1].mean(0) - crease
    cosine = float(a @ b) / max(float(np.linalg.norm(a) * np.linalg.norm(b)), 1e-9)
    return float(np.pi - np.arccos(np.clip(cosine, -1.0, 1.0)))


def spread(vertices: np.ndarray, half_length: float) -> float:
    """How much of its length the shorter half has kept between crease and edge: 1 lies smooth, less is crumpled."""
    crease = vertices[ROWS // 2 - 1 : ROWS // 2 + 1].mean((0, 1))
    return min(float(np.linalg.norm(vertices[row].mean(0) - crease)) for row in (0, -1)) / half_length


def folded_side(station: Station) -> int | None:
    """Which goal the cloth's shape shows, whatever holds it; None for neither.

    The fold angle is within `TOLERANCE` of 180 degrees, neither half is crumpled to less than 55 % of its length, the
    carried edge has moved by more than half of the cloth and the other one by less than a quarter.
    """
    vertices, half_length = station.object.vertices(), station.scene.cloth.half_size[1]
    if abs(np.pi - fold_angle(vertices)) > TOLERANCE or spread(vertices, half_length) < 0.55:
        return None
    moved = _moved(station)
    for goal in (0, 1):
        if moved[goal] > 0.5 and moved[1 - goal] < 0.25:
            return goal
    return None


def _moved(station: Station) -> tuple[float, float]:
    """How far each edge has come, in lengths of the cloth."""
    vertices, flat = station.object.vertices(), flat_vertices(station.scene)
    a, b = (
        float(np.linalg.norm(vertices[row, :, :2].mean(0) - flat[row].mean(0))) / (2 * station.scene.cloth.half_size[1])
        for row in (0, ROWS - 1)
    )
    return a, b


def _not_folded(station: Station) -> str:
    """What a cloth that shows no goal shows, for people: its fold angle, and what else is amiss where that is right."""
    vertices = station.object.vertices()
    angle = fold_angle(vertices)
    text = f"folded by {np.degrees(angle):.0f} degrees"
    if abs(np.pi - angle) > TOLERANCE:
        return text
    kept = spread(vertices, station.scene.cloth.half_size[1])
    return (
        f"{text}, but a half keeps {kept:.2f} of its length"
        if kept < 0.55
        else "{}, but the edges came {:.2f} and {:.2f} of its length".format(text, *_moved(station))
    )


def outcome(station: Station) -> tuple[str, str]:
    """How the episode stands: ``(verdict, reason)``.

    The paper calls it a success when the final folding angle is within 10 degrees of the target fold. Here, see
    `folded_side`, after the gripper has opened and risen 5 cm, and the cloth has come to rest.
    """
    side = folded_side(station)
    if station.object.is_held():
        return "in_progress", "held"
    if side is None:
        return "in_progress", _not_folded(station)
    if station.gripper_position() > 0.3 or station.tcp_to_object() < 0.05:
        return "in_progress", "folded, not yet let go"
    if station.object_speed() > 0.03:
        return "in_progress", "folded, not yet at rest"
    return (
        ("success", "folded from the goal's side")
        if side == station.scene.goal
        else ("wrong_goal", "folded from the other side")
    )


def static_points(station: Station) -> np.ndarray:
    """``(0, 3)`` nothing else is on the table; the resting half moves too much to be called still."""
    return np.zeros((0, 3))


def edge_point(station: Station, row: int) -> np.ndarray:
    """``(3,)`` the middle vertex of an edge, base frame."""
    return station.object.vertices()[row, COLUMNS // 2]


def grasp_pose(station: Station, goal: int | None = None) -> np.ndarray:
    """``(4, 4)`` top-down grasp of the middle of the goal's edge, the jaws across it."""
    row, _ = rows_of(station.scene.goal if goal is None else goal)
    vertices, point = station.object.vertices(), edge_point(station, row)
    along = vertices[row, COLUMNS // 2 + 1] - vertices[row, COLUMNS // 2 - 1]
    yaw = min((grasping.bearing(along), grasping.bearing(-along)), key=lambda yaw: abs(wrap(yaw)))
    return grasping.top_down(yaw, np.array([point[0], point[1], GRASP_HEIGHT]))


def taken(station: Station) -> bool:
    """A pinch holds the cloth, 2 cm and more over the table."""
    held = station.object.held()
    return len(held) > 0 and float(held[:, 2].max()) > 0.02


def may_drop(station: Station, height: float) -> bool:
    """Held over its own half, a quarter of ``height`` metres up or more: further on it would fall on the resting half
    and tangle."""
    held = station.object.held()
    if not len(held):
        return False
    row, _ = rows_of(station.scene.goal)
    start = flat_vertices(station.scene)[row].mean(0)
    return bool(held[:, 2].max() > height / 4 and np.linalg.norm(held[:, :2].mean(0) - start) < 0.05)


def instruction(station: Station, goal: int) -> str:
    """Which edge goes over to the other, as the camera sees them."""
    flat = flat_vertices(station.scene)
    depth = [
        float(se3.apply(se3.invert(station.T_base_cam), np.array([*flat[row].mean(0), 0.0]))[2]) for row in (0, -1)
    ]
    near, far = ("near", "far") if depth[goal] < depth[1 - goal] else ("far", "near")
    return f"fold the jeans from the {near} side to the {far} side"


def planned_vertices(vertices: np.ndarray, goal: int, s: float) -> np.ndarray:
    """``(ROWS, COLUMNS, 3)`` of an ideal fold: the carried half turned about the crease by ``s`` times 180 degrees."""
    out = vertices.copy()
    upper, lower = vertices[ROWS // 2 - 1], vertices[ROWS // 2]
    crease = (upper + lower) / 2
    middle, axis = crease.mean(0), crease[-1] - crease[0]
    half = slice(0, ROWS // 2) if goal == 0 else slice(ROWS // 2, ROWS)
    sense = 1.0 if goal == 0 else -1.0
    turn = Rotation.from_rotvec(sense * s * np.pi * axis / np.linalg.norm(axis))
    out[half] = (turn.apply((vertices[half] - middle).reshape(-1, 3)) + middle).reshape(-1, COLUMNS, 3)
    out[half, :, 2] = np.maximum(out[half, :, 2] * (1.0 if s in (0.0, 1.0) else ARC), vertices[half, :, 2])
    return out


def plan_reference(
    station: Station,
    rng: np.random.Generator | None = None,
    num_keypoints: int = 6,
    num_waypoints: int = 4,
    goal: int | None = None,
    pinned: int = 0,
) -> ReferenceMotion:
    """What a person would sketch from the present scene alone: the carried half turned over the crease, the other half
    staying.

    Args:
        rng: picks the keypoints among the tracked vertices of the carried half; None spreads them evenly.
        num_keypoints: 1 to 16; beyond the eight of the carried half, those of the resting half join, staying.
        num_waypoints: 2 or more per keypoint, the first at the present place.
        goal: which edge is carried; None for the scene's.
        pinned: how many points of the resting edge are added as keypoints that stay, 0 to 4.

    Returns:
        The motion in the camera frame.

    Raises:
        ValueError: a count is out of range.
    """
    side = station.scene.goal if goal is None else goal
    thing, vertices = station.object, station.object.vertices()
    row, rest = rows_of(side)
    index = thing.tracked_indices()
    order = index[np.argsort(np.abs(index // COLUMNS - row), kind="stable")]
    chosen = order[
        reference.choose(max(8, num_keypoints) if num_keypoints <= 16 else 16, num_keypoints, num_waypoints, rng)
    ]
    shapes = [
        planned_vertices(vertices, side, float(s)).reshape(-1, 3)[chosen] for s in np.linspace(0, 1, num_waypoints)
    ]
    T_cam_base = se3.invert(station.T_base_cam)
    paths = np.stack([se3.apply(T_cam_base, shape) for shape in shapes], axis=1)
    still = vertices[rest, np.linspace(0, COLUMNS - 1, 4).round().astype(int)][:pinned]
    return reference.sketch(paths, still, station.T_base_cam, station.camera.frame, "jeans")


TASK = Task(
    name="folding",
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
    max_steps=220,
)
