"""Augmentation of training batches against camera and calibration errors: pure functions, off by default."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace

import numpy as np
import torch
from scipy.spatial.transform import Rotation
from torch import Tensor

from uma.model.encoders import PointBatch
from uma.model.heights import table
from uma.model.inputs import Normalization
from uma.model.uma import TokenGrid
from uma.settings import within
from uma.types import HORIZON
from uma_train.data.batch import Batch
from uma_train.data.rigid import changed, moved, rotated_tokens, step_scales


@dataclass(frozen=True)
class Transforms:
    """Augmentation strengths; 0 turns a part off, and all zeros leave a batch unchanged, bit for bit.

    Attributes:
        depth_noise_m: standard deviation of each point's depth at 1 m, metres, along its ray; grows with the depth
            squared, as in a stereo camera. Heights above the table change accordingly.
        dropout: largest fraction of a cloud's points that are lost, drawn uniformly from 0 per cloud. A lost point
            becomes a copy of a kept one.
        brightness: largest shift of all colours, of [0, 1]; drawn uniformly in both directions, as the next two.
        contrast: largest relative change of the colours' distance from mid-grey.
        tint: largest relative gain of each colour channel.
        camera_m, camera_rad: largest camera shift per axis, metres, and largest rotation about a random axis through
            its optical centre, radians. One rigid motion applies to everything in the camera frame.
        turn_rad, slide_m: largest turn of the whole sample about the table's normal, radians, and largest shift along
            the table per axis, metres. One rigid motion applies to everything, as if the robot stood elsewhere.
        ee_m, ee_rad: standard deviation of the measured end effector's error per axis, metres and radians, as of a
            calibration error. Current and past measured poses share it; points, keypoints and targets stay at their
            true positions.

    Colour and camera are drawn once per task (its o_0 and all its windows), the others per cloud and window. Given
    action tokens get no noise of their own, because the masks are drawn later.
    """

    depth_noise_m: float = 0.0
    dropout: float = 0.0
    brightness: float = 0.0
    contrast: float = 0.0
    tint: float = 0.0
    camera_m: float = 0.0
    camera_rad: float = 0.0
    turn_rad: float = 0.0
    slide_m: float = 0.0
    ee_m: float = 0.0
    ee_rad: float = 0.0

    def __post_init__(self) -> None:
        limits = {f.name: (0.0, 1.0) for f in fields(self)} | {"turn_rad": (0.0, float(np.pi))}
        within(self, limits, "transforms.")

    @classmethod
    def mild(cls) -> Transforms:
        """Return untuned initial values, near the errors of a ZED 2 and of a hand-eye calibration."""
        return cls(
            depth_noise_m=0.002,
            dropout=0.2,
            brightness=0.1,
            contrast=0.2,
            tint=0.1,
            camera_m=0.03,
            camera_rad=0.05,
            ee_m=0.003,
            ee_rad=0.01,
        )


def transform(batch: Batch, config: Transforms, norm: Normalization, seeds: np.ndarray) -> Batch:
    """Apply ``config`` to ``batch``.

    Args:
        norm: normalisation of the grid.
        seeds: ``(tasks,)``, one per task, as of `uma_train.data.windows.task_seeds`; a task's transforms do not depend
            on the rest of the batch.
    """
    if config == Transforms():
        return batch
    w = batch.windows_per_task
    rngs = [np.random.default_rng([int(seed), 1]) for seed in seeds]
    # Everything is always drawn, so that one setting does not change another's draws.
    color = np.stack([r.uniform(-1, 1, 5) for r in rngs])
    camera = np.stack([np.append(r.uniform(-1, 1, 4), r.normal(size=3)) for r in rngs])
    ee = np.concatenate([r.normal(size=(w, 6)) for r in rngs])
    repeat = np.repeat(np.arange(len(seeds)), w)
    points, initial = batch.points, batch.initial_points
    if config.depth_noise_m or config.dropout:
        points, initial = (
            _worn(p, config, [r for r in rngs for _ in range(n)]) for p, n in ((points, w), (initial, 1))
        )
    if config.brightness or config.contrast or config.tint:
        points, initial = _recolored(points, config, color[repeat]), _recolored(initial, config, color)
    batch = replace(batch, points=points, initial_points=initial)
    if config.camera_m or config.camera_rad:
        axis = camera[:, 4:] / np.linalg.norm(camera[:, 4:], axis=1, keepdims=True)
        R = Rotation.from_rotvec(axis * camera[:, 3:4] * config.camera_rad).as_matrix()
        batch = moved(batch, R, camera[:, :3] * config.camera_m, norm)
    if config.turn_rad or config.slide_m:
        drawn = np.stack([np.random.default_rng([int(seed), 2]).uniform(-1, 1, 4) for seed in seeds])
        batch = moved(batch, *_along_table(batch.initial_points, drawn, config), norm)
    if config.ee_m or config.ee_rad:
        batch = misplaced_end_effector(
            batch, Rotation.from_rotvec(ee[:, 3:] * config.ee_rad).as_matrix(), ee[:, :3] * config.ee_m, norm
        )
    return batch


def _along_table(points: PointBatch, drawn: np.ndarray, config: Transforms) -> tuple[np.ndarray, np.ndarray]:
    """Return rotations ``(tasks, 3, 3)`` about the table's normal through the clouds' centres, with shifts.

    Args:
        drawn: ``(tasks, 4)`` in [-1, 1].
    """
    normal = table_normal(points).double().numpy()
    normal /= np.linalg.norm(normal, axis=1, keepdims=True)
    R = Rotation.from_rotvec(normal * drawn[:, :1] * config.turn_rad).as_matrix()
    center = points.xyz.double().mean(1).numpy()
    slide = drawn[:, 1:] - (drawn[:, 1:] * normal).sum(1, keepdims=True) * normal
    return R, center - (R @ center[..., None])[..., 0] + slide * config.slide_m


def _worn(points: PointBatch, config: Transforms, rngs: list[np.random.Generator]) -> PointBatch:
    """Apply depth noise and dropout to clouds, with one generator each."""
    B, N, _ = points.xyz.shape
    noise = torch.from_numpy(np.stack([r.standard_normal(N, np.float32) for r in rngs]))
    if config.depth_noise_m:
        z = points.xyz[..., 2]
        xyz = points.xyz * (1 + config.depth_noise_m * z * noise)[..., None]
        height = points.height + ((xyz - points.xyz) * table_normal(points)[:, None]).sum(-1)
        points = replace(points, xyz=xyz, height=height)
    source = []
    for r in rngs:
        order, lost = r.permutation(N), int(config.dropout * r.random() * N)
        index = np.arange(N)
        index[order[:lost]] = order[lost:][r.integers(N - lost, size=lost)]
        source.append(index)
    index = torch.from_numpy(np.stack(source))
    rows = torch.arange(B)[:, None]
    kept = {
        name: getattr(points, name)[rows, index]
        for name in ("xyz", "rgb", "height", "normalized_uv")
        if getattr(points, name) is not None
    }
    return replace(points, **kept)


def table_normal(points: PointBatch) -> Tensor:
    """Return the ``(B, 3)`` gradient of the height above the table; heights are affine in the positions."""
    return table(points.xyz, points.height)[:, :3].float()


def _recolored(points: PointBatch, config: Transforms, drawn: np.ndarray) -> PointBatch:
    """Apply the same brightness, contrast and channel gains to points and image; ``drawn`` is ``(B, 5)`` in [-1, 1].

    All-zero images are absent and stay zero.
    """
    drawn = torch.from_numpy(drawn.astype(np.float32))
    shift, gain, tint = (
        drawn[:, :1] * config.brightness,
        1 + drawn[:, 1:2] * config.contrast,
        1 + drawn[:, 2:] * config.tint,
    )

    def change(colors: Tensor, per_channel: Tensor, per_sample: Tensor, scale: Tensor) -> Tensor:
        return ((((colors - 0.5) * scale + 0.5) + per_sample) * per_channel).clamp(0, 1)

    rgb = change(points.rgb, tint[:, None], shift[..., None], gain[..., None])
    image = points.image
    if image is not None:
        is_there = (image.amax((1, 2, 3), keepdim=True) > 0).float()
        image = change(image, tint[..., None, None], shift[..., None, None], gain[..., None, None]) * is_there
    return replace(points, rgb=rgb, image=image)


def misplaced_end_effector(batch: Batch, R: np.ndarray, p: np.ndarray, norm: Normalization) -> Batch:
    """Displace the measured end effector: shift ``(B, 3)`` metres and rotation ``(B, 3, 3)`` about itself, along the
    camera's axes.

    Past measured poses share the error, so only their rotation axes change relative to the current pose. Targets and
    keypoints keep their true positions and are encoded relative to the erroneous pose, as at deployment. Sources
    without a robot are unchanged.
    """
    known = batch.ee.is_known.numpy()
    R, p = np.where(known[:, None, None], R, np.eye(3)), p * known[:, None]
    T_cam_ee = batch.T_cam_ee.copy()
    T_cam_ee[:, :3, :3] = R @ T_cam_ee[:, :3, :3]
    T_cam_ee[:, :3, 3] += p
    turn, shift = torch.from_numpy(R), torch.from_numpy(p)
    one = torch.eye(3, dtype=torch.float64).expand_as(turn)
    grid: TokenGrid = batch.grid
    present = grid.action.shape[1] - HORIZON
    past, future = grid.action[:, :present], grid.action[:, present:]
    steps = step_scales(grid, norm)
    action = torch.cat(
        [
            rotated_tokens(past, steps[:present], turn, turn.transpose(1, 2), shift.new_zeros(3), one, norm),
            rotated_tokens(future, steps[present:], one, turn.transpose(1, 2), -shift[:, None], one, norm),
        ],
        1,
    )
    valid = grid.is_valid[..., None]
    motion = torch.where(valid[:, None], grid.motion - (shift[:, None, None] / norm.local_scale).float(), grid.motion)
    identity = torch.where(valid, grid.identity - (shift[:, None] / norm.local_scale).float(), grid.identity)
    ee = replace(batch.ee, pose=torch.from_numpy(T_cam_ee.astype(np.float32)))
    grid = replace(grid, action=changed(action, batch), motion=motion, identity=identity)
    return replace(batch, ee=ee, grid=grid, T_cam_ee=T_cam_ee)
