"""Sketches: reference motions from planned object poses, shared by all tasks."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from uma.geometry import se3
from uma.types import MAX_KEYPOINTS, ReferenceMotion

if TYPE_CHECKING:
    from uma_sim.station import Station


def interpolated(poses: list[np.ndarray], count: int) -> list[np.ndarray]:
    """Return ``count`` poses ``(4, 4)`` along a planned path.

    Two are both ends; three include the last intermediate stop.
    """
    if count == 2:
        return [poses[0], poses[-1]]
    if count == 3:
        return [poses[0], poses[-2], poses[-1]]
    out = []
    for s in np.linspace(0, len(poses) - 1, count):
        i = min(int(s), len(poses) - 2)
        out.append(se3.interpolate(poses[i], poses[i + 1], float(s - i)))
    return out


def last_leg(count: int) -> np.ndarray:
    """Return the ``(count,)`` progress, 0 to 1, of a pushed object at the waypoints of a three-leg plan
    (`interpolated`).

    The last leg is the stroke.
    """
    return (
        np.array([0.0, 1.0])
        if count == 2
        else np.array([0.0, 0.0, 1.0])
        if count == 3
        else np.linspace(-2, 1, count).clip(0)
    )


def choose(count: int, num_keypoints: int, num_waypoints: int, rng: np.random.Generator | None) -> np.ndarray:
    """Choose increasing keypoint indices among ``count`` surface points; evenly spaced without ``rng``.

    Raises:
        ValueError: a count is out of range.
    """
    if not 1 <= num_keypoints <= count or num_waypoints < 2:
        raise ValueError(f"num_keypoints={num_keypoints} (1 to {count}), num_waypoints={num_waypoints} (2 or more)")
    if rng is None:
        return np.unique(np.linspace(0, count - 1, num_keypoints).round().astype(int))
    return np.sort(rng.choice(count, num_keypoints, replace=False))


def sketch(
    paths_cam: np.ndarray, pinned: np.ndarray, T_base_cam: np.ndarray, frame: str, label: str
) -> ReferenceMotion:
    """Build the reference motion in the camera frame.

    Args:
        paths_cam: ``(K, W, 3)`` waypoints of each keypoint, camera frame.
        pinned: ``(P, 3)`` static points, base frame; at most `MAX_KEYPOINTS` in total are used.
    """
    points = se3.apply(se3.invert(T_base_cam), pinned[: MAX_KEYPOINTS - len(paths_cam)])
    return ReferenceMotion((*paths_cam, *points[:, None]), frame=frame, object_label=label)


def of_scene(
    station: Station, num_keypoints: int = 6, num_waypoints: int = 4, pinned: int = 0, seed: int | None = None
) -> ReferenceMotion:
    """Sketch the reference motion of a scene, equal in the benchmark and in the simulated station's node.

    Args:
        station: with the current scene.
        num_keypoints, num_waypoints, pinned: see `Task.plan_reference`.
        seed: of the keypoints on the object; None = the scene's.

    Raises:
        ValueError: a count is out of range.
    """
    rng = np.random.default_rng([station.seed if seed is None else seed, 7])
    return station.task.plan_reference(station, rng, num_keypoints, num_waypoints, pinned=pinned)
