"""The expert of the intents: grasps an object, moves it along its goal's legs, and then holds still."""

from __future__ import annotations

import numpy as np

from uma.geometry import se3
from uma_sim.experts.base import STEP_M, STEP_RAD
from uma_sim.experts.primitives import approach, retreat
from uma_sim.planning.paths import Path
from uma_sim.station import Station
from uma_sim.tasks.intents import judge
from uma_sim.tasks.intents import task as intents
from uma_sim.tasks.intents.goals import Goal

OPEN_M, OPEN_RAD = 0.012, 0.2
"""Distance and rotation from the end of the path within which the gripper opens."""

AWAY_M = 0.09
"""Height of the retreat above the grasp, metres."""


class Performer:
    """Performs a goal of an intent's `Station`; grasps again after a drop or a miss.

    At the end it holds the object still, or opens, retreats a little and stays there.

    Args:
        goal: index of the goal; None for the scene's.
    """

    def __init__(self, goal: int | None = None) -> None:
        self._index = goal

    def act(self, station: Station) -> tuple[np.ndarray, float]:
        """Return the next target ``(4, 4)`` T_base_ee, at most one label step away, and gripper 0 or 1."""
        T, T_object, thing = station.ee_pose(), station.object_pose(), station.scene.things[0]
        phase = self.phase(station)
        if phase == "leave":
            return retreat(T, station.gripper_position(), float(T_object[2, 3]) + thing.grasp_z + AWAY_M)
        if phase == "let go":
            return T.copy(), 0.0
        if phase == "approach":
            goal = intents.grasp_pose(station, self._at(station))
            above = max(thing.half_height - thing.grasp_z, self._rim(station) - float(goal[2, 3]), 0.0)
            return approach(T, goal, station.gripper_position(), above)
        path = self._path(station)
        if self._is_at_end(path, T_object):
            return se3.clip_step(T, path.poses[-1] @ se3.invert(T_object) @ T, STEP_M, STEP_RAD), 0.0
        # The object, not the gripper, follows the path, however it sits in the grasp.
        target = path.ahead(T_object, STEP_M, STEP_RAD) @ se3.invert(T_object) @ T
        return se3.clip_step(T, target, STEP_M, STEP_RAD), 1.0

    def phase(self, station: Station) -> str:
        """Name of the active rule, for display: "carry", "let go", "leave" or "approach"."""
        index = self._at(station)
        if station.grasped():
            return "carry"
        goal = self._goal(station)
        if not goal.lets_go:
            return "approach"
        if judge.is_there(station, index):
            return "leave"
        # Until the jaws are open, the object stays between the pads and would be dragged along.
        is_opening = station.gripper_position() > 0.12 and station.tcp_to_object() < 0.03
        near = np.linalg.norm(station.object_pose()[:3, 3] - self._path(station).poses[-1, :3, 3]) < 0.03
        return "let go" if is_opening and near else "approach"

    def _at(self, station: Station) -> int:
        return station.scene.goal if self._index is None else self._index

    def _goal(self, station: Station) -> Goal:
        return station.scene.goals[self._at(station)]

    def _path(self, station: Station) -> Path:
        return self._goal(station).path(station.scene.things[0].half_height)

    @staticmethod
    def _is_at_end(path: Path, T_object: np.ndarray) -> bool:
        end = path.poses[-1]
        apart = np.linalg.norm(T_object[:3, 3] - end[:3, 3])
        return bool(path.lets_go and apart < OPEN_M and se3.rotation_angle(T_object[:3, :3], end[:3, :3]) < OPEN_RAD)

    @staticmethod
    def _rim(station: Station) -> float:
        """Height of the container that holds the object, metres; 0 if none does."""
        layout = station.scene.layout
        if not layout.is_inside or np.linalg.norm(station.object_pose()[:2, 3] - layout.places[0, :2]) > 0.05:
            return 0.0
        return layout.rim()
