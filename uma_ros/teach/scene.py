"""From a frame to what the page shows: a cropped, thinned, bounded cloud; and from a click to a pixel of it."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from uma.geometry.camera import unproject
from uma.geometry.point_cloud import voxel_indices
from uma.sketch.robot_mask import robot_mask
from uma.types import CameraModel, InputError

OFF_WEIGHT = 20.0
"""Metres along the ray that one metre beside it costs when a click looks for its point."""

OFF_M = 0.03
"""Largest distance of a click's ray from its point, metres."""


@dataclass(frozen=True)
class View:
    """One frame with the robot's state at its time.

    Attributes:
        rgb: ``(H, W, 3)`` uint8.
        depth: ``(H, W)`` float32 metres, NaN where invalid.
        camera: intrinsics.
        T_base_cam: ``(4, 4)`` calibrated camera pose.
        joints: ``(7,)`` rad; None if unknown.
        gripper: 0 open to 1 closed.
        stamp: seconds.
    """

    rgb: np.ndarray
    depth: np.ndarray
    camera: CameraModel
    T_base_cam: np.ndarray
    joints: np.ndarray | None
    gripper: float
    stamp: float

    @cached_property
    def points_cam(self) -> np.ndarray:
        """``(H, W, 3)`` metres, camera frame; NaN where invalid."""
        return unproject(np.where(self.depth > 0, self.depth, np.nan).astype(np.float32), self.camera)

    @cached_property
    def points_base(self) -> np.ndarray:
        """``(H, W, 3)`` metres, base frame; NaN where invalid."""
        R, p = self.T_base_cam[:3, :3].astype(np.float32), self.T_base_cam[:3, 3].astype(np.float32)
        return self.points_cam @ R.T + p

    @cached_property
    def is_robot(self) -> np.ndarray:
        """``(H, W)`` bool, the robot's pixels; none if its joints are unknown."""
        if self.joints is None:
            return np.zeros(self.depth.shape, bool)
        return robot_mask(self.points_cam, self.camera, self.T_base_cam, self.joints, self.gripper)


@dataclass(frozen=True)
class Box:
    """What of the cloud is shown.

    Attributes:
        low, high: ``(3,)`` metres, base frame.
        voxel: edge of the cubes with one point each, metres.
        most: largest number of points.
    """

    low: tuple[float, float, float] = (0.05, -0.75, -0.05)
    high: tuple[float, float, float] = (1.0, 0.75, 0.9)
    voxel: float = 0.005
    most: int = 25_000


def cloud(view: View, box: Box) -> tuple[np.ndarray, np.ndarray]:
    """Return points ``(N, 3)`` float32, metres in the base frame, and their colours ``(N, 3)`` uint8.

    A doubled voxel halves too many points again and again until `Box.most` holds.
    """
    points = view.points_base.reshape(-1, 3)
    with np.errstate(invalid="ignore"):
        inside = ((points > np.float32(box.low)) & (points < np.float32(box.high))).all(1)
    rows = np.flatnonzero(inside)
    voxel = box.voxel
    if len(rows):
        rows = rows[voxel_indices(points[rows], voxel)]
    while len(rows) > box.most:
        voxel *= 1.5
        rows = rows[voxel_indices(points[rows], voxel)]
    return points[rows], view.rgb.reshape(-1, 3)[rows]


def pick(view: View, origin: np.ndarray, direction: np.ndarray, box: Box) -> tuple[int, int]:
    """Return the pixel (u, v) of the point in the box that a ray meets first.

    Args:
        origin, direction: ``(3,)`` metres and any length, base frame.

    Raises:
        InputError: a malformed ray, or no point within `OFF_M`.
    """
    o, d = (np.asarray(v, np.float64).reshape(-1) for v in (origin, direction))
    if o.shape != (3,) or d.shape != (3,) or not np.isfinite([*o, *d]).all() or np.linalg.norm(d) < 1e-9:
        raise InputError(f"click: ray from {origin} along {direction}, must be two finite vectors")
    d = d / np.linalg.norm(d)
    points = view.points_base
    with np.errstate(invalid="ignore"):
        inside = ((points > np.float32(box.low)) & (points < np.float32(box.high))).all(-1)
    inside &= ~view.is_robot
    rows, columns = np.nonzero(inside)
    way = points[rows, columns].astype(np.float64) - o
    along = way @ d
    off = np.linalg.norm(way - along[:, None] * d, axis=1)
    near = (along > 0) & (off < OFF_M)
    if not near.any():
        raise InputError("click: no point of the cloud there, must be on what the camera sees")
    i = int(np.argmin(np.where(near, along + OFF_WEIGHT * off, np.inf)))
    return int(columns[i]), int(rows[i])


def surface_without(view: View, is_object: np.ndarray | None) -> np.ndarray:
    """Return the points ``(N, 3)`` of a frame without the robot and the object, metres, base frame."""
    keep = np.isfinite(view.points_base).all(-1) & ~view.is_robot
    if is_object is not None and is_object.shape == keep.shape:
        keep &= ~is_object
    return view.points_base[keep].astype(np.float64)


def project_ray(view: View, pixel: tuple[float, float]) -> tuple[np.ndarray, np.ndarray]:
    """Return the ray of a pixel (u, v): origin and unit direction ``(3,)``, base frame."""
    c = view.camera
    d = np.array([(pixel[0] - c.cx) / c.fx, (pixel[1] - c.cy) / c.fy, 1.0])
    d = view.T_base_cam[:3, :3] @ d
    return view.T_base_cam[:3, 3].copy(), d / np.linalg.norm(d)


def moved(before: View, now: View, is_object: np.ndarray) -> str:
    """Return why an object may not be where it was clicked; empty if it is.

    Depth at the object's pixels is compared between both frames. The camera must not move.

    Args:
        is_object: ``(H, W)`` bool, in the frame ``before``.
    """
    if before.depth.shape != now.depth.shape or np.abs(before.T_base_cam - now.T_base_cam).max() > 1e-6:
        return "the camera or its calibration changed since the click"
    seen = is_object & (before.depth > 0)
    if not seen.any():
        return "the object has no depth"
    hidden = seen & now.is_robot & ~before.is_robot
    if hidden.sum() > 0.5 * seen.sum():
        return "the robot hides the object, so that nobody can see whether it moved"
    seen &= ~hidden & (now.depth > 0)
    if not seen.any():
        return "the object has no depth any more"
    z = before.depth[seen]
    change = np.abs(now.depth[seen] - z)
    limit = np.maximum(0.010, 6 * 0.0015 * z**2)
    share = float(np.mean(change > limit))
    if share > 0.25:
        return f"the object moved since the click: {share:.0%} of its pixels have another depth; click it again"
    return ""
