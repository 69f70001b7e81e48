"""Where to grasp a utensil, which end should point up, and how to hold it over a holder.

Shared by the demonstrator and the reference planner, so that what is sketched is what the expert does.
"""

from __future__ import annotations

import numpy as np
from scipy.spatial.transform import Rotation

from uma.geometry import se3
from uma_sim.objects.holders import Holder
from uma_sim.objects.utensils import Utensil

TILT = 0.45
"""Radians by which the utensil leans from the vertical while it is inserted: an exactly horizontal gripper is out of
the FR3's reach near the table."""

GRASP_HEIGHT = 0.0165
"""Height of the TCP above the table in a grasp, metres: the closing pads' tips come down 13.9 mm further."""

RIM_CLEARANCE = 0.024
"""Least height of the TCP above the rim, metres: the half width of the pads and a margin."""

OPEN_REACH = 0.058
"""Metres from the TCP to the outside of an open finger."""

SIDE = 0.55
"""Radians between the gripper's heading over a holder and the line from the base to it, see `carrying_rotation`."""

UP = np.array([0.0, 0.0, 1.0])


def wrap(angle: float) -> float:
    """The angle in (-pi, pi]."""
    return float(-((-angle + np.pi) % (2 * np.pi) - np.pi))


def top_down(yaw: float, position: np.ndarray) -> np.ndarray:
    """``(4, 4)`` gripper pose at ``position`` (3,) pointing down, its x axis at ``yaw`` radians about base z."""
    x = np.array([np.cos(yaw), np.sin(yaw), 0.0])
    return se3.make_pose(np.stack([x, np.cross(-UP, x), -UP], -1), position)


def grasp_offset(utensil: Utensil, end: int) -> float:
    """Metres from the utensil's middle to the grasp, along its x; ``end`` is +1 if the head will point up, -1 if the
    handle.

    Off the middle toward the upper end, so that the gripper stays clear of the rim; on the handle in any case.
    """
    if end < 0:
        return -0.042
    return min(0.040, utensil.half_length - utensil.head_length - 0.016)


def grasp_pose(utensil: Utensil, T_base_object: np.ndarray, end: int, holders: tuple[Holder, ...] = ()) -> np.ndarray:
    """``(4, 4)`` top-down grasp of a lying utensil that will let the given end point up.

    Moves along the handle toward the middle where an open finger would come down on one of ``holders``.
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
    """Which end of the utensil should point up: +1 the head, -1 the other.

    The gripper's x axis points to the upper end, and at the holder it must point up while the gripper points away from
    the base. The seventh joint reaches that without meeting its limit only if x pointed away from the base in the
    grasp; so the end that is farther from the base goes up. Near the tie the present yaw of the gripper decides, so
    that the choice does not flip on the way.
    """
    axis = T_base_object[:3, 0]
    away, yaw_ee = bearing(T_base_object[:3, 3]), bearing(T_base_ee[:3, 0])
    cost = {}
    for end in (1, -1):
        yaw = bearing(end * axis)
        cost[end] = abs(wrap(yaw - away)) + 0.4 * abs(wrap(yaw - yaw_ee))
    return 1 if cost[1] <= cost[-1] else -1


def bearing(position: np.ndarray) -> float:
    """Direction of a point from the base, radians about base z."""
    return float(np.arctan2(position[1], position[0]))


def turn_to(axis_yaw: float, yaw_ee: float) -> float:
    """Of the two gripper yaws along an axis, the one in the middle of the wrist's range; near the tie the present one
    decides."""
    return min((wrap(axis_yaw), wrap(axis_yaw + np.pi)), key=lambda yaw: abs(yaw) + 0.4 * abs(wrap(yaw - yaw_ee)))


def across(heading: float, yaw_ee: float) -> float:
    """Yaw of the gripper while its upright tool is pushed along ``heading``: the grip across the way."""
    return turn_to(heading + np.pi / 2, yaw_ee)


def heading_beside_bearing(T_base_ee: np.ndarray) -> float:
    """Radians by which the gripper points to the left of the line from the base through it."""
    forward = T_base_ee[:2, 0] + T_base_ee[:2, 2]  # x points forward in a grasp, z over a holder; on the way both do
    return wrap(bearing(forward) - bearing(T_base_ee[:2, 3]))


def carrying_rotation(T_base_ee: np.ndarray, at: np.ndarray, tilt: float = TILT) -> np.ndarray:
    """``(3, 3)`` gripper rotation for carrying: x up and leaning forward by ``tilt``, z forward and down.

    Forward is `SIDE` beside the line from the base to ``at`` (2,), on the side where the gripper ``T_base_ee`` already
    points: straight along that line the wrist is singular, and crossing it spins the last joints into their limits.
    """
    heading = bearing(at) + (SIDE if heading_beside_bearing(T_base_ee) > 0 else -SIDE)
    forward = np.array([np.cos(heading), np.sin(heading), 0.0])
    z = np.cos(tilt) * forward - np.sin(tilt) * UP
    x = np.sin(tilt) * forward + np.cos(tilt) * UP
    return np.stack([x, np.cross(z, x), z], -1)


def insertion_pose(
    reach: float, holder: Holder, T_ee_object: np.ndarray, R: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Gripper pose from which an opened gripper leaves the utensil in the holder.

    Args:
        reach: metres from the utensil's origin to its lower end, along its x.
        T_ee_object: ``(4, 4)`` utensil in the gripper as it is now, slip included.
        R: ``(3, 3)`` nominal rotation of the gripper, see `carrying_rotation`; corrected here for the utensil's turn in
        the grasp.

    Returns:
        ``(4, 4)`` T_base_ee, and ``(3,)`` where the lower end then is, base frame.
    """
    end = 1.0 if T_ee_object[0, 0] >= 0 else -1.0
    axis_ee = end * T_ee_object[:3, 0]
    low_ee = T_ee_object[:3, 3] - reach * axis_ee
    wanted = R[:, 0].copy()
    # Turn by what the utensil has swung in the grasp, within what the wrist can give.
    swing = np.cross(R @ axis_ee, wanted)
    sine = float(np.linalg.norm(swing))
    if sine > 1e-6:
        angle = min(float(np.arctan2(sine, (R @ axis_ee) @ wanted)), 0.5)
        R = Rotation.from_rotvec(swing / sine * angle).as_matrix() @ R
    axis = R @ axis_ee
    low_z = max(0.014, holder.height + RIM_CLEARANCE + float((R @ low_ee)[2]))
    # The axis crosses the holder's own axis at half the depth that is left below the rim.
    mid = 0.5 * max(holder.height - low_z, 0.0)
    lean = axis[:2] / max(float(axis[2]), 0.3)
    low = np.array([*(np.array(holder.center) - mid * lean), low_z])
    return se3.make_pose(R, low - R @ low_ee), low
