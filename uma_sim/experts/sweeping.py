"""The sweeping expert: approach, stroke, leave."""

from __future__ import annotations

import numpy as np

from uma.geometry import se3
from uma_sim.experts import upright
from uma_sim.experts.base import STEP_M, STEP_RAD, ramp
from uma_sim.experts.upright import Stroke
from uma_sim.station import Station
from uma_sim.tasks import sweeping


class Sweeper:
    """Sweeps the scraps of a `Station` into its goal dustpan; recovers a dropped, standing brush and returns for
    remaining scraps.

    Args:
        goal: index of the dustpan; None for the scene's goal.
    """

    def __init__(self, goal: int | None = None) -> None:
        self._goal = goal

    def act(self, station: Station) -> tuple[np.ndarray, float]:
        """Return the next target ``(4, 4)`` T_base_ee, at most one label step away, and gripper 0 or 1."""
        phase, index = self.phase(station), station.scene.goal if self._goal is None else self._goal
        if phase == "leave":
            return upright.lift(station.ee_pose(), station.scene.brush.drop + 0.08, station.gripper_position())
        return self._approach(station) if phase == "approach" else self._sweep(station, index)

    def phase(self, station: Station) -> str:
        """Name of the active rule, for display: "leave", "approach" or "sweep"."""
        index = station.scene.goal if self._goal is None else self._goal
        if station.object.swept(station.scene.pans[index]).all() and (
            not station.grasped()
            or upright.is_over(station.object_pose(), self._stroke(station, index), sweeping.bristles_height(station))
        ):
            return "leave"
        return "sweep" if station.grasped() else "approach"

    def _approach(self, station: Station) -> tuple[np.ndarray, float]:
        T, goal, grip = station.ee_pose(), sweeping.grasp_pose(station), station.gripper_position()
        lateral = float(np.linalg.norm(goal[:2, 3] - T[:2, 3]))
        angle = float(se3.rotation_angle(T[:3, :3], goal[:3, :3]))
        if lateral < 0.012 and angle < 0.13 and abs(T[2, 3] - goal[2, 3]) < 0.008 and grip < 0.97:
            return se3.clip_step(T, goal, STEP_M, STEP_RAD), 1.0
        # A closed gripper must open above the brush, not beside it.
        goal[2, 3] += max(
            0.12 * ramp(lateral, 0.007, 0.06), 0.10 * ramp(angle, 0.08, 0.6), 0.09 * ramp(grip, 0.12, 0.4)
        )
        return se3.clip_step(T, goal, STEP_M, STEP_RAD), 0.0

    @staticmethod
    def _sweep(station: Station, index: int) -> tuple[np.ndarray, float]:
        stroke = Sweeper._stroke(station, index)
        return upright.step(station.ee_pose(), station.object_pose(), stroke, sweeping.bristles_height(station)), 1.0

    @staticmethod
    def _stroke(station: Station, index: int) -> Stroke:
        """Return the stroke at the remaining scraps, or at all of them if none remain."""
        brush, pan, scraps = station.scene.brush, station.scene.pans[index], station.object.scraps()
        is_left = ~station.object.swept(pan)
        left = scraps[is_left | (not is_left.any()), :2]
        begin, end = sweeping.stroke_ends(brush, pan, left)
        return Stroke(
            pan, begin, end, float(pan.local(left)[:, 0].min()), brush.half_thickness, sweeping.LOW + brush.drop
        )
