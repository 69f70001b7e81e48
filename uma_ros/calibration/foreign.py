"""Calibration files of other programs: DROID, DROID's episodes, easy_handeye.

- ``calibration_info.json`` of DROID: ``<serial>_left`` -> pose, timestamp. The wrist camera's pose is in the flange.
- ``cam2base_extrinsics.json``, the improved calibrations of DROID's episodes by Karl Pertsch:
  ``<episode id>`` -> ``<serial>`` -> pose, with figures on their quality.
- ``metadata_*.json`` of a DROID episode: ``ext1_cam_serial``, ``ext1_cam_extrinsics``; also ext2 and wrist.
- ``NAME.calib`` of easy_handeye2, and the YAML of easy_handeye: a quaternion, tracking_base_frame to robot_base_frame.

Poses of DROID are 6 numbers: the optical frame in the robot base, m, and extrinsic xyz Euler angles, radians.
"""

from __future__ import annotations

import reprlib
from typing import Any

from uma.types import InputError
from uma_ros.calibration.entries import Calibration, Choice, quaternion_pose, stamp_date, text_keys
from uma_ros.runtime.textfile import text_of

CAMERAS = ("ext1", "ext2", "wrist")
"""Cameras of an episode's metadata."""


def read_foreign(data: dict, choice: Choice) -> Calibration:
    """Return the calibration in the value of another program's file. Raises `InputError` with the entry."""
    data = text_keys(data)
    if "transform" in data or "transformation" in data:
        return handeye(data, choice)
    if any(f"{name}_cam_extrinsics" in data for name in CAMERAS):
        return metadata(data, choice)
    if any(isinstance(entry, dict) and serials(text_keys(entry)) for entry in data.values()):
        return episodes(data, choice)
    return droid(data, choice)


def droid(data: dict[str, Any], choice: Choice) -> Calibration:
    """Return a camera of DROID's ``calibration_info.json``. A serial without a side is its left lens."""
    cameras = {k: v for k, v in data.items() if isinstance(v, dict) and "pose" in v}
    if not cameras:
        raise choice.unknown(data)
    left = [k for k in cameras if k.endswith("_left")]
    key = choice.camera or (left[0] if len(left) == 1 else "")
    key = f"{key}_left" if f"{key}_left" in cameras else key
    if key not in cameras:
        raise choice.refuse(cameras)
    date = stamp_date(cameras[key].get("timestamp"), f"{choice.where}: {key}.timestamp")
    return choice.made(key, cameras[key]["pose"], "DROID: extrinsic xyz Euler, camera to base", date)


def serials(entry: dict[str, Any]) -> list[str]:
    """Return the keys of an episode's entry that are cameras: serial numbers, optionally with a side."""
    return [
        k for k, v in entry.items() if k.removesuffix("_left").removesuffix("_right").isdigit() and isinstance(v, list)
    ]


def episodes(data: dict[str, Any], choice: Choice) -> Calibration:
    """Return a camera of ``cam2base_extrinsics.json``."""
    episode, _, serial = choice.camera.rpartition("/")
    if not episode and len(data) == 1:
        episode = next(iter(data))
    if not isinstance(data.get(episode), dict):
        some = ", ".join(name[:80] for name in list(data)[:3])
        raise InputError(
            f"{choice.where}: camera {choice.camera!r}, must be EPISODE/SERIAL with one of the file's "
            f"{len(data)} episodes, such as {some}"
        )
    entry = text_keys(data[episode])
    found = serials(entry)
    key = serial or (found[0] if len(found) == 1 else "")
    key = f"{key}_left" if key not in found and f"{key}_left" in found else key
    if key not in found:
        some = ", ".join(f"{episode}/{s}"[:80] for s in found[:20]) or "(the episode contains none)"
        raise InputError(f"{choice.where}: camera {choice.camera!r}, must be one of {some}")
    convention = "DROID episodes, recalibrated: extrinsic xyz Euler, camera to base"
    return choice.made(f"{episode}/{key}", entry[key], convention)


def metadata(data: dict[str, Any], choice: Choice) -> Calibration:
    """Return a fixed camera of an episode's ``metadata_*.json``, by ext1, ext2 or its serial.

    Its date is unknown: the file has the date of the episode, not of the calibration.
    """
    names = {str(data.get(f"{name}_cam_serial", "")): name for name in CAMERAS if f"{name}_cam_extrinsics" in data}
    wanted = choice.camera.removesuffix("_left")
    name = names.get(wanted, wanted)
    if name == "wrist":
        raise InputError(f"{choice.where}: camera {choice.camera!r} is on the wrist and moves; choose ext1 or ext2")
    if name not in names.values():
        known = [f"{name} ({serial})" for serial, name in names.items() if name != "wrist"]
        raise choice.refuse(known, "ext1, ext2 or a serial, ")
    convention = "DROID episode: extrinsic xyz Euler, camera to base"
    return choice.made(f"{name}_cam_extrinsics", data[f"{name}_cam_extrinsics"], convention)


def handeye(data: dict[str, Any], choice: Choice) -> Calibration:
    """Return the camera of easy_handeye2's or easy_handeye's file: an eye-on-base calibration of an optical frame."""
    about = data.get("parameters") if isinstance(data.get("parameters"), dict) else data
    assert isinstance(about, dict)
    in_hand = about.get("calibration_type", "eye_on_base") != "eye_on_base" or bool(about.get("eye_on_hand", False))
    if in_hand:
        kind = reprlib.repr(about.get("calibration_type", "eye_on_hand: true"))
        raise InputError(f"{choice.where}: {kind}: the camera is on the hand and moves, must be eye_on_base")
    camera, base = (
        text_of(about.get(name), f"{choice.where}: {name}") for name in ("tracking_base_frame", "robot_base_frame")
    )
    if not camera.endswith("_optical_frame") and not camera.endswith("_frame_optical"):
        raise InputError(
            f"{choice.where}: tracking_base_frame: {camera!r:.80}, must be an optical frame (name ends in "
            "optical_frame or frame_optical); calibrate the tracked image's own frame"
        )
    given: dict[str, Any] = {}
    entry = data.get("transform", data.get("transformation"))
    if isinstance(entry, dict) and "transform" in data:
        for part, axes in (("translation", "xyz"), ("rotation", "xyzw")):
            inner = entry.get(part)
            given[part] = [inner.get(axis) for axis in axes] if isinstance(inner, dict) else inner
    elif isinstance(entry, dict):
        given["translation"] = [entry.get(axis) for axis in "xyz"]
        given["rotation"] = [entry.get(f"q{axis}") for axis in "xyzw"]
    T = quaternion_pose(
        given.get("translation"), given.get("rotation"), f"{choice.where}: transform", ".translation", ".rotation"
    )
    convention = "easy_handeye: quaternion xyzw, camera to base"
    return Calibration(camera, base, T, {}, None, convention)
