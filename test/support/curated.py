"""Small synthetic clips with known truth: textured squares over a textured table, seen from above."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from uma.geometry import se3
from uma_train.curation.clip import Clip

WIDTH, HEIGHT, FOCAL, TABLE_M = 240, 180, 260.0, 0.8
K = np.array([[FOCAL, 0, (WIDTH - 1) / 2], [0, FOCAL, (HEIGHT - 1) / 2], [0, 0, 1]])


@dataclass
class Square:
    """A horizontal square: ``half`` its half side, m; ``path`` (T, 4) its x, y, height over the table, and yaw."""

    path: np.ndarray
    half: float = 0.05
    seed: int = 1
    texture: np.ndarray = field(init=False)

    def __post_init__(self):
        rng = np.random.default_rng(self.seed)
        self.texture = np.kron(rng.integers(40, 250, (9, 9, 3)), np.ones((8, 8, 1))).astype(np.uint8)

    def pose(self, t: int) -> np.ndarray:
        """World (the camera at rest) from square, at image ``t``."""
        x, y, h, yaw = self.path[t]
        c, s = np.cos(yaw), np.sin(yaw)
        return se3.make_pose(np.array([[c, -s, 0], [s, c, 0], [0, 0, 1.0]]), np.array([x, y, TABLE_M - h]))


def path(T: int, start=(0.0, 0.0, 0.04, 0.0), end=(0.0, 0.0, 0.04, 0.0)) -> np.ndarray:
    """A straight path of ``T`` images that rests in its first third."""
    s = np.clip(np.linspace(-0.5, 1, T), 0, 1)[:, None]
    return (1 - s) * np.array(start) + s * np.array(end)


def scene(squares: list[Square], T: int = 12, shifts: np.ndarray | None = None, noise: float = 0.0005) -> Clip:
    """Render a clip; ``shifts`` (T, 3) moves the camera, m. The poses of a moving camera are left out."""
    rng = np.random.default_rng(0)
    table = np.random.default_rng(9).integers(120, 136, (64, 64, 1)).repeat(3, 2)
    if shifts is not None:
        table = np.random.default_rng(9).integers(60, 200, (64, 64, 1)).repeat(3, 2)
    v, u = np.mgrid[0:HEIGHT, 0:WIDTH]
    ray = np.stack([(u - K[0, 2]) / FOCAL, (v - K[1, 2]) / FOCAL, np.ones_like(u, float)], -1)
    video, depths = np.empty((T, HEIGHT, WIDTH, 3), np.uint8), np.empty((T, HEIGHT, WIDTH), np.float32)
    for t in range(T):
        eye = np.zeros(3) if shifts is None else shifts[t]
        depth = np.full(u.shape, TABLE_M - eye[2])
        at = eye + ray * depth[..., None]
        colour = _blend(table, at[..., :2] * 40 + 32)
        for square in squares:
            z = square.pose(t)[2, 3] - eye[2]
            local = se3.apply(se3.invert(square.pose(t)), eye + ray * z)
            inside = (np.abs(local[..., :2]) < square.half).all(-1) & (z < depth)
            colour[inside] = _blend(square.texture, (local[..., :2] / square.half + 1) * 35.5)[inside]
            depth = np.where(inside, z, depth)
        video[t] = np.clip(colour + rng.normal(0, 1.5, (*u.shape, 1)), 0, 255)
        depths[t] = depth + noise * rng.standard_normal(u.shape)
    return Clip(
        name="scene",
        video=video,
        depths=depths,
        intrinsics=np.tile(K, (T, 1, 1)),
        extrinsics=np.tile(np.eye(4), (T, 1, 1)) if shifts is None else None,
        stamps=np.arange(T) / 15.0,
        text="move the square",
    )


def _blend(texture: np.ndarray, at: np.ndarray) -> np.ndarray:
    """Bilinear values of a texture that repeats."""
    low = np.floor(at).astype(int)
    f = (at - low)[..., None]
    n = len(texture)
    x = [[texture[(low[..., 1] + j) % n, (low[..., 0] + i) % n].astype(float) for i in (0, 1)] for j in (0, 1)]
    top, bottom = ((1 - f[..., 0, :]) * a + f[..., 0, :] * b for a, b in x)
    return (1 - f[..., 1, :]) * top + f[..., 1, :] * bottom


def truth(square: Square, start: np.ndarray, T: int) -> np.ndarray:
    """Where points ``(N, 3)`` of the first image go: ``(T, N, 3)``."""
    local = se3.apply(se3.invert(square.pose(0)), start)
    return np.stack([se3.apply(square.pose(t), local) for t in range(T)])
