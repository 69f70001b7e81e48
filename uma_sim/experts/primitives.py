"""The experts of the training primitives: move an object, push with a tool, move a cloth's edge."""

from __future__ import annotations

import numpy as np

from uma.geometry import se3
from uma_sim.experts.base import STEP_M, STEP_RAD, ramp
from uma_sim.experts.folding import CARRY_M, approach_edge, leave_edge
from uma_sim.planning import grasping
from uma_sim.planning.grasping import bearing, wrap
from uma_sim.planning.paths import Path
from uma_sim.station import Station
from uma_sim.tasks.primitives import cloth as primitive_cloth
from uma_sim.tasks.primitives import move as primitive_move
from uma_sim.tasks.primitives import stand as primitive_stand
from uma_sim.tasks.primitives import tool as primitive_tool


def approach(T: np.ndarray, goal: np.ndarray, grip: float, clearance: float = 0.0) -> tuple[np.ndarray, float]:
    """Step toward a top-down grasp from above, and close there.

    Args:
        clearance: height in metres of the tips above the grasp during the approach, beyond the usual funnel.
    """
    lateral = float(np.linalg.norm(goal[:2, 3] - T[:2, 3]))
    angle = float(se3.rotation_angle(T[:3, :3], goal[:3, :3]))
    if lateral < 0.011 and angle < 0.13 and abs(T[2, 3] - goal[2, 3]) < 0.010 and grip < 0.97:
        return se3.clip_step(T, goal, STEP_M, STEP_RAD), 1.0
    target = goal.copy()
    # A closed gripper must open above the object, not beside it.
    target[2, 3] += max(
        (0.12 + clearance) * ramp(lateral, 0.007, 0.06),
        0.10 * ramp(angle, 0.08, 0.6),
        (0.09 + clearance) * ramp(grip, 0.12, 0.4),
    )
    step = se3.clip_step(T, target, STEP_M, STEP_RAD)
    # Do not move sideways into the object from below its top.
    low = ramp(float(goal[2, 3]) + 0.02 + clearance - float(T[2, 3]), 0.0, 0.03) * ramp(lateral, 0.02, 0.05)
    step[:2, 3] = T[:2, 3] + (1.0 - low) * (step[:2, 3] - T[:2, 3])
    return step, 0.0


def retreat(T: np.ndarray, grip: float, height: float) -> tuple[np.ndarray, float]:
    """Open, then rise vertically to ``height`` metres."""
    target = T.copy()
    if grip < 0.12:
        target[2, 3] = max(float(T[2, 3]), height)
    return se3.clip_step(T, target, STEP_M, STEP_RAD), 0.0


def withdraw(T: np.ndarray, grip: float, is_near: bool) -> tuple[np.ndarray, float]:
    """Open, back out level from an upright object, and rise only when clear of it; a rising pad would lift it."""
    target = T.copy()
    if grip < 0.12:
        forward = np.array([T[0, 2], T[1, 2], 0.0]) / max(float(np.hypot(T[0, 2], T[1, 2])), 1e-6)
        target[:3, 3] += (
            -STEP_M * forward if is_near else np.array([0.0, 0.0, STEP_M * ramp(0.35 - float(T[2, 3]), 0.0, 0.05)])
        )
    return se3.clip_step(T, target, STEP_M, STEP_RAD), 0.0


