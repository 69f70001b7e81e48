"""Folding: flat jeans are folded in half from either side."""

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
"""Largest difference between the fold angle and the target, 180 degrees (paper C.3), and largest `skew`."""

GRASP_HEIGHT = 0.0165
"""Height of the TCP above the table in a grasp, metres."""

RELEASE_HEIGHT = 0.028
"""Height of the TCP at the release of the edge, metres."""

SHORT = 0.014
"""Distance between both edges at the release, metres, which compensates the bend at the crease."""

ARC = 0.65
"""Height of the edge's path relative to a half circle."""


@dataclass(frozen=True)
class Scene:
    """One sampled scene.

    Attributes:
        room: robot, camera and light.
        cloth: the cloth.
        position, yaw: ``(2,)`` metres and radians, on the table.
        goal: the carried edge: 0 the first row of vertices (near the camera), 1 the last; only the reference motion
            reveals it.
    """

    room: Room
    cloth: Cloth
    position: np.ndarray
    yaw: float
    goal: int


def sample(seed: int) -> Scene:
    """Sample the scene of ``seed``; the cloth is narrower than any of the training data."""
    rng = np.random.default_rng([seed, 30])
    blue = rng.uniform([0.12, 0.20, 0.38], [0.25, 0.36, 0.62])
    jeans = Cloth(
        spacing=(float(rng.uniform(0.0245, 0.0257)), float(rng.uniform(0.033, 0.036))),
        mass=float(rng.uniform(0.2, 0.4)),
        stiffness=float(rng.uniform(7e5, 1.3e6)),
        color=(*(float(c) for c in blue), 1.0),
    )
    position, yaw = np.array([rng.uniform(0.44, 0.56), rng.uniform(-0.02, 0.10)]), float(rng.uniform(-0.35, 0.35))
    return Scene(scene.random_room(rng), jeans, position, yaw, int(rng.integers(2)))


def add_bodies(spec: mujoco.MjSpec, drawn: Scene) -> None:
    """Add the cloth."""
    cloth.add_cloth(spec, drawn.cloth, drawn.position, drawn.yaw)


def track(station: Station) -> ClothObject:
    """The cloth."""
    return ClothObject(station.model, station.data)


def flat_vertices(drawn: Scene) -> np.ndarray:
    """Return ``(ROWS, COLUMNS, 2)`` initial vertex positions, base frame."""
    c, s = np.cos(drawn.yaw), np.sin(drawn.yaw)
    return drawn.cloth.flat() @ np.array([[c, s], [-s, c]]) + drawn.position


def rows_of(goal: int) -> tuple[int, int]:
    """Return the rows of the carried edge and of the resting edge."""
    return (0, ROWS - 1) if goal == 0 else (ROWS - 1, 0)


