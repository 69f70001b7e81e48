"""Calibration files: where the camera stands and how the tool is mounted.

Three formats: ours (YAML, below), DROID's ``calibration_info.json``, and the improved calibrations of DROID's episodes that Karl Pertsch
published as ``cam2base_extrinsics.json``. The latter two hold poses camera -> robot base with extrinsic xyz Euler angles, in the camera's
optical axes; DROID keys them ``<serial>_left``, the other ``<episode id>`` and therein ``<serial>``, beside figures on their quality.

    camera_frame: zed_left_camera_frame_optical
    base_frame: fr3_link0
    T_base_cam: {xyz: [m, m, m], xyzw: [quaternion]}
    date: 2026-11-20T12:00:00+00:00
    tools:
      - {parent: fr3_link8, frame: robotiq_2f85_tcp, xyz: [m, m, m], xyzw: [quaternion]}
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import yaml
from scipy.spatial.transform import Rotation

from uma.geometry.se3 import from_quaternion, make_pose, quaternion
from uma.types import InputError

MAX_BYTES = 256 * 1024 * 1024
"""Largest file that is read; that of DROID's 36,000 episodes has some 20 MB."""


@dataclass(frozen=True)
class Calibration:
    """Static transforms of a station.

    Attributes:
        T_base_cam: ``(4, 4)`` camera optical frame to base.
        tools: (parent, frame) -> ``(4, 4)`` T_parent_frame.
        date: when the camera was calibrated; None if the file does not say.
        convention: how the file gives rotations, for people.
    """

    camera_frame: str
    base_frame: str
    T_base_cam: np.ndarray
    tools: dict[tuple[str, str], np.ndarray] = field(default_factory=dict)
    date: datetime | None = None
    convention: str = "quaternion xyzw"


def load_calibration(path: str | Path, camera: str = "", camera_frame: str = "zed_left_camera_frame_optical", base_frame: str = "fr3_link0") -> Calibration:
    """Read any of the formats.

    Args:
        camera: key in a DROID file, such as ``23897859_left``, or ``<episode id>/<serial>`` in one of its episodes; may stay empty if the
            file leaves no choice.
        camera_frame, base_frame: what to call the frames of a DROID file, which names none.

    Raises:
        InputError: naming the file and the entry.
    """
    path = Path(path)
    try:
        if path.stat().st_size > MAX_BYTES:
            raise ValueError(f"{path.stat().st_size} bytes, limit {MAX_BYTES}")
        text = path.read_text()
        data = json.loads(text) if path.suffix == ".json" else yaml.safe_load(text)
    except (OSError, ValueError, yaml.YAMLError) as error:
        raise InputError(f"calibration {path}: {error}") from None
    if not isinstance(data, dict):
        raise InputError(f"calibration {path}: {type(data).__name__}, must be a mapping")
    if "T_base_cam" in data:
        return _ours(data, path)
    if any(isinstance(entry, dict) and _serials(entry) for entry in data.values()):
        return _episodes(data, path, camera, camera_frame, base_frame)
    return _droid(data, path, camera, camera_frame, base_frame)


def _pose(entry: object, name: str) -> np.ndarray:
    try:
        return from_quaternion(np.array(entry["xyz"], dtype=float).reshape(3), np.array(entry["xyzw"], dtype=float).reshape(4))
    except (TypeError, KeyError, ValueError) as error:
        raise InputError(f"{name}: {entry}: {error}; must be xyz: 3 metres, xyzw: a unit quaternion") from None


def _ours(data: dict, path: Path) -> Calibration:
    unknown = set(data) - {"camera_frame", "base_frame", "T_base_cam", "date", "tools"}
    if unknown or not {"camera_frame", "base_frame"} <= set(data):
        raise InputError(f"calibration {path}: keys {sorted(data)}, must be camera_frame, base_frame, T_base_cam and perhaps date, tools")
    tools = {(t["parent"], t["frame"]): _pose(t, f"calibration {path}: tools[{i}]") for i, t in enumerate(data.get("tools") or [])}
    date = data.get("date")
    if isinstance(date, str):
        date = datetime.fromisoformat(date)
    if date is not None and date.tzinfo is None:
        date = date.replace(tzinfo=UTC)
    return Calibration(data["camera_frame"], data["base_frame"], _pose(data["T_base_cam"], f"calibration {path}: T_base_cam"), tools, date)


