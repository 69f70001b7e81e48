"""The expert at the primitive "gather": grasp the upright tool, push the bits along their way, raise the tool."""

from __future__ import annotations

import numpy as np

from uma_sim.demonstrators import upright
from uma_sim.demonstrators.primitives import approach
from uma_sim.demonstrators.upright import Stroke
from uma_sim.station import Station
from uma_sim.tasks import primitive_gather

DONE = 0.9
"""Share of its way that the expert wants of every bit: more than success asks, so that strokes end where the way does."""


class Gatherer:
    """Pushes the bits of a `Station` along the goal's way; grasps again a tool that was dropped and stands, and goes back for bits left behind.

    Args:
        goal: which way; None for the scene's goal.
    """

    def __init__(self, goal: int | None = None) -> None:
        self._goal = goal

    def act(self, station: Station) -> tuple[np.ndarray, float]:
        """The next target: ``(4, 4)`` T_base_ee at most (`STEP_M`, `STEP_RAD`) from the measured pose, and gripper 0 or 1."""
        phase, goal = self.phase(station), station.scene.goal if self._goal is None else self._goal
        T, grip, tool = station.ee_pose(), station.gripper_position(), station.scene.tool
        if phase == "approach":
            # The grip stands over the grasp: an open finger passes over it, not against it.
            return approach(T, primitive_gather.grasp_pose(station), grip, max(0.0, tool.half_height - tool.grasp_z))
        if phase == "leave":
            return upright.lift(T, tool.half_height + tool.grasp_z + 0.07, grip)
        left = station.object.bits()[~primitive_gather.are_there(station, goal, DONE), :2]
        way, height = station.scene.ways[goal], primitive_gather.tool_height(station)
        begin, end = primitive_gather.stroke_ends(station.scene, goal, left)
        z = primitive_gather.LOW + tool.half_height
        stroke = Stroke(way, begin, end, float(way.local(left)[:, 0].min()), (tool.blade or (0.0, 0.0))[1], z)
        return upright.step(T, station.object_pose(), stroke, height), 1.0

    def phase(self, station: Station) -> str:
        """The name of the rule in force, for people: "sweep", "leave" or "approach"."""
        if not station.grasped():
            return "approach"
        goal = station.scene.goal if self._goal is None else self._goal
        return "leave" if primitive_gather.are_there(station, goal, DONE).all() else "sweep"
