"""The calibration of a station, and the entries of calibration files: poses, dates, keys of cameras."""

from __future__ import annotations

import reprlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import numpy as np
from scipy.spatial.transform import Rotation

from uma.geometry.se3 import from_quaternion, make_pose
from uma.types import InputError
from uma_ros.runtime.textfile import is_number, numbers

MAX_DISTANCE = 10.0
"""Largest coordinate of a camera or tool position, m."""


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


@dataclass(frozen=True)
class Choice:
    """What the user chose of a file that has several cameras or no frames.

    Attributes:
        camera: key of the camera; empty if the file has one.
        camera_frame, base_frame: frames for files without frame names.
    """

    path: Path
    camera: str
    camera_frame: str
    base_frame: str

    @property
    def where(self) -> str:
        return f"calibration {self.path}"

    def refuse(self, known: Iterable[str], example: str = "") -> InputError:
        """Return the error for a camera that is not among the ``known``."""
        listed = ", ".join(list(known)[:20])[:400]
        return InputError(f"{self.where}: camera {self.camera!r}, must be {example}one of {listed}")

    def unknown(self, data: Mapping[str, object]) -> InputError:
        """Return the error for a file whose entries ``data`` belong to no known format."""
        keys = ", ".join(reprlib.repr(key) for key in list(data)[:8]) or "none"
        return InputError(
            f"{self.where}: entries {keys}; must be the file of `uma calibrate`, DROID's calibration_info.json, "
            "cam2base_extrinsics.json or metadata_*.json, or easy_handeye's"
        )

    def made(self, key: str, pose: object, convention: str, date: datetime | None = None) -> Calibration:
        """Return the calibration of the camera ``key`` from a 6-vector.

        Raises:
            InputError: a malformed pose, or the right lens under the name of the left lens's frame.
        """
        if key.endswith("_right") and "left" in self.camera_frame:
            raise InputError(
                f"{self.where}: camera {key!r} is the right lens, 0.06 to 0.12 m beside {self.camera_frame}; choose "
                f"{key.removesuffix('_right')}_left, or set camera_frame to the right lens's frame"
            )
        T = euler_pose(pose, f"{self.where}: {key}")
        return Calibration(self.camera_frame, self.base_frame, T, {}, date, convention)


def within_reach(xyz: np.ndarray, name: str) -> np.ndarray:
    """Return the position. Raises `InputError` beyond `MAX_DISTANCE`."""
    if np.abs(xyz).max() > MAX_DISTANCE:
        raise InputError(f"{name}: {xyz} m, must be within {MAX_DISTANCE:g} m")
    return xyz


def quaternion_pose(xyz: Any, xyzw: Any, name: str, at: str = ".xyz", turned: str = ".xyzw") -> np.ndarray:
    """Return ``(4, 4)`` from a position and a quaternion. Raises `InputError` with ``name`` and the field."""
    position = within_reach(numbers(xyz, f"{name}{at}", 3), f"{name}{at}")
    try:
        return from_quaternion(position, numbers(xyzw, f"{name}{turned}", 4))
    except InputError:
        raise
    except ValueError as error:
        raise InputError(f"{name}{turned}: {error}") from None


def euler_pose(entry: object, name: str) -> np.ndarray:
    """Return ``(4, 4)`` from DROID's 6-vector: metres, and extrinsic xyz Euler angles in radians.

    Raises:
        InputError: not 6 finite numbers, all zeros, or angles in degrees.
    """
    if not isinstance(entry, list) or len(entry) != 6:
        hint = "; are they intrinsics?" if isinstance(entry, list) and len(entry) == 4 else ""
        raise InputError(f"{name}: {reprlib.repr(entry)}, must be 6 finite numbers x y z rx ry rz{hint}")
    pose = numbers(entry, name, 6)
    if not pose.any():
        raise InputError(f"{name}: all zeros, must be a measured pose; the file has no calibration of this camera")
    if np.abs(pose[3:]).max() > 2 * np.pi:
        raise InputError(f"{name}: {pose[3:]}, must be angles in radians, at most 2 pi; are they degrees?")
    return make_pose(
        Rotation.from_euler("xyz", pose[3:]).as_matrix(), within_reach(pose[:3], name)
    )  # lower-case axes are extrinsic in scipy


def date_of(value: object, name: str) -> datetime | None:
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


def stamp_date(stamp: object, name: str) -> datetime | None:
    """Return the date of a time stamp in seconds since 1970. Raises `InputError`, also for milliseconds."""
    if stamp is None:
        return None
    if is_number(stamp) and abs(stamp) > 1e11:  # type: ignore[arg-type,operator]
        raise InputError(f"{name}: {stamp}, must be seconds since 1970; are they milli- or nanoseconds?")
    try:
        return datetime.fromtimestamp(float(stamp), UTC)  # type: ignore[arg-type]
    except (TypeError, ValueError, OverflowError, OSError):
        raise InputError(f"{name}: {reprlib.repr(stamp)}, must be seconds since 1970") from None


def text_keys(data: dict) -> dict[str, Any]:
    """Return the mapping with text as keys. A serial number without quotes is an int in YAML."""
    return {str(key): value for key, value in data.items()}
