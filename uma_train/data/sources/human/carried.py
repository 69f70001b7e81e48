"""Tracks of an object whose pose is recorded: points seen on it once, carried by its pose."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np

from uma.geometry import se3
from uma.policy.demonstration import Tracks
from uma.types import CameraModel
from uma_train.data.seen import pixels, visible
from uma_train.data.sources.gates import Refused
from uma_train.data.sources.tracks import COUNT, FEWEST, spread

MOVED_M = 0.03
"""Agreement with depth counts where the object has moved this far, metres."""
MIN_AGREEMENT = 0.2
"""Least share of the carried points that agree with depth there."""
THROUGH_M = 0.03
"""A point is in mid-air if the image shows something this far behind it, metres."""
MAX_THROUGH = 0.5
"""Largest share of the carried points in mid-air there."""


@dataclass(frozen=True)
class Posed:
    """An object with recorded poses.

    Attributes:
        poses: ``(S, 4, 4)`` object in the camera's frame; NaN where it is absent.
        on_object: returns the ``(N, 3)`` points of the object in the depth image of a step, camera frame, metres.
    """

    poses: np.ndarray
    on_object: Callable[[int, np.ndarray], np.ndarray]


@dataclass(frozen=True)
class Carried:
    """Carried points.

    Attributes:
        positions: ``(S, K, 3)`` metres, in the camera's frame of their step.
        is_visible: ``(S, K)`` bool, depth agrees within 2 cm.
        is_through: ``(S, K)`` bool, the image shows what is behind.
        is_known: ``(S,)`` bool, the step has a depth image and a pose.
    """

    positions: np.ndarray
    is_visible: np.ndarray
    is_through: np.ndarray
    is_known: np.ndarray

    def tracks(self, T_first_cam: np.ndarray | None = None) -> Tracks:
        """Return the tracks in the camera's first frame.

        Args:
            T_first_cam: ``(S, 4, 4)`` poses of a moving camera; None for one at rest.

        Raises:
            Refused: where the object has moved, its points disagree with depth.
        """
        x = self.positions
        if T_first_cam is not None:
            x = np.stack([se3.apply(T, points) for T, points in zip(T_first_cam, x)])
        first = int(self.is_known.argmax())
        moved = self.is_known & (np.linalg.norm((x - x[first]).mean(1), axis=1) > MOVED_M)
        if moved.any():
            agree, through = float(self.is_visible[moved].mean()), float(self.is_through[moved].mean())
            if agree < MIN_AGREEMENT or through > MAX_THROUGH:
                raise Refused(
                    "object pose",
                    f"{agree:.0%} of the carried points agree with depth and {through:.0%} are in mid-air after "
                    f"{MOVED_M:g} m, must be at least {MIN_AGREEMENT:.0%} and at most {MAX_THROUGH:.0%}",
                )
        return Tracks(x, self.is_visible, source="pose")


def carry(posed: Posed, depths: Iterable[tuple[int, np.ndarray]], camera: CameraModel) -> Carried:
    """Carry up to `COUNT` points, which the first image with enough of the object shows.

    Args:
        depths: steps and their ``(H, W)`` depth, metres, in order.

    Raises:
        Refused: no image shows enough of the object.
    """
    S, points, most = len(posed.poses), None, 0
    positions = np.zeros((S, COUNT, 3))
    is_visible, is_through = np.zeros((S, COUNT), bool), np.zeros((S, COUNT), bool)
    is_known = np.zeros(S, bool)
    for step, depth in depths:
        if not np.isfinite(posed.poses[step]).all():
            continue
        if points is None:
            seen = posed.on_object(step, depth)
            most = max(most, len(seen))
            if len(seen) < FEWEST:
                continue
            points = se3.apply(se3.invert(posed.poses[step]), spread(seen.astype(np.float64), COUNT))
        K = len(points)
        now = se3.apply(posed.poses[step], points)
        positions[step, :K], is_known[step] = now, True
        is_visible[step, :K], is_through[step, :K] = visible(now, depth, camera), in_mid_air(now, depth, camera)
    if points is None:
        raise Refused("tracks", f"at most {most} points seen on the object, must be at least {FEWEST}")
    K = len(points)
    return Carried(positions[:, :K], is_visible[:, :K], is_through[:, :K], is_known)


def in_mid_air(points: np.ndarray, depth: np.ndarray, camera: CameraModel) -> np.ndarray:
    """Return ``(K,)`` bool: the image shows something behind the ``(K, 3)`` points, camera frame."""
    v, u, is_inside = pixels(points, camera)
    seen = depth[v.clip(0, camera.height - 1), u.clip(0, camera.width - 1)]
    return is_inside & (np.nan_to_num(seen, nan=0.0) > points[:, 2] + THROUGH_M)
