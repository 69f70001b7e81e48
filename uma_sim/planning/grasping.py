"""Grasp planning for utensils: grasp point, upper end, and carrying pose over a holder.

The expert and the reference planner share it, so that the sketch matches the execution.
"""

from __future__ import annotations

import numpy as np
from scipy.spatial.transform import Rotation

from uma.geometry import se3
from uma_sim.objects.holders import Holder
from uma_sim.objects.utensils import Utensil

TILT = 0.45
"""Tilt of the utensil from the vertical during insertion, rad.

The FR3 cannot reach an exactly horizontal gripper near the table.
"""

GRASP_HEIGHT = 0.0165
"""Height of the TCP above the table in a grasp, metres; the tips of the closing pads reach 13.9 mm lower."""

RIM_CLEARANCE = 0.024
"""Least height of the TCP above the rim, metres: half the pads' width and a margin."""

OPEN_REACH = 0.058
"""Metres from the TCP to the outside of an open finger."""

SIDE = 0.55
"""Angle between the gripper's heading over a holder and the line from the base to it, rad; see `carrying_rotation`."""

UP = np.array([0.0, 0.0, 1.0])


def wrap(angle: float) -> float:
    """Wrap an angle to (-pi, pi]."""
    return float(-((-angle + np.pi) % (2 * np.pi) - np.pi))


def top_down(yaw: float, position: np.ndarray) -> np.ndarray:
    """Return a ``(4, 4)`` gripper pose at ``position`` (3,) that points down, with x at ``yaw`` about base z."""
    x = np.array([np.cos(yaw), np.sin(yaw), 0.0])
    return se3.make_pose(np.stack([x, np.cross(-UP, x), -UP], -1), position)


def grasp_offset(utensil: Utensil, end: int) -> float:
    """Return the metres from the utensil's centre to the grasp, along its x. ``end`` is +1 for an upright head, -1 for
    the handle.

    The grasp is offset toward the upper end, so that the gripper clears the rim, and always on the handle.
    """
    if end < 0:
        return -0.042
    return min(0.040, utensil.half_length - utensil.head_length - 0.016)


def grasp_pose(utensil: Utensil, T_base_object: np.ndarray, end: int, holders: tuple[Holder, ...] = ()) -> np.ndarray:
    """Return a ``(4, 4)`` top-down grasp of a lying utensil for the given upper end.

    It moves toward the centre if an open finger would hit one of ``holders``.
    """
    axis = T_base_object[:3, 0]
    yaw = bearing(end * axis)
    jaws = np.array([-np.sin(yaw), np.cos(yaw)]) * OPEN_REACH
    nominal = grasp_offset(utensil, end)
    for offset in (nominal, 0.5 * nominal, 0.0, nominal):
        point = T_base_object[:2, 3] + offset * axis[:2]
        if all(h.inset(point + side * jaws) < -0.02 for h in holders for side in (-1, 1)):
            break
    return top_down(yaw, np.array([point[0], point[1], GRASP_HEIGHT]))


def choose_end(T_base_object: np.ndarray, T_base_ee: np.ndarray) -> int:
    """Choose the utensil's upper end: +1 the head, -1 the other.

    The gripper's x axis points to the upper end. At the holder it points up while the gripper points away from the
    base. The seventh joint reaches that only if x pointed away from the base in the grasp, so the farther end goes up.
    Near a tie the gripper's current yaw decides, so that the choice does not flip.
    """
    axis = T_base_object[:3, 0]
    away, yaw_ee = bearing(T_base_object[:3, 3]), bearing(T_base_ee[:3, 0])
    cost = {}
    for end in (1, -1):
        yaw = bearing(end * axis)
        cost[end] = abs(wrap(yaw - away)) + 0.4 * abs(wrap(yaw - yaw_ee))
    return 1 if cost[1] <= cost[-1] else -1


def bearing(position: np.ndarray) -> float:
    """Return the direction of a point from the base, radians about base z."""
    return float(np.arctan2(position[1], position[0]))


def turn_to(axis_yaw: float, yaw_ee: float) -> float:
    """Return the gripper yaw along an axis nearer to the wrist's centre; near a tie the current yaw decides."""
    return min((wrap(axis_yaw), wrap(axis_yaw + np.pi)), key=lambda yaw: abs(yaw) + 0.4 * abs(wrap(yaw - yaw_ee)))


