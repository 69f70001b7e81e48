"""Inputs that are well formed and plainly wrong: refused before the model answers them."""

from __future__ import annotations

import numpy as np

from uma.types import InputError, Observation

MAX_MEDIAN_DEPTH = 20.0
"""Metres; a tabletop camera's median depth is below 3 m, and in millimetres it is over 300."""

MAX_START_M = 0.3
"""Most distance of a keypoint's start from the nearest point of the cloud, metres."""

VIEW_MARGIN = 0.5
"""How far outside the image, in widths and heights of it, the end effector may project."""

EE_RANGE = (0.05, 3.0)
"""Depth of the end effector before the camera, metres."""


def check_depth(observation: Observation) -> None:
    """Raise `InputError` for depth whose median says that it is not in metres. A sample of the image is looked at."""
    depth = observation.depth[::8, ::8]
    valid = depth[np.isfinite(depth)]
    if len(valid) and (median := float(np.median(valid))) > MAX_MEDIAN_DEPTH:
        raise InputError(f"depth: median {median:.0f} m, must be at most {MAX_MEDIAN_DEPTH:g} m; is it in millimetres?")


def check_end_effector(observation: Observation) -> None:
    """Raise `InputError` for an end effector that the camera could not have near its view: a wrong calibration or
    pose."""
    x, y, z = observation.T_cam_ee[:3, 3]
    if not EE_RANGE[0] <= z <= EE_RANGE[1]:
        raise InputError(
            f"T_cam_ee: the end effector is {z:.2f} m before the camera, must be {EE_RANGE[0]:g} to {EE_RANGE[1]:g} m"
        )
    c = observation.camera
    for name, value, size in (("u", c.fx * x / z + c.cx, c.width), ("v", c.fy * y / z + c.cy, c.height)):
        if not -VIEW_MARGIN * size <= value <= (1 + VIEW_MARGIN) * size:
            raise InputError(
                f"T_cam_ee: the end effector projects to {name} = {value:.0f} px, must be {-VIEW_MARGIN * size:.0f} to "
                f"{(1 + VIEW_MARGIN) * size:.0f} for an image of {size}"
            )


def check_starts(starts: np.ndarray, cloud: np.ndarray) -> None:
    """Raise `InputError` for a reference whose keypoint starts away from everything that is seen.

    Args:
        starts: ``(K, 3)`` first waypoints, and ``cloud`` ``(N, 3)``, metres, one frame.
    """
    away = np.sqrt(((starts[:, None] - cloud[None]) ** 2).sum(-1)).min(1)
    k = int(away.argmax())
    if away[k] > MAX_START_M:
        raise InputError(
            f"keypoints[{k}].waypoints[0]: {starts[k].round(3)}, {away[k]:.2f} m from the nearest point that "
            "the camera sees, "
            f"must be within {MAX_START_M} m"
        )
