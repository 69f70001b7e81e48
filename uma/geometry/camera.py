"""The pinhole camera: projection and back-projection."""

from __future__ import annotations

import numpy as np

from uma.types import CameraModel


def unproject(depth: np.ndarray, camera: CameraModel) -> np.ndarray:
    """Return ``(H, W, 3)`` points in the camera frame from ``(H, W)`` depth in metres; NaN stays NaN."""
    u = (np.arange(camera.width, dtype=np.float32) - camera.cx) / camera.fx
    v = (np.arange(camera.height, dtype=np.float32) - camera.cy) / camera.fy
    out = np.empty((*depth.shape, 3), np.float32)
    out[..., 0] = depth * u[None, :]
    out[..., 1] = depth * v[:, None]
    out[..., 2] = depth
    return out


def unproject_pixels(depth: np.ndarray, pixels: np.ndarray, camera: CameraModel) -> np.ndarray:
    """Return `unproject`'s points at ``(n,)`` flat pixel indices of ``(H, W)`` depth: ``(n, 3)``, camera frame."""
    u = (np.arange(camera.width, dtype=np.float32) - camera.cx) / camera.fx
    v = (np.arange(camera.height, dtype=np.float32) - camera.cy) / camera.fy
    z = depth.ravel()[pixels]
    row = pixels // camera.width
    out = np.empty((len(z), 3), np.float32)
    np.multiply(z, u[pixels - row * camera.width], out=out[:, 0])
    np.multiply(z, v[row], out=out[:, 1])
    out[:, 2] = z
    return out


def project(points_cam: np.ndarray, camera: CameraModel) -> np.ndarray:
    """Return ``(..., 2)`` pixels (u, v) of ``(..., 3)`` points; NaN for points at or behind the camera."""
    z = np.where(points_cam[..., 2] > 1e-6, points_cam[..., 2], np.nan)
    return np.stack(
        [camera.fx * points_cam[..., 0] / z + camera.cx, camera.fy * points_cam[..., 1] / z + camera.cy], axis=-1
    )


def normalized_uv(points_cam: np.ndarray, intrinsics: np.ndarray) -> np.ndarray:
    """Return image coordinates ``(B, N, 2)`` of points: x and y in [-1, 1] from edge to edge, at any resolution.

    Args:
        points_cam: ``(B, N, 3)`` metres.
        intrinsics: ``(B, 6)`` fx, fy, cx, cy, width, height in pixels; where unknown (NaN), every point maps to the
            image centre.
    """
    focal, middle, size = (intrinsics[:, None, i : i + 2] for i in (0, 2, 4))
    pixel = points_cam[..., :2] / np.maximum(points_cam[..., 2:], 1e-6) * focal + middle
    return np.nan_to_num((pixel + 0.5) / size * 2 - 1).astype(np.float32)
