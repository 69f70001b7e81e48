"""Sweeping: paper scraps from the table into one of two identical dustpans, with a hand brush."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import TYPE_CHECKING

import mujoco
import numpy as np

from uma.geometry import se3
from uma.types import ReferenceMotion
from uma_sim import scene
from uma_sim.objects import brushes, utensils
from uma_sim.objects.brushes import Brush, Dustpan
from uma_sim.objects.tracked import RigidObject
from uma_sim.planning import grasping
from uma_sim.planning import sketches as reference
from uma_sim.scene import Room
from uma_sim.station import Task

if TYPE_CHECKING:
    from uma_sim.station import Station

SCRAPS = 6
"""Scraps in every scene; with the brush's ten points they make the 16 tracked points."""

RADIUS = 0.030
"""Radius of the pile, metres."""

PAST_LIP = 0.045
"""Distance of the brush's face beyond the lip at the end of a stroke, metres."""

BEHIND = 0.045
"""Metres from the brush's face to the nearest scrap at the start of a stroke."""

LOW = 0.0015
"""Height of the bristle tips above the table in a stroke, metres."""


@dataclass(frozen=True)
class Scene:
    """One sampled scene.

    Attributes:
        room: robot, camera and light.
        brush: the brush.
        brush_position, brush_yaw: ``(2,)`` metres and radians, on the table.
        scraps: ``(SCRAPS, 6)`` of each: x, y, yaw, half sizes.
        pans: two dustpans, identical except for their poses.
        goal: index of the goal dustpan; only the reference motion reveals it.
        pan_color: RGBA.
        scrap_colors: RGBA of each.
    """

    room: Room
    brush: Brush
    brush_position: np.ndarray
    brush_yaw: float
    scraps: np.ndarray
    pans: tuple[Dustpan, Dustpan]
    goal: int
    pan_color: tuple[float, ...]
    scrap_colors: tuple[tuple[float, ...], ...]


def sample(seed: int) -> Scene:
    """Sample the scene of ``seed``."""
    rng = np.random.default_rng([seed, 20])
    brush = brushes.sample_brush(rng)
    middle = np.array([rng.uniform(0.45, 0.53), rng.uniform(-0.02, 0.06)])
    half_width, depth, height = rng.uniform(0.072, 0.080), rng.uniform(0.10, 0.12), rng.uniform(0.018, 0.026)
    pans = []
    for side in (1, -1):
        # Rotated from +y toward +x for one and toward the base for the other, far enough to stand side by side.
        heading = np.pi / 2 - side * float(np.radians(rng.uniform(40, 66)))
        inward = np.array([np.cos(heading), np.sin(heading)])
        aside = rng.uniform(-0.010, 0.010) * np.array([-inward[1], inward[0]])
        lip = middle + rng.uniform(0.120, 0.150) * inward + aside
        pans.append(Dustpan((float(lip[0]), float(lip[1])), heading, float(half_width), float(depth), float(height)))
    places: list[np.ndarray] = []
    while len(places) < SCRAPS:
        r, angle = RADIUS * np.sqrt(rng.uniform()), rng.uniform(-np.pi, np.pi)
        place = middle + r * np.array([np.cos(angle), np.sin(angle)])
        if all(np.linalg.norm(place - other) > 0.019 for other in places):
            places.append(place)
    sizes = rng.uniform([0.006, 0.005, 0.004], [0.009, 0.007, 0.006], (SCRAPS, 3))
    scraps = np.concatenate([np.array(places), rng.uniform(-np.pi, np.pi, (SCRAPS, 1)), sizes], -1)
    goal = int(rng.integers(2))
    position, yaw = np.array([rng.uniform(0.40, 0.60), rng.uniform(-0.27, -0.17)]), float(rng.uniform(-np.pi, np.pi))
    white = [
        tuple(float(c) for c in (*(rng.uniform(0.85, 1.0) * np.array([1.0, 1.0, rng.uniform(0.8, 1.0)])), 1.0))
        for _ in range(SCRAPS)
    ]
    return Scene(
        scene.random_room(rng),
        brush,
        position,
        yaw,
        scraps,
        (pans[0], pans[1]),
        goal,
        utensils.vivid(rng),
        tuple(white),
    )


