"""One image of a clip as a tracker reads it: depth lifted at pixels, normals, grey values, the robot's surroundings."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from uma.geometry import se3
from uma_train.curation import hand
from uma_train.curation.clip import Clip

HELD = 0.2
"""A gripper closed further than this may hold the thing, 0 open to 1 closed."""
NORMAL_PX = 3
"""Half distance of the pixels between which a normal is measured."""


@dataclass(frozen=True)
class View:
    """Image ``t`` of a clip. Pixels are ``(n, 2)`` float (u, v), points in the world."""

    clip: Clip
    t: int

    @cached_property
    def gray(self) -> np.ndarray:
        """``(H, W)`` uint8."""
        import cv2

        return cv2.cvtColor(self.clip.video[self.t], cv2.COLOR_RGB2GRAY)

    @cached_property
    def smooth(self) -> np.ndarray:
        """``(H, W)`` float32 grey values without the finest noise."""
        import cv2

        return cv2.GaussianBlur(self.gray.astype(np.float32), (0, 0), 1.2)

    @cached_property
    def depth(self) -> np.ndarray:
        """``(H, W)`` float32 metres, median of 3 x 3; 0 where invalid."""
        import cv2

        return cv2.medianBlur(np.nan_to_num(self.clip.depth(self.t)), 3)

    @cached_property
    def T(self) -> np.ndarray:
        """``(4, 4)`` world to camera."""
        return self.clip.T_cam_world(self.t)

    @cached_property
    def K(self) -> tuple[float, float, float, float]:
        """Focal lengths and centre: fx, fy, cx, cy."""
        c = self.clip.camera(self.t)
        return c.fx, c.fy, c.cx, c.cy

    def project(self, world: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return the pixels ``(n, 2)`` and depths ``(n,)`` of world points; points behind the camera lie outside."""
        x = se3.apply(self.T, world)
        z = np.where(x[:, 2] > 1e-3, x[:, 2], 1e-3)
        fx, fy, cx, cy = self.K
        return np.stack([fx * x[:, 0] / z + cx, fy * x[:, 1] / z + cy], 1), x[:, 2]

    def inside(self, uv: np.ndarray, margin: float = 0.0) -> np.ndarray:
        """Return ``(n,)`` bool."""
        H, W = self.clip.video.shape[1:3]
        low, high = uv >= margin, uv <= np.array([W - 1, H - 1]) - margin
        return np.asarray((low & high).all(1))

    def at(self, image: np.ndarray, uv: np.ndarray) -> np.ndarray:
        """Return the values of an image at the nearest pixels, clipped to the border."""
        H, W = image.shape[:2]
        u = np.clip(np.round(uv[:, 0]), 0, W - 1).astype(int)
        v = np.clip(np.round(uv[:, 1]), 0, H - 1).astype(int)
        return image[v, u]

    def between(self, image: np.ndarray, uv: np.ndarray) -> np.ndarray:
        """Return the bilinear values of a float32 image."""
        import cv2

        x, y = (np.ascontiguousarray(uv[:, i : i + 1], np.float32) for i in (0, 1))
        return cv2.remap(image, x, y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)[:, 0]

    def lift(self, uv: np.ndarray, depth: np.ndarray) -> np.ndarray:
        """Return the world points ``(n, 3)`` at pixels with depths ``(n,)``."""
        fx, fy, cx, cy = self.K
        x = np.stack([(uv[:, 0] - cx) / fx * depth, (uv[:, 1] - cy) / fy * depth, depth], 1)
        return (x - self.T[:3, 3]) @ self.T[:3, :3]

    def lifted(self, uv: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return the world points at pixels by the image's own depth, and ``(n,)`` whether it is valid there."""
        z = self.at(self.depth, uv)
        return self.lift(uv, z), (z > 0) & self.inside(uv)

    def surface(self, uv: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return the points and unit normals ``(n, 3)`` of the surface at whole pixels, world, and their validity."""
        uv = np.round(uv)
        x, ok = self.lifted(uv)
        around = []
        for du, dv in ((NORMAL_PX, 0), (-NORMAL_PX, 0), (0, NORMAL_PX), (0, -NORMAL_PX)):
            p, is_there = self.lifted(uv + (du, dv))
            near = is_there & (np.linalg.norm(p - x, axis=1) < 0.03)
            around.append(np.where(near[:, None], p, x))
        n = np.cross(around[0] - around[1], around[2] - around[3])
        size = np.linalg.norm(n, axis=1)
        n = n / np.maximum(size, 1e-12)[:, None]
        return x, n, ok & (size > 1e-9)

    @property
    def joints(self) -> np.ndarray | None:
        """``(21, 3)`` joints of a person's hand in the world; None where none is seen."""
        found = None if self.clip.hand is None else self.clip.hand[self.t].astype(np.float64)
        return found if found is not None and np.isfinite(found).all() else None

    @property
    def hand(self) -> np.ndarray | None:
        """``(4, 4)`` end effector of the robot, or frame of a person's hand, in the world; None where there is none."""
        if self.clip.robot is not None:
            return self.clip.robot.pose[self.t]
        return None if self.joints is None else hand.frame_of(self.joints)

    @property
    def grip(self) -> float:
        """How far the gripper, or thumb and index finger, are closed: 0 open to 1; 0 where there is no hand."""
        if self.clip.robot is not None:
            return float(self.clip.robot.gripper[self.t])
        return 0.0 if self.joints is None else hand.closed(self.joints)

    def holds(self, points: np.ndarray) -> bool:
        """Return whether the hand may hold a thing at ``(n, 3)``: a closed gripper, or joints of a person near it."""
        if self.clip.robot is not None:
            return self.grip > HELD
        return self.joints is not None and hand.touches(self.joints, points)

    def by_hand(self, points: np.ndarray, half: float = 0.035, long: float = 0.14) -> np.ndarray:
        """Return ``(n,)`` bool: points in the box of the gripper's fingers and body, or in a person's hand.

        Args:
            half: half width of the box across the fingers, metres.
            long: extent of the box from the fingertips towards the wrist, metres.
        """
        if self.clip.robot is None:
            return np.zeros(len(points), bool) if self.joints is None else hand.inside(self.joints, points)
        x = se3.apply(se3.invert(self.clip.robot.pose[self.t]), points)
        return (np.abs(x[:, 0]) < half) & (np.abs(x[:, 1]) < 0.075) & (x[:, 2] > -long) & (x[:, 2] < 0.012)
