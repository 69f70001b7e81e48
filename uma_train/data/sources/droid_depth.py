"""Depth that was published for DROID: ``NAME_depth.h5`` of PointWorld's data set, in millimetres, with times.

A file has one group per camera, "SERIAL+ext" or "SERIAL+wrist", with ``depth`` (T, H, W) uint16 and ``timestamps``
(T,) milliseconds. Zero is invalid.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from uma.types import RATE_HZ, InputError
from uma_train.data.optional import needed
from uma_train.data.sources.gates import Refused

SUFFIX = "_depth.h5"
HALF_MS = 500.0 / RATE_HZ
MOST_APART = 2
"""Largest difference between the counts of rows and of depth images that are paired by number."""
MOST_LATE_MS = 150.0
"""Largest difference between the two clocks, ms."""
LICENCE = "depth: NVIDIA License, non-commercial"
NEEDED = "depth: the recording holds none; --depth FOLDER names published depth (NAME_depth.h5)"


@contextmanager
def h5(path: Path) -> Iterator[Any]:
    """Open an HDF5 file; damage becomes `InputError` with the file's name."""
    h5py = needed("h5py")
    if not path.is_file():
        raise InputError(f"{path}: no such file")
    try:
        with h5py.File(path, "r") as f:
            yield f
    except (OSError, RuntimeError) as error:
        raise InputError(f"{path}: damaged or cut: {error}") from error
    except KeyError as error:
        raise InputError(f"{path}: {error.args[0] if error.args else error}") from error


@cache
def _index(folder: Path) -> dict[tuple[str, str], list[Path]]:
    """Return (laboratory, time) -> files; the middle of a name is the user's."""
    index: dict[tuple[str, str], list[Path]] = {}
    for path in sorted(folder.rglob("*" + SUFFIX)):
        parts = path.name.removesuffix(SUFFIX).split("+")
        index.setdefault((parts[0], parts[-1]), []).append(path)
    return index


def depth_path(folder: str, lab: str, time: str) -> Path:
    """Return the depth file of an episode.

    Raises:
        Refused: no folder is given, or it does not have exactly one file of the episode.
    """
    if not folder:
        raise Refused("depth", NEEDED.removeprefix("depth: "))
    if not Path(folder).is_dir():
        raise InputError(f"depth: {folder}: no such folder")
    found = _index(Path(folder).resolve()).get((lab, time), [])
    if len(found) != 1:
        raise Refused("depth", f"{len(found)} files {lab}+*+{time}{SUFFIX} in {folder}, must be exactly 1")
    return found[0]


@dataclass(frozen=True)
class DepthFile:
    """Depth of one exterior camera.

    Attributes:
        path, group: where it is.
        stamps: ``(T,)`` ms.
        height, width: pixels.
    """

    path: Path
    group: str
    stamps: np.ndarray
    height: int
    width: int

    @property
    def serial(self) -> str:
        return self.group.partition("+")[0]

    @classmethod
    def open(cls, path: Path, camera: str) -> DepthFile:
        """Return the depth of a camera: a serial, or ext1 or ext2, the exterior ones in the order of their serials.

        Raises:
            InputError: the camera is missing, or the depth is not 16 bit.
        """
        with h5(path) as f:
            outside = sorted(name for name in f if name.endswith("+ext"))
            serials = [name.partition("+")[0] for name in outside]
            if camera in ("ext1", "ext2"):
                if len(outside) != 2:
                    raise InputError(f"camera: {camera}: {path.name} has {len(outside)} exterior cameras, must have 2")
                camera = serials[camera == "ext2"]
            if camera not in serials:
                raise InputError(f"camera: {camera}: {path.name} has depth of {', '.join(serials) or 'no camera'}")
            group = outside[serials.index(camera)]
            depth, stamps = f[group]["depth"], np.asarray(f[group]["timestamps"][:], np.float64)
            if depth.dtype != np.uint16 or depth.ndim != 3:
                raise Refused("depth", f"{path.name}: {depth.dtype} {depth.shape}, must be uint16 (T, H, W) in mm")
            if len(depth) != len(stamps):
                raise Refused("depth", f"{path.name}: {len(depth)} images, {len(stamps)} times, must be equal")
            return cls(path, group, stamps, *depth.shape[1:])

    def rows(self, stamps_ms: np.ndarray | None, count: int) -> np.ndarray:
        """Return the depth image of each of N rows, ``(N,)``; -1 without one.

        Rows of the same count and rhythm are paired by number: the clocks may differ by the camera's delay. Others are
        paired in time, within half a period.

        Args:
            stamps_ms: ``(N,)`` of the rows; None where the data set lost them.
            count: N.

        Raises:
            Refused: no times, and the counts differ by more than `MOST_APART`.
        """
        T = len(self.stamps)
        by_number = np.where(np.arange(count) < T, np.arange(count), -1)
        is_near = abs(count - T) <= MOST_APART
        if stamps_ms is None:
            if not is_near:
                raise Refused("frame counts", f"{T} depth images for {count} rows, may differ by {MOST_APART}")
            return by_number
        away = self.stamps[: min(count, T)] - stamps_ms[: min(count, T)]
        if is_near and np.ptp(away) < HALF_MS and abs(np.median(away)) < MOST_LATE_MS:
            return by_number
        after = np.searchsorted(self.stamps, stamps_ms).clip(1, T - 1)
        nearest = np.where(stamps_ms - self.stamps[after - 1] <= self.stamps[after] - stamps_ms, after - 1, after)
        return np.where(np.abs(self.stamps[nearest] - stamps_ms) <= HALF_MS, nearest, -1)

    def read(self, images: list[int]) -> Iterator[np.ndarray]:
        """Yield ``(H, W)`` float32 metres, NaN where invalid, of image numbers in order."""
        with h5(self.path) as f:
            data = f[self.group]["depth"]
            for i in images:
                yield metres(data[i])


def metres(millimetres: np.ndarray) -> np.ndarray:
    """Return float32 metres of uint16 millimetres; NaN for 0."""
    return np.where(millimetres > 0, millimetres.astype(np.float32) * np.float32(1e-3), np.float32(np.nan))
