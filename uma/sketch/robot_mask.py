"""The robot's pixels in an image, from its joints: capsules about the arm and spheres about the tool."""

from __future__ import annotations

import numpy as np

from uma.geometry import fr3, se3
from uma.robot import DROID
from uma.types import CameraModel, InputError

MARGIN_M = 0.02
"""Allowance for calibration and joint errors, metres."""

ARM = (
    (0, (0.0, 0.0, -0.333), (0.0, 0.0, -0.05), 0.11),
    (0, (0.0, 0.0, -0.05), (0.0, 0.0, 0.0), 0.11),
    (1, (0.0, 0.0, 0.0), (0.0, -0.20, 0.0), 0.10),
    (2, (0.0, 0.0, -0.14), (0.0, 0.0, 0.0), 0.10),
    (2, (0.0, 0.0, 0.0), (0.0825, 0.0, 0.0), 0.09),
    (3, (0.0, 0.0, 0.0), (-0.0825, 0.12, 0.0), 0.09),
    (4, (0.0, 0.0, -0.28), (0.0, 0.06, -0.10), 0.08),
    (4, (0.0, 0.06, -0.10), (0.0, 0.06, 0.0), 0.08),
    (5, (0.0, 0.0, 0.0), (0.088, 0.0, 0.0), 0.08),
    (6, (0.0, 0.0, 0.0), (0.0, 0.0, 0.107), 0.07),
)
"""Capsules about an FR3: joint 0 to 6, both ends in that joint's frame, and radius; metres."""

TOOL = (((0.0, 0.0, -0.16), (0.0, 0.0, -0.10), 0.05),)
"""Capsules about the body of a Robotiq 2F-85, in the end-effector frame: both ends and radius, metres."""

FINGER = ((0.0, 0.045, -0.09), (0.0, 0.045, 0.0), 0.022)
"""Capsule about one finger of the open gripper; the other one is its mirror image in y."""


def robot_capsules(joints: np.ndarray, gripper: float = 0.0) -> tuple[np.ndarray, np.ndarray]:
    """Return the ends ``(n, 2, 3)`` and radii ``(n,)`` of capsules about the robot, base frame, metres.

    Args:
        joints: ``(7,)`` rad.
        gripper: 0 open to 1 closed.

    Raises:
        InputError: joints that are not seven finite numbers.
    """
    q = np.asarray(joints, np.float64)
    if q.shape != (7,) or not np.isfinite(q).all():
        raise InputError(f"joints: {joints}, must be 7 finite numbers")
    frames = fr3.frames(q)
    ends = [(se3.apply(frames[i], np.array([a, b])), radius) for i, a, b, radius in ARM]
    T_base_ee = fr3.forward(q) @ DROID.T_flange_ee.matrix()
    opening = 1.0 - 0.8 * float(np.clip(gripper, 0.0, 1.0))
    for side in (-1.0, 1.0):
        a, b = (np.array([x, side * opening * y, z]) for x, y, z in FINGER[:2])
        ends.append((se3.apply(T_base_ee, np.stack([a, b])), FINGER[2]))
    ends += [(se3.apply(T_base_ee, np.array([a, b])), radius) for a, b, radius in TOOL]
    return np.stack([e for e, _ in ends]), np.array([r for _, r in ends])


def robot_mask(
    points_cam: np.ndarray,
    camera: CameraModel,
    T_base_cam: np.ndarray,
    joints: np.ndarray,
    gripper: float = 0.0,
    margin: float = MARGIN_M,
) -> np.ndarray:
    """Return the pixels ``(H, W)`` bool whose points lie within ``margin`` metres of the robot.

    A pixel without depth counts if its line of sight passes through the robot.

    Args:
        points_cam: ``(H, W, 3)`` metres, camera frame; NaN where invalid.
        T_base_cam: ``(4, 4)`` calibrated camera pose.
        joints: ``(7,)`` rad, measured at the time of the image.
        gripper: 0 open to 1 closed.

    Raises:
        InputError: joints that are not seven finite numbers, or points of another shape than the camera's image.
    """
    H, W = camera.height, camera.width
    if points_cam.shape != (H, W, 3):
        raise InputError(f"points_cam: shape {points_cam.shape}, must be {(H, W, 3)}")
    ends, radii = robot_capsules(joints, gripper)
    ends = se3.apply(se3.invert(T_base_cam), ends.reshape(-1, 3)).reshape(-1, 2, 3)
    out = np.zeros((H, W), bool)
    for (a, b), radius in zip(ends, radii, strict=True):
        reach = radius + margin
        box = _box(a, b, reach, camera)
        p = points_cam[box].astype(np.float64)
        if not p.size:
            continue
        near = _distance(p, a, b) < reach
        missing = ~np.isfinite(p[..., 2])
        if missing.any():
            near[missing] = _sight_distance(_rays(camera, box)[missing], a, b) < reach
        out[box] |= near
    return out


def _box(a: np.ndarray, b: np.ndarray, reach: float, camera: CameraModel) -> tuple[slice, slice]:
    """Return the rows and columns that can show a capsule; all of them if it is beside or behind the camera."""
    z = min(a[2], b[2]) - reach
    if z < 0.05:
        return slice(0, camera.height), slice(0, camera.width)
    low, high = np.minimum(a, b)[:2] - reach, np.maximum(a, b)[:2] + reach
    corners = np.concatenate([[low / z, high / z], [low, high] / np.array(max(a[2], b[2]) + reach)])
    u, v = corners[:, 0] * camera.fx + camera.cx, corners[:, 1] * camera.fy + camera.cy
    (left, right), (top, bottom) = (
        np.clip([np.floor(x.min()), np.ceil(x.max()) + 1], 0, size).astype(int)
        for x, size in ((u, camera.width), (v, camera.height))
    )
    return slice(top, bottom), slice(left, right)


def _distance(p: np.ndarray, a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Return the distances ``(...)`` of points ``(..., 3)`` from a segment; NaN stays NaN."""
    way = b - a
    s = np.clip((p - a) @ way / max(float(way @ way), 1e-12), 0.0, 1.0)
    return np.linalg.norm(p - a - s[..., None] * way, axis=-1)


def _rays(camera: CameraModel, box: tuple[slice, slice]) -> np.ndarray:
    """Return the unit lines of sight ``(h, w, 3)`` of a box of pixels."""
    u = (np.arange(box[1].start, box[1].stop) - camera.cx) / camera.fx
    v = (np.arange(box[0].start, box[0].stop) - camera.cy) / camera.fy
    rays = np.stack([*np.meshgrid(u, v), np.ones((len(v), len(u)))], -1)
    return rays / np.linalg.norm(rays, axis=-1, keepdims=True)


def _sight_distance(rays: np.ndarray, a: np.ndarray, b: np.ndarray, samples: int = 8) -> np.ndarray:
    """Return the distances ``(n,)`` of lines of sight ``(n, 3)`` from ``samples`` points of a segment."""
    points = a + np.linspace(0, 1, samples)[:, None] * (b - a)
    along = np.maximum(rays @ points.T, 0.0)
    squared = (points * points).sum(1) - along * along
    return np.sqrt(np.maximum(squared, 0.0)).min(1)
