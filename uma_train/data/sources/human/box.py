"""Object poses of HOI4D: boxes in the camera's frame, one JSON file per frame."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from scipy.spatial.transform import Rotation

from uma.geometry import se3
from uma.geometry.camera import unproject_pixels
from uma.types import CameraModel, InputError

FOLDERS = "objpose", "objpose_refined"
MARGIN_M = 0.01
"""Depth this far outside the box counts as inside, metres."""
KEYS = "dataList", "objects"


@dataclass(frozen=True)
class Box:
    """An object's box in the camera's frame.

    Attributes:
        T_cam_box: ``(4, 4)``, the origin in the box's centre.
        size: ``(3,)`` length, width and height along its axes, metres.
    """

    T_cam_box: np.ndarray
    size: np.ndarray


def read_boxes(sequence: Path, steps: int) -> dict[int, Box]:
    """Return step -> box of the object that moves farthest.

    Raises:
        InputError: there is no pose, or a file is malformed.
    """
    files = _files(sequence)
    found = {step: _read(file) for step, file in files.items() if step < steps}
    if not found:
        raise InputError(f"{sequence}: 0 files in {' or '.join(FOLDERS)}, must be at least 1")
    count = min(len(boxes) for boxes in found.values())
    moved = [
        np.ptp([boxes[i].T_cam_box[:3, 3] for boxes in found.values()], axis=0).max() for i in range(max(count, 1))
    ]
    chosen = int(np.argmax(moved))
    return {step: boxes[chosen] for step, boxes in sorted(found.items())}


def _files(sequence: Path) -> dict[int, Path]:
    for name in FOLDERS:
        files = {int(p.stem): p for p in (sequence / name).glob("*.json") if p.stem.isdigit()}
        if files:
            return files
    return {}


def _read(file: Path) -> list[Box]:
    try:
        value = json.loads(file.read_text())
        items = next(value[key] for key in KEYS if key in value)
        boxes = [
            Box(
                se3.make_pose(
                    Rotation.from_euler("XYZ", _three(item, "rotation", "xyz")).as_matrix(),
                    _three(item, "center", "xyz"),
                ),
                _three(item, "dimensions", ("length", "width", "height")),
            )
            for item in items
        ]
    except InputError as error:
        raise InputError(f"{file}: {error}") from error
    except (OSError, ValueError, KeyError, TypeError, StopIteration) as error:
        raise InputError(f"{file}: no object pose: {type(error).__name__}: {error}") from error
    if not boxes:
        raise InputError(f"{file}: 0 objects, must be at least 1")
    return boxes


def _three(item: dict, key: str, names: str | tuple[str, ...]) -> np.ndarray:
    values = np.array([float(item[key][name]) for name in names])
    if not np.isfinite(values).all():
        raise InputError(f"{key}: {values.tolist()}, must be finite")
    return values


def inside(box: Box, depth: np.ndarray, camera: CameraModel) -> tuple[np.ndarray, np.ndarray]:
    """Return the flat pixels of the depth inside a box, and their ``(N, 3)`` points in the camera's frame."""
    pixel = np.flatnonzero(np.isfinite(depth))
    points = unproject_pixels(depth, pixel, camera).astype(np.float64)
    local = se3.apply(se3.invert(box.T_cam_box), points)
    is_inside = (np.abs(local) <= box.size / 2 + MARGIN_M).all(1)
    return pixel[is_inside], points[is_inside]
