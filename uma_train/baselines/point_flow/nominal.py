"""The chunks from which the search starts, by the stage of the task. All is in the camera frame.

Before the grasp, the points do not react to the hand, so the dynamics cannot tell good approaches from bad ones. The
approach is therefore a rule: straight to the keypoints' centre with the measured orientation. It chooses no grasp and
avoids no obstacle.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

from uma.geometry import polyline
from uma.model.carry import HELD
from uma.types import ReferenceMotion

STEP_M = 0.03
"""Distance per step of a nominal chunk, metres."""

CLOSE_M = 0.02
"""Distance of the measured end effector from the keypoints' centre at which the gripper closes, metres."""

HELD_M = 0.08
"""Largest distance of the nearest keypoint of a held object from the end effector, metres."""

DONE_M = 0.02
"""Rest of the reference at which the gripper opens, metres."""

DONE_SHARE = 0.2
"""The same as a share of the whole, for short references."""

SAMPLES = 33
"""Samples of a path of the keypoints' centre."""

Stage = Literal["reach", "carry", "done"]


@dataclass(frozen=True)
class Nominal:
    """
    Attributes:
        stage: of the task.
        poses, gripper: ``(H, 4, 4)`` and ``(H,)``.
    """

    stage: Stage
    poses: np.ndarray
    gripper: np.ndarray


def left(points: np.ndarray, reference: ReferenceMotion) -> np.ndarray:
    """Return ``(...)`` metres of the reference that remain from places ``(..., K, 3)``: `polyline.remaining`, averaged
    over keypoints.
    """
    paths = [w[v] for w, v in zip(reference.waypoints, reference.is_valid, strict=True)]
    return np.mean([polyline.remaining(points[..., k, :], path) for k, path in enumerate(paths)], 0)


def nominal(pose: np.ndarray, gripper: float, points: np.ndarray, reference: ReferenceMotion, horizon: int) -> Nominal:
    """Return the nominal chunk from the measured hand and the places ``(K, 3)`` of the keypoints."""
    paths = [w[v] for w, v in zip(reference.waypoints, reference.is_valid, strict=True)]
    starts = np.stack([path[0] for path in paths])
    moving = [k for k, path in enumerate(paths) if len(path) > 1] or list(range(len(paths)))
    centre = points[moving].mean(0)
    if left(points, reference) < min(DONE_M, DONE_SHARE * float(left(starts, reference))):
        return _moved("done", pose, np.repeat(pose[None, :3, 3], horizon, 0), 0.0)
    nearest = np.linalg.norm(points - pose[:3, 3], axis=-1).min()
    if gripper > HELD and nearest < HELD_M:
        rest = _rest(np.mean([_resampled(paths[k]) for k in moving], 0), centre)
        return _moved("carry", pose, pose[:3, 3] + along(rest, STEP_M, horizon) - centre, 1.0)
    is_there = np.linalg.norm(centre - pose[:3, 3]) < CLOSE_M
    return _moved("reach", pose, along(np.stack([pose[:3, 3], centre]), STEP_M, horizon), float(is_there))


def along(path: np.ndarray, step: float, count: int) -> np.ndarray:
    """Return ``(count, 3)`` places after 1, 2, ... steps of ``step`` metres along a path ``(T, 3)``, then its end."""
    lengths = np.concatenate([[0.0], np.cumsum(np.linalg.norm(np.diff(path, axis=0), axis=-1))])
    at = step * np.arange(1, count + 1)
    return np.stack([np.interp(at, lengths, path[:, i]) for i in range(3)], -1)


def _resampled(path: np.ndarray) -> np.ndarray:
    """Return `SAMPLES` places of a path ``(T, 3)``, evenly in its waypoints' index."""
    at = np.linspace(0, len(path) - 1, SAMPLES)
    return np.stack([np.interp(at, np.arange(len(path)), path[:, i]) for i in range(3)], -1)


def _rest(path: np.ndarray, place: np.ndarray) -> np.ndarray:
    """Return the path from ``place`` over the part of ``path`` behind its nearest sample."""
    nearest = int(np.linalg.norm(path - place, axis=-1).argmin())
    return np.concatenate([place[None], path[min(nearest + 1, len(path) - 1) :]])


def _moved(stage: Stage, pose: np.ndarray, positions: np.ndarray, command: float) -> Nominal:
    poses = np.repeat(pose[None], len(positions), 0)
    poses[:, :3, 3] = positions
    return Nominal(stage, poses, np.full(len(positions), command))
