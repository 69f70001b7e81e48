"""A textured box on a textured table, drawn by casting rays: colour, depth and where the box is, all exact."""

import numpy as np
from scipy.ndimage import gaussian_filter, map_coordinates
from scipy.spatial.transform import Rotation

from uma.geometry.camera import unproject
from uma.geometry.se3 import apply, invert, make_pose
from uma.types import CameraModel

CAMERA = CameraModel(640, 360, 263.5, 263.5, 319.5, 179.5, "cam")
SIZE = np.array([0.18, 0.13, 0.09])
"""Metres: edges of the box."""


def looking_at(eye: np.ndarray, target: np.ndarray) -> np.ndarray:
    """``T_world_cam`` of an optical frame."""
    z = (target - eye) / np.linalg.norm(target - eye)
    x = np.cross(z, [0.0, 0.0, 1.0])
    x /= np.linalg.norm(x)
    return make_pose(np.stack([x, np.cross(z, x), z], axis=1), eye)


T_WORLD_CAM = looking_at(np.array([-0.05, -0.4, 0.6]), np.array([0.0, 0.0, 0.03]))


def textures(rng: np.random.Generator) -> list[np.ndarray]:
    """Six faces and the table: blots of one and of three centimetres."""
    faces = []
    for _ in range(7):
        fine, coarse = (gaussian_filter(rng.normal(size=(256, 256)), sigma, mode="wrap") for sigma in (2.5, 7.0))
        faces.append(np.clip(128 + 45 * (fine / fine.std() + coarse / coarse.std()), 0, 255))
    return faces


def sample(texture: np.ndarray, a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """``(N, 3)`` colours, all grey, at ``a``, ``b`` metres; a texel is 2 mm."""
    return np.repeat(map_coordinates(texture, [a / 0.002, b / 0.002], order=1, mode="grid-wrap")[:, None], 3, axis=1)


def draw(T_world_box: np.ndarray | None, faces: list[np.ndarray]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """rgb, depth and where the box is."""
    rays = (
        unproject(np.ones((CAMERA.height, CAMERA.width), np.float32), CAMERA).reshape(-1, 3).astype(np.float64)
    )  # z = 1: the parameter is the depth
    way, eye = rays @ T_WORLD_CAM[:3, :3].T, T_WORLD_CAM[:3, 3]
    depth = np.where(way[:, 2] < -1e-6, -eye[2] / np.minimum(way[:, 2], -1e-6), np.inf)
    hit = eye + np.where(np.isfinite(depth), depth, 0.0)[:, None] * way
    rgb, is_box = sample(faces[6], hit[:, 0], hit[:, 1]), np.zeros(len(rays), bool)
    if T_world_box is not None:
        T = invert(T_world_box)
        origin, direction = apply(T, eye), way @ T[:3, :3].T
        slabs = np.stack([(-SIZE / 2 - origin) / direction, (SIZE / 2 - origin) / direction])
        near, far = slabs.min(0), slabs.max(0)
        enter = near.max(1)
        is_box = (enter < far.min(1)) & (enter > 0) & (enter < depth)
        depth = np.where(is_box, enter, depth)
        at = origin + np.where(is_box, enter, 0.0)[:, None] * direction
        axis, side = near.argmax(1), (direction > 0)
        for k in range(3):
            i, j = (k + 1) % 3, (k + 2) % 3
            for s in range(2):
                on = is_box & (axis == k) & (side[:, k] == bool(s))
                rgb[on] = sample(faces[2 * k + s], at[on, i], at[on, j])
    shape = (CAMERA.height, CAMERA.width)
    depth = np.where(np.isfinite(depth) & (depth < 3.0), depth, np.nan)
    return rgb.reshape(*shape, 3).astype(np.uint8), depth.reshape(shape).astype(np.float32), is_box.reshape(shape)


def box_pose(x: float, y: float, yaw: float, z: float = 0.0, tilt: float = 0.0) -> np.ndarray:
    R = (Rotation.from_euler("z", yaw) * Rotation.from_euler("x", tilt)).as_matrix()
    return make_pose(R, np.array([x, y, z + SIZE[2] / 2]))


def in_camera(T_world_a: np.ndarray, T_world_b: np.ndarray) -> np.ndarray:
    """The motion from a to b as it maps points in the camera frame."""
    return invert(T_WORLD_CAM) @ T_world_b @ invert(T_world_a) @ T_WORLD_CAM
