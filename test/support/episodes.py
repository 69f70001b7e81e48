"""A small episode for tests of the training path, made without a simulator."""

from pathlib import Path

import numpy as np

from uma.geometry import se3
from uma.model.config import tiny
from uma.model.inputs import PointSet
from uma_train.data.episode import Episode, quantize, save_episode


def episode(seed: int = 0, S: int = 24) -> Episode:
    """A gripper that carries a stick along a line; points are random."""
    rng = np.random.default_rng(seed)
    F, N = S // 2, tiny().points.total
    frames = [
        quantize(
            PointSet(
                rng.normal([0, 0, 0.9], 0.2, (N, 3)).astype(np.float32),
                rng.integers(0, 255, (N, 3), dtype=np.uint8),
                rng.uniform(0, 0.2, N).astype(np.float32),
            )
        )
        for _ in range(F)
    ]
    direction = rng.normal(size=3)
    path = np.array([0, 0, 0.8]) + np.linspace(0, 0.3, S + 1)[:, None] * direction / np.linalg.norm(direction)
    poses = se3.make_pose(np.repeat(np.diag([1.0, -1.0, -1.0])[None], S + 1, 0), path).astype(np.float32)
    tracks = (path[:S, None] + rng.normal(0, 0.03, (1, 16, 3))).astype(np.float32)
    grip = (np.arange(S) > S // 2).astype(np.float32)
    return Episode(
        *(np.stack([f[i] for f in frames]) for i in range(3)),
        np.arange(0, S, 2, dtype=np.int32)[:F],
        poses[:S],
        grip,
        poses[1:],
        grip,
        tracks,
        rng.normal(0, 0.1, (8, 3)).astype(np.float32),
        {"seed": seed},
    )


def episode_folder(folder: Path, count: int = 8, **meta) -> Path:
    """A folder of ``count`` episodes."""
    folder.mkdir(parents=True, exist_ok=True)
    for i in range(count):
        e = episode(i)
        e.meta.update(meta)
        save_episode(folder / f"{i}.npz", e)
    return folder