def across(heading: float, yaw_ee: float) -> float:
    """Return the yaw of the gripper that pushes an upright tool along ``heading``, with the grip across the path."""
    return turn_to(heading + np.pi / 2, yaw_ee)


def heading_beside_bearing(T_base_ee: np.ndarray) -> float:
    """Return the angle of the gripper to the left of the line from the base through it, rad."""
    forward = T_base_ee[:2, 0] + T_base_ee[:2, 2]  # x points forward in a grasp, z over a holder, both in between
    return wrap(bearing(forward) - bearing(T_base_ee[:2, 3]))


def carrying_rotation(T_base_ee: np.ndarray, at: np.ndarray, tilt: float = TILT) -> np.ndarray:
    """Return the ``(3, 3)`` gripper rotation for carrying: x up and leaning forward by ``tilt``, z forward and down.

    Forward is rotated by `SIDE` from the line from the base to ``at`` (2,), to the gripper's current side. Straight
    along that line the wrist is singular, and crossing it drives the last joints into their limits.
    """
    heading = bearing(at) + (SIDE if heading_beside_bearing(T_base_ee) > 0 else -SIDE)
    forward = np.array([np.cos(heading), np.sin(heading), 0.0])
    z = np.cos(tilt) * forward - np.sin(tilt) * UP
    x = np.sin(tilt) * forward + np.cos(tilt) * UP
    return np.stack([x, np.cross(z, x), z], -1)


def insertion_pose(
    reach: float, holder: Holder, T_ee_object: np.ndarray, R: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Return the gripper pose at which opening leaves the utensil in the holder.

    Args:
        reach: metres from the utensil's origin to its lower end, along its x.
        T_ee_object: ``(4, 4)`` current utensil pose in the gripper, including slip.
        R: ``(3, 3)`` nominal rotation of the gripper, see `carrying_rotation`; corrected here for the utensil's
            rotation in the grasp.

    Returns:
        ``(4, 4)`` T_base_ee, and the lower end's position ``(3,)``, base frame.
    """
    end = 1.0 if T_ee_object[0, 0] >= 0 else -1.0
    axis_ee = end * T_ee_object[:3, 0]
    low_ee = T_ee_object[:3, 3] - reach * axis_ee
    wanted = R[:, 0].copy()
    # Correct the utensil's rotation in the grasp, within the wrist's range.
    swing = np.cross(R @ axis_ee, wanted)
    sine = float(np.linalg.norm(swing))
    if sine > 1e-6:
        angle = min(float(np.arctan2(sine, (R @ axis_ee) @ wanted)), 0.5)
        R = Rotation.from_rotvec(swing / sine * angle).as_matrix() @ R
    axis = R @ axis_ee
    low_z = max(0.014, holder.height + RIM_CLEARANCE + float((R @ low_ee)[2]))
    # The utensil's axis crosses the holder's axis at half the remaining depth below the rim.
    mid = 0.5 * max(holder.height - low_z, 0.0)
    lean = axis[:2] / max(float(axis[2]), 0.3)
    low = np.array([*(np.array(holder.center) - mid * lean), low_z])
    return se3.make_pose(R, low - R @ low_ee), low


def leaning_pose(
    T_object: np.ndarray, ends: tuple[float, float], holder: Holder, foot: float, beside: float
) -> np.ndarray:
    """Return the ``(4, 4)`` pose of a long object after its fall into a holder that is deeper than it is long.

    Its middle is on the holder's axis. Its lean shrinks to the width between the walls.

    Args:
        T_object: ``(4, 4)`` pose at the release, upright or leaning, base frame.
        ends: of the object along its x, metres from its origin.
        foot: height of its lower end above the table, metres.
        beside: least distance of its ends from the walls, metres.
    """
    upward = 1.0 if T_object[2, 0] >= 0 else -1.0
    up, length = upward * T_object[:3, 0], ends[1] - ends[0]
    flat = float(np.hypot(*up[:2]))
    sine = min(flat, 2 * (holder.half_opening - beside) / length)
    leaning = np.array([*(up[:2] * sine / max(flat, 1e-9)), np.sqrt(1.0 - sine**2)])
    R = Rotation.align_vectors(leaning[None], up[None])[0].as_matrix() @ T_object[:3, :3]
    middle = np.array([*holder.center, foot + 0.5 * length * leaning[2]])
    return se3.make_pose(R, middle - 0.5 * (ends[0] + ends[1]) * R[:, 0])
