"""DROID's raw release: a folder with ``trajectory.h5``, ``metadata_NAME.json`` and ``recordings/MP4``.

Frame i of the video is row i of the trajectory. The time is ``estimated_capture``: the container's 60 fps is wrong.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from uma.policy.demonstration import Demonstration
from uma.types import CameraModel, InputError
from uma_train.data.seen import shrink
from uma_train.data.sources import robot_rows, video
from uma_train.data.sources.droid_annotations import ID, Annotations
from uma_train.data.sources.droid_depth import LICENCE, DepthFile, depth_path, h5
from uma_train.data.sources.gates import Refused
from uma_train.data.sources.robot_rows import About, Options, Pictures, Rows, finite, shaped
from uma_train.data.sources.stereo import STEREO, StereoVideo

SAME = robot_rows.SAME
TRAJECTORY, MP4 = "trajectory.h5", Path("recordings") / "MP4"
MOST_APART = 6
"""Largest difference between the counts of rows and of frames."""
MOVED_M = 0.01
"""An exterior camera whose extrinsics change more during an episode is not at rest, metres."""


def recordings(source: str | Path) -> dict[str, Path]:
    """Return name -> folder of an episode: the source itself, or all below it.

    Raises:
        InputError: there is none, or two have one name.
    """
    source = Path(source)
    if not source.is_dir():
        raise InputError(f"source: {source}: no such folder")
    folders = sorted(path.parent for path in source.rglob(TRAJECTORY))
    if not folders:
        raise InputError(f"source: {source}: no {TRAJECTORY} in it")
    found: dict[str, Path] = {}
    for folder in folders:
        name = _named(folder) or folder.name
        if name in found:
            raise InputError(f"source: {name} is in {found[name]} and in {folder}, must be one")
        found[name] = folder
    return found


def _named(folder: Path) -> str:
    """Return the episode's name, of its metadata file; "" without one."""
    names = sorted(p.stem.removeprefix("metadata_") for p in folder.glob("metadata_*.json"))
    return next((name for name in names if ID.fullmatch(name)), "")


def metadata(folder: Path) -> dict[str, Any]:
    """Return the metadata of a folder; of two files, the one whose paths name the folder.

    Raises:
        InputError: there is none, or it is not JSON.
    """
    found: list[dict[str, Any]] = []
    for path in sorted(folder.glob("metadata_*.json")):
        try:
            found.append(json.loads(path.read_text()))
        except ValueError as error:
            raise InputError(f"{path}: not JSON: {error}") from error
    if not found:
        raise InputError(f"{folder}: no metadata_*.json")
    return next((m for m in found if folder.name in str(m.get("hdf5_path", ""))), found[0])


def read(path: Path, options: Options) -> Demonstration:
    """Return the demonstration of an episode's folder.

    Raises:
        InputError: a file is missing, cut or malformed, or there is no depth.
    """
    about, extra = metadata(path), Annotations(options.annotations)
    name = str(about.get("uuid") or _named(path))
    if not ID.fullmatch(name):
        raise InputError(f"uuid: {name!r}, must be LAB+USER+YYYY-MM-DD-HHh-MMm-SSs")
    robot_rows.check_date(_seconds(name), "uuid")
    with h5(path / TRAJECTORY) as f:
        serial = chosen(f, options.camera)
        rows, is_active = _rows(f, serial)
        six, origin = _extrinsics(f, serial, name, extra)
    T_base_cam = robot_rows.extrinsics_of(six, f"extrinsics of {serial} ({origin})")
    full, kind = extra.intrinsics(name, serial)
    source = _pictures(path, serial, options, name, full)
    first, last = _extent(is_active, source.count, len(rows.stamps))
    rows_moved = rows.between(first, last)
    robot_rows.check_increasing(rows_moved.stamps, f"{serial}_estimated_capture")
    notes = {"episode": name, "camera": serial, "extrinsics": origin, "intrinsics": kind, "depth": source.name}
    text = extra.text(name) or str(about.get("current_task") or "").strip()
    outcome = {True: "success", False: "failure"}.get(about.get("success"), "")
    pictures = source.pictures(rows.stamps, first, last, T_base_cam)
    about_it = About(name, "droid", text, outcome, source.licence, notes)
    return robot_rows.demonstration(about_it, rows_moved, pictures, options)


def _seconds(name: str) -> float:
    """Return the time in an episode's name, seconds since 1970."""
    numbers = [int(n) for n in re.findall(r"\d+", ID.fullmatch(name)["time"])]
    try:
        return datetime(*numbers, tzinfo=UTC).timestamp()
    except ValueError as error:
        raise InputError(f"uuid: {name!r}: {error}") from error


def chosen(f: Any, camera: str) -> str:
    """Return the serial of an exterior camera: ext1 or ext2 by the order of the serials, or a serial itself.

    Raises:
        InputError: it is a right lens, on the wrist, or not in the file.
    """
    kinds = {
        serial: int(np.ravel(f["observation/camera_type"][serial][()])[0]) for serial in f["observation/camera_type"]
    }
    outside = sorted(serial for serial, kind in kinds.items() if kind != 0)
    camera = camera or "ext1"
    if camera.endswith("_right"):
        raise Refused("camera", f"{camera}: a right lens, must be a left one; depth belongs to the left image")
    camera = camera.removesuffix("_left")
    if camera in ("ext1", "ext2"):
        if len(outside) <= (camera == "ext2"):
            raise Refused(
                "camera", f"{camera}: {len(outside)} exterior cameras, must be at least {1 + (camera == 'ext2')}"
            )
        return outside[camera == "ext2"]
    if camera in kinds and camera not in outside or camera == "wrist":
        raise Refused("camera", f"{camera}: on the wrist, must be an exterior camera ({', '.join(outside)})")
    if camera not in kinds:
        raise Refused("camera", f"{camera}: not in the recording, must be ext1, ext2 or one of {', '.join(outside)}")
    return camera


