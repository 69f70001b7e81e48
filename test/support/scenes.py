"""A small scene for tests of the policy, made without a simulator."""

import numpy as np

from uma.geometry import se3
from uma.types import CameraModel, Observation, ReferenceMotion

CAMERA = CameraModel(160, 90, 66.0, 66.0, 79.5, 44.5)


def scene(seed: int = 0, x: float = 0.0) -> Observation:
    """A box on a table seen from above at an angle, without a simulator."""
    rng = np.random.default_rng(seed)
    v, u = np.indices((90, 160))
    ray = np.stack([(u - CAMERA.cx) / CAMERA.fx, (v - CAMERA.cy) / CAMERA.fy, np.ones_like(u, float)], -1)
    n, d = np.array([0, -0.8, -0.6]), 0.8  # table: n . p + d = 0
    depth = -d / (ray @ n)
    box = (np.abs(u - 80 - 100 * x) < 12) & (np.abs(v - 50) < 8)
    depth = np.where(box, depth - 0.05, depth) + rng.normal(0, 0.0005, depth.shape)
    depth = np.where((depth > 0.3) & (depth < 3), depth, np.nan).astype(np.float32)
    rgb = np.where(box[..., None], [200, 40, 40], [180, 180, 180]).astype(np.uint8)
    T = se3.make_pose(np.diag([1.0, -1.0, -1.0]), np.array([0.0, -0.2, 0.8]))
    return Observation(rgb, depth, CAMERA, T, 0.2, 3.5)


def reference(K: int = 3) -> ReferenceMotion:
    start = np.array([[0.01 * k, 0.02, 0.95] for k in range(K)])
    return ReferenceMotion(tuple(np.stack([s, s + [0.1, -0.2, 0.0]]) for s in start))
