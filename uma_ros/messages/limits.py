"""Limits of plausible intrinsics and depth, for messages and files alike."""

from __future__ import annotations

import numpy as np

from uma.policy.plausible import MAX_MEDIAN_DEPTH
from uma.types import CameraModel, InputError

FOCAL_LENGTHS = (0.2, 20.0)
"""Range of the focal length, in units of the longer side: fields of view of 136 to 3 degrees."""
MAX_ASPECT = 2.0
"""Largest ratio of the focal lengths fx and fy."""
CENTRES = (0.1, 0.9)
"""Range of the principal point, in image widths and heights. An image of another size puts it outside."""
SATURATED = 65535
"""16-bit depth beyond the range of a camera, 65.5 m: it marks invalid pixels."""


def check_intrinsics(camera: CameraModel, name: str, is_cropped: bool = False) -> CameraModel:
    """Return the camera. Raise `InputError`, starting with ``name``, if its intrinsics do not fit its image.

    Args:
        is_cropped: a part of the sensor, which may be far from the optical axis.
    """
    longer = max(camera.width, camera.height)
    for key, f in (("fx", camera.fx), ("fy", camera.fy)):
        if not FOCAL_LENGTHS[0] * longer <= f <= FOCAL_LENGTHS[1] * longer:
            raise InputError(
                f"{name}.{key}: {f:g} pixels, must be {FOCAL_LENGTHS[0] * longer:g} to {FOCAL_LENGTHS[1] * longer:g} "
                f"for an image of {camera.width}x{camera.height}"
            )
    if not 1 / MAX_ASPECT <= camera.fx / camera.fy <= MAX_ASPECT:
        raise InputError(f"{name}.fx: {camera.fx:g}, must be within a factor of {MAX_ASPECT:g} of fy {camera.fy:g}")
    for key, c, size in (("cx", camera.cx, camera.width), ("cy", camera.cy, camera.height)):
        if not is_cropped and not CENTRES[0] * size <= c <= CENTRES[1] * size:
            raise InputError(
                f"{name}.{key}: {c:g}, must be {CENTRES[0] * size:g} to {CENTRES[1] * size:g} for an image of "
                f"{camera.width}x{camera.height}; do the intrinsics belong to another image size?"
            )
    return camera


def check_metres(depth: np.ndarray, name: str) -> np.ndarray:
    """Return the depth. Raise `InputError`, starting with ``name``, if its median over a sample is not in metres."""
    sample = depth[::8, ::8]
    valid = sample[np.isfinite(sample)]
    if len(valid) and (median := float(np.median(valid))) > MAX_MEDIAN_DEPTH:
        raise InputError(
            f"{name}: median {median:.0f} m, must be at most {MAX_MEDIAN_DEPTH:g} m; is it in millimetres? Those are "
            "16UC1, metres are 32FC1"
        )
    return depth
