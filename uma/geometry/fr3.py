"""The Franka Research 3: limits, kinematics from its Denavit-Hartenberg parameters, and inverse kinematics.

The module needs NumPy only, because it runs beside a 1 kHz loop.
"""

from __future__ import annotations

import numpy as np

from uma.geometry.se3 import log

JOINT_NAMES = tuple(f"fr3_joint{i}" for i in range(1, 8))

LOWER = np.array([-2.7437, -1.7837, -2.9007, -3.0421, -2.8065, 0.5445, -3.0159])
UPPER = np.array([2.7437, 1.7837, 2.9007, -0.1518, 2.8065, 4.5169, 3.0159])
"""``(7,)`` joint limits, rad."""

SPEED = np.array([2.62, 2.62, 2.62, 2.62, 5.26, 4.18, 5.26])
"""``(7,)`` rad/s at which the arm stops; lower near the joint limits."""
ACCELERATION, JERK = 10.0, 5000.0
"""rad/s^2 and rad/s^3 at which the arm stops, for every joint."""

CARTESIAN = {
    "speed": 3.0,
    "acceleration": 9.0,
    "jerk": 4500.0,
    "turn_speed": 2.5,
    "turn_acceleration": 17.0,
    "turn_jerk": 8500.0,
}
"""Limits of the flange (libfranka rate_limiting.h): m and rad per s, s^2, s^3."""

REST = np.array([0.0, -0.35, 0.0, -2.35, 0.0, 2.0, 0.0])
"""``(7,)`` rest posture of the elbow, rad: the gripper points down about 0.45 m in front of the base."""

FLANGE = 0.107
"""m from the seventh joint's frame to the flange ``fr3_link8``, along z."""

# Craig's convention: joint i rotates about z of frame i. Frame i follows from frame i - 1 by a rotation alpha about x,
# a translation a along x and a translation d along z.
_A = np.array([0.0, 0.0, 0.0, 0.0825, -0.0825, 0.0, 0.088])
_D = np.array([0.333, 0.0, 0.316, 0.0, 0.384, 0.0, 0.0])
_ALPHA = np.array([0.0, -1.0, 1.0, 1.0, -1.0, 1.0, 1.0]) * (np.pi / 2)
ORIGINS = np.tile(np.eye(4), (7, 1, 1))
"""``(7, 4, 4)`` frame of each joint in the frame before it, with the joint at 0; the first one in ``fr3_link0``."""
for _i in range(7):
    _c, _s = round(np.cos(_ALPHA[_i])), round(np.sin(_ALPHA[_i]))
    ORIGINS[_i] = [[1, 0, 0, _A[_i]], [0, _c, -_s, -_s * _D[_i]], [0, _s, _c, _c * _D[_i]], [0, 0, 0, 1]]


def frames(q: np.ndarray) -> np.ndarray:
    """``(7, 4, 4)`` T_base_joint of every joint's frame at joint positions ``(7,)``, rad; each turns about its z."""
    c, s = np.cos(q)[:, None], np.sin(q)[:, None]
    T = ORIGINS.copy()
    T[:, :, 0], T[:, :, 1] = (
        c * ORIGINS[:, :, 0] + s * ORIGINS[:, :, 1],
        c * ORIGINS[:, :, 1] - s * ORIGINS[:, :, 0],
    )
    for i in range(1, 7):
        T[i] = T[i - 1] @ T[i]
    return T


def forward(q: np.ndarray) -> np.ndarray:
    """``(4, 4)`` pose of the flange ``fr3_link8`` in the base ``fr3_link0`` at joint positions ``(7,)``, rad."""
    T = frames(q)[6].copy()
    T[:3, 3] += FLANGE * T[:3, 2]
    return T


def jacobian(q: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return `forward` and the ``(6, 7)`` Jacobian of the flange in the base frame: linear, then angular velocity."""
    joints = frames(q)
    T = joints[6].copy()
    T[:3, 3] += FLANGE * T[:3, 2]
    J = np.empty((6, 7))
    J[3:] = joints[:, :3, 2].T
    (x, y, z), (a, b, c) = J[3:], (T[:3, 3] - joints[:, :3, 3]).T
    J[0], J[1], J[2] = y * c - z * b, z * a - x * c, x * b - y * a  # faster than np.cross
    return T, J


def pose_error(T: np.ndarray, T_target: np.ndarray) -> np.ndarray:
    """Return ``(6,)`` metres and rotation vector from ``T`` to ``T_target``, base frame."""
    return np.concatenate([T_target[:3, 3] - T[:3, 3], log(T_target[:3, :3] @ T[:3, :3].T)])


def ik_step(
    q: np.ndarray,
    jacobian: np.ndarray,
    error: np.ndarray,
    pull: np.ndarray,
    low: np.ndarray | None = None,
    high: np.ndarray | None = None,
    damping: float = 1e-5,
) -> np.ndarray:
    """Return ``(7,)`` rad of one step of damped least squares.

    Args:
        q: ``(7,)`` joint positions, rad.
        jacobian: ``(6, 7)`` at ``q``, of the point of ``error``.
        error: ``(6,)`` remaining metres and rotation vector, base frame, see `pose_error`.
        pull: ``(7,)`` rad; desired step in the null space of the pose.
        low, high: ``(7,)`` rad. A joint that would pass its limit stays, and the others compensate.
    """
    if low is None or high is None:
        gram = jacobian @ jacobian.T + damping * np.eye(6)
        return jacobian.T @ np.linalg.solve(gram, error - jacobian @ pull) + pull
    is_free = np.ones(7, bool)
    for _ in range(3):
        A = jacobian * is_free
        inverse = A.T @ np.linalg.inv(A @ A.T + damping * np.eye(6))
        dq = inverse @ error + (pull - inverse @ (A @ pull)) * is_free
        passes = is_free & ((q + dq < low) & (dq < 0) | (q + dq > high) & (dq > 0))
        if not passes.any():
            break
        is_free &= ~passes
    return dq * is_free


def solve(
    T_target: np.ndarray,
    q0: np.ndarray,
    iterations: int = 60,
    max_step: float = 0.25,
    margin: float = 0.05,
    posture: float = 0.02,
) -> tuple[np.ndarray, float, float]:
    """Solve for joint positions near ``q0`` that bring the flange to ``T_target``; the null space pulls the elbow to
    `REST`.

    Args:
        max_step: rad; largest joint step per iteration.
        margin: rad to the joint limits.
        posture: fraction of the distance to `REST` per iteration, in the null space.

    Returns:
        ``(7,)`` rad, and the remaining error: m, rad.
    """
    low, high = LOWER + margin, UPPER - margin
    q = np.clip(np.asarray(q0, dtype=np.float64), low, high)
    for _ in range(iterations):
        T, J = jacobian(q)
        dq = ik_step(q, J, pose_error(T, T_target), posture * (REST - q), low, high)
        q = np.clip(q + dq / max(1.0, float(np.abs(dq).max()) / max_step), low, high)
    error = pose_error(forward(q), T_target)
    return q, float(np.linalg.norm(error[:3])), float(np.linalg.norm(error[3:]))