def _droid(data: dict, path: Path, camera: str, camera_frame: str, base_frame: str) -> Calibration:
    cameras = {k: v for k, v in data.items() if isinstance(v, dict) and "pose" in v}
    left = [k for k in cameras if k.endswith("_left")]
    key = camera or (left[0] if len(left) == 1 else "")
    if key not in cameras:
        raise InputError(f"calibration {path}: camera {camera!r}, must be one of {', '.join(cameras) or '(the file holds none)'}")
    stamp = cameras[key].get("timestamp")
    try:
        date = None if stamp is None else datetime.fromtimestamp(float(stamp), UTC)
    except (TypeError, ValueError, OverflowError, OSError):
        raise InputError(f"calibration {path}: {key}.timestamp: {stamp!r}, must be seconds since 1970") from None
    T = _euler_pose(cameras[key]["pose"], f"calibration {path}: {key}.pose")
    return Calibration(camera_frame, base_frame, T, {}, date, "DROID: extrinsic xyz Euler, camera to base")


def _euler_pose(entry: object, name: str) -> np.ndarray:
    try:
        pose = np.array(entry, dtype=float)
    except (TypeError, ValueError):
        pose = np.zeros(0)
    if pose.shape != (6,) or not np.isfinite(pose).all():
        raise InputError(f"{name}: {entry}, must be 6 finite numbers x y z rx ry rz")
    return make_pose(Rotation.from_euler("xyz", pose[3:]).as_matrix(), pose[:3])  # lower-case axes are extrinsic in scipy


def _serials(entry: dict) -> list[str]:
    """Keys of an episode's entry that are cameras: a serial number, perhaps with a side. What stands beside them is about quality."""
    return [key for key, value in entry.items() if key.removesuffix("_left").removesuffix("_right").isdigit() and isinstance(value, list)]


def _episodes(data: dict, path: Path, camera: str, camera_frame: str, base_frame: str) -> Calibration:
    episode, _, serial = camera.rpartition("/")
    if not episode and len(data) == 1:
        episode = next(iter(data))
    if not isinstance(data.get(episode), dict):
        some = ", ".join(list(data)[:3])
        raise InputError(f"calibration {path}: camera {camera!r}, must be EPISODE/SERIAL with one of the file's {len(data)} episodes, such as {some}")
    found = _serials(data[episode])
    key = serial or (found[0] if len(found) == 1 else "")
    if key not in found:
        raise InputError(f"calibration {path}: camera {camera!r}, must be one of {', '.join(f'{episode}/{s}' for s in found) or '(the episode holds none)'}")
    T = _euler_pose(data[episode][key], f"calibration {path}: {episode}/{key}")
    return Calibration(camera_frame, base_frame, T, {}, None, "DROID episodes, calibrated anew: extrinsic xyz Euler, camera to base")


def save_calibration(calibration: Calibration, path: str | Path) -> None:
    """Write our format."""

    def entry(T: np.ndarray) -> dict:
        return {"xyz": [float(v) for v in T[:3, 3]], "xyzw": [float(v) for v in quaternion(T)]}

    data = {"camera_frame": calibration.camera_frame, "base_frame": calibration.base_frame, "T_base_cam": entry(calibration.T_base_cam)}
    if calibration.date:
        data["date"] = calibration.date.isoformat()
    data["tools"] = [{"parent": parent, "frame": frame, **entry(T)} for (parent, frame), T in calibration.tools.items()]
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_suffix(".part")
    part.write_text(yaml.safe_dump(data, sort_keys=False))
    part.replace(path)  # whoever waits for the file never sees half of it
