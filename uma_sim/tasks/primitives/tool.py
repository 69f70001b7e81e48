"""Training primitives "sweep", "poke" and "hook": pushes an object with a tool's functional end (paper B.2)."""

from __future__ import annotations

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
from uma_sim.planning import grasping
from uma_sim.planning import sketches as reference
from uma_sim.scene import Room
from uma_sim.station import Task
from uma_sim.tasks.primitives.move import points_on, scatter, side_of, thing_grasp

if TYPE_CHECKING:
    from uma_sim.station import Station

TOOLS = {"sweep": "rake", "poke": "stick", "hook": "hook"}
"""use -> kind of tool."""

PUSHED = {"sweep": ("box", "can", "pebble"), "poke": ("box",), "hook": ("box", "pebble")}
"""use -> kinds of the pushed object. A round one would slip off the narrow end of a stick or the arm of a hook."""

BEFORE = 0.030
"""Metres between the tool and the object at the start of a stroke."""

CORNERS = np.array([[x, y, 0.0] for x in (-1, 1) for y in (-1, 1)])
"""``(4, 3)`` corners of a box's outline, in half sizes."""

CLEAR = 0.004
"""Height of a lying tool above the table during a stroke, metres."""


@dataclass(frozen=True)
class Scene:
    """One sampled scene.

    Attributes:
        room: robot, camera and light.
        use: a key of `TOOLS`.
        things, finishes, places: the tool, two candidate objects, and others; places ``(n, 3)`` x, y, yaw.
        headings: of the tool's x axis in a stroke at each candidate, radians.
        lengths: push distance of each candidate, metres.
        goal: index of the goal object, 0 or 1; only the reference motion reveals it.
    """

    room: Room
    use: str
    things: tuple[CatalogShape, ...]
    finishes: tuple[Finish, ...]
    places: np.ndarray
    headings: tuple[float, float]
    lengths: tuple[float, float]
    goal: int

    def direction(self, goal: int) -> np.ndarray:
        """Return the unit push direction ``(2,)`` of object ``goal``, base frame."""
        c, s = np.cos(self.headings[goal]), np.sin(self.headings[goal])
        return {"poke": np.array([c, s]), "hook": np.array([-c, -s]), "sweep": np.array([-s, c])}[self.use]


def sample(seed: int, use: str, held_out: bool = False) -> Scene:
    """Sample the scene of ``seed`` for one use; ``held_out`` draws the tool from the evaluation-only shapes."""
    rng = np.random.default_rng([seed, 60 + sorted(TOOLS).index(use)])
    room = scene.varied_room(rng)
    tool = shapes.sample(rng, (TOOLS[use],), held_out)
    pushed = []
    while len(pushed) < 2:
        thing = shapes.sample(rng, PUSHED[use])
        # Tall objects would topple, and tools are carried over the other candidate.
        if thing.half_height < min(1.5 * thing.radius, 0.036 if use == "sweep" else 0.028) and thing.radius < 0.045:
            pushed.append(thing)
    others = tuple(shapes.sample(rng, ("box", "can", "pebble", "bowl")) for _ in range(int(rng.integers(0, 3))))
    things = (tool, *pushed, *others)
    x, y = rng.uniform(0.46, 0.56), rng.uniform(0.02, 0.08)
    apart = rng.uniform(0.17, 0.21)
    # Seen from the robot, one candidate is behind the other; the tool lies in front, on the other side of the table's
    # centre.
    pair = [[x + rng.uniform(-0.03, 0.03), y, 0.0], [x + rng.uniform(-0.03, 0.03), y + apart, 0.0]]
    # Oblique to the line through both, so that neither tool nor gripper meets the nearer object in a stroke at the
    # farther one.
    low, high = {"sweep": (-0.3, 0.5), "poke": (0.2, 0.9), "hook": (0.1, 0.7)}[use]
    headings = (float(rng.uniform(low, high)), float(rng.uniform(low, high)))
    if use == "poke":
        for place, heading in zip(pair, headings, strict=True):
            place[2] = heading + float(rng.choice([0, np.pi]))
    else:
        for place in pair:
            place[2] = float(rng.uniform(-np.pi, np.pi))
    tool_place = [
        rng.uniform(0.40, 0.54),
        rng.uniform(-0.26, -0.20),
        rng.uniform(-0.6, 0.6) + float(rng.choice([0, np.pi])),
    ]
    rest = scatter(rng, [t.radius for t in others], (0.66, -0.35), (0.78, 0.35), 0.02) if others else np.zeros((0, 3))
    lengths = tuple(float(rng.uniform(0.05, 0.07)) for _ in range(2))
    finishes = (shapes.finish(rng), *(shapes.finish(rng, light=True) for _ in things[1:]))
    return Scene(
        room,
        use,
        things,
        finishes,
        np.concatenate([np.array([tool_place, *pair]), rest]),
        headings,
        (lengths[0], lengths[1]),
        int(rng.integers(2)),
    )


