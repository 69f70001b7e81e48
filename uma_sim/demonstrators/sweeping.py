"""The expert at sweeping: approach, stroke, leave."""

from __future__ import annotations

import numpy as np

from uma.geometry import se3
from uma_sim import grasping
from uma_sim.demonstrator import STEP_M, STEP_RAD, ramp
from uma_sim.grasping import bearing, wrap
from uma_sim.station import Station
from uma_sim.tasks import sweeping

STROKE_M = 0.018
"""Largest step of a label in a stroke: a faster brush would throw the scraps ahead."""


class Sweeper:
    """Sweeps the scraps of a `Station` into its goal dustpan; regrasps a dropped brush that stands and goes back for scraps left behind.

    Args:
        goal: which dustpan; None for the scene's goal.
    """

    def __init__(self, goal: int | None = None) -> None:
        self._goal = goal

    def act(self, station: Station) -> tuple[np.ndarray, float]:
        """The next target: ``(4, 4)`` T_base_ee at most (`STEP_M`, `STEP_RAD`) from the measured pose, and gripper 0 or 1."""
        phase, index = self.phase(station), station.scene.goal if self._goal is None else self._goal
        if phase == "leave":
            return self._leave(station)
        return self._approach(station) if phase == "approach" else self._sweep(station, index)

    def phase(self, station: Station) -> str:
        """The name of the rule in force, for people: "leave", "approach" or "sweep"."""
        index = station.scene.goal if self._goal is None else self._goal
        if station.scene.pans[index].holds(station.object.scraps()).all():
            return "leave"
        return "sweep" if station.grasped() else "approach"

    def _approach(self, station: Station) -> tuple[np.ndarray, float]:
        T, goal, grip = station.ee_pose(), sweeping.grasp_pose(station), station.gripper_position()
        lateral = float(np.linalg.norm(goal[:2, 3] - T[:2, 3]))
        angle = float(se3.rotation_angle(T[:3, :3], goal[:3, :3]))
        if lateral < 0.012 and angle < 0.13 and abs(T[2, 3] - goal[2, 3]) < 0.008 and grip < 0.97:
            return se3.clip_step(T, goal, STEP_M, STEP_RAD), 1.0
        # A closed gripper must open above the brush, not beside it.
        goal[2, 3] += max(0.12 * ramp(lateral, 0.007, 0.06), 0.10 * ramp(angle, 0.08, 0.6), 0.09 * ramp(grip, 0.12, 0.4))
        return se3.clip_step(T, goal, STEP_M, STEP_RAD), 0.0

    def _sweep(self, station: Station, index: int) -> tuple[np.ndarray, float]:
        brush, pan = station.scene.brush, station.scene.pans[index]
        T, T_brush, scraps = station.ee_pose(), station.object_pose(), station.object.scraps()
        left = scraps[~pan.holds(scraps), :2]
        begin, end = sweeping.stroke_ends(brush, pan, left)
        at, height = pan.local(T_brush[:2, 3]), sweeping.bristles_height(station)
        # What the brush has turned and shifted in the grasp is made up for.
        swing = wrap(bearing(T_brush[:3, 0]) - bearing(T[:3, 0]))
        swing = swing if abs(swing) < np.pi / 2 else wrap(swing - np.pi)  # either end of the grip may be in front
        goal = grasping.top_down(sweeping.stroke_yaw(pan, bearing(T[:3, 0]) + swing) - swing, np.zeros(3))
        angle = float(se3.rotation_angle(T[:3, :3], goal[:3, :3]))
        is_behind = at[0] + brush.half_thickness < float(pan.local(left)[:, 0].min()) + 0.002
        is_sweeping = is_behind and abs(at[1] - end[1]) < 0.020 and angle < 0.15 and height < 0.008
        if is_sweeping:
            return self._step(T, T_brush, goal, pan.base(end), sweeping.LOW + brush.drop, STROKE_M), 1.0
        lateral = float(np.linalg.norm(at - begin))
        rise = 0.075 * max(ramp(lateral, 0.008, 0.05), ramp(angle, 0.06, 0.3))
        # Up before sideways and round, so that the brush passes over the scraps and the walls.
        share = max(ramp(height, 0.01, 0.05), 1.0 - ramp(lateral, 0.02, 0.05))
        target = self._step(T, T_brush, goal, pan.base(begin), sweeping.LOW + brush.drop + rise, STEP_M, max(share, 0.05))
        target[:3, :3] = se3.clip_step(T, goal, 1.0, STEP_RAD * max(ramp(height, 0.005, 0.03), 1.0 - ramp(angle, 0.15, 0.3)))[:3, :3]
        return target, 1.0

    @staticmethod
    def _step(T: np.ndarray, T_brush: np.ndarray, goal: np.ndarray, xy: np.ndarray, z: float, most: float, share: float = 1.0) -> np.ndarray:
        """One step that brings the brush toward ``xy`` (2,), ``z``, and the gripper to the rotation of ``goal``."""
        step = np.array([*xy, z]) - T_brush[:3, 3]
        step[:2] *= share
        step *= min(1.0, most / max(float(np.linalg.norm(step)), 1e-9))
        target = se3.clip_step(T, goal, 1.0, STEP_RAD)
        target[:3, 3] = T[:3, 3] + step
        return target

    @staticmethod
    def _leave(station: Station) -> tuple[np.ndarray, float]:
        """Straight up, with the brush if it is in hand."""
        T = station.ee_pose()
        target = T.copy()
        target[2, 3] = max(float(T[2, 3]), station.scene.brush.drop + 0.08)
        return se3.clip_step(T, target, STEP_M, STEP_RAD), float(station.gripper_position() > 0.3)