class Mover:
    """Grasps the object of a `Station` and moves it along its path; grasps again after a drop or a miss.

    Args:
        goal: index of the path; None for the scene's goal.
    """

    primitive = primitive_move
    near = 0.014
    """Distance from the end of the path at which the gripper opens, metres."""

    def __init__(self, goal: int | None = None) -> None:
        self._goal = goal

    def act(self, station: Station) -> tuple[np.ndarray, float]:
        """Return the next target ``(4, 4)`` T_base_ee, at most one label step away, and gripper 0 or 1."""
        T, goal = station.ee_pose(), station.scene.goal if self._goal is None else self._goal
        thing = station.scene.things[0]
        phase = self.phase(station)
        if phase == "leave":
            if abs(T[2, 2]) < 0.8:
                return withdraw(T, station.gripper_position(), station.tcp_to_object() < 0.075)
            return retreat(T, station.gripper_position(), 0.16 + 2 * thing.half_height)
        if phase == "let go":
            return T.copy(), 0.0
        if phase == "approach":
            return approach(
                T,
                self.primitive.grasp_pose(station),
                station.gripper_position(),
                max(0.0, thing.half_height - thing.grasp_z),
            )
        way = station.scene.ways[goal]
        slip = self._slip(station, way)
        along = T @ se3.invert(slip)
        end = way.poses[-1]
        if (
            way.lets_go
            and np.linalg.norm(along[:3, 3] - end[:3, 3]) < self.near
            and se3.rotation_angle(along[:3, :3], end[:3, :3]) < 0.2
        ):
            return se3.clip_step(T, end @ slip, STEP_M, STEP_RAD), 0.0
        return se3.clip_step(T, way.ahead(along, STEP_M, STEP_RAD) @ slip, STEP_M, STEP_RAD), 1.0

    @staticmethod
    def _slip(station: Station, way: Path) -> np.ndarray:
        """``(4, 4)`` correction of the path's poses for an object that sits in the grasp otherwise than planned.

        It keeps the object, not the gripper, on the path. The rotation is limited to 0.5 rad. Beyond 4 cm or 1.2 rad
        (another grasp) there is no correction.
        """
        start = primitive_move.resting(station.scene.things[0], station.scene.places[0])
        slip = se3.invert(way.poses[0]) @ start @ se3.invert(station.object_pose()) @ station.ee_pose()
        if np.linalg.norm(slip[:3, 3]) > 0.04 or se3.rotation_angle(slip[:3, :3], np.eye(3)) > 1.2:
            return np.eye(4)
        return se3.clip_step(np.eye(4), slip, 0.04, 0.5)

    def phase(self, station: Station) -> str:
        """Name of the active rule, for display: "carry", "let go", "leave" or "approach"."""
        goal = station.scene.goal if self._goal is None else self._goal
        if station.grasped():
            return "carry"
        way = station.scene.ways[goal]
        if way.lets_go and self.primitive.has_arrived(station, goal):
            return "leave"
        # Until the jaws are open, the object stays between the pads and would be dragged along.
        is_opening = (
            way.lets_go
            and station.gripper_position() > 0.12
            and np.linalg.norm(station.ee_pose()[:3, 3] - way.poses[-1, :3, 3]) < 0.03
        )
        return "let go" if is_opening and station.tcp_to_object() < 0.03 else "approach"


class Stander(Mover):
    """The same for an object that is stood upright."""

    primitive = primitive_stand
    near = 0.024


PUSH_M = 0.013
"""Largest step of a label in a stroke, metres."""


