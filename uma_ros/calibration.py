"""Calibration files: where the camera stands and how the tool is mounted.

Two formats: ours (YAML, below) and DROID's ``calibration_info.json``. DROID's poses are camera -> robot base with extrinsic xyz Euler
angles, in the camera's optical axes, keyed ``<serial>_left``.

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
    """Read either format.

    Args:
        camera: key in a DROID file, such as ``23897859_left``; may stay empty if the file has one left camera.
        camera_frame, base_frame: what to call the frames of a DROID file, which names none.

    Raises:
        InputError: naming the file and the entry.
    """
    path = Path(path)
    try:
        text = path.read_text()
        data = json.loads(text) if path.suffix == ".json" else yaml.safe_load(text)
    except (OSError, ValueError, yaml.YAMLError) as error:
        raise InputError(f"calibration {path}: {error}") from None
    if not isinstance(data, dict):
        raise InputError(f"calibration {path}: {type(data).__name__}, must be a mapping")
    if "T_base_cam" in data:
        return _ours(data, path)
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
    pose = np.array(cameras[key]["pose"], dtype=float)
    if pose.shape != (6,) or not np.isfinite(pose).all():
        raise InputError(f"calibration {path}: {key}.pose: {pose}, must be 6 finite numbers x y z rx ry rz")
    stamp = cameras[key].get("timestamp")
    date = None if stamp is None else datetime.fromtimestamp(float(stamp), UTC)
    # Lower-case axes are extrinsic in scipy.
    return Calibration(camera_frame, base_frame, make_pose(Rotation.from_euler("xyz", pose[3:]).as_matrix(), pose[:3]), {}, date, "DROID: extrinsic xyz Euler, camera to base")


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
