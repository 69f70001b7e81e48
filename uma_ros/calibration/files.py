"""Calibration files: camera extrinsics and tool mounting.

Three formats are supported:

- the YAML file below;
- DROID's ``calibration_info.json``, with keys ``<serial>_left``;
- the improved calibrations of DROID's episodes by Karl Pertsch, ``cam2base_extrinsics.json``, with keys
  ``<episode id>`` and ``<serial>``, and figures on their quality.

The JSON files contain poses of the camera's optical frame in the robot base, with extrinsic xyz Euler angles.

    camera_frame: zed_left_camera_frame_optical
    base_frame: fr3_link0
    T_base_cam: {xyz: [m, m, m], xyzw: [quaternion]}
    date: 2026-11-20T12:00:00+00:00
    tools:
      - {parent: fr3_link8, frame: robotiq_2f85_tcp, xyz: [m, m, m], xyzw: [quaternion]}
"""

from __future__ import annotations

import reprlib
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from pathlib import Path

import numpy as np
import yaml
from scipy.spatial.transform import Rotation

from uma.geometry.se3 import from_quaternion, make_pose, quaternion
from uma.robot import DROID
from uma.types import InputError
from uma_ros.runtime.textfile import numbers, read_value, text_of

MAX_DISTANCE = 10.0
"""Largest coordinate of a camera or tool position, m."""
MAX_TOOLS = 16


@dataclass(frozen=True)
class Calibration:
    """Static transforms of a station.

    Attributes:
        T_base_cam: ``(4, 4)`` camera optical frame to base.
        tools: (parent, frame) -> ``(4, 4)`` T_parent_frame.
        date: date of the camera's calibration; None if unknown.
        convention: the file's representation of rotations, for messages.
    """

    camera_frame: str
    base_frame: str
    T_base_cam: np.ndarray
    tools: dict[tuple[str, str], np.ndarray] = field(default_factory=dict)
    date: datetime | None = None
    convention: str = "quaternion xyzw"


def load_calibration(
    path: str | Path,
    camera: str = "",
    camera_frame: str = "zed_left_camera_frame_optical",
    base_frame: str = DROID.base_frame,
) -> Calibration:
    """Read a calibration file of any format.

    Args:
        camera: key in a DROID file, such as ``23897859_left`` or ``<episode id>/<serial>``; empty if the file has one
            camera.
        camera_frame, base_frame: frames for DROID files, which contain no frame names.

    Raises:
        InputError: with the file and the entry.
    """
    path = Path(path)
    data = read_value(path, "calibration")
    if not isinstance(data, dict):
        raise InputError(f"calibration {path}: {type(data).__name__}, must be a mapping")
    if "T_base_cam" in data:
        return _ours(data, path)
    if any(isinstance(entry, dict) and _serials(entry) for entry in data.values()):
        return _episodes(data, path, camera, camera_frame, base_frame)
    return _droid(data, path, camera, camera_frame, base_frame)


def _within_reach(xyz: np.ndarray, name: str) -> np.ndarray:
    if np.abs(xyz).max() > MAX_DISTANCE:
        raise InputError(f"{name}: {xyz} m, must be within {MAX_DISTANCE:g} m")
    return xyz


def _pose(entry: object, name: str) -> np.ndarray:
    if not isinstance(entry, dict) or not {"xyz", "xyzw"} <= set(entry):
        raise InputError(f"{name}: {reprlib.repr(entry)}, must be xyz: 3 metres, xyzw: a unit quaternion")
    xyz = _within_reach(numbers(entry["xyz"], f"{name}.xyz", 3), f"{name}.xyz")
    try:
        return from_quaternion(xyz, numbers(entry["xyzw"], f"{name}.xyzw", 4))
    except InputError:
        raise
    except ValueError as error:
        raise InputError(f"{name}.xyzw: {error}") from None


def _date(value: object, name: str) -> datetime | None:
    """Return a date as datetime, UTC by default. The YAML parser has already converted some dates."""
    if isinstance(value, str):
        try:
            value = datetime.fromisoformat(value)
        except ValueError:
            raise InputError(
                f"{name}: {reprlib.repr(value)}, must be a date such as 2026-11-20T12:00:00+00:00"
            ) from None
    elif isinstance(value, date) and not isinstance(value, datetime):
        value = datetime(value.year, value.month, value.day)
    if value is not None and not isinstance(value, datetime):
        raise InputError(f"{name}: {reprlib.repr(value)}, must be a date such as 2026-11-20T12:00:00+00:00")
    return value.replace(tzinfo=UTC) if value is not None and value.tzinfo is None else value


