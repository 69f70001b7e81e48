"""Hints on a sketch, in words: outside the workspace, below the table, out of reach, or never turned."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from uma.control.collision import CollisionSettings, collision
from uma.control.safety import SafetySettings
from uma.geometry import fr3, se3
from uma.robot import DROID
from uma.sketch.sketch import Sketch

MISS_M, MISS_RAD = 0.005, 0.05
"""Largest errors of a reachable grasp."""

TURN_RAD = np.radians(5.0)
"""A motion that turns less counts as not turned."""

STILL_M = 0.005
"""A motion that moves every keypoint less counts as still, metres."""

BELOW_M = 0.01
"""Depth below the table that depth noise explains, metres."""

YAWS = np.radians([0.0, 45.0, 90.0, 135.0])
"""Directions of the jaws that are tried; half a turn more is the same grasp."""


@dataclass(frozen=True)
class Hint:
    """One objection to a sketch.

    Attributes:
        waypoint: its index; None for the whole sketch.
        is_refusal: whether a start must wait; False for a warning.
        text: the reason, with value and limit.
    """

    waypoint: int | None
    is_refusal: bool
    text: str


def hints(
    sketch: Sketch,
    safety: SafetySettings = SafetySettings(),  # noqa: B008
    table: CollisionSettings = CollisionSettings(),  # noqa: B008
    joints: np.ndarray = fr3.REST,
) -> list[Hint]:
    """Return the objections to a sketch, in the order of its waypoints.

    The policy chooses its own grasp, so reach is a warning. It assumes a straight-down grasp at the moving keypoints'
    centroid that is carried along.

    Args:
        safety: its workspace bounds the keypoints' centroid.
        table: height of the table, and the obstacles of the gripper's body.
        joints: ``(7,)`` rad, where inverse kinematics starts.
    """
    keys = sketch.moving
    if not len(keys) or len(sketch.waypoints) < 2:
        return [Hint(None, True, "no motion: at least 2 waypoints and 1 moving keypoint are required")]
    found = []
    way = sketch.waypoints[:, keys]
    if np.linalg.norm(way - way[0], axis=-1).max() < STILL_M:
        found.append(Hint(None, False, f"no keypoint moves by {STILL_M * 1e3:.0f} mm"))
    if len(keys) > 1 and not _turns(way):
        found.append(Hint(None, False, f"no waypoint turns by {np.degrees(TURN_RAD):.0f} degrees; is that meant?"))
    low, high = np.array(safety.workspace_min), np.array(safety.workspace_max)
    reach = reached(sketch, table, joints)
    for i, points in enumerate(way):
        middle = points.mean(0)
        outside = np.maximum(low - middle, middle - high)
        axis = int(outside.argmax())
        if outside[axis] > 0:
            name, value = "xyz"[axis], middle[axis]
            text = f"{name} = {value:.2f} m is outside the workspace, {low[axis]:g} to {high[axis]:g} m"
            found.append(Hint(i, True, text))
        deep = table.table_height - float(points[:, 2].min())
        if deep > BELOW_M:
            found.append(
                Hint(i, True, f"a keypoint is {deep * 1e3:.0f} mm below the table, limit {BELOW_M * 1e3:g} mm")
            )
        if reach[i] and outside[axis] <= 0:
            found.append(Hint(i, False, reach[i]))
    return found


def reached(sketch: Sketch, table: CollisionSettings, joints: np.ndarray) -> list[str]:
    """Return per waypoint why the carried grasp cannot reach it; empty where it can.

    Of the `YAWS`, the first one with the fewest failures counts.
    """
    start = sketch.waypoints[0, sketch.moving].mean(0)
    height = max(float(start[2]), table.table_height + 0.005)
    motions = [sketch.motion(i) for i in range(len(sketch.waypoints))]
    T_ee_flange = se3.invert(DROID.T_flange_ee.matrix())
    best: list[str] = []
    for k, yaw in enumerate(YAWS):
        c, s = np.cos(yaw), np.sin(yaw)
        grasp = se3.make_pose(np.array([[c, s, 0], [s, -c, 0], [0, 0, -1.0]]), np.array([start[0], start[1], height]))
        q, reasons = np.asarray(joints, np.float64), []
        for T in motions:
            T_base_ee = T @ grasp
            solved, metres, radians = fr3.solve(T_base_ee @ T_ee_flange, q)
            if metres > MISS_M or radians > MISS_RAD:
                miss = f"{metres * 1e3:.0f} mm and {np.degrees(radians):.0f} degrees short"
                reasons.append(f"perhaps out of reach: a straight-down grasp ends {miss}")
                continue
            q = solved
            reasons.append(collision(T_base_ee, table))
        if k == 0 or sum(map(bool, reasons)) < sum(map(bool, best)):
            best = reasons
        if not any(best):
            break
    return best


def _turns(way: np.ndarray) -> bool:
    """Return whether the directions between keypoints ``(T, K, 3)`` change by `TURN_RAD` at any waypoint."""
    spread = way - way.mean(1, keepdims=True)
    far = int(np.linalg.norm(spread[0], axis=-1).argmax())
    for k in range(way.shape[1]):
        a, b = spread[0, k], spread[:, k]
        sizes = np.linalg.norm(a) * np.linalg.norm(b, axis=-1)
        if np.linalg.norm(a) < 0.25 * np.linalg.norm(spread[0, far]) or not (sizes > 1e-9).all():
            continue
        if np.arccos(np.clip(b @ a / sizes, -1, 1)).max() > TURN_RAD:
            return True
    return False
