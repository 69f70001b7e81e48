"""A table with boxes, drawn by casting rays: colour, depth and truth without a simulator."""

import numpy as np

from uma.geometry import se3
from uma.geometry.camera import unproject
from uma.types import CameraModel

CAMERA = CameraModel(320, 180, 132.0, 132.0, 159.5, 89.5)
RED, BLUE = (200, 40, 40), (40, 60, 200)


def pose(eye=(0.5, -0.55, 0.5), target=(0.5, 0.0, 0.0)) -> np.ndarray:
    """T_base_cam."""
    z = np.subtract(target, eye) / np.linalg.norm(np.subtract(target, eye))
    x = np.cross(z, [0.0, 0.0, 1.0])
    x /= np.linalg.norm(x)
    return se3.make_pose(np.stack([x, np.cross(z, x), z], 1), np.array(eye))


T_BASE_CAM = pose()


def draw(boxes=(), camera=CAMERA, checker=0.0, noise=0.0015, seed=0):
    """rgb, depth, and ``(H, W)`` int: 0 is the table, 1 the first box.

    Args:
        boxes: (low corner, high corner, colour) in the base frame, metres.
        checker: brightness step of a chequered table, as a share.
    """
    rng = np.random.default_rng(seed)
    rays = unproject(np.ones((camera.height, camera.width), np.float32), camera).astype(np.float64)
    way, eye = rays @ T_BASE_CAM[:3, :3].T, T_BASE_CAM[:3, 3]
    depth = np.where(way[..., 2] < -1e-3, -eye[2] / np.minimum(way[..., 2], -1e-3), np.inf)
    hit = eye + np.where(np.isfinite(depth), depth, 0.0)[..., None] * way
    dark = (np.floor(hit[..., 0] / 0.06) + np.floor(hit[..., 1] / 0.06)) % 2
    rgb = np.array([170.0, 165.0, 160.0]) * (1 - checker * dark[..., None])
    label = np.zeros(depth.shape, int)
    for i, (low, high, colour) in enumerate(boxes):
        with np.errstate(divide="ignore"):
            slabs = np.stack([(np.array(low) - eye) / way, (np.array(high) - eye) / way])
        near, far = slabs.min(0), slabs.max(0)
        enter = near.max(-1)
        is_box = (enter < far.min(-1)) & (enter > 0) & (enter < depth)
        depth = np.where(is_box, enter, depth)
        shade = np.array([0.7, 0.85, 1.0])[near.argmax(-1)]
        rgb = np.where(is_box[..., None], np.array(colour) * shade[..., None], rgb)
        label[is_box] = i + 1
    depth = depth + noise * depth**2 * rng.standard_normal(depth.shape)
    depth = np.where((depth > 0.3) & (depth < 3.0), depth, np.nan).astype(np.float32)
    rgb = np.clip(rgb + rng.integers(-4, 5, label.shape)[..., None], 0, 255).astype(np.uint8)
    return rgb, depth, label


def box(x, y, size=(0.06, 0.06, 0.05), colour=RED, z=0.0):
    low = np.array([x - size[0] / 2, y - size[1] / 2, z])
    return low, low + np.array(size), colour


def middle(label, k=1) -> tuple[int, int]:
    """A pixel (u, v) of box ``k``: the one nearest to its pixels' mean."""
    at = np.argwhere(label == k)
    v, u = at[((at - at.mean(0)) ** 2).sum(1).argmin()]
    return int(u), int(v)
