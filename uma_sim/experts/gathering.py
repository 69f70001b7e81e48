"""The expert of "gather": grasps the upright tool, pushes the bits along their path, raises the tool."""

from __future__ import annotations

import numpy as np

from uma_sim.experts import upright
from uma_sim.experts.primitives import approach
from uma_sim.experts.upright import Stroke
from uma_sim.objects.debris import PushPath
from uma_sim.station import Station
from uma_sim.tasks.primitives import gather as primitive_gather
from uma_sim.tasks.primitives import gather_scene as gatherings

SLANT = 1.2
"""Angle between the path and a stroke at a bit that has slipped aside, rad."""

DONE = 0.9
"""Fraction of the path that the expert requires of every bit.

It exceeds the success criterion, so that strokes reach the end.
"""


class Gatherer:
    """Pushes the bits of a `Station` along the goal's path; recovers a dropped, standing tool and returns for remaining
    bits.

    Args:
        goal: index of the path; None for the scene's goal.
    """

    def __init__(self, goal: int | None = None) -> None:
        self._goal = goal

    def act(self, station: Station) -> tuple[np.ndarray, float]:
        """Return the next target ``(4, 4)`` T_base_ee, at most one label step away, and gripper 0 or 1."""
        phase, goal = self.phase(station), station.scene.goal if self._goal is None else self._goal
        T, grip, tool = station.ee_pose(), station.gripper_position(), station.scene.tool
        if phase == "approach":
            # The grip rises above the grasp, so an open finger must pass over it.
            return approach(T, primitive_gather.grasp_pose(station), grip, max(0.0, tool.half_height - tool.grasp_z))
        if phase == "leave":
            return upright.lift(T, tool.half_height + tool.grasp_z + 0.07, grip)
        return upright.step(
            T, station.object_pose(), self._stroke(station, goal), primitive_gather.tool_height(station)
        ), 1.0

    @staticmethod
    def _stroke(station: Station, goal: int) -> Stroke:
        """Stroke along the path at the remaining bits; a bit far aside is first pushed back to the path at a slant."""
        drawn, is_left = station.scene, ~primitive_gather.are_there(station, goal, DONE)
        is_left |= not is_left.any()  # completed bits are pushed on to the end
        way, thick, z = (
            drawn.ways[goal],
            (drawn.tool.blade or (0.0, 0.0))[1],
            primitive_gather.LOW + drawn.tool.half_height,
        )
        bits, astray = (
            station.object.bits()[:, :2],
            np.flatnonzero(is_left & primitive_gather.are_astray(station, goal)),
        )
        if len(astray):
            bit = bits[astray[0]]
            side = float(np.sign(way.local(bit)[1]))
            frame = PushPath(bit, way.heading - side * SLANT, 0.0)
            return Stroke(frame, np.array([gatherings.behind(0.0, thick), 0.0]), np.array([0.05, 0.0]), 0.0, thick, z)
        left = bits[is_left]
        begin, end = primitive_gather.stroke_ends(drawn, goal, left)
        return Stroke(way, begin, end, float(way.local(left)[:, 0].min()), thick, z)

    def phase(self, station: Station) -> str:
        """Name of the active rule, for display: "sweep", "leave" or "approach"."""
        if not station.grasped():
            return "approach"
        goal = station.scene.goal if self._goal is None else self._goal
        if not primitive_gather.are_there(station, goal, DONE).all():
            return "sweep"
        return (
            "leave"
            if upright.is_over(
                station.object_pose(), self._stroke(station, goal), primitive_gather.tool_height(station)
            )
            else "sweep"
        )
