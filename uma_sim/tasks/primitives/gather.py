"""Training primitive "gather": pushes several small bits along a straight path with an upright tool (paper B.2,
"sweeping").
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import mujoco
import numpy as np

from uma.geometry import se3
from uma.types import ReferenceMotion
from uma_sim.objects import catalog as shapes
from uma_sim.objects import debris as bits
from uma_sim.objects.debris import PushPath
from uma_sim.objects.tracked import RigidObject
from uma_sim.planning import grasping
from uma_sim.planning import sketches as reference
from uma_sim.station import Task
from uma_sim.tasks.primitives import gather_scene as gatherings
from uma_sim.tasks.primitives.gather_scene import Scene
from uma_sim.tasks.primitives.move import side_of, thing_grasp

if TYPE_CHECKING:
    from uma_sim.station import Station

ON_TOOL, ON_BITS = 10, 6
"""Numbers of tracked points on the tool and on bits."""

LOW = 0.001
"""Height of the tool's edge above the table in a stroke, metres."""

THERE = 0.85
"""Least fraction of its path for a bit that has arrived."""

ASIDE, PAST = 0.04, 0.10
"""Tolerances of a bit: off its line, and beyond the path's end, metres."""


def add_bodies(spec: mujoco.MjSpec, drawn: Scene) -> None:
    """Add the free bodies ``tool``, ``bit0``, ``bit1``, ..., ``thing0``, ..., and the trays."""
    shapes.add_thing(spec, drawn.tool, drawn.finish, "tool", drawn.tool_place[:2], float(drawn.tool_place[2]))
    for i, bit in enumerate(drawn.bits):
        bits.add_bit(spec, bit, f"bit{i}")
    for i, (tray, way) in enumerate(zip(drawn.trays, drawn.ways, strict=False)):
        bits.add_tray(spec, tray, way, f"tray{i}")
    for i, (thing, look, place) in enumerate(drawn.others):
        shapes.add_thing(spec, thing, look, f"thing{i}", place[:2], float(place[2]))