def _rows(f: Any, serial: str) -> tuple[Rows, np.ndarray]:
    """Return all rows, and in which of them the robot is moved, ``(N,)`` bool."""
    state, times = f["observation/robot_state"], f["observation/timestamp"]
    name = f"observation/timestamp/cameras/{serial}_estimated_capture"
    flange = shaped(state["cartesian_position"][:], "observation/robot_state/cartesian_position", 6)
    N = len(flange)
    stamps = shaped(f[name][:], name, 1, N) * 1e-3
    robot_rows.check_date(stamps[-1], name)
    is_active = np.ones(N, bool)
    if "controller_info/movement_enabled" in f["observation"]:
        values = f["observation/controller_info/movement_enabled"][:]
        is_active &= shaped(values, "movement_enabled", 1, N) > 0
    if "skip_action" in times:
        is_active &= shaped(times["skip_action"][:], "skip_action", 1, N) == 0

    def command(key: str, columns: int) -> np.ndarray | None:
        return shaped(f["action"][key][:], f"action/{key}", columns, N) if key in f["action"] else None

    def measured(key: str, columns: int) -> np.ndarray:
        return shaped(state[key][:], f"observation/robot_state/{key}", columns, N)

    rows = Rows(
        stamps,
        flange,
        measured("gripper_position", 1),
        measured("joint_positions", 7) if "joint_positions" in state else None,
        command("cartesian_position", 6),
        command("gripper_position", 1),
    )
    return rows, is_active


def _extrinsics(f: Any, serial: str, name: str, extra: Annotations) -> tuple[np.ndarray, str]:
    """Return the 6-vector of a camera, and the file that it is from: a published calibration first."""
    if (found := extra.extrinsics(name, serial)) is not None:
        return np.asarray(found[0], np.float64), found[1]
    field = f"observation/camera_extrinsics/{serial}_left"
    six = finite(f[field][:], field)
    moved = float(np.ptp(six[:, :3], axis=0).max())
    if moved > MOVED_M:
        raise Refused("extrinsics", f"{field}: moves by {moved:.3f} m, limit {MOVED_M:g} m")
    return six[0], TRAJECTORY


def _extent(is_active: np.ndarray, frames: int, rows: int) -> tuple[int, int]:
    """Return first and last + 1 of the rows that have a frame, without the idle ones at both ends.

    Raises:
        Refused: the counts of frames and rows differ by more than `MOST_APART`.
    """
    if abs(frames - rows) > MOST_APART:
        raise Refused("frame counts", f"{frames} frames for {rows} rows, may differ by {MOST_APART}")
    active = np.flatnonzero(is_active[:frames])
    return (int(active[0]), int(active[-1]) + 1) if len(active) else (0, 0)


def _pictures(path: Path, serial: str, options: Options, name: str, full: CameraModel) -> PublishedDepth | StereoVideo:
    if options.depth == STEREO:
        return StereoVideo.open(path / MP4, serial, full)
    lab, when = ID.fullmatch(name)["lab"], ID.fullmatch(name)["time"]
    depth = DepthFile.open(depth_path(options.depth, lab, when), serial)
    return PublishedDepth.open(path / MP4 / f"{serial}.mp4", depth, full)


@dataclass(frozen=True)
class PublishedDepth:
    """The left images of a video with published depth, at the size of the depth."""

    video: Path
    depth: DepthFile
    camera: CameraModel
    count: int
    licence: str = f"CC BY 4.0; {LICENCE}"
    name: str = "published"

    @classmethod
    def open(cls, path: Path, depth: DepthFile, full: CameraModel) -> PublishedDepth:
        count, width, height = video.size(path)
        if width > 3 * height:
            raise InputError(f"video: {path}: {width}x{height}, must be one image; --depth stereo takes pairs")
        return cls(path, depth, robot_rows.intrinsics_at(full, depth.width, depth.height), count)

    def pictures(self, stamps: np.ndarray, first: int, last: int, T_base_cam: np.ndarray) -> Pictures:
        """Return the pictures of the rows ``first`` to ``last`` of those with the given stamps, seconds."""
        image = self.depth.rows(stamps * 1e3, len(stamps))[first:last]

        def read(wanted: set[int]) -> Iterator[tuple[int, np.ndarray, np.ndarray]]:
            rows = sorted(wanted)
            depths = self.depth.read([int(image[r]) for r in rows])
            frames = chosen_frames(self.video, [first + r for r in rows])
            for r, rgb, depth in zip(rows, frames, depths):
                yield r, shrink(rgb, self.camera.width, self.camera.height), depth

        return Pictures(read, image >= 0, last - first, int((image >= 0).sum()), self.camera, T_base_cam)


def chosen_frames(path: Path, numbers: list[int]) -> Iterator[np.ndarray]:
    """Yield the frames of increasing numbers, ``(H, W, 3)``."""
    wanted = set(numbers)
    for i, rgb in enumerate(video.frames(path, max(wanted, default=-1) + 1)):
        if i in wanted:
            yield rgb