def fold_angle(vertices: np.ndarray) -> float:
    """Return the fold angle in radians: 0 is flat, pi is folded.

    Each half has a direction from the middle of the crease to the middle of its edge. The fold angle is pi minus the
    angle between them for a flat cloth, so a skewed fold loses as much as an upright one.

    Args:
        vertices: ``(ROWS, COLUMNS, 3)``.
    """
    crease = vertices[ROWS // 2 - 1 : ROWS // 2 + 1].mean((0, 1))
    a, b = vertices[0].mean(0) - crease, vertices[-1].mean(0) - crease
    cosine = float(a @ b) / max(float(np.linalg.norm(a) * np.linalg.norm(b)), 1e-9)
    return float(np.pi - np.arccos(np.clip(cosine, -1.0, 1.0)))


def spread(vertices: np.ndarray, half_length: float) -> float:
    """Return the length of the shorter half, relative to the flat cloth: 1 is smooth, less is crumpled."""
    crease = vertices[ROWS // 2 - 1 : ROWS // 2 + 1].mean((0, 1))
    return min(float(np.linalg.norm(vertices[row].mean(0) - crease)) for row in (0, -1)) / half_length


def folded_side(station: Station) -> int | None:
    """Return the goal that the cloth's shape matches; None for neither.

    The fold angle is within `TOLERANCE` of 180 degrees. Both halves keep at least 55 % of their length. The carried
    edge has moved by more than half of the cloth, and the other by less than a quarter.
    """
    vertices, half_length = station.object.vertices(), station.scene.cloth.half_size[1]
    if abs(np.pi - fold_angle(vertices)) > TOLERANCE:
        return None
    if spread(vertices, half_length) < 0.55:
        return None
    moved = _moved(station)
    for goal in (0, 1):
        if moved[goal] > 0.5 and moved[1 - goal] < 0.25:
            return goal
    return None


def _moved(station: Station) -> tuple[float, float]:
    """Return the displacement of each edge, in lengths of the cloth."""
    vertices, flat = station.object.vertices(), flat_vertices(station.scene)
    a, b = (
        float(np.linalg.norm(vertices[row, :, :2].mean(0) - flat[row].mean(0))) / (2 * station.scene.cloth.half_size[1])
        for row in (0, ROWS - 1)
    )
    return a, b


def _not_folded(station: Station) -> str:
    """Describe a cloth without a matching goal: its fold angle or, if that is right, the other defect."""
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
    """Return ``(verdict, reason)``.

    A final folding angle within 10 degrees of the target is a success, as in the paper (C.3). `folded_side` must match
    after the gripper has opened and risen 5 cm and the cloth is at rest.
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
    """Return ``(0, 3)``: nothing else is on the table, and the resting half moves too much."""
    return np.zeros((0, 3))


def edge_point(station: Station, row: int) -> np.ndarray:
    """Return the middle vertex ``(3,)`` of an edge, base frame."""
    return station.object.vertices()[row, COLUMNS // 2]


def grasp_pose(station: Station, goal: int | None = None) -> np.ndarray:
    """Return a ``(4, 4)`` top-down grasp at the middle of the goal's edge, with the jaws across it."""
    row, _ = rows_of(station.scene.goal if goal is None else goal)
    vertices, point = station.object.vertices(), edge_point(station, row)
    along = vertices[row, COLUMNS // 2 + 1] - vertices[row, COLUMNS // 2 - 1]
    yaw = min((grasping.bearing(along), grasping.bearing(-along)), key=lambda yaw: abs(wrap(yaw)))
    return grasping.top_down(yaw, np.array([point[0], point[1], GRASP_HEIGHT]))


def taken(station: Station) -> bool:
    """Whether a pinch holds the cloth at least 2 cm above the table."""
    held = station.object.held()
    return len(held) > 0 and float(held[:, 2].max()) > 0.02


def may_drop(station: Station, height: float) -> bool:
    """Whether the cloth is held above its own half, at least a quarter of ``height`` metres up.

    Farther along, it would fall on the resting half and tangle.
    """
    held = station.object.held()
    if not len(held):
        return False
    row, _ = rows_of(station.scene.goal)
    start = flat_vertices(station.scene)[row].mean(0)
    return bool(held[:, 2].max() > height / 4 and np.linalg.norm(held[:, :2].mean(0) - start) < 0.05)


def instruction(station: Station, goal: int) -> str:
    """Name the edges in the camera's view."""
    flat = flat_vertices(station.scene)
    depth = [
        float(se3.apply(se3.invert(station.T_base_cam), np.array([*flat[row].mean(0), 0.0]))[2]) for row in (0, -1)
    ]
    near, far = ("near", "far") if depth[goal] < depth[1 - goal] else ("far", "near")
    return f"fold the jeans from the {near} side to the {far} side"


def planned_vertices(vertices: np.ndarray, goal: int, s: float) -> np.ndarray:
    """Return ``(ROWS, COLUMNS, 3)`` of an ideal fold: one half rotated about the crease by ``s`` times 180 degrees."""
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
    """Sketch the reference from the current scene: the carried half rotates over the crease, and the other half rests.

    Args:
        rng: draws the keypoints among the tracked vertices of the carried half; None spaces them evenly.
        num_keypoints: 1 to 16; beyond the eight of the carried half, static ones of the resting half are added.
        num_waypoints: 2 or more per keypoint, starting at the current position.
        goal: index of the carried edge; None for the scene's.
        pinned: number of additional static keypoints on the resting edge, 0 to 4.

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
