"""Calibration files: camera extrinsics and tool mounting.

Our format is the YAML below. `uma_ros.calibration.foreign` describes the formats of other programs.

    camera_frame: zed_left_camera_frame_optical
    base_frame: fr3_link0
    T_base_cam: {xyz: [m, m, m], xyzw: [quaternion]}
    date: 2026-11-20T12:00:00+00:00
    tools:
      - {parent: fr3_link8, frame: robotiq_2f85_tcp, xyz: [m, m, m], xyzw: [quaternion]}
"""

from __future__ import annotations

import reprlib
from pathlib import Path

import numpy as np
import yaml

from uma.geometry.se3 import quaternion
from uma.robot import DROID
from uma.types import InputError
from uma_ros.calibration.entries import Calibration, Choice, date_of, quaternion_pose
from uma_ros.calibration.foreign import read_foreign
from uma_ros.runtime.textfile import read_value, text_of

__all__ = ["Calibration", "load_calibration", "save_calibration"]
MAX_TOOLS = 16


def load_calibration(
    path: str | Path,
    camera: str = "",
    camera_frame: str = "zed_left_camera_frame_optical",
    base_frame: str = DROID.base_frame,
) -> Calibration:
    """Read a calibration file of any format.

    Args:
        camera: key in a DROID file, such as ``23897859_left``, ``ext1`` or ``<episode id>/<serial>``; empty if the file
            has one camera.
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
    return read_foreign(data, Choice(path, str(camera), camera_frame, base_frame))


def _pose(entry: object, name: str) -> np.ndarray:
    if not isinstance(entry, dict) or not {"xyz", "xyzw"} <= set(entry):
        raise InputError(f"{name}: {reprlib.repr(entry)}, must be xyz: 3 metres, xyzw: a unit quaternion")
    return quaternion_pose(entry["xyz"], entry["xyzw"], name)


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
    frames = [text_of(data[name], f"{where}: {name}").lstrip("/") for name in ("camera_frame", "base_frame")]
    if frames[0] == frames[1]:
        raise InputError(f"{where}: camera_frame: {frames[0]!r:.80}, must differ from base_frame")
    return Calibration(
        *frames, _pose(data["T_base_cam"], f"{where}: T_base_cam"), tools, date_of(data.get("date"), f"{where}: date")
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
