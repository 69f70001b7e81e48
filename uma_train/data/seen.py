"""What an image shows of points, and images in the size of an episode's."""

from __future__ import annotations

import numpy as np

from uma.types import CameraModel


def shrink(rgb: np.ndarray, width: int, height: int) -> np.ndarray:
    """Resize to ``(height, width, 3)`` uint8 by area averaging."""
    import torch

    pixels = torch.from_numpy(rgb).permute(2, 0, 1)[None].float()
    return (
        torch.nn.functional.interpolate(pixels, (height, width), mode="area")[0]
        .permute(1, 2, 0)
        .round()
        .to(torch.uint8)
        .numpy()
    )


def pixels(points_cam: np.ndarray, camera: CameraModel) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the ``(K,)`` rows, columns, and whether they lie in the image, of ``(K, 3)`` points in metres."""
    z = np.maximum(points_cam[:, 2], 1e-6)
    u = np.round(camera.fx * points_cam[:, 0] / z + camera.cx).astype(int)
    v = np.round(camera.fy * points_cam[:, 1] / z + camera.cy).astype(int)
    return v, u, (points_cam[:, 2] > 0) & (u >= 0) & (u < camera.width) & (v >= 0) & (v < camera.height)


def visible(points_cam: np.ndarray, depth: np.ndarray, camera: CameraModel) -> np.ndarray:
    """Return ``(K,)`` bool: ``(K, 3)`` surface points that lie in the image and agree with its depth within 2 cm."""
    v, u, is_inside = pixels(points_cam, camera)
    seen = depth[v.clip(0, camera.height - 1), u.clip(0, camera.width - 1)]
    return is_inside & (np.abs(np.nan_to_num(seen, nan=-1.0) - points_cam[:, 2]) < 0.02)
