"""Colour and depth of human video as observations: metres, missing depth, and a width that training needs."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from uma.types import CameraModel, InputError, Observation
from uma_train.data.optional import needed

WIDTH = 640
"""Wider images are reduced by a whole factor to at least this width, pixels."""
ENDS = {".jpg": b"\xff\xd9", ".png": b"IEND\xaeB`\x82"}
"""Last bytes of a complete file."""


def factor_of(width: int, height: int) -> int:
    """Return the whole factor by which an image is reduced."""
    factor = max(1, width // WIDTH)
    return factor if width % factor == 0 and height % factor == 0 else 1


def reduced(camera: CameraModel, factor: int) -> CameraModel:
    """Return the camera of reduced images; whole pixel coordinates are centres of pixels."""
    cx, cy = ((c + 0.5) / factor - 0.5 for c in (camera.cx, camera.cy))
    size = camera.width // factor, camera.height // factor
    return CameraModel(*size, camera.fx / factor, camera.fy / factor, cx, cy, camera.frame)


def reduce_colour(rgb: np.ndarray, factor: int) -> np.ndarray:
    """Return the means of blocks of ``factor`` x ``factor`` pixels."""
    if factor == 1:
        return rgb
    H, W = rgb.shape[0] // factor, rgb.shape[1] // factor
    return rgb.reshape(H, factor, W, factor, 3).mean((1, 3)).round().astype(np.uint8)


def metres(millimetres: np.ndarray, factor: int) -> np.ndarray:
    """Return depth in metres, one pixel of each block, NaN where it is 0."""
    half = (factor - 1) // 2
    depth = millimetres[half::factor, half::factor].astype(np.float32) / 1000.0
    return np.where(depth > 0, depth, np.float32(np.nan))


def check_16_bit(largest: int, what: str | Path) -> None:
    """Raise `InputError` unless the largest depth of a recording, mm, needs more than 8 bit."""
    if largest <= 255:
        raise InputError(f"{what}: depth reaches {largest} mm, must exceed 255: it was reduced to 8 bit")


def read_image(path: Path) -> np.ndarray:
    """Return the pixels of an image file, colour as RGB.

    Raises:
        InputError: the file is missing, cut or damaged.
    """
    cv2 = needed("cv2")
    try:
        data = path.read_bytes()
    except OSError as error:
        raise InputError(f"{path}: {error.strerror}") from error
    if not data.rstrip(b"\0").endswith(ENDS[path.suffix]):
        raise InputError(f"{path}: {len(data)} bytes, the end is missing")
    image = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    if image is None:
        raise InputError(f"{path}: damaged image")
    return image[:, :, ::-1].copy() if image.ndim == 3 else image


def observe(rgb: np.ndarray, depth: np.ndarray, camera: CameraModel, stamp: float) -> Observation:
    """Return an observation without a robot."""
    return Observation(rgb, depth, camera, np.eye(4), 0.0, stamp)
