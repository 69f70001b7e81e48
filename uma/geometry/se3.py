"""Rigid transforms as ``(..., 4, 4)`` matrices."""

from __future__ import annotations

import math

import numpy as np
from scipy.spatial.transform import Rotation


def make_pose(R: np.ndarray, p: np.ndarray) -> np.ndarray:
    """``(..., 4, 4)`` pose from rotation ``(..., 3, 3)`` and position ``(..., 3)`` in metres."""
    R, p = np.asarray(R, dtype=np.float64), np.asarray(p, dtype=np.float64)
    T = np.zeros((*p.shape[:-1], 4, 4))
    T[..., :3, :3], T[..., :3, 3], T[..., 3, 3] = R, p, 1.0
    return T


def invert(T: np.ndarray) -> np.ndarray:
    """Inverse of ``(..., 4, 4)`` rigid transforms."""
    R_t = np.swapaxes(T[..., :3, :3], -1, -2)
    return make_pose(R_t, -(R_t @ T[..., :3, 3:])[..., 0])


def apply(T: np.ndarray, points: np.ndarray) -> np.ndarray:
    """Map ``(..., 3)`` points by one ``(4, 4)`` transform."""
    return points @ T[:3, :3].T + T[:3, 3]


def from_quaternion(xyz: np.ndarray, xyzw: np.ndarray) -> np.ndarray:
    """``(4, 4)`` pose from a position and a quaternion (x, y, z, w).

    Raises:
        ValueError: the quaternion's norm is further than 1e-2 from 1, or a value is not finite.
    """
    xyzw = np.asarray(xyzw, dtype=np.float64)
    norm = float(np.linalg.norm(xyzw))
    if not np.isfinite(xyz).all() or not np.isfinite(norm):
        raise ValueError(f"pose {xyz}, {xyzw}: a value is not finite")
    if abs(norm - 1.0) > 1e-2:
        raise ValueError(f"quaternion {xyzw}: norm {norm:.4g}, must be 1 within 0.01")
    return make_pose(Rotation.from_quat(xyzw).as_matrix(), np.asarray(xyz, dtype=np.float64))


def quaternion(T: np.ndarray) -> np.ndarray:
    """``(..., 4)`` quaternion (x, y, z, w) of ``(..., 4, 4)`` poses."""
    flat = T[..., :3, :3].reshape(-1, 3, 3)
    return Rotation.from_matrix(flat).as_quat().reshape(*T.shape[:-2], 4)


def rotation_angle(R_a: np.ndarray, R_b: np.ndarray) -> np.ndarray:
    """Angle in radians between ``(..., 3, 3)`` rotations."""
    R = np.swapaxes(R_a, -1, -2) @ R_b
    flat = R.reshape(-1, 3, 3)
    return np.linalg.norm(Rotation.from_matrix(flat).as_rotvec(), axis=-1).reshape(R.shape[:-2])


def log(R: np.ndarray) -> np.ndarray:
    """Return the rotation vector ``(3,)``, rad, of one rotation ``(3, 3)``.

    It is faster than SciPy's in control loops, but expects a valid rotation matrix.
    """
    (a, b, c), (d, e, f), (g, h, i) = R.tolist()
    v = np.array([0.5 * (h - f), 0.5 * (c - g), 0.5 * (d - b)])
    sine, cosine = math.sqrt(float(v @ v)), 0.5 * (a + e + i - 1.0)
    angle = math.atan2(sine, cosine)
    if sine > 1e-9:
        return v * (angle / sine)
    if cosine > 0.0:
        return v
    # Half a turn: the symmetric part contains the axis.
    axis = np.sqrt(np.maximum((np.array([a, e, i]) + 1.0) / 2.0, 0.0))
    k = int(axis.argmax())
    return math.pi * np.array([axis[j] if j == k else R[k, j] / (2.0 * axis[k]) for j in range(3)])