def _ours(data: dict, path: Path) -> Calibration:
    where = f"calibration {path}"
    unknown = set(data) - {"camera_frame", "base_frame", "T_base_cam", "date", "tools"}
    if unknown or not {"camera_frame", "base_frame"} <= set(data):
        raise InputError(
            f"{where}: keys {reprlib.repr(list(data))}, must be camera_frame, base_frame, T_base_cam and "
            "optionally date, tools"
        )
    given = data.get("tools") or []
    if not isinstance(given, list) or len(given) > MAX_TOOLS:
        raise InputError(f"{where}: tools: {reprlib.repr(given)}, must be a list of at most {MAX_TOOLS}")
    tools = {}
    for i, tool in enumerate(given):
        if not isinstance(tool, dict) or not {"parent", "frame"} <= set(tool):
            raise InputError(f"{where}: tools[{i}]: {reprlib.repr(tool)}, must have parent, frame, xyz and xyzw")
        key = (
            text_of(tool["parent"], f"{where}: tools[{i}].parent"),
            text_of(tool["frame"], f"{where}: tools[{i}].frame"),
        )
        tools[key] = _pose(tool, f"{where}: tools[{i}]")
    frames = (text_of(data[name], f"{where}: {name}") for name in ("camera_frame", "base_frame"))
    return Calibration(
        *frames, _pose(data["T_base_cam"], f"{where}: T_base_cam"), tools, _date(data.get("date"), f"{where}: date")
    )


def _droid(data: dict, path: Path, camera: str, camera_frame: str, base_frame: str) -> Calibration:
    cameras = {str(k): v for k, v in data.items() if isinstance(v, dict) and "pose" in v}
    left = [k for k in cameras if k.endswith("_left")]
    key = camera or (left[0] if len(left) == 1 else "")
    if key not in cameras:
        raise InputError(
            f"calibration {path}: camera {camera!r}, must be one of "
            f"{', '.join(list(cameras)[:20])[:400] or '(the file contains none)'}"
        )
    stamp = cameras[key].get("timestamp")
    try:
        date = None if stamp is None else datetime.fromtimestamp(float(stamp), UTC)
    except (TypeError, ValueError, OverflowError, OSError):
        raise InputError(
            f"calibration {path}: {key}.timestamp: {reprlib.repr(stamp)}, must be seconds since 1970"
        ) from None
    T = _euler_pose(cameras[key]["pose"], f"calibration {path}: {key}.pose")
    return Calibration(camera_frame, base_frame, T, {}, date, "DROID: extrinsic xyz Euler, camera to base")


def _euler_pose(entry: object, name: str) -> np.ndarray:
    if not isinstance(entry, list) or len(entry) != 6:
        raise InputError(f"{name}: {reprlib.repr(entry)}, must be 6 finite numbers x y z rx ry rz")
    pose = numbers(entry, name, 6)
    if np.abs(pose[3:]).max() > 1e3:
        raise InputError(f"{name}: {pose[3:]}, must be angles in radians")
    return make_pose(
        Rotation.from_euler("xyz", pose[3:]).as_matrix(), _within_reach(pose[:3], name)
    )  # lower-case axes are extrinsic in scipy


def _serials(entry: dict) -> list[str]:
    """Return the keys of an episode's entry that are cameras: serial numbers, optionally with a side."""
    return [
        k
        for k, v in entry.items()
        if isinstance(k, str) and k.removesuffix("_left").removesuffix("_right").isdigit() and isinstance(v, list)
    ]


def _episodes(data: dict, path: Path, camera: str, camera_frame: str, base_frame: str) -> Calibration:
    episode, _, serial = camera.rpartition("/")
    if not episode and len(data) == 1:
        episode = next(iter(data))
    if not isinstance(data.get(episode), dict):
        some = ", ".join(str(name)[:80] for name in list(data)[:3])
        raise InputError(
            f"calibration {path}: camera {camera!r}, must be EPISODE/SERIAL with one of the file's "
            f"{len(data)} episodes, such as {some}"
        )
    found = _serials(data[episode])
    key = serial or (found[0] if len(found) == 1 else "")
    if key not in found:
        some = ", ".join(f"{episode}/{s}"[:80] for s in found[:20]) or "(the episode contains none)"
        raise InputError(f"calibration {path}: camera {camera!r}, must be one of {some}")
    T = _euler_pose(data[episode][key], f"calibration {path}: {episode}/{key}")
    return Calibration(
        camera_frame, base_frame, T, {}, None, "DROID episodes, recalibrated: extrinsic xyz Euler, camera to base"
    )


def save_calibration(calibration: Calibration, path: str | Path) -> None:
    """Write a calibration as YAML."""

    def entry(T: np.ndarray) -> dict:
        return {"xyz": [float(v) for v in T[:3, 3]], "xyzw": [float(v) for v in quaternion(T)]}

    data = {
        "camera_frame": calibration.camera_frame,
        "base_frame": calibration.base_frame,
        "T_base_cam": entry(calibration.T_base_cam),
    }
    if calibration.date:
        data["date"] = calibration.date.isoformat()
    data["tools"] = [{"parent": parent, "frame": frame, **entry(T)} for (parent, frame), T in calibration.tools.items()]
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_suffix(".part")
    part.write_text(yaml.safe_dump(data, sort_keys=False))
    part.replace(path)  # atomic: a waiting node never reads an incomplete file
