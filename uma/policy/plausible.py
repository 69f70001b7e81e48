"""Plausibility checks: refuse well-formed inputs that are plainly wrong before inference."""

from __future__ import annotations

import numpy as np

from uma.types import InputError, Observation, ReferenceMotion

MAX_MEDIAN_DEPTH = 20.0
"""Metres; the median depth of a tabletop camera is below 3 m, or above 300 if it is in millimetres."""

MAX_START_M = 0.3
"""Largest distance of a keypoint's start from the nearest point of the cloud, metres."""

VIEW_MARGIN = 0.5
"""Largest distance of the projected end effector outside the image, in image widths and heights."""

EE_RANGE = (0.05, 3.0)
"""Range of the end effector's depth, metres."""


def check_depth(observation: Observation) -> None:
    """Raise `InputError` if the median depth of a sample is implausible in metres."""
    depth = observation.depth[::8, ::8]
    valid = depth[np.isfinite(depth)]
    if len(valid) and (median := float(np.median(valid))) > MAX_MEDIAN_DEPTH:
        raise InputError(f"depth: median {median:.0f} m, must be at most {MAX_MEDIAN_DEPTH:g} m; is it in millimetres?")


def check_end_effector(observation: Observation) -> None:
    """Raise `InputError` if the end effector is far outside the view, as with a wrong calibration or pose."""
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
    """Raise `InputError` if a keypoint of a reference starts away from every visible point.

    Args:
        starts: ``(K, 3)`` first waypoints, metres.
        cloud: ``(N, 3)`` metres, same frame.
    """
    away = np.sqrt(((starts[:, None] - cloud[None]) ** 2).sum(-1)).min(1)
    k = int(away.argmax())
    if away[k] > MAX_START_M:
        raise InputError(
            f"keypoints[{k}].waypoints[0]: {starts[k].round(3)}, {away[k]:.2f} m from the nearest visible point, "
            f"must be within {MAX_START_M} m"
        )


def check_reference(reference: ReferenceMotion, observation: Observation, most: int) -> None:
    """Check that a reference is in the observation's camera frame and has at most ``most`` keypoints.

    Raises:
        InputError: it is not.
    """
    if reference.frame != observation.camera.frame:
        raise InputError(f"reference frame '{reference.frame}': must be the camera's, '{observation.camera.frame}'")
    if (K := len(reference.waypoints)) > most:
        raise InputError(f"keypoints: {K} given, this checkpoint accepts at most {most}")
