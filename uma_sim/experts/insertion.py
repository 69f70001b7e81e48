"""The insertion expert: approach, carry, leave."""

from __future__ import annotations

import numpy as np

from uma.geometry import se3
from uma_sim.experts.base import STEP_M, STEP_RAD, ramp
from uma_sim.planning import grasping
from uma_sim.station import Station
from uma_sim.tasks import insertion

CENTRED = 0.006
"""Largest distance of a hanging utensil from the holder's axis, along the jaws, at which the gripper backs out."""


class Inserter:
    """Inserts the utensil of a `Station` into its goal holder; grasps again after a drop or a miss.

    Args:
        holder: index of the holder; None for the scene's goal.
    """

    def __init__(self, holder: int | None = None) -> None:
        self._holder = holder

    def act(self, station: Station) -> tuple[np.ndarray, float]:
        """Return the next target ``(4, 4)`` T_base_ee, at most one label step away, and gripper 0 or 1."""
        index = station.scene.goal if self._holder is None else self._holder
        if station.grasped():
            return self._carry(station, index)
        if insertion.is_over(station, index):
            return self._leave(station, index)
        return self._approach(station)

    def phase(self, station: Station) -> str:
        """Name of the active rule, for display: "carry", "leave" or "approach"."""
        index = station.scene.goal if self._holder is None else self._holder
        return "carry" if station.grasped() else "leave" if insertion.is_over(station, index) else "approach"

    def _approach(self, station: Station) -> tuple[np.ndarray, float]:
        T, goal = station.ee_pose(), insertion.grasp_pose(station)
        grip = station.gripper_position()
        lateral = float(np.linalg.norm(goal[:2, 3] - T[:2, 3]))
        angle = float(se3.rotation_angle(T[:3, :3], goal[:3, :3]))
        if lateral < 0.011 and angle < 0.13 and abs(T[2, 3] - goal[2, 3]) < 0.010 and grip < 0.97:
            return se3.clip_step(T, goal, STEP_M, STEP_RAD), 1.0
        # A closed gripper must open above the utensil, not beside it.
        rise = max(0.12 * ramp(lateral, 0.007, 0.06), 0.10 * ramp(angle, 0.08, 0.6), 0.09 * ramp(grip, 0.12, 0.4))
        goal[2, 3] += rise
        return se3.clip_step(T, goal, STEP_M, STEP_RAD), 0.0

    def _carry(self, station: Station, index: int) -> tuple[np.ndarray, float]:
        T, utensil, holder = station.ee_pose(), station.scene.utensil, station.scene.holders[index]
        T_ee_object = se3.invert(T) @ station.object_pose()
        goal, low = grasping.insertion_pose(
            utensil.half_length, holder, T_ee_object, grasping.carrying_rotation(T, T[:2, 3], self._tilt(T))
        )
        end = 1.0 if T_ee_object[0, 0] >= 0 else -1.0
        low_now = se3.apply(T, T_ee_object[:3, 3] - end * utensil.half_length * T_ee_object[:3, 0])
        lateral = float(np.linalg.norm(low_now[:2] - low[:2]))
        angle = float(se3.rotation_angle(T[:3, :3], goal[:3, :3]))
        is_placed = lateral < 0.018 and angle < 0.2 and abs(low_now[2] - low[2]) < 0.014
        if is_placed:
            return se3.clip_step(T, goal, STEP_M, STEP_RAD), 0.0
        over_rim = holder.height + 0.045 - low[2]
        goal[2, 3] += over_rim * max(ramp(lateral, 0.008, 0.022), ramp(angle, 0.12, 0.3))
        # Near the table lift straight up first, because a rotation would push the lower end into it.
        share = max(ramp(float(T[2, 3]), 0.04, 0.11), 1.0 - ramp(lateral, 0.02, 0.06))
        target = se3.clip_step(T, goal, STEP_M, STEP_RAD * share)
        # Do not move sideways into a holder while the lower end is below its rim.
        gap = min(float(np.linalg.norm(low_now[:2] - h.center)) for h in station.scene.holders) - holder.half_opening
        clear = max(
            ramp(float(low_now[2]), holder.height - 0.03, holder.height + 0.02),
            ramp(gap, 0.07, 0.16),
            1.0 - ramp(lateral, 0.02, 0.06),
        )
        step = goal[:3, 3] - T[:3, 3]
        step[:2] *= share * max(clear, 0.05)
        target[:3, 3] = T[:3, 3] + step * min(1.0, STEP_M / max(float(np.linalg.norm(step)), 1e-9))
        return target, 1.0

    @staticmethod
    def _tilt(T: np.ndarray) -> float:
        """Return the tilt of the carrying pose, which grows while the gripper points along the base line.

        The gripper rotates sideways before it pitches up. Pitched up and pointing straight away from the base, the
        wrist is singular.
        """
        beside = abs(grasping.heading_beside_bearing(T))
        return grasping.TILT + 0.6 * (1.0 - ramp(beside, 0.15, 0.40))

    def _leave(self, station: Station, index: int) -> tuple[np.ndarray, float]:
        T, holder = station.ee_pose(), station.scene.holders[index]
        distance = station.tcp_to_object()
        forward = np.array([T[0, 2], T[1, 2], 0.0]) / max(float(np.hypot(T[0, 2], T[1, 2])), 1e-6)
        if distance < 0.075:
            # Open fully, then back out level; a rising pad would lift the utensil.
            target, aside = T.copy(), self._aside(station, index)
            target[:3, 3] += aside
            if station.gripper_position() < 0.12 and np.linalg.norm(aside) < CENTRED:
                target[:3, 3] -= STEP_M * forward
            return se3.clip_step(T, target, STEP_M, STEP_RAD), 0.0
        R = grasping.carrying_rotation(T, np.array(holder.center), tilt=0.9)
        back = np.array([R[0, 2], R[1, 2], 0.0])
        park = se3.make_pose(R, np.array([*holder.center, holder.height + 0.25]) - 0.16 * back / np.linalg.norm(back))
        return se3.clip_step(T, park, STEP_M, STEP_RAD), 0.0

    @staticmethod
    def _aside(station: Station, index: int) -> np.ndarray:
        """Return the step ``(3,)`` that brings a hanging utensil over the holder's axis, along the jaws.

        A wide head rests on the pad that it followed, and would hang from the rim beside it.
        """
        low, _, rim = insertion.low_and_rim(station, index)
        if low[2] < insertion.DEPTH or not station.pads_in_contact():
            return np.zeros(3)
        jaws = np.array([*station.ee_pose()[:2, 1], 0.0])
        off = np.array([*(station.scene.holders[index].center - rim[:2]), 0.0])
        return (off @ jaws) * jaws
