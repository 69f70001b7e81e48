"""Depth from DROID's stereo videos, left beside right, by matching as a stereo camera does."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from uma.types import CameraModel, InputError
from uma_train.data.optional import needed
from uma_train.data.seen import shrink
from uma_train.data.sources import robot_rows, video
from uma_train.data.sources.robot_rows import Pictures

STEREO = "stereo"
BASELINE = 0.12
"""Distance of the lenses of a ZED 2, metres."""
RANGE = 0.3, 3.0
"""Range of valid depth, metres."""
SCALE = 2
"""Pixels of the matched images per pixel of the depth and axis."""


@dataclass(frozen=True)
class StereoVideo:
    """Left images and matched depth of a stereo video.

    Attributes:
        full: intrinsics of one image in the video.
        camera: of the depth, half as large.
        count: frames.
    """

    video: Path
    full: CameraModel
    camera: CameraModel
    count: int
    licence: str = "CC BY 4.0"
    name: str = STEREO

    @classmethod
    def open(cls, folder: Path, serial: str, full: CameraModel) -> StereoVideo:
        """Find the stereo video of a camera: "SERIAL-stereo.mp4", or "SERIAL.mp4" of twice the width.

        Raises:
            InputError: there is none.
        """
        seen = []
        for path in (folder / f"{serial}-stereo.mp4", folder / f"{serial}.mp4"):
            if not path.exists():
                continue
            count, width, height = video.size(path)
            seen.append(f"{path.name} {width}x{height}")
            if width > 3 * height:
                camera = robot_rows.intrinsics_at(full, width // 2, height)
                return cls(path, camera, robot_rows.intrinsics_at(full, width // 2 // SCALE, height // SCALE), count)
        raise InputError(f"video: {folder}: {', '.join(seen) or 'none'}, must be a pair of images side by side")

    def pictures(self, stamps: np.ndarray, first: int, last: int, T_base_cam: np.ndarray) -> Pictures:
        """Return the pictures of the rows ``first`` to ``last``."""

        def read(wanted: set[int]) -> Iterator[tuple[int, np.ndarray, np.ndarray]]:
            for i, pair in enumerate(video.frames(self.video, first + max(wanted, default=-1) + 1)):
                if i - first in wanted:
                    left = shrink(pair[:, : self.full.width], self.camera.width, self.camera.height)
                    yield i - first, left, depth_of(pair, self.full)

        n = last - first
        return Pictures(read, np.ones(n, bool), n, n, self.camera, T_base_cam)


def depth_of(pair: np.ndarray, camera: CameraModel) -> np.ndarray:
    """Return ``(H / 2, W / 2)`` float32 metres; NaN where nothing matches or outside of `RANGE`.

    Args:
        pair: ``(H, 2 W, 3)`` uint8, the left image beside the right one.
        camera: intrinsics of the left image.
    """
    from uma_sim.robot.stereo import match, reduce, refine

    cv2 = needed("cv2")
    grey = cv2.cvtColor(pair, cv2.COLOR_RGB2GRAY)
    left, right = grey[:, : camera.width], grey[:, camera.width :]
    left, right = (np.ascontiguousarray(image) for image in (left, right))
    strength = camera.fx * BASELINE
    disparity = refine(left, right, match(left, right, math.ceil(strength / RANGE[0])))
    depth = strength / reduce(disparity, SCALE)
    return np.where((depth >= RANGE[0]) & (depth <= RANGE[1]), depth, np.nan).astype(np.float32)
