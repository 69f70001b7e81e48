"""Limits of a plausible calibration of a fixed camera: its distance, height, view and date.

The base frame of the robot is on the table: x points to the workspace, z up.
"""

from __future__ import annotations

from datetime import datetime, timedelta

import numpy as np

from uma.geometry.se3 import invert
from uma.types import InputError
from uma_ros.calibration.entries import Calibration

NEAREST = 0.2
"""Smallest distance of a fixed camera from the base, m. DROID's wrist camera is 0.1 m from the flange."""
FARTHEST = 3.0
"""Largest distance of a fixed camera from the base, m."""
LOWEST = 0.0
"""Smallest height of a fixed camera over the table, m."""
WIDEST = 65.0
"""Largest angle between the optical axis and the nearest point of `WORKSPACE`, degrees.

The corners of a ZED 2's image are 57 degrees from its axis.
"""
WORKSPACE = np.array([(x, y, 0.1) for x in (0.3, 0.5, 0.7) for y in (-0.3, 0.0, 0.3)])
"""``(9, 3)`` points between which the tasks take place, m in the base frame."""
LEVEL, TILTED = 10.0, 17.0
"""Angles between the image's rows and the table below which a camera is level, above which it is tilted, degrees."""
CLOCKS_APART = timedelta(days=1)
"""Largest time by which a date may be ahead of the clock."""
ADVICE = "`uma calibrate` measures a new one; calibration:=FILE and camera:=KEY choose another"


def view_angle(T_base_cam: np.ndarray) -> float:
    """Return the angle between the optical axis and the nearest point of `WORKSPACE`, degrees."""
    points = (WORKSPACE - T_base_cam[:3, 3]) @ T_base_cam[:3, :3]  # in the camera frame
    distance = np.maximum(np.linalg.norm(points, axis=1), 1e-9)
    return float(np.degrees(np.arccos(np.clip(points[:, 2] / distance, -1.0, 1.0))).min())


def pose_doubts(T_base_cam: np.ndarray) -> list[str]:
    """Return one text per reason why a fixed camera cannot have this ``(4, 4)`` pose; empty if it can."""
    found, (x, y, z) = [], T_base_cam[:3, 3]
    distance, angle = float(np.linalg.norm((x, y, z))), view_angle(T_base_cam)
    if distance < NEAREST:
        what = "a pose in the gripper, as of DROID's wrist camera?" if distance > 1e-6 else "no calibration?"
        found.append(f"{distance:.2f} m from the base, must be {NEAREST:g} to {FARTHEST:g} m: {what}")
    if distance > FARTHEST:
        found.append(f"{distance:.2f} m from the base, must be {NEAREST:g} to {FARTHEST:g} m: in other units than m?")
    if z < LOWEST:
        found.append(f"{z:.2f} m over the table, must be at least {LOWEST:g} m: inverted, or another base frame?")
    if angle > WIDEST:
        found.append(f"looks {angle:.0f} degrees past the workspace, must be at most {WIDEST:g}: other convention?")
    return found


def inversion_doubt(T_base_cam: np.ndarray) -> str:
    """Return a text for a tilted image whose inverse pose is that of a level, plausible camera; empty otherwise.

    A tilted camera can be right, so this text is only a warning.
    """
    inverse = invert(T_base_cam)
    tilts = [abs(float(np.degrees(np.arcsin(np.clip(T[2, 0], -1.0, 1.0))))) for T in (T_base_cam, inverse)]
    if tilts[0] <= TILTED or tilts[1] >= LEVEL or pose_doubts(inverse):
        return ""
    return f"the image is tilted by {tilts[0]:.0f} degrees, that of the inverse pose is level: is it base to camera?"


def date_doubt(date: datetime | None, now: datetime) -> str:
    """Return a text for a date ahead of the clock; empty for any other, and for None."""
    if date is None or date - now <= CLOCKS_APART:
        return ""
    return f"dated {date:%Y-%m-%d}, {(date - now).total_seconds() / 86400:.0f} days in the future: is the clock right?"


def check_plausible(calibration: Calibration, name: str) -> Calibration:
    """Return the calibration. Raise `InputError`, starting with ``name``, if no fixed camera can have its pose."""
    found = pose_doubts(calibration.T_base_cam)
    if found:
        raise InputError(f"{name}: {calibration.camera_frame}: {'; '.join(found)}; {ADVICE}")
    return calibration
