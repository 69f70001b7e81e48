"""A folder of frames in the place of a camera.

camera.yaml          width, height, fx, fy, cx, cy (pixels) and perhaps frame
NAME.png             colour, 8 bit
NAME.depth.png       depth, 16 bit, millimetres, 0 invalid; or
NAME.depth.npy       depth, float32, metres, NaN invalid
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import yaml

from uma.control.settings import setting
from uma.types import CameraModel, InputError
from uma_ros.hardware.frames import EndOfStream, RgbdFrame
from uma_ros.hardware.link import DeviceError

MAX_BYTES = 256 * 1024 * 1024
"""Largest file that is read."""
MAX_PIXELS = 4096


@dataclass(frozen=True)
class FolderSettings:
    """Which frames."""

    path: str = setting("", "folder with camera.yaml, NAME.png and NAME.depth.png or NAME.depth.npy")
    loop: bool = setting(True, "begin again after the last frame")


def read_camera(path: Path, frame: str = "zed_left_camera_frame_optical") -> CameraModel:
    """``camera.yaml``. Raises `InputError` naming the entry."""
    try:
        data = yaml.safe_load(path.read_text())
        values = [data[k] for k in ("width", "height", "fx", "fy", "cx", "cy")]
        if set(data) - {"width", "height", "fx", "fy", "cx", "cy", "frame"} or not all(isinstance(v, (int, float)) for v in values):
            raise ValueError("must have the numbers width, height, fx, fy, cx, cy, and perhaps frame, alone")
    except (OSError, yaml.YAMLError, TypeError, KeyError, ValueError) as error:
        raise InputError(f"{path}: {error}") from None
    if not (1 <= values[0] <= MAX_PIXELS and 1 <= values[1] <= MAX_PIXELS):
        raise InputError(f"{path}: {values[0]}x{values[1]} pixels, must be 1 to {MAX_PIXELS}")
    return CameraModel(int(values[0]), int(values[1]), *map(float, values[2:]), str(data.get("frame", frame)))


def read_image(path: Path) -> np.ndarray:
    """``(H, W, 3)`` uint8 RGB. Raises `InputError` for what is no picture of a sensible size."""
    from PIL import Image

    try:
        with Image.open(path) as picture:  # reads the head of the file only
            _check_size(picture.size, path)
            return np.array(picture.convert("RGB"))
    except (OSError, SyntaxError, ValueError) as error:
        raise InputError(f"{path}: {error}") from None


def read_depth(path: Path) -> np.ndarray:
    """``(H, W)`` float32 metres, NaN invalid. Raises `InputError`."""
    from PIL import Image

    try:
        if path.stat().st_size > MAX_BYTES:
            raise ValueError(f"{path.stat().st_size} bytes, limit {MAX_BYTES}")
        if path.suffix == ".npy":
            raw = np.load(path, allow_pickle=False, mmap_mode="r")  # mapped: a head that promises more than the file holds is an error
            if raw.ndim != 2 or raw.dtype != np.float32:
                raise ValueError(f"{raw.dtype} of shape {raw.shape}, must be float32 of 2 dimensions")
            depth = np.array(raw)
            depth[~(np.isfinite(depth) & (depth > 0))] = np.nan
            return depth
        with Image.open(path) as picture:
            _check_size(picture.size, path)
            if not picture.mode.startswith("I"):
                raise ValueError(f"mode {picture.mode}, must be 16 bit")
            raw = np.array(picture)
        return np.where(raw == 0, np.float32(np.nan), raw.astype(np.float32) * np.float32(1e-3))
    except (OSError, SyntaxError, ValueError) as error:
        raise InputError(f"{path}: {error}") from None


def _check_size(size: tuple[int, int], path: Path) -> None:
    if not (1 <= size[0] <= MAX_PIXELS and 1 <= size[1] <= MAX_PIXELS):
        raise ValueError(f"{size[0]}x{size[1]} pixels, must be 1 to {MAX_PIXELS}")


class FolderSource:
    """Frames in the order of their names, without time stamps of their own.

    Args:
        rate: Hz at which they are given.
    """

    def __init__(self, settings: FolderSettings, rate: float) -> None:
        self.settings, self.period = settings, 1.0 / rate
        self._next = 0

    def open(self) -> str:
        folder = Path(self.settings.path).expanduser()
        try:
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
                raise EndOfStream(f"{self.settings.path}: over after {len(self.frames)} frames")
            self._next = 0
        colour, depth = self.frames[self._next]
        self._next += 1
        try:
            return RgbdFrame(read_image(colour), "rgb8", read_depth(depth), self.model)
        except InputError as error:
            raise DeviceError(f"{colour.name}: {error}") from None

    def close(self) -> None: ...