def add_bodies(spec: mujoco.MjSpec, drawn: Scene) -> None:
    """Add the free bodies ``brush`` and ``scrap0`` to ``scrap5``, and the two dustpans."""
    brushes.add_brush(spec, drawn.brush, np.array([*drawn.brush_position, 0.001]), drawn.brush_yaw)
    for i, pan in enumerate(drawn.pans):
        brushes.add_dustpan(spec, pan, f"pan{i}", drawn.pan_color)
    for i, (row, color) in enumerate(zip(drawn.scraps, drawn.scrap_colors, strict=True)):
        brushes.add_scrap(spec, f"scrap{i}", row[3:], np.array([row[0], row[1], row[5] + 0.001]), float(row[2]), color)


class BrushAndScraps(RigidObject):
    """The brush; its tracked points include the scraps."""

    def __init__(self, station: Station) -> None:
        reach = 0.6 * station.scene.brush.half_length
        super().__init__(station.model, station.data, "brush", station.scene.brush.points(), (-reach, reach))
        self._scraps = np.array([station.model.body(f"scrap{i}").id for i in range(SCRAPS)])
        self._scrap_dofs = np.array([int(station.model.joint(f"scrap{i}").dofadr[0]) for i in range(SCRAPS)])
        half = station.scene.scraps[:, 3:]
        self._tops = half * [-0.5, 0.0, 1.0]
        self._corners = half[:, None] * np.array(list(itertools.product((-1.0, 1.0), repeat=3)))

    def points(self) -> np.ndarray:
        """Return ``(16, 3)`` current points: ten on the brush, then one on each scrap's face, base frame."""
        return np.concatenate([super().points(), self._placed(self._tops[:, None])[:, 0]])

    def _placed(self, points: np.ndarray) -> np.ndarray:
        """Map ``(SCRAPS, k, 3)`` points in the frames of the scraps to the base frame."""
        R = self._data.xmat[self._scraps].reshape(-1, 3, 3)
        return self._data.xpos[self._scraps, None] + np.einsum("nij,nkj->nki", R, points)

    def scraps(self) -> np.ndarray:
        """Return ``(SCRAPS, 3)`` centres of the scraps in the base frame."""
        return self._data.xpos[self._scraps].copy()

    def swept(self, pan: Dustpan) -> np.ndarray:
        """Return ``(SCRAPS,)`` which scraps lie in ``pan`` with all eight corners of their outlines."""
        return pan.holds(self._placed(self._corners)).all(-1)

    def scrap_speed(self) -> float:
        """Speed of the fastest scrap, m/s."""
        return float(np.linalg.norm(self._data.qvel[self._scrap_dofs[:, None] + np.arange(3)], axis=-1).max())


def outcome(station: Station) -> tuple[str, str]:
    """Return ``(verdict, reason)``.

    Debris contained in the dustpan is a success, as in the paper (C.3): no part of a scrap is before the lip of the
    goal dustpan or beyond its walls. The scraps must be at rest, and the brush out of the pan, so that it does not hold
    anything in place; it may stay in hand.
    """
    thing, goal = station.object, station.scene.goal
    for index in (goal, 1 - goal):
        if thing.swept(station.scene.pans[index]).all():
            if (
                bristles_height(station) < 0.02
                and station.scene.pans[index].local(thing.pose()[:2, 3])[0] > -station.scene.brush.half_length
            ):
                return "in_progress", "all inside, the brush as well"
            if thing.scrap_speed() > 0.03:
                return "in_progress", "all inside, not yet at rest"
            return (
                ("success", "all scraps in the goal dustpan")
                if index == goal
                else ("wrong_goal", "all scraps in the other dustpan")
            )
    inside = int(thing.swept(station.scene.pans[goal]).sum())
    lies = abs(float(thing.pose()[2, 2])) < 0.7
    return "in_progress", f"{inside} of {SCRAPS} inside" + (
        ", held" if station.pads_in_contact() else ", the brush has toppled" if lies else ""
    )


def bristles_height(station: Station) -> float:
    """Return the height of an upright brush's bristle tips above the table, metres."""
    return float(station.object_pose()[2, 3]) - station.scene.brush.drop


def static_points(station: Station) -> np.ndarray:
    """Return ``(8, 3)``: four points on the rim of each dustpan, in the base frame."""
    return np.concatenate([pan.rim_points() for pan in station.scene.pans])


def grasp_pose(station: Station) -> np.ndarray:
    """Return a ``(4, 4)`` top-down grasp of the brush's grip at its current pose."""
    T = station.object_pose()
    yaw = grasping.turn_to(grasping.bearing(T[:3, 0]), grasping.bearing(station.ee_pose()[:3, 0]))
    return grasping.top_down(yaw, T[:3, 3])


