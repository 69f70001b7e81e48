"""A clip of a box that rests on a table and is then moved, seen by a camera at rest or in motion: all exact."""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from scipy.spatial.transform import Rotation

from uma.geometry import se3
from uma.types import CameraModel

SIZE = np.array([0.16, 0.12, 0.10])
"""Metres: edges of the box."""
REST = 5
"""Frames before the box moves."""


@dataclass(frozen=True)
class Clip:
    """Frames of one camera.

    Attributes:
        rgb: ``(S, H, W, 3)`` uint8.
        depth: ``(S, H, W)`` uint16, mm.
        mask: ``(S, H, W)`` bool, the box.
        T_cam_box, T_world_cam: ``(S, 4, 4)``.
    """

    camera: CameraModel
    rgb: np.ndarray
    depth: np.ndarray
    mask: np.ndarray
    T_cam_box: np.ndarray
    T_world_cam: np.ndarray

    def __len__(self) -> int:
        return len(self.rgb)

    @property
    def T_first_cam(self) -> np.ndarray:
        return se3.invert(self.T_world_cam[0]) @ self.T_world_cam


def looking_at(eye: np.ndarray, target: np.ndarray) -> np.ndarray:
    z = (target - eye) / np.linalg.norm(target - eye)
    x = np.cross(z, [0.0, 0.0, 1.0])
    x /= np.linalg.norm(x)
    return se3.make_pose(np.stack([x, np.cross(z, x), z], axis=1), eye)


def rays(camera: CameraModel) -> np.ndarray:
    v, u = np.indices((camera.height, camera.width))
    return np.stack([(u - camera.cx) / camera.fx, (v - camera.cy) / camera.fy, np.ones_like(u, float)], -1)


def draw(camera: CameraModel, T_world_cam: np.ndarray, T_world_box: np.ndarray):
    """rgb, depth in metres, and where the box is."""
    way, eye = rays(camera) @ T_world_cam[:3, :3].T, T_world_cam[:3, 3]
    depth = -eye[2] / np.minimum(way[..., 2], -1e-6)
    T = se3.invert(T_world_box)
    origin, direction = se3.apply(T, eye), way @ T[:3, :3].T
    near, far = ((side * SIZE / 2 - origin) / direction for side in (-1, 1))
    enter, leave = np.minimum(near, far).max(-1), np.maximum(near, far).min(-1)
    is_box = (enter < leave) & (enter > 0) & (enter < depth)
    depth = np.where(is_box, enter, depth)
    at = np.where(is_box[..., None], origin + depth[..., None] * direction, eye + depth[..., None] * way)
    shade = 120 + 50 * np.sin(40 * at[..., 0]) * np.cos(40 * at[..., 1]) + 20 * np.sin(40 * at[..., 2])
    rgb = shade[..., None] * np.where(is_box[..., None], [1.0, 0.5, 0.4], [0.8, 0.9, 1.0])
    return rgb.clip(0, 255).astype(np.uint8), np.where(depth < 3.0, depth, 0.0), is_box


@lru_cache
def clip(width: int = 320, height: int = 180, steps: int = 20, is_moving: bool = False, fx: float = 260.0) -> Clip:
    """A box that moves 0.25 m and turns after `REST` frames."""
    camera = CameraModel(width, height, fx, fx + 1.0, width / 2 - 0.5, height / 2 - 0.5, "cam")
    out: dict[str, list] = {name: [] for name in ("rgb", "depth", "mask", "T_cam_box", "T_world_cam")}
    for s in range(steps):
        way = max(0.0, (s - REST) / (steps - 1 - REST))
        turn = Rotation.from_euler("xyz", [0.3 * way, 0.2 * way, 0.3 + 0.8 * way]).as_matrix()
        T_world_box = se3.make_pose(turn, np.array([-0.12 + 0.25 * way, 0.05 * way, SIZE[2] / 2 + 0.1 * way]))
        swing = s / steps if is_moving else 0.0
        eye = np.array([-0.05 + 0.25 * swing, -0.5 - 0.2 * swing, 0.6 + 0.1 * swing])
        T_world_cam = looking_at(eye, np.array([0.05 * swing, 0.0, 0.03]))
        rgb, depth, mask = draw(camera, T_world_cam, T_world_box)
        T_cam_box = se3.invert(T_world_cam) @ T_world_box
        for name, value in zip(out, (rgb, np.round(depth * 1000).astype(np.uint16), mask, T_cam_box, T_world_cam)):
            out[name].append(value)
    return Clip(camera, **{name: np.stack(values) for name, values in out.items()})


def true_tracks(c: Clip, start: np.ndarray, steps: list[int]) -> np.ndarray:
    """``(S, K, 3)`` in the first camera frame, of points on the box in the first frame ``(K, 3)``, at some frames."""
    on_box = se3.apply(se3.invert(c.T_cam_box[0]), start)
    return np.stack([se3.apply(c.T_first_cam[s] @ c.T_cam_box[s], on_box) for s in steps])


def is_on_box(c: Clip, start: np.ndarray) -> np.ndarray:
    """``(K,)`` bool: points in the first frame lie on the box's surface within 3 mm."""
    local = np.abs(se3.apply(se3.invert(c.T_cam_box[0]), start)) - SIZE / 2
    return np.abs(local.max(1)) < 0.003