def add_bodies(spec: mujoco.MjSpec, drawn: Scene) -> None:
    """Add the free bodies ``thing0`` (the tool), ``thing1``, ``thing2`` (the candidates), ..."""
    for i, (thing, look, place) in enumerate(zip(drawn.things, drawn.finishes, drawn.places, strict=True)):
        shapes.add_thing(spec, thing, look, f"thing{i}", place[:2], float(place[2]))


class ToolAndThings(RigidObject):
    """The tool; its tracked points include points on the two candidates."""

    def __init__(self, station: Station) -> None:
        tool = station.scene.things[0]
        super().__init__(
            station.model, station.data, "thing0", tool.points[::2], tool.grasp_axis or (0.0, 0.0), tool.grasp_z
        )
        self._pushed = [station.data.body(f"thing{i}") for i in (1, 2)]
        self._dofs = [int(station.model.joint(f"thing{i}").dofadr[0]) for i in (1, 2)]
        self._on = [station.scene.things[i].points[::4] for i in (1, 2)]

    def points(self) -> np.ndarray:
        """Return ``(16, 3)`` current points: eight on the tool, then four on each candidate, base frame."""
        return np.concatenate(
            [super().points(), *(se3.apply(self.pushed_pose(i), on) for i, on in enumerate(self._on))]
        )

    def pushed_pose(self, index: int) -> np.ndarray:
        """Return the ``(4, 4)`` pose of candidate 0 or 1."""
        body = self._pushed[index]
        return se3.make_pose(body.xmat.reshape(3, 3), body.xpos)

    def pushed_speed(self) -> float:
        """Speed of the faster candidate, m/s."""
        return max(float(np.linalg.norm(self._data.qvel[dof : dof + 3])) for dof in self._dofs)


def static_points(station: Station) -> np.ndarray:
    """Return ``(n, 3)``: four points on each uninvolved object, in the base frame."""
    return points_on(station, range(3, len(station.scene.things)))


def grasp_pose(station: Station) -> np.ndarray:
    """Return the expert's current grasp ``(4, 4)`` of the tool."""
    return thing_grasp(station.scene.things[0], station.object_pose(), grasping.bearing(station.ee_pose()[:3, 0]))


def pushed(station: Station, goal: int) -> tuple[float, float]:
    """Return the displacement of object ``goal`` along its push direction and beside it, metres."""
    moved = station.object.pushed_pose(goal)[:2, 3] - station.scene.places[1 + goal, :2]
    d = station.scene.direction(goal)
    return float(moved @ d), float(moved @ [-d[1], d[0]])


def is_there(station: Station, goal: int) -> bool:
    """Whether object ``goal`` has come at least 70 % of its path, and at most 3 cm beside or beyond it."""
    along, aside = pushed(station, goal)
    length = station.scene.lengths[goal]
    return 0.7 * length < along < length + 0.03 and abs(aside) < 0.03


def tool_height(station: Station) -> float:
    """Return the height of a lying tool above its rest, metres."""
    return float(station.object_pose()[2, 3]) - station.scene.things[0].half_height


def outcome(station: Station) -> tuple[str, str]:
    """Return ``(verdict, reason)``.

    A success has the goal object in place (`is_there`) and at rest, with the other candidate untouched. The tool must
    be raised by 2 cm, so that it does not hold anything in place.
    """
    for index in (station.scene.goal, 1 - station.scene.goal):
        if is_there(station, index) and float(np.hypot(*pushed(station, 1 - index))) < 0.02:
            if tool_height(station) < 0.02:
                return "in_progress", "there, the tool not yet raised"
            if station.object.pushed_speed() > 0.03:
                return "in_progress", "there, not yet at rest"
            return (
                ("success", "pushed to its place")
                if index == station.scene.goal
                else ("wrong_goal", "the other thing was pushed")
            )
    along, aside = pushed(station, station.scene.goal)
    if float(np.hypot(*pushed(station, 1 - station.scene.goal))) >= 0.02:
        return "in_progress", "the other thing was moved as well"
    is_past = along > 0.03 + station.scene.lengths[station.scene.goal]
    where = "past" if is_past else "aside" if abs(aside) > 0.03 else "too little"
    return "in_progress", f"{'held' if station.grasped() else 'not held'}, pushed {where}"


def taken(station: Station) -> bool:
    """Whether it is held 1.5 cm above the table."""
    return station.grasped() and tool_height(station) > 0.015


def may_drop(station: Station, height: float) -> bool:
    """Whether it is held at about ``height`` metres."""
    return station.grasped() and 0.5 * height < tool_height(station) < 0.10


