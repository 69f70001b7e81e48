"""The trajectory of a moving camera, checked against the background that rests."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from uma.geometry import se3
from uma.geometry.camera import unproject_pixels
from uma.types import CameraModel, InputError, check_pose
from uma_train.data.seen import pixels
from uma_train.data.sources.gates import Refused

MAX_RESIDUAL = 0.05
"""Limit of the median distance in depth between two images of the background, as a share of the depth."""
SAMPLES = 4000
OVERLAP = 0.3
"""Share of the samples that two images must have in common."""
CHECKED = 8


def checked_steps(steps: int) -> list[int]:
    """Return the steps whose depth the check needs."""
    return sorted({round(s) for s in np.linspace(0, steps - 1, CHECKED)})


def read_log(path: str | Path) -> np.ndarray:
    """Return the ``(N, 4, 4)`` matrices of an Open3D trajectory: blocks of one line with three integers and a matrix.

    Raises:
        InputError: the file is malformed, or a matrix is not rigid.
    """
    try:
        words = Path(path).read_text().split()
        values = np.array([float(w) for w in words])
    except (OSError, ValueError) as error:
        raise InputError(f"{path}: no trajectory: {error}") from error
    if not len(values) or len(values) % 19:
        raise InputError(f"{path}: {len(values)} numbers, must be a multiple of 19")
    matrices = values.reshape(-1, 19)[:, 3:].reshape(-1, 4, 4)
    return np.stack([check_pose(T, f"{path}: matrix {i}") for i, T in enumerate(matrices)])


def residual(T_first_cam: np.ndarray, depths: Mapping[int, np.ndarray], camera: CameraModel) -> float:
    """Return the largest median distance in depth between two images of the background, as a share of the depth.

    Pairs are the first image with each other one, and each with the next; those that overlap little are left out.
    What moves is a small part of the image. An error along a plane that faces the camera does not show.

    Args:
        T_first_cam: ``(S, 4, 4)``.
        depths: step -> ``(H, W)`` metres.

    Returns:
        0 for a single image; infinite if no two images overlap.
    """
    steps = sorted(depths)
    pairs = sorted({*((steps[0], s) for s in steps[1:]), *zip(steps, steps[1:])})
    values = [_apart(se3.invert(T_first_cam[a]) @ T_first_cam[b], depths[a], depths[b], camera) for a, b in pairs]
    known = [v for v in values if v is not None]
    return max(known) if known else float("inf") if pairs else 0.0


def _apart(T_a_b: np.ndarray, depth_a: np.ndarray, depth_b: np.ndarray, camera: CameraModel) -> float | None:
    pixel = np.flatnonzero(np.isfinite(depth_b))
    pixel = pixel[:: max(1, len(pixel) // SAMPLES)]
    points = se3.apply(T_a_b, unproject_pixels(depth_b, pixel, camera).astype(np.float64))
    v, u, is_inside = pixels(points, camera)
    z = points[is_inside, 2]
    share = np.abs(depth_a[v[is_inside], u[is_inside]] - z) / z
    share = share[np.isfinite(share)]
    return float(np.median(share)) if len(share) > OVERLAP * len(pixel) else None


def directed(matrices: np.ndarray, depths: Mapping[int, np.ndarray], camera: CameraModel) -> np.ndarray:
    """Return ``(S, 4, 4)`` poses of the camera in its first frame from a trajectory of unknown direction.

    The direction is the one whose background rests.

    Args:
        matrices: ``(S, 4, 4)``, camera to world or its inverse.

    Raises:
        Refused: the background rests with neither.
    """
    inverse = np.stack([se3.invert(T) for T in matrices])
    candidates = [se3.invert(T[0]) @ T for T in (matrices, inverse)]
    return checked(min(candidates, key=lambda T: residual(T, depths, camera)), depths, camera)


def checked(T_first_cam: np.ndarray, depths: Mapping[int, np.ndarray], camera: CameraModel) -> np.ndarray:
    """Return the trajectory.

    Raises:
        Refused: the background does not rest with it.
    """
    worst = residual(T_first_cam, depths, camera)
    if not worst <= MAX_RESIDUAL:
        raise Refused("camera", f"the background moves by {worst:.1%} of its depth, limit {MAX_RESIDUAL:.0%}")
    return T_first_cam
