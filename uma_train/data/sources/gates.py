"""Gates of recorded demonstrations: what is refused, with the number and the limit."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from uma.geometry import se3
from uma.policy.demonstration import Demonstration
from uma.settings import setting
from uma.types import InputError, Observation
from uma_train.data.seen import pixels

DEPTH_RANGE_M = 0.1, 4.0
"""Limits of the median depth: other units than metres fall outside."""

FINGER_M, OPENING_M = 0.012, 0.085
"""Width of a finger, and distance of the open jaws of a 2F-85, metres."""


@dataclass(frozen=True)
class Gates:
    """Limits of the gates."""

    min_steps: int = setting(16, "steps of 15 Hz", 2, 100_000)
    max_jump_m: float = setting(0.3, "m; largest motion of the hand from step to step", 0.01, 10.0)
    min_pairs: float = setting(0.8, "share of the steps that have colour and depth of one stamp", 0.0, 1.0)
    min_in_view: float = setting(0.5, "share of the images in which the end effector projects into the image", 0.0, 1.0)
    max_overlay_m: float = setting(
        0.06,
        "m; upper quartile over the images of the distance in depth between end effector and what is seen there",
        0.0,
        10.0,
    )
    min_depth: float = setting(0.2, "share of the depth pixels that are valid", 0.0, 1.0)


class Refused(InputError):
    """A demonstration does not pass a gate.

    Attributes:
        gate: short name, for counting.
    """

    def __init__(self, gate: str, text: str) -> None:
        super().__init__(f"{gate}: {text}")
        self.gate = gate


def check_layout(demonstration: Demonstration, gates: Gates) -> None:
    """Raise `Refused` for too few steps or images, zero extrinsics, or jumps of the hand."""
    d = demonstration
    S = len(d.stamps)
    if S < gates.min_steps:
        raise Refused("length", f"{S} steps of 15 Hz, must be at least {gates.min_steps}")
    if d.num_pairs < gates.min_pairs * S:
        raise Refused(
            "frame counts",
            f"{d.num_pairs} pairs of {d.num_colour} colour and {d.num_depth} depth images for {S} steps, must be at "
            f"least {gates.min_pairs:.0%}",
        )
    if d.robot is None:
        return
    T = d.robot.T_base_cam
    if np.allclose(T[:3, 3], 0.0, atol=1e-6) or np.allclose(T[:3, :3], np.eye(3), atol=1e-6):
        raise Refused(
            "extrinsics",
            f"camera at {T[:3, 3].tolist()} m with rotation {_degrees(T):.0f} deg, must differ from zero in both",
        )
    jump = float(np.linalg.norm(np.diff(d.robot.pose[:, :3, 3], axis=0), axis=1).max())
    if jump > gates.max_jump_m:
        raise Refused("robot state", f"the hand jumps {jump:.2f} m in a step, limit {gates.max_jump_m:g} m")


def _degrees(T: np.ndarray) -> float:
    return float(np.degrees(se3.rotation_angle(np.eye(3), T[:3, :3])))


@dataclass(frozen=True)
class Sight:
    """What one image says about calibration and depth.

    Attributes:
        overlay_m: distance in depth between the end effector and what is seen there; NaN out of view.
        valid: share of valid depth.
        median_m: median depth, metres; NaN without any.
    """

    overlay_m: float
    valid: float
    median_m: float


def sight(observation: Observation) -> Sight:
    """Measure one image."""
    depth = observation.depth[::4, ::4]
    is_valid = np.isfinite(depth)
    median = float(np.median(depth[is_valid])) if is_valid.any() else float("nan")
    return Sight(overlay(observation), float(is_valid.mean()), median)


def overlay(observation: Observation) -> float:
    """Return the distance in depth, metres, between the end effector and the nearest value around its pixel.

    Between open jaws the camera sees what is behind, so the nearest value is searched as far as a jaw is away.
    NaN if it projects outside the image; infinite if no depth is valid there.
    """
    T_cam_ee, depth, camera = observation.T_cam_ee, observation.depth, observation.camera
    point = T_cam_ee[:3, 3]
    row, column, is_inside = pixels(point[None], camera)
    if not is_inside[0]:
        return float("nan")
    apart = FINGER_M + OPENING_M / 2 * (1.0 - float(np.clip(observation.gripper, 0.0, 1.0)))
    reach = max(1, round(apart * camera.fx / point[2]))
    v, u = int(row[0]), int(column[0])
    patch = depth[max(v - reach, 0) : v + reach + 1, max(u - reach, 0) : u + reach + 1]
    found = np.abs(patch[np.isfinite(patch)] - point[2])
    return float(found.min()) if len(found) else float("inf")


def check_sights(sights: Sequence[Sight], gates: Gates, has_robot: bool = True) -> dict[str, float]:
    """Raise `Refused` for a wrong calibration or depth; return what was measured.

    A calibration that is off along the ray through the hand, or by less than the limit, passes.
    """
    overlays = np.array([s.overlay_m for s in sights])
    is_inside = ~np.isnan(overlays)
    valid = float(np.median([s.valid for s in sights]))
    medians = [s.median_m for s in sights if s.median_m == s.median_m]
    median = float(np.median(medians)) if medians else float("nan")
    if valid < gates.min_depth:
        raise Refused("depth", f"{valid:.0%} of the pixels valid, must be at least {gates.min_depth:.0%}")
    low, high = DEPTH_RANGE_M
    if not low <= median <= high:
        raise Refused("depth", f"median {median:.3g} m, must lie in {low:g} to {high:g} m")
    if not has_robot:
        return {"depth_m": round(median, 3)}
    if is_inside.mean() < gates.min_in_view:
        raise Refused(
            "calibration",
            f"the end effector projects into {is_inside.mean():.0%} of the images, must be at least "
            f"{gates.min_in_view:.0%}",
        )
    quartile = float(np.quantile(np.minimum(overlays[is_inside], 10.0), 0.75))
    if quartile > gates.max_overlay_m:
        raise Refused(
            "calibration",
            f"what is seen at the end effector is {quartile:.3f} m away in depth, limit {gates.max_overlay_m:g} m",
        )
    return {"in_view": round(float(is_inside.mean()), 3), "overlay_m": round(quartile, 4), "depth_m": round(median, 3)}
