"""The cable expert: grasps the cable across, carries it along a path, then holds or releases it."""

from __future__ import annotations

import numpy as np

from uma.geometry import se3
from uma_sim.experts.base import STEP_M, STEP_RAD
from uma_sim.experts.primitives import approach, retreat
from uma_sim.station import Station
from uma_sim.tasks.primitives import cable as primitive_cable


class CableMover:
    """Grasps the cable of a `Station` and moves it along its path; grasps again after a drop or a miss.

    Args:
        goal: index of the path; None for the scene's goal.
    """

    def __init__(self, goal: int | None = None) -> None:
        self._goal = goal

    def act(self, station: Station) -> tuple[np.ndarray, float]:
        """Return the next target ``(4, 4)`` T_base_ee, at most one label step away, and gripper 0 or 1."""
        T, phase = station.ee_pose(), self.phase(station)
        way = station.scene.ways[station.scene.goal if self._goal is None else self._goal]
        if phase == "leave":
            return retreat(T, station.gripper_position(), 0.18)
        if phase == "let go":
            return T.copy(), 0.0
        if phase == "approach":
            return approach(T, primitive_cable.grasp_pose(station), station.gripper_position())
        end = way.poses[-1]
        if way.lets_go and np.linalg.norm(T[:3, 3] - end[:3, 3]) < 0.014:
            return se3.clip_step(T, end, STEP_M, STEP_RAD), 0.0
        return se3.clip_step(T, way.ahead(T, STEP_M, STEP_RAD), STEP_M, STEP_RAD), 1.0

    def phase(self, station: Station) -> str:
        """Name of the active rule, for display: "carry", "let go", "leave" or "approach"."""
        goal = station.scene.goal if self._goal is None else self._goal
        if station.grasped():
            return "carry"
        way = station.scene.ways[goal]
        if way.lets_go and primitive_cable.has_arrived(station, goal):
            return "leave"
        # Until the jaws are open, the object stays between the pads and would be dragged along.
        is_opening = (
            way.lets_go
            and station.gripper_position() > 0.12
            and np.linalg.norm(station.ee_pose()[:3, 3] - way.poses[-1, :3, 3]) < 0.03
        )
        return "let go" if is_opening and station.tcp_to_object() < 0.03 else "approach"
