"""A folder of frames as camera source.

The folder contains:

camera.yaml          width, height, fx, fy, cx, cy (pixels), optionally frame
NAME.png             colour, 8 bit
NAME.depth.png       depth, 16 bit, millimetres, 0 = invalid; or
NAME.depth.npy       depth, float32, metres, NaN = invalid
"""

from __future__ import annotations

import io
import reprlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from uma.checkpoint.npy_head import npy_head
from uma.settings import setting
from uma.types import CameraModel, InputError
from uma_ros.drivers.camera.source import EndOfStream, RgbdFrame
from uma_ros.drivers.device import DeviceError
from uma_ros.messages.limits import SATURATED, check_intrinsics, check_metres
from uma_ros.runtime.resources import find
from uma_ros.runtime.robot import robot
from uma_ros.runtime.textfile import POINTER, is_number, read_value, text_of

MAX_BYTES = 256 * 1024 * 1024
"""Largest file, bytes."""
MAX_PIXELS = 4096
MAX_PIXELS_A_BYTE = 8300
"""Deflate expands a byte to at most 1032 bytes, of at most 8 pixels each."""


@dataclass(frozen=True)
class FolderSettings:
    """Settings of the folder source."""

    path: str = setting("", "folder with camera.yaml, NAME.png and NAME.depth.png or NAME.depth.npy")
    loop: bool = setting(True, "restart after the last frame")


def read_camera(path: Path) -> CameraModel:
    """Read ``camera.yaml``. Without a frame it is the robot's camera. Raises `InputError` with the entry."""
    data, names = read_value(path, ""), ("width", "height", "fx", "fy", "cx", "cy")
    if (
        not isinstance(data, dict)
        or not set(names) <= set(data) <= {*names, "frame"}
        or not all(is_number(data[k]) for k in names)
    ):
        raise InputError(
            f"{path}: {reprlib.repr(data)}, must contain only the finite numbers width, height, fx, fy, cx, cy, and "
            "optionally frame"
        )
    width, height, *intrinsics = (data[k] for k in names)
    if not (1 <= width <= MAX_PIXELS and 1 <= height <= MAX_PIXELS):
        raise InputError(f"{path}: {width:g}x{height:g} pixels, must be 1 to {MAX_PIXELS}")
    name = text_of(data.get("frame", robot().camera_frame), f"{path}: frame")
    try:
        return check_intrinsics(CameraModel(int(width), int(height), *map(float, intrinsics), name), "intrinsics")
    except InputError as error:
        raise InputError(f"{path}: {error}") from None


def read_image(path: Path) -> np.ndarray:
    """Read ``(H, W, 3)`` uint8 RGB. Raises `InputError` for an invalid or too large image."""
    from PIL import Image

    try:
        with Image.open(_in_memory(path)) as picture:  # reads only the header
            _check_size(picture.size, path)
            return np.array(picture.convert("RGB"))
    except Exception as error:  # Pillow's decoders raise any type for a damaged image
        raise InputError(f"{path}: {type(error).__name__}: {error}") from None


def read_depth(path: Path) -> np.ndarray:
    """Read ``(H, W)`` float32 metres, NaN where invalid. Raises `InputError` for an invalid or too large image."""
    from PIL import Image

    try:
        if path.suffix == ".npy":
            _check_bytes(path)
            with open(path, "rb") as file:
                npy_head(file)
            raw = np.load(path, allow_pickle=False, mmap_mode="r")  # mapped: a header that exceeds the file is an error
            if raw.ndim != 2 or raw.dtype != np.float32:
                raise ValueError(f"{raw.dtype} of shape {raw.shape}, must be float32 of 2 dimensions")
            depth = np.array(raw)
            depth[~(np.isfinite(depth) & (depth > 0))] = np.nan
            return check_metres(depth, "depth")
        with Image.open(_in_memory(path)) as picture:
            _check_size(picture.size, path)
            if not picture.mode.startswith("I"):
                raise ValueError(f"mode {picture.mode}, must be 16 bit")
            raw = np.array(picture)
        is_valid = (raw > 0) & (raw < SATURATED)
        return check_metres(np.where(is_valid, raw.astype(np.float32) * np.float32(1e-3), np.float32(np.nan)), "depth")
    except Exception as error:  # as above; the header of a NumPy file is a Python literal
        raise InputError(f"{path}: {type(error).__name__}: {error}") from None


def _check_bytes(path: Path) -> None:
    if path.stat().st_size > MAX_BYTES:
        raise ValueError(f"{path.stat().st_size} bytes, limit {MAX_BYTES}")
    with open(path, "rb") as file:
        if file.read(len(POINTER)) == POINTER.encode():
            raise ValueError("a Git LFS pointer, not the file; `git lfs pull` gets it")


def _in_memory(path: Path) -> io.BytesIO:
    """Return the file in memory. Reading from the file itself allocates the size in the header, however large."""
    _check_bytes(path)
    return io.BytesIO(path.read_bytes())


def _check_size(size: tuple[int, int], path: Path) -> None:
    if not (1 <= size[0] <= MAX_PIXELS and 1 <= size[1] <= MAX_PIXELS):
        raise ValueError(f"{size[0]}x{size[1]} pixels, must be 1 to {MAX_PIXELS}")
    if size[0] * size[1] > MAX_PIXELS_A_BYTE * path.stat().st_size:
        raise ValueError(f"{size[0]}x{size[1]} pixels in the header, more than {path.stat().st_size} bytes can contain")


class FolderSource:
    """Frames of a folder in the order of their names, without time stamps.

    Args:
        rate: frame rate, Hz.
    """

    def __init__(self, settings: FolderSettings, rate: float) -> None:
        self.settings, self.period = settings, 1.0 / rate
        self._next = 0

    def open(self) -> str:
        try:
            folder = find(self.settings.path)
            self.model = read_camera(folder / "camera.yaml")
        except InputError as error:
            raise DeviceError(f"folder.path: {error}") from None
        self.frames: list[tuple[Path, Path]] = []
        for colour in sorted(p for p in folder.glob("*.png") if not p.name.endswith(".depth.png")):
            depths = [d for d in (colour.with_suffix(".depth.npy"), colour.with_suffix(".depth.png")) if d.exists()]
            if depths:
                self.frames.append((colour, depths[0]))
        if not self.frames:
            raise DeviceError(f"folder.path: {folder}: no NAME.png with a NAME.depth.npy or NAME.depth.png")
        return f"{folder}: {len(self.frames)} frames of {self.model.width}x{self.model.height}"

    def grab(self) -> RgbdFrame:
        if self._next >= len(self.frames):
            if not self.settings.loop:
                raise EndOfStream(f"{self.settings.path}: ended after {len(self.frames)} frames")
            self._next = 0
        colour, depth = self.frames[self._next]
        self._next += 1
        try:
            return RgbdFrame(read_image(colour), "rgb8", read_depth(depth), self.model)
        except InputError as error:
            raise DeviceError(f"{colour.name}: {error}") from None

    def close(self) -> None: ...
