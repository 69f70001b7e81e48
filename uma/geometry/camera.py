"""The pinhole camera: pixels to points and back."""

from __future__ import annotations

import numpy as np

from uma.types import CameraModel


def unproject(depth: np.ndarray, camera: CameraModel) -> np.ndarray:
    """``(H, W, 3)`` points in the camera frame from ``(H, W)`` depth in metres; NaN stays NaN."""
    u = (np.arange(camera.width, dtype=np.float32) - camera.cx) / camera.fx
    v = (np.arange(camera.height, dtype=np.float32) - camera.cy) / camera.fy
    out = np.empty((*depth.shape, 3), np.float32)
    out[..., 0] = depth * u[None, :]
    out[..., 1] = depth * v[:, None]
    out[..., 2] = depth
    return out


def project(points_cam: np.ndarray, camera: CameraModel) -> np.ndarray:
    """``(..., 2)`` pixels (u, v) of ``(..., 3)`` points; NaN for points at or behind the camera."""
    z = np.where(points_cam[..., 2] > 1e-6, points_cam[..., 2], np.nan)
    return np.stack([camera.fx * points_cam[..., 0] / z + camera.cx, camera.fy * points_cam[..., 1] / z + camera.cy], axis=-1)
