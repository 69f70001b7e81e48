"""Episodes of points that a gripper carries along a curve, and what two batches have in common."""

import dataclasses

import numpy as np
import torch

from uma.geometry import se3
from uma.model.inputs import Normalization, PointSet
from uma.types import HORIZON, CameraModel
from uma_train.data.episode import DTYPES, Episode, placeholders, quantize

CAMERA = CameraModel(64, 36, 40.0, 40.0, 31.5, 17.5, "cam")

NORM = Normalization(step_scale=tuple(np.linspace(0.2, 1.5, HORIZON)))


def episode(
    seed: int = 0, S: int = 24, K: int = 16, N: int = 48, shots: int = 0, robot: bool = True, **changes
) -> Episode:
    """Return a gripper that carries points along a curve, with a random cloud.

    x of the first point of the cloud encodes seed and frame.
    """
    rng = np.random.default_rng(seed)
    F = S // 2
    xyz = rng.normal([0, 0, 0.9], 0.1, (F, N, 3)).astype(np.float32)
    clouds = [
        quantize(PointSet(x, rng.integers(0, 255, (N, 3), dtype=np.uint8), rng.uniform(0, 0.2, N).astype(np.float32)))
        for x in xyz
    ]
    path = (
        np.array([0, 0, 0.8])
        + np.linspace(0, 0.3, S + 1)[:, None] * rng.normal(size=3)
        + 0.02 * np.sin(np.arange(S + 1))[:, None]
    )
    quarter = se3.make_pose([[0, -1, 0], [1, 0, 0], [0, 0, 1]], np.zeros(3))
    R = np.stack(
        [np.diag([1.0, -1.0, -1.0]) @ se3.interpolate(np.eye(4), quarter, s)[:3, :3] for s in np.linspace(0, 1, S + 1)]
    )
    poses = se3.make_pose(R, path).astype(np.float32)
    tracks = (path[:S, None] + rng.normal(0, 0.03, (1, K, 3))).astype(np.float32)
    grip = np.linspace(0, 1, S).astype(np.float32)
    fields = {
        **{name: np.stack([c[i] for c in clouds]) for i, name in enumerate(("xyz", "rgb", "height"))},
        "frame_step": np.arange(0, S, 2, dtype=np.int32),
        **(
            {"pose": poses[:S], "gripper": grip, "target_pose": poses[1:], "target_gripper": grip}
            if robot
            else placeholders(S)
        ),
        "tracks": tracks,
        "static": rng.normal(0, 0.1, (8, 3)).astype(np.float32),
        "meta": {
            "seed": seed,
            "source": "test",
            "text": f"push {seed}",
            "has_robot": robot,
            "has_actions": robot,
            "camera": dataclasses.asdict(CAMERA),
        },
    }
    if shots:
        fields |= {
            "images": rng.integers(1, 255, (shots, 18, 32, 3), dtype=np.uint8),
            "image_frame": np.arange(shots, dtype=np.int32),
        }
    return Episode(**fields | changes)


def same_array(a, b) -> bool:
    """Whether two arrays are equal, with their element types; unknown joints are NaN."""
    return a.dtype == b.dtype and np.array_equal(a, b, equal_nan=a.dtype.kind == "f")


def same(a: Episode, b: Episode) -> bool:
    return a.meta == b.meta and all(same_array(getattr(a, n), getattr(b, n)) for n in DTYPES)


def tensors(batch):
    """(name, tensor) of all that a batch holds."""
    for part in ("points", "ee", "initial_points", "reference", "grid"):
        for f in dataclasses.fields(getattr(batch, part)):
            yield f"{part}.{f.name}", getattr(getattr(batch, part), f.name)
    yield "is_moving", batch.is_moving
    yield "T_cam_ee", torch.from_numpy(batch.T_cam_ee)


def assert_equal(a, b):
    for (name, x), (_, y) in zip(tensors(a), tensors(b), strict=True):
        assert (x is None and y is None) or torch.equal(x, y), name
    assert a.text == b.text and a.windows_per_task == b.windows_per_task