def stroke_ends(brush: Brush, pan: Dustpan, scraps: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the brush centre at the start and the end of a stroke; each ``(2,)``, in the pan's frame.

    Args:
        scraps: ``(n, 2)`` remaining scraps, base frame.
    """
    local = pan.local(scraps)
    room = pan.half_width - brush.half_length - 0.006
    aside = float(np.clip(local[:, 1].mean(), -room, room))
    begin = float(local[:, 0].min()) - 0.009 - BEHIND - brush.half_thickness
    return np.array([begin, aside]), np.array([PAST_LIP - brush.half_thickness, aside])


def taken(station: Station) -> bool:
    """Whether the gripper holds the brush away from its initial position."""
    return (
        station.grasped() and float(np.linalg.norm(station.object_pose()[:2, 3] - station.scene.brush_position)) > 0.03
    )


def may_drop(station: Station, height: float) -> bool:
    """Whether it is held low enough to land on its bristles, and ``height`` metres or more from its start."""
    away = float(np.linalg.norm(station.object_pose()[:2, 3] - station.scene.brush_position))
    return station.grasped() and bristles_height(station) < 0.012 and away > height


def instruction(station: Station, goal: int) -> str:
    """Name the left or right dustpan in the camera's view."""
    middle = [
        float(se3.apply(se3.invert(station.T_base_cam), pan.rim_points().mean(0))[0]) for pan in station.scene.pans
    ]
    return f"sweep the paper into the {'left' if middle[goal] < middle[1 - goal] else 'right'} dustpan"


def plan_reference(
    station: Station,
    rng: np.random.Generator | None = None,
    num_keypoints: int = 6,
    num_waypoints: int = 4,
    goal: int | None = None,
    pinned: int = 0,
) -> ReferenceMotion:
    """Sketch the reference from the current scene: the brush behind the scraps, then in the dustpan with all scraps.

    Args:
        rng: draws the keypoints among the tracked points; None spaces them evenly over brush and scraps.
        num_keypoints: 1 to 16.
        num_waypoints: 2 or more per keypoint, starting at the current position.
        goal: index of the dustpan; None for the scene's.
        pinned: number of additional static keypoints on the dustpan's rim, 0 to 4.

    Returns:
        The motion in the camera frame.

    Raises:
        ValueError: a count is out of range.
    """
    brush, pan = station.scene.brush, station.scene.pans[station.scene.goal if goal is None else goal]
    start, points = station.object_pose(), station.object_points()
    chosen = reference.choose(len(points), num_keypoints, num_waypoints, rng)
    T_grasp = grasp_pose(station)
    yaw = grasping.across(pan.heading, grasping.bearing(T_grasp[:3, 0]))
    T_ee_brush = se3.invert(T_grasp) @ start
    scraps = station.object.scraps()
    poses = [start]
    begin, end = stroke_ends(brush, pan, scraps[:, :2])
    for xy, rise in ((begin, 0.06), (begin, LOW), (end, LOW)):
        poses.append(grasping.top_down(yaw, np.array([*pan.base(xy), brush.drop + rise])) @ T_ee_brush)
    local = pan.local(points[:, :2])
    # The brush's face pushes the nearest scraps. Scraps in front are pushed by these or stay in place.
    ahead = end[0] + brush.half_thickness + 0.012 + 0.35 * (local[:, 0] - local[len(brush.points()) :, 0].min())
    swept = np.concatenate(
        [
            pan.base(np.stack([np.maximum(ahead, local[:, 0]), np.clip(local[:, 1], -0.06, 0.06)], -1)),
            points[:, 2:] + brushes.FLOOR,
        ],
        -1,
    )
    paths = []
    for k in chosen:
        if k < len(brush.points()):
            path = np.array([se3.apply(T, brush.points()[k]) for T in reference.interpolated(poses, num_waypoints)])
        else:
            # A scrap is at rest until the stroke.
            path = points[k] + reference.last_leg(num_waypoints)[:, None] * (swept[k] - points[k])
        paths.append(se3.apply(se3.invert(station.T_base_cam), path))
    return reference.sketch(
        np.array(paths), pan.rim_points()[:pinned], station.T_base_cam, station.camera.frame, "brush"
    )


TASK = Task(
    name="sweeping",
    sample=sample,
    add_bodies=add_bodies,
    track=BrushAndScraps,
    static_points=static_points,
    outcome=outcome,
    plan_reference=plan_reference,
    taken=taken,
    grasp_pose=grasp_pose,
    may_drop=may_drop,
    instruction=instruction,
    max_steps=260,
)