def exp(v: np.ndarray) -> np.ndarray:
    """Rotation ``(3, 3)`` of one rotation vector ``(3,)``, rad: the inverse of `log`."""
    x, y, z = v.tolist()
    angle = math.sqrt(x * x + y * y + z * z)
    K = np.array([[0.0, -z, y], [z, 0.0, -x], [-y, x, 0.0]])
    # Below 1e-4 the Taylor series applies; the omitted terms are under 1e-17.
    a, b = (
        (math.sin(angle) / angle, (1.0 - math.cos(angle)) / angle**2)
        if angle > 1e-4
        else (1.0 - angle**2 / 6.0, 0.5 - angle**2 / 24.0)
    )
    return np.eye(3) + a * K + b * (K @ K)


def interpolate(T_a: np.ndarray, T_b: np.ndarray, s: float) -> np.ndarray:
    """The pose a fraction ``s`` of the way from ``T_a`` to ``T_b``: straight in position, geodesic in rotation."""
    r = Rotation.from_matrix(T_a[:3, :3].T @ T_b[:3, :3]).as_rotvec()
    R = T_a[:3, :3] @ Rotation.from_rotvec(s * r).as_matrix()
    return make_pose(R, (1 - s) * T_a[:3, 3] + s * T_b[:3, 3])


def mean_pose(T: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Return the weighted mean of poses ``(N, 4, 4)``: of positions in R^3, of rotations on SO(3).

    The mean rotation minimises the weighted sum of squared angles. The search starts at the heaviest rotation. So the
    result is near it if rotations are half a turn apart and have no single mean.

    Args:
        weights: ``(N,)``, not negative, not all 0; they need not sum to 1.
    """
    w = np.asarray(weights, np.float64) / np.sum(weights)
    R = T[int(w.argmax()), :3, :3]
    for _ in range(20):
        step = w @ Rotation.from_matrix(R.T @ T[:, :3, :3]).as_rotvec()
        R = R @ Rotation.from_rotvec(step).as_matrix()
        if float(np.linalg.norm(step)) < 1e-9:
            break
    return make_pose(R, w @ T[:, :3, 3])


def clip_step(T_from: np.ndarray, T_to: np.ndarray, max_m: float, max_rad: float) -> np.ndarray:
    """Return ``T_to`` moved toward ``T_from`` until it is at most ``max_m`` metres and ``max_rad`` radians away."""
    d = T_to[:3, 3] - T_from[:3, 3]
    n = float(np.linalg.norm(d))
    r = Rotation.from_matrix(T_from[:3, :3].T @ T_to[:3, :3]).as_rotvec()
    a = float(np.linalg.norm(r))
    p = T_from[:3, 3] + d * (max_m / n if n > max_m else 1.0)
    R = T_from[:3, :3] @ Rotation.from_rotvec(r * (max_rad / a if a > max_rad else 1.0)).as_matrix()
    return make_pose(R, p)


def rot6d(R: np.ndarray) -> np.ndarray:
    """``(..., 6)`` first two columns of ``(..., 3, 3)`` rotations."""
    return np.concatenate([R[..., :, 0], R[..., :, 1]], axis=-1)


def from_rot6d(d: np.ndarray) -> np.ndarray:
    """``(..., 3, 3)`` rotation by Gram-Schmidt from two ``(..., 6)`` stacked columns."""
    a, b = d[..., :3], d[..., 3:]
    x = a / np.maximum(np.linalg.norm(a, axis=-1, keepdims=True), 1e-9)
    b = b - (x * b).sum(-1, keepdims=True) * x
    y = b / np.maximum(np.linalg.norm(b, axis=-1, keepdims=True), 1e-9)
    return np.stack([x, y, np.cross(x, y)], axis=-1)


def fit_rigid(source: np.ndarray, target: np.ndarray) -> np.ndarray:
    """Return the ``(4, 4)`` least-squares rigid transform from ``source`` to ``target``, both ``(N, 3)`` (Kabsch)."""
    cs, ct = source.mean(0), target.mean(0)
    U, _, Vt = np.linalg.svd((source - cs).T @ (target - ct))
    D = np.diag([1.0, 1.0, np.sign(np.linalg.det(Vt.T @ U.T))])
    R = Vt.T @ D @ U.T
    return make_pose(R, ct - R @ cs)