def stroke(station: Station, goal: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the functional end's centre at the start and the end of a stroke; each ``(2,)``, base frame."""
    drawn, d = station.scene, station.scene.direction(goal)
    now = station.object.pushed_pose(goal)
    reach = half_extent(drawn.things[1 + goal], float(np.arctan2(now[1, 0], now[0, 0])), d)
    first = drawn.places[1 + goal, :2]
    n = np.array([-d[1], d[0]])
    end = first + (drawn.lengths[goal] - reach) * d
    end = end + float((now[:2, 3] - end) @ n) * n
    return now[:2, 3] - (reach + BEFORE) * d, end


def half_extent(thing: CatalogShape, yaw: float, d: np.ndarray) -> float:
    """Return the metres from an object's centre to the side pushed along ``d`` ``(2,)``, for its yaw in radians."""
    if thing.mesh is None and thing.kind != "box":
        return thing.radius
    c, s = np.cos(yaw), np.sin(yaw)
    surface = np.abs(thing.points).max(0) * CORNERS if thing.mesh is None else thing.mesh
    return float(-(surface[:, :2] @ np.array([[c, s], [-s, c]]) @ d).min())


def over_all(drawn: Scene) -> float:
    """Return the carrying height of the tool above the two candidates, metres."""
    return 2 * max(thing.half_height for thing in drawn.things[1:3]) + 0.03


def instruction(station: Station, goal: int) -> str:
    """Name the use, the tool and the goal object in the camera's view."""
    points = [station.object.pushed_pose(i)[:3, 3] for i in (0, 1)]
    drawn = station.scene
    return (
        f"{drawn.use} the {side_of(station, points, goal)} thing, the {drawn.things[1 + goal].kind}, with the "
        f"{drawn.things[0].kind}"
    )


def plan_reference(
    station: Station,
    rng: np.random.Generator | None = None,
    num_keypoints: int = 6,
    num_waypoints: int = 4,
    goal: int | None = None,
    pinned: int = 0,
) -> ReferenceMotion:
    """Sketch the reference from the current scene: the tool above the start of its stroke, there, and at its end with
    the object.

    Args:
        rng: draws the keypoints among the tracked points of the tool and the goal object; None spaces them evenly.
        num_keypoints: 1 to 12.
        num_waypoints: 2 or more per keypoint, starting at the current position.
        goal: index of the object; None for the scene's.
        pinned: number of additional static keypoints on the other candidate, 0 to 4.

    Returns:
        The motion in the camera frame.

    Raises:
        ValueError: a count is out of range.
    """
    side = station.scene.goal if goal is None else goal
    tool, points = station.scene.things[0], station.object_points()
    pool = np.concatenate([np.arange(8), 8 + 4 * side + np.arange(4)])
    chosen = pool[reference.choose(len(pool), num_keypoints, num_waypoints, rng)]
    start, d = station.object_pose(), station.scene.direction(side)
    begin, end = stroke(station, side)
    heading = station.scene.headings[side]
    c, s = np.cos(heading), np.sin(heading)
    R = np.array([[c, -s, 0], [s, c, 0], [0, 0, 1.0]])
    poses = [start]
    for xy, rise in ((begin, 0.08), (begin, CLEAR), (end, CLEAR)):
        origin = np.array([*xy, tool.half_height + rise]) - np.array([*(R @ tool.tip)[:2], 0.0])
        poses.append(se3.make_pose(R, origin))
    on_tool = se3.apply(se3.invert(start), points[:8])
    rows = []
    for k in chosen:
        if k < 8:
            path = np.array([se3.apply(T, on_tool[k]) for T in reference.interpolated(poses, num_waypoints)])
        else:
            # The object is at rest until the stroke.
            path = points[k] + reference.last_leg(num_waypoints)[:, None] * np.array(
                [*(station.scene.lengths[side] * d), 0.0]
            )
        rows.append(se3.apply(se3.invert(station.T_base_cam), path))
    still = points[8 + 4 * (1 - side) :][:4][:pinned]
    return reference.sketch(np.array(rows), still, station.T_base_cam, station.camera.frame, tool.kind)


def _task(use: str) -> Task:
    return Task(
        name=f"primitives/{use}",
        sample=lambda seed, **options: sample(seed, use, **options),
        add_bodies=add_bodies,
        track=ToolAndThings,
        static_points=static_points,
        outcome=outcome,
        plan_reference=plan_reference,
        taken=taken,
        grasp_pose=grasp_pose,
        may_drop=may_drop,
        instruction=instruction,
        max_steps=240,
    )


SWEEP, POKE, HOOK = (_task(use) for use in ("sweep", "poke", "hook"))
