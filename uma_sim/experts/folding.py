"""The folding expert: approaches the edge, carries it over in an arc, leaves."""

from __future__ import annotations

import numpy as np

from uma.geometry import se3
from uma_sim.experts.base import STEP_M, STEP_RAD, ramp
from uma_sim.station import Station
from uma_sim.tasks import folding

CARRY_M = 0.025
"""Largest step of a label that carries cloth."""


def approach_edge(station: Station, target: np.ndarray) -> tuple[np.ndarray, float]:
    """Step toward the pinch of a cloth's edge at ``target`` (4, 4), from above, and close there."""
    T, target, grip = station.ee_pose(), target.copy(), station.gripper_position()
    lateral = float(np.linalg.norm(target[:2, 3] - T[:2, 3]))
    angle = float(se3.rotation_angle(T[:3, :3], target[:3, :3]))
    if angle < 0.15 and abs(T[2, 3] - target[2, 3]) < 0.010 and grip < 0.97:
        if grip > 0.12 and lateral < 0.04:
            # The inner pad draws the cloth outward until the outer one meets its edge; the gripper stays in place.
            target[:2, 3] = T[:2, 3]
            return se3.clip_step(T, target, STEP_M, STEP_RAD), 1.0
        if lateral < 0.011:
            return se3.clip_step(T, target, STEP_M, STEP_RAD), 1.0
    if grip > 0.12 and station.pads_in_contact():
        return T.copy(), 0.0  # do not grasp the released cloth again
    # A closed gripper must open above the cloth, not on it.
    target[2, 3] += max(0.12 * ramp(lateral, 0.007, 0.06), 0.10 * ramp(angle, 0.08, 0.6), 0.09 * ramp(grip, 0.12, 0.4))
    return se3.clip_step(T, target, STEP_M, STEP_RAD), 0.0


def leave_edge(station: Station) -> tuple[np.ndarray, float]:
    """Open, then rise vertically."""
    T = station.ee_pose()
    target = T.copy()
    if station.gripper_position() < 0.12:
        target[2, 3] = max(float(T[2, 3]), 0.16)
    return se3.clip_step(T, target, STEP_M, STEP_RAD), 0.0


class Folder:
    """Folds the cloth of a `Station` from its goal's side; grasps the edge again after a drop or a miss.

    Args:
        goal: index of the carried edge; None for the scene's goal.
    """

    def __init__(self, goal: int | None = None) -> None:
        self._goal = goal

    def act(self, station: Station) -> tuple[np.ndarray, float]:
        """Return the next target ``(4, 4)`` T_base_ee, at most one label step away, and gripper 0 or 1."""
        goal = station.scene.goal if self._goal is None else self._goal
        phase = self.phase(station)
        if phase == "approach":
            return approach_edge(station, folding.grasp_pose(station, goal))
        return self._carry(station, goal) if phase == "carry" else leave_edge(station)

    def phase(self, station: Station) -> str:
        """Name of the active rule, for display: "carry", "leave" or "approach"."""
        goal = station.scene.goal if self._goal is None else self._goal
        if station.object.is_held():
            return "carry"
        return "leave" if folding.folded_side(station) == goal else "approach"

    @staticmethod
    def _carry(station: Station, goal: int) -> tuple[np.ndarray, float]:
        T, vertices = station.ee_pose(), station.object.vertices()
        row, rest = folding.rows_of(goal)
        end = folding.edge_point(station, rest)[:2]
        # The resting half gives the position of the crease and the direction of the edge.
        inward = vertices[abs(rest - folding.ROWS // 3)].mean(0)[:2] - vertices[rest].mean(0)[:2]
        inward /= max(float(np.linalg.norm(inward)), 1e-9)
        across = np.array([-inward[1], inward[0]])
        length = 2 * station.scene.cloth.half_size[1]
        offset = folding.edge_point(station, row) - T[:3, 3]
        at = T[:2, 3] + offset[:2] - end
        s, aside = float(at @ inward), float(at @ across)
        height = float(T[2, 3])
        middle = vertices[:, folding.COLUMNS // 2]
        crease = middle[folding.ROWS // 2 - 1 : folding.ROWS // 2 + 1].mean(0)
        is_taut = float(np.linalg.norm(middle[row] - crease)) > 0.85 * length / 2
        # Release at the other edge, or earlier if the whole cloth would be dragged along.
        if (
            s < (0.06 if is_taut else folding.SHORT + 0.02)
            and abs(aside) < 0.03
            and height < folding.RELEASE_HEIGHT + 0.010
        ):
            return T.copy(), 0.0
        radius = (length - folding.SHORT) / 2

        def arc(s: float) -> float:
            if s < 0.05 and is_taut:
                return 0.0
            return folding.ARC * float(np.sqrt(max(0.0, radius**2 - (s - folding.SHORT - radius) ** 2)))

        low = folding.RELEASE_HEIGHT if s < length / 2 else folding.GRASP_HEIGHT
        ahead = max(folding.SHORT, s - 0.02)
        step = np.zeros(3)
        step[:2] = (ahead - s) * inward - aside * across * 0.5
        step[2] = low + arc(ahead) - height
        # Up before sideways, so that the cloth is lifted instead of dragged.
        step[:2] *= max(0.1, 1.0 - ramp(low + arc(s) - height, 0.01, 0.04))
        step *= min(1.0, CARRY_M / max(float(np.linalg.norm(step)), 1e-9))
        target = T.copy()
        target[:3, 3] += step
        return target, 1.0