class ToolUser:
    """Grasps the tool of a `Station` and pushes the goal's object with it; repeats missed grasps and strokes.

    Args:
        goal: index of the object; None for the scene's goal.
    """

    def __init__(self, goal: int | None = None) -> None:
        self._goal = goal

    def act(self, station: Station) -> tuple[np.ndarray, float]:
        """Return the next target ``(4, 4)`` T_base_ee, at most one label step away, and gripper 0 or 1."""
        goal, phase = station.scene.goal if self._goal is None else self._goal, self.phase(station)
        if phase == "approach":
            return approach(station.ee_pose(), primitive_tool.grasp_pose(station), station.gripper_position())
        if phase == "leave":
            T = station.ee_pose()
            target = T.copy()
            target[2, 3] += max(0.0, 0.06 - primitive_tool.tool_height(station))
            return se3.clip_step(T, target, STEP_M, STEP_RAD), 1.0
        return self._push(station, goal)

    def phase(self, station: Station) -> str:
        """Name of the active rule, for display: "push", "leave" or "approach"."""
        goal = station.scene.goal if self._goal is None else self._goal
        if not station.grasped():
            return "approach"
        return "leave" if primitive_tool.pushed(station, goal)[0] > 0.88 * station.scene.lengths[goal] else "push"

    @staticmethod
    def _push(station: Station, goal: int) -> tuple[np.ndarray, float]:
        T, T_tool, tool = station.ee_pose(), station.object_pose(), station.scene.things[0]
        begin, end = primitive_tool.stroke(station, goal)
        d, height = station.scene.direction(goal), primitive_tool.tool_height(station)
        # Level, along the heading, corrected for the tool's rotation in the grasp.
        swing = wrap(bearing(T_tool[:3, 0]) - bearing(T[:3, 0]))
        want = grasping.top_down(station.scene.headings[goal] - swing, np.zeros(3))
        angle = float(se3.rotation_angle(T[:3, :3], want[:3, :3]))
        tip = se3.apply(T_tool, tool.tip)
        along, aside = float((tip[:2] - begin) @ d), float((tip[:2] - begin) @ [-d[1], d[0]])
        # In contact, the object may press the tool aside.
        slack = 0.012 + 0.010 * ramp(along, 0.01, 0.02)
        is_pushing = (
            -0.015 < along < primitive_tool.BEFORE + 0.012 and abs(aside) < slack and angle < 0.12 and height < 0.014
        )
        goal_xy = end + 0.02 * d if is_pushing else begin  # beyond the end: the object's position ends the stroke
        lateral = float(np.hypot(along, aside))
        over = primitive_tool.over_all(station.scene)
        rise = 0.0 if is_pushing else over * max(ramp(lateral, 0.006, 0.04), ramp(angle, 0.05, 0.3))
        step = np.array([*(goal_xy - tip[:2]), primitive_tool.CLEAR + rise - height])
        if not is_pushing:
            # Up before sideways, over standing objects.
            step[:2] *= max(0.05, ramp(height, 0.3 * over, 0.8 * over), 1.0 - ramp(lateral, 0.015, 0.04))
        longest = PUSH_M if is_pushing else STEP_M
        step[2] = np.clip(step[2], -0.8 * longest, 0.8 * longest)
        step[:2] *= min(1.0, float(np.sqrt(longest**2 - step[2] ** 2)) / max(float(np.linalg.norm(step[:2])), 1e-9))
        # The tool rotates about the gripper, so its far end must be above the table.
        turn = STEP_RAD * max(ramp(height, 0.015, 0.05), 1.0 - ramp(angle, 0.1, 0.25))
        target = se3.clip_step(T, want, 1.0, turn)
        target[:3, 3] = T[:3, 3] + step
        return target, 1.0


class ClothMover:
    """Pinches a cloth's edge, moves it along its path, and holds or releases it; grasps again after a drop or a miss.

    Args:
        goal: index of the path; None for the scene's goal.
    """

    near, low = 0.018, 0.016
    """Lateral and vertical distance from the end of the path at which the gripper opens, metres.

    A stricter limit makes policies hover there.
    """

    def __init__(self, goal: int | None = None) -> None:
        self._goal = goal

    def act(self, station: Station) -> tuple[np.ndarray, float]:
        """Return the next target ``(4, 4)`` T_base_ee, at most one label step away, and gripper 0 or 1."""
        T, phase = station.ee_pose(), self.phase(station)
        if phase == "leave":
            return leave_edge(station)
        if phase == "approach":
            return approach_edge(station, primitive_cloth.grasp_pose(station))
        way = station.scene.ways[station.scene.goal if self._goal is None else self._goal]
        off = way.poses[-1, :3, 3] - T[:3, 3]
        if way.lets_go and np.linalg.norm(off[:2]) < self.near and off[2] > -self.low:
            return T.copy(), 0.0
        return se3.clip_step(T, way.ahead(T, CARRY_M, STEP_RAD), CARRY_M, STEP_RAD), 1.0

    def phase(self, station: Station) -> str:
        """Name of the active rule, for display: "carry", "leave" or "approach"."""
        if station.object.is_held():
            return "carry"
        goal = station.scene.goal if self._goal is None else self._goal
        return (
            "leave" if station.scene.ways[goal].lets_go and primitive_cloth.has_arrived(station, goal) else "approach"
        )
