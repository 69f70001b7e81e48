"""Xperience: egocentric video with metric depth and the camera's trajectory, without tracks of objects.

Layout of an episode: ``stereo_left.mp4``, the rectified left images, and ``annotation.hdf5``. A recording is one sub
task of its caption. Its tracks have to come from elsewhere; without any, the import refuses it.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from uma.geometry import se3
from uma.policy.demonstration import Demonstration
from uma.types import CameraModel, InputError, Observation, check_pose
from uma_train.data.optional import needed
from uma_train.data.sources.gates import Refused
from uma_train.data.sources.human.images import observe, reduce_colour
from uma_train.data.sources.human.licence import Options, check_licence
from uma_train.data.sources.human.trajectory import checked, checked_steps
from uma_train.data.sources.human.video import COLOUR, frame_times, frames, grid
from uma_train.data.sources.parts import Part

SET_LICENCE = "CC BY-NC 4.0"
ANNOTATION, VIDEO = "annotation.hdf5", "stereo_left.mp4"
FRAME = "xperience_left"
SIZE = 512
"""Edges of the rectified images that the intrinsics refer to, pixels."""
CAMERA, TO_BODY = "calibration/cam01/K", "calibration/cam01/T_c0_b"
NEEDED = {
    CAMERA: 1,
    TO_BODY: 2,
    "depth/depth": 3,
    "depth/scale": 0,
    "slam/quat_wxyz": 2,
    "slam/trans_xyz": 2,
    "slam/frame_names": 1,
    "video/device_timestamp": 1,
    "caption": 0,
}
"""Arrays that are read, and their dimensions."""


class ReadOptions(Options, Protocol):
    """Options of the import that concern Xperience."""

    text: str


def recordings(source: str | Path) -> dict[str, Part]:
    """Return name -> sub task, of all episodes below a folder. A damaged episode is one, which `read` refuses.

    Raises:
        InputError: there is none.
    """
    found = {}
    for file in sorted(Path(source).glob(f"**/{ANNOTATION}")):
        try:
            with Annotation(file) as annotation:
                count = len(annotation.segments)
        except InputError:
            count = 1
        for i in range(count):
            found[name_of(file, i)] = Part(file, f"sub task {i}", i)
    if not found:
        raise InputError(f"source: {source}: 0 sub tasks in files {ANNOTATION}, must be at least 1")
    return found


def name_of(file: Path, index: int) -> str:
    """Return the name of a sub task: session, episode and number."""
    return "_".join((*file.resolve().parts[-3:-1], f"{index:03d}"))


def read(found: Part, options: ReadOptions) -> Demonstration:
    """Return the demonstration of a sub task, without tracks.

    Raises:
        InputError: a file is missing or damaged, or the licence is not accepted.
    """
    licence = check_licence("Xperience", SET_LICENCE, options)
    with Annotation(found.path) as annotation:
        if not found.at < len(annotation.segments):
            raise InputError(f"{found.path}: sub task {found.at}, must be below {len(annotation.segments)}")
        segment = annotation.segments[found.at]
        span = annotation.frames_of(segment)
        if len(span) < 2:
            raise Refused("length", f"{len(span)} frames in {found.name}, must be at least 2")
        index = grid(annotation.seconds[span])
        index = np.where(index >= 0, span[index], -1)
        steps, camera = len(index), annotation.camera
        T_first_cam = annotation.trajectory(index)
        seen = [s for s in checked_steps(steps) if index[s] >= 0]
        checked(T_first_cam, {s: annotation.depth(int(index[s])) for s in seen}, camera)
        video = found.path.parent / VIDEO
        available = len(frame_times(video))
        if available < len(annotation.seconds):
            raise Refused("frame counts", f"{available} images of {len(annotation.seconds)} frames, must be equal")
        stamps = annotation.seconds[span[0]] + np.arange(steps) / 15.0
    wanted = {int(f): s for s, f in enumerate(index) if f >= 0}

    def observations() -> Iterator[tuple[int, Observation]]:
        with Annotation(found.path) as annotation:
            for step, rgb in frames(video, COLOUR, wanted):
                if rgb.shape != (SIZE, SIZE, 3):
                    raise InputError(f"{video}: {rgb.shape}, must be {(SIZE, SIZE, 3)}")
                colour = reduce_colour(rgb, SIZE // camera.width)
                yield step, observe(colour, annotation.depth(int(index[step])), camera, float(stamps[step]))

    return Demonstration(
        name=name_of(found.path, found.at),
        source="xperience",
        text=str(segment.get("Sub Task") or "").strip() or options.text,
        outcome="",
        camera_frame=FRAME,
        stamps=stamps,
        observations=observations,
        num_colour=len(wanted),
        num_depth=len(wanted),
        num_pairs=len(wanted),
        T_first_cam=T_first_cam,
        licence=licence,
    )


@dataclass
class Annotation:
    """An open ``annotation.hdf5``.

    Attributes:
        seconds: ``(N,)`` times of the frames.
        camera: of the depth.
        segments: the caption's sub tasks.
    """

    path: Path

    def __enter__(self) -> Annotation:
        h5py = needed("h5py")
        try:
            self._file = h5py.File(self.path, "r")
        except OSError as error:
            raise InputError(f"{self.path}: no HDF5 file: {error}") from error
        try:
            self._open()
        except BaseException:
            self._file.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def _open(self) -> None:
        for name, dimensions in NEEDED.items():
            if name not in self._file or getattr(self._file[name], "ndim", -1) != dimensions:
                raise InputError(f"{self.path}: {name} is missing, must be an array of {dimensions} dimensions")
        try:
            self._ticks = np.array([int(t) for t in self._file["video/device_timestamp"][:]], np.int64)
            caption = json.loads(self._file["caption"][()])
            self.segments: list[dict[str, Any]] = [s for s in caption["segments"] if isinstance(s, dict)]
        except (ValueError, KeyError, TypeError, OSError) as error:
            raise InputError(f"{self.path}: times or caption: {type(error).__name__}: {error}") from error
        self.seconds = self._ticks * 1e-9
        N, depth = len(self._ticks), self._file["depth/depth"]
        if N < 2 or (np.diff(self._ticks) <= 0).any():
            raise InputError(f"{self.path}: video/device_timestamp of {N} frames, must increase over at least 2")
        if len(depth) != N:
            raise Refused("frame counts", f"{len(depth)} depth images of {N} frames, must be equal")
        self.camera = self._camera(depth.shape[1:])

    def _camera(self, shape: tuple[int, int]) -> CameraModel:
        scale, K = float(self._file["depth/scale"][()]), self._file[CAMERA][:].astype(np.float64)
        if shape != (round(SIZE * scale),) * 2 or not 0 < scale <= 1:
            raise InputError(f"{self.path}: depth of {shape} pixels with scale {scale:g}, must be {SIZE} times scale")
        if K.shape != (4,) or not np.isfinite(K).all() or not (0 < K[2] < SIZE and 0 < K[3] < SIZE):
            raise InputError(f"{self.path}: {CAMERA} {K.tolist()}, must be fx, fy, cx, cy of {SIZE} pixels")
        return CameraModel(shape[1], shape[0], *(float(v) for v in K * scale), frame=FRAME)

    def frames_of(self, segment: dict[str, Any]) -> np.ndarray:
        """Return the indices of a sub task's frames. An end that is no time is the recording's end."""
        first, end = (self._tick(segment.get(key), other) for key, other in (("start_frame", -1), ("end_frame", -1)))
        if first < 0:
            raise InputError(f"{self.path}: start_frame {segment.get('start_frame')!r}, must be a time in ns")
        return np.flatnonzero((self._ticks >= first) & ((self._ticks <= end) | (end < 0)))

    @staticmethod
    def _tick(value: Any, other: int) -> int:
        return int(value) if str(value).isdigit() else other

    def depth(self, frame: int) -> np.ndarray:
        """Return the ``(H, W)`` depth of a frame, metres, NaN where it is missing."""
        try:
            depth = self._file["depth/depth"][frame].astype(np.float32)
        except (OSError, TypeError, ValueError) as error:
            raise InputError(f"{self.path}: depth of frame {frame}: {error}") from error
        return np.where(np.isfinite(depth) & (depth > 0), depth, np.float32(np.nan))

    def trajectory(self, index: np.ndarray) -> np.ndarray:
        """Return the ``(S, 4, 4)`` poses of the camera in its first frame; a step without a frame takes the last one.

        Raises:
            InputError: a pose is missing, not finite, or not rigid.
        """
        names = [bytes(n).split(b".")[0].decode("ascii", "replace") for n in self._file["slam/frame_names"][:]]
        at = {name: i for i, name in enumerate(names)}
        quaternion, position = self._file["slam/quat_wxyz"][:], self._file["slam/trans_xyz"][:]
        T_cam_body = check_pose(self._file[TO_BODY][:], f"{self.path}: {TO_BODY}")
        T_first_world, out = np.eye(4), np.empty((len(index), 4, 4))
        for step, frame in enumerate(index):
            if frame < 0:
                out[step] = out[step - 1]
                continue
            row = at.get(str(self._ticks[frame]))
            if row is None:
                raise Refused("camera", f"frame {frame} has no pose in slam/frame_names, must have one")
            w, x, y, z = quaternion[row]
            try:
                T_body_world = se3.from_quaternion(position[row], np.array([x, y, z, w]))
            except ValueError as error:
                raise InputError(f"{self.path}: slam pose {row}: {error}") from error
            T_cam_world = T_cam_body @ T_body_world
            if step == 0:
                T_first_world = T_cam_world
            out[step] = T_first_world @ se3.invert(T_cam_world)
        return out