class ToolAndBits(RigidObject):
    """The tool; its tracked points include points on the bits."""

    def __init__(self, station: Station) -> None:
        tool, drawn = station.scene.tool, station.scene.bits
        on_tool = tool.points[np.linspace(0, len(tool.points) - 1, ON_TOOL).round().astype(int)]
        super().__init__(station.model, station.data, "tool", on_tool, tool.grasp_axis or (0.0, 0.0), tool.grasp_z)
        self._ids = np.array([station.model.body(f"bit{i}").id for i in range(len(drawn))])
        self._dofs = np.array([int(station.model.joint(f"bit{i}").dofadr[0]) for i in range(len(drawn))])
        # With fewer bits than points, the first bits have several points.
        self.bit_of = np.arange(ON_BITS) % len(drawn)
        self._on = np.array([drawn[k].point(i // len(drawn)) for i, k in enumerate(self.bit_of)])

    def points(self) -> np.ndarray:
        """Return ``(16, 3)`` current points: ten on the tool, then six on bits (`bit_of`), base frame."""
        on = self._ids[self.bit_of]
        R = self._data.xmat[on].reshape(-1, 3, 3)
        return np.concatenate([super().points(), self._data.xpos[on] + np.einsum("nij,nj->ni", R, self._on)])

    def bits(self) -> np.ndarray:
        """Return ``(n, 3)`` centres of the bits in the base frame."""
        return self._data.xpos[self._ids].copy()

    def bit_speed(self) -> float:
        """Speed of the fastest bit, m/s."""
        return float(np.linalg.norm(self._data.qvel[self._dofs[:, None] + np.arange(3)], axis=-1).max())


def static_points(station: Station) -> np.ndarray:
    """Return ``(n, 3)``: the corners of the trays, and four points on each uninvolved object, in the base frame."""
    drawn = station.scene
    out = [np.zeros((0, 3)), *(tray.corners(way) for tray, way in zip(drawn.trays, drawn.ways, strict=False))]
    for i, (thing, _, _) in enumerate(drawn.others):
        body = station.data.body(f"thing{i}")
        out.append(se3.apply(se3.make_pose(body.xmat.reshape(3, 3), body.xpos), thing.points[:4]))
    return np.concatenate(out)


def grasp_pose(station: Station) -> np.ndarray:
    """Return a ``(4, 4)`` top-down grasp of the tool's grip at its current pose."""
    return thing_grasp(station.scene.tool, station.object_pose(), grasping.bearing(station.ee_pose()[:3, 0]))


def are_there(station: Station, goal: int, share: float = THERE) -> np.ndarray:
    """Return ``(n,)`` bool: bits in the goal's tray or, without trays, beyond ``share`` of the path near their line."""
    drawn, now = station.scene, station.object.bits()
    way = drawn.ways[goal]
    if drawn.trays:
        return drawn.trays[goal].holds(way, now)
    x = way.local(now[:, :2])[:, 0]
    return (x > share * way.length) & (x < way.length + PAST) & (np.abs(_aside(station, way)) < ASIDE)


def _aside(station: Station, way: PushPath) -> np.ndarray:
    """Return the ``(n,)`` displacement of each bit from its line along ``way``, to the left, metres."""
    return (
        way.local(station.object.bits()[:, :2])[:, 1]
        - way.local(np.array([bit.place[:2] for bit in station.scene.bits]))[:, 1]
    )


def are_astray(station: Station, goal: int) -> np.ndarray:
    """Return ``(n,)`` bool: bits that have slipped too far aside for a stroke along path ``goal``."""
    drawn = station.scene
    way = drawn.ways[goal]
    if not drawn.trays:
        return np.abs(_aside(station, way)) > ASIDE - 0.012
    local = way.local(station.object.bits()[:, :2])
    return (np.abs(local[:, 1]) > drawn.trays[goal].half_width - 0.006) & (local[:, 0] < drawn.trays[goal].lip)


def tool_height(station: Station) -> float:
    """Return the height of an upright tool's edge above the table, metres."""
    return float(station.object_pose()[2, 3]) - station.scene.tool.half_height


def outcome(station: Station) -> tuple[str, str]:
    """Return ``(verdict, reason)``.

    A success has every bit in place (`are_there`) and at rest. The tool must be held with its edge raised by 2 cm, so
    that it does not hold anything in place.
    """
    goal = station.scene.goal
    for index in (goal, 1 - goal):
        if are_there(station, index).all():
            if tool_height(station) < 0.02 or not station.grasped():
                return "in_progress", "all there, the tool not raised"
            if station.object.bit_speed() > 0.03:
                return "in_progress", "all there, not yet at rest"
            return ("success", "gathered") if index == goal else ("wrong_goal", "gathered at the other way's end")
    left = int((~are_there(station, goal)).sum())
    lies = abs(float(station.object_pose()[2, 2])) < 0.7
    return "in_progress", f"{left} left behind" + (
        ", held" if station.pads_in_contact() else ", the tool has toppled" if lies else ", not held"
    )


def taken(station: Station) -> bool:
    """Whether the gripper holds the tool away from its initial position."""
    return (
        station.grasped() and float(np.linalg.norm(station.object_pose()[:2, 3] - station.scene.tool_place[:2])) > 0.03
    )


def may_drop(station: Station, height: float) -> bool:
    """Whether it is held low enough to land on its edge, and at least ``height`` metres from its initial position."""
    away = float(np.linalg.norm(station.object_pose()[:2, 3] - station.scene.tool_place[:2]))
    return station.grasped() and tool_height(station) < 0.008 and away > height


def stroke_ends(drawn: Scene, goal: int, left: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the tool centre at the start and the end of a stroke; each ``(2,)``, in the frame of path ``goal``.

    Args:
        left: ``(n, 2)`` remaining bits, base frame.
    """
    way, (length, thick) = drawn.ways[goal], drawn.tool.blade or (0.0, 0.0)
    local = way.local(left)
    room = max(0.0, drawn.trays[goal].half_width - length - 0.006) if drawn.trays else np.inf
    aside = float(np.clip((local[:, 1].min() + local[:, 1].max()) / 2, -room, room))
    return np.array([gatherings.behind(float(local[:, 0].min()), thick), aside]), np.array(
        [way.length - gatherings.AHEAD - thick, aside]
    )


def instruction(station: Station, goal: int) -> str:
    """Name the bits, the tool and the goal's end in the camera's view."""
    drawn = station.scene
    ends = [np.array([*way.base(np.array([way.length, 0.0])), 0.0]) for way in drawn.ways]
    where = "into the tray on the" if drawn.trays else "to the"
    return f"push the {len(drawn.bits)} bits {where} {side_of(station, ends, goal)} with the {drawn.tool.kind}"


def plan_reference(
    station: Station,
    rng: np.random.Generator | None = None,
    num_keypoints: int = 6,
    num_waypoints: int = 4,
    goal: int | None = None,
    pinned: int = 0,
) -> ReferenceMotion:
    """Sketch the reference from the current scene: the tool behind the bits, then at the path's end with each bit in
    front of it.

    Args:
        rng: draws the keypoints among the tracked points; None spaces them evenly over tool and bits.
        num_keypoints: 1 to 16.
        num_waypoints: 2 or more per keypoint, starting at the current position.
        goal: index of the path; None for the scene's.
        pinned: number of additional static keypoints (`static_points`), 0 to 4, as far as available.

    Returns:
        The motion in the camera frame.

    Raises:
        ValueError: a count is out of range.
    """
    drawn, side = station.scene, station.scene.goal if goal is None else goal
    way, tool = drawn.ways[side], drawn.tool
    start, points, middles = station.object_pose(), station.object_points(), station.object.bits()
    chosen = reference.choose(len(points), num_keypoints, num_waypoints, rng)
    T_grasp = grasp_pose(station)
    yaw = grasping.across(way.heading, grasping.bearing(T_grasp[:3, 0]))
    T_ee_tool = se3.invert(T_grasp) @ start
    T_ee_tool[:2, 3] = 0.0  # the grasp is at the middle of the grip
    poses = [start]
    begin, end = stroke_ends(drawn, side, middles[:, :2])
    for xy, rise in ((begin, 0.06), (begin, LOW), (end, LOW)):
        poses.append(
            grasping.top_down(yaw, np.array([*way.base(xy), tool.half_height + tool.grasp_z + rise])) @ T_ee_tool
        )
    local = way.local(middles[:, :2])
    # The edge pushes the nearest bits. Bits in front are pushed by these or stay in place.
    ahead = np.maximum(way.length + 0.35 * (local[:, 0] - local[:, 0].min()), local[:, 0])
    shift = np.column_stack(
        [
            way.base(np.stack([ahead, local[:, 1]], -1)) - middles[:, :2],
            np.full(len(local), drawn.trays[side].floor if drawn.trays else 0.0),
        ]
    )
    on_tool, rows = se3.apply(se3.invert(start), points[:ON_TOOL]), []
    for k in chosen:
        if k < ON_TOOL:
            path = np.array([se3.apply(T, on_tool[k]) for T in reference.interpolated(poses, num_waypoints)])
        else:
            # A bit is at rest until the stroke.
            path = points[k] + reference.last_leg(num_waypoints)[:, None] * shift[station.object.bit_of[k - ON_TOOL]]
        rows.append(se3.apply(se3.invert(station.T_base_cam), path))
    still = static_points(station)
    still = still[4 * side :] if drawn.trays else still
    return reference.sketch(np.array(rows), still[:pinned], station.T_base_cam, station.camera.frame, tool.kind)


TASK = Task(
    name="primitives/gather",
    sample=gatherings.sample,
    add_bodies=add_bodies,
    track=ToolAndBits,
    static_points=static_points,
    outcome=outcome,
    plan_reference=plan_reference,
    taken=taken,
    grasp_pose=grasp_pose,
    may_drop=may_drop,
    instruction=instruction,
    max_steps=260,
)
