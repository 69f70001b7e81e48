"""Augmentation of training batches: what a real camera and a real calibration get wrong. All pure functions; all off by default."""

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
from uma.types import HORIZON
from uma_train.data.windows import Batch


@dataclass(frozen=True)
class Transforms:
    """How strongly batches are augmented; 0 turns a part off, and all zeros leave a batch as it is, bit for bit.

    Attributes:
        depth_noise_m: standard deviation of each point's depth at 1 m, metres, along the point's own ray; grows with the depth's square as in a
            stereo camera. Heights over the table move along with the points.
        dropout: largest share of a cloud's points that are lost, drawn uniformly from 0 for each cloud. A lost point becomes a copy of a kept one.
        brightness: largest shift of all colours, of [0, 1]; drawn uniformly on both sides, as the next two.
        contrast: largest relative change of the colours' distance from mid-grey.
        tint: largest relative gain of each colour channel on its own.
        camera_m, camera_rad: largest shift of the camera on each axis, metres, and largest turn about a random axis through its optical centre, radians,
            as if it stood elsewhere: one rigid motion for all that is in its frame.
        ee_m, ee_rad: standard deviation of the measured end effector's error on each axis, metres and radians, as of a calibration that is a little off.
            The measured poses, of the present and of the history, err together; points, keypoints and the actions' targets stay where they truly are.

    Colour and camera are drawn once for a task (its o_0 and all its windows), the others for each cloud and window. No noise is put on given action tokens
    of their own: which tokens are given is drawn later, and what the robot gets wrong about itself is where it stands.
    """

    depth_noise_m: float = 0.0
    dropout: float = 0.0
    brightness: float = 0.0
    contrast: float = 0.0
    tint: float = 0.0
    camera_m: float = 0.0
    camera_rad: float = 0.0
    ee_m: float = 0.0
    ee_rad: float = 0.0

    def __post_init__(self) -> None:
        for f in fields(self):
            if not 0 <= getattr(self, f.name) < 1:
                raise ValueError(f"transforms.{f.name} {getattr(self, f.name)}: must lie in [0, 1)")

    @classmethod
    def mild(cls) -> Transforms:
        """Values for a start, near the errors of a ZED 2 and of a hand-eye calibration; they have not been tuned."""
        return cls(depth_noise_m=0.002, dropout=0.2, brightness=0.1, contrast=0.2, tint=0.1, camera_m=0.03, camera_rad=0.05, ee_m=0.003, ee_rad=0.01)


def transform(batch: Batch, config: Transforms, norm: Normalization, seeds: np.ndarray) -> Batch:
    """``batch`` under ``config``.

    Args:
        norm: what the grid was encoded with.
        seeds: ``(tasks,)``, one per task, as of `uma_train.data.windows.task_seeds`: a task gets the same transforms whatever else is in the batch.
    """
    if config == Transforms():
        return batch
    w = batch.windows_per_task
    rngs = [np.random.default_rng([int(seed), 1]) for seed in seeds]
    # Everything is drawn whether it is used or not, so that one setting does not change another's draws.
    color = np.stack([r.uniform(-1, 1, 5) for r in rngs])
    camera = np.stack([np.append(r.uniform(-1, 1, 4), r.normal(size=3)) for r in rngs])
    ee = np.concatenate([r.normal(size=(w, 6)) for r in rngs])
    repeat = np.repeat(np.arange(len(seeds)), w)
    points, initial = batch.points, batch.initial_points
    if config.depth_noise_m or config.dropout:
        points, initial = (_worn(p, config, [r for r in rngs for _ in range(n)]) for p, n in ((points, w), (initial, 1)))
    if config.brightness or config.contrast or config.tint:
        points, initial = _recolored(points, config, color[repeat]), _recolored(initial, config, color)
    batch = replace(batch, points=points, initial_points=initial)
    if config.camera_m or config.camera_rad:
        axis = camera[:, 4:] / np.linalg.norm(camera[:, 4:], axis=1, keepdims=True)
        R = Rotation.from_rotvec(axis * camera[:, 3:4] * config.camera_rad).as_matrix()
        batch = moved_camera(batch, R, camera[:, :3] * config.camera_m, norm)
    if config.ee_m or config.ee_rad:
        batch = misplaced_end_effector(batch, Rotation.from_rotvec(ee[:, 3:] * config.ee_rad).as_matrix(), ee[:, :3] * config.ee_m, norm)
    return batch


def _worn(points: PointBatch, config: Transforms, rngs: list[np.random.Generator]) -> PointBatch:
    """Depth noise and dropout of clouds, one generator each."""
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
    kept = {name: getattr(points, name)[rows, index] for name in ("xyz", "rgb", "height", "pixel") if getattr(points, name) is not None}
    return replace(points, **kept)


def table_normal(points: PointBatch) -> Tensor:
    """``(B, 3)`` gradient of the height over the table, by least squares: heights are an affine function of the positions."""
    return table(points.xyz, points.height)[:, :3].float()


def _recolored(points: PointBatch, config: Transforms, drawn: np.ndarray) -> PointBatch:
    """Points and image under the same brightness, contrast and channel gains; ``drawn`` ``(B, 5)`` in [-1, 1]. Images of zeros are absent and stay."""
    drawn = torch.from_numpy(drawn.astype(np.float32))
    shift, gain, tint = drawn[:, :1] * config.brightness, 1 + drawn[:, 1:2] * config.contrast, 1 + drawn[:, 2:] * config.tint

    def change(colors: Tensor, per_channel: Tensor, per_sample: Tensor, scale: Tensor) -> Tensor:
        return ((((colors - 0.5) * scale + 0.5) + per_sample) * per_channel).clamp(0, 1)

    rgb = change(points.rgb, tint[:, None], shift[..., None], gain[..., None])
    image = points.image
    if image is not None:
        is_there = (image.amax((1, 2, 3), keepdim=True) > 0).float()
        image = change(image, tint[..., None, None], shift[..., None, None], gain[..., None, None]) * is_there
    return replace(points, rgb=rgb, image=image)


def _step_scales(grid: TokenGrid, norm: Normalization) -> Tensor:
    """``(T, 1)`` factors of the grid's action tokens: measured ones, then the chunk."""
    T = grid.action.shape[1]
    return torch.from_numpy(norm.of_steps(T, T - HORIZON))


def _rotated_tokens(action: Tensor, steps: Tensor, left: Tensor, right: Tensor, shift: Tensor, turn: Tensor, norm: Normalization) -> Tensor:
    """Encoded actions whose relative rotation M becomes ``left M right`` and whose relative position p becomes ``turn p + shift`` (metres)."""
    a = action.double()
    position = (a[..., :3] * steps * norm.position_scale) @ turn.transpose(-1, -2) + shift
    columns = a[..., 3:9] * steps * norm.rotation_scale + a.new_tensor([1, 0, 0, 0, 1, 0])
    x, y = columns[..., :3], columns[..., 3:]
    M = left[:, None] @ torch.stack([x, y, torch.linalg.cross(x, y)], -1) @ right[:, None]
    rotation = (torch.cat([M[..., 0], M[..., 1]], -1) - a.new_tensor([1, 0, 0, 0, 1, 0])) / norm.rotation_scale
    return torch.cat([position / norm.position_scale / steps, rotation / steps, a[..., 9:]], -1).to(action.dtype)


def _changed(new: Tensor, batch: Batch) -> Tensor:
    """``new`` action tokens where there are any: absent actions stay zeros, and so do the states of sources that show no robot."""
    old = batch.grid.action
    is_past = torch.arange(old.shape[1]) < old.shape[1] - HORIZON
    is_there = batch.ee.is_known[:, None] & (is_past | batch.grid.is_supervised_action[:, None])
    return torch.where(is_there[..., None], new, old)


def moved_camera(batch: Batch, R: np.ndarray, p: np.ndarray, norm: Normalization) -> Batch:
    """All that is in the camera's frame under one rigid motion per task, ``x -> R x + p`` with ``(tasks, 3, 3)`` and ``(tasks, 3)`` metres.

    The image and the points' places in it stay: they are what was seen.
    """
    w, n = batch.windows_per_task, batch.T_cam_ee.shape[0]
    task = (torch.from_numpy(R), torch.from_numpy(p)[:, None])
    window = tuple(v.repeat_interleave(w, 0) for v in task)

    def move(x: Tensor, by: tuple[Tensor, Tensor]) -> Tensor:
        return (x.double() @ by[0].transpose(1, 2) + by[1]).to(x.dtype)

    T = np.tile(np.eye(4), (n, 1, 1))
    T[:, :3, :3], T[:, :3, 3] = window[0].numpy(), window[1][:, 0].numpy()
    T_cam_ee = T @ batch.T_cam_ee
    unknown = ~batch.ee.is_known.numpy()
    T_cam_ee[unknown, :3, :3] = np.eye(3)
    turn = window[0]
    action = _rotated_tokens(batch.grid.action, _step_scales(batch.grid, norm), turn, turn.transpose(1, 2), turn.new_zeros(3), turn, norm)
    motion = (batch.grid.motion.double() @ turn[:, None].transpose(-1, -2)).float()
    identity = (batch.grid.identity.double() @ turn.transpose(-1, -2)).float()
    reference = batch.reference
    return replace(
        batch,
        points=replace(batch.points, xyz=move(batch.points.xyz, window)),
        initial_points=replace(batch.initial_points, xyz=move(batch.initial_points.xyz, task)),
        reference=replace(reference, position=move(reference.position, task), start=move(reference.start, task)),
        ee=replace(batch.ee, pose=torch.from_numpy(T_cam_ee.astype(np.float32))),
        grid=replace(batch.grid, action=_changed(action, batch), motion=motion, identity=identity),
        T_cam_ee=T_cam_ee,
    )


def misplaced_end_effector(batch: Batch, R: np.ndarray, p: np.ndarray, norm: Normalization) -> Batch:
    """The measured end effector elsewhere than it is: shifted by ``(B, 3)`` metres and turned by ``(B, 3, 3)`` about itself, along the camera's axes.

    Measured poses of the history err alike, so relative to the present only their rotation's axis changes. Targets and keypoints stay where they are, and
    are coded relative to the erring pose, as deployment will decode them. Sources that show no robot stay as they are.
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
    steps = _step_scales(grid, norm)
    action = torch.cat(
        [
            _rotated_tokens(past, steps[:present], turn, turn.transpose(1, 2), shift.new_zeros(3), one, norm),
            _rotated_tokens(future, steps[present:], one, turn.transpose(1, 2), -shift[:, None], one, norm),
        ],
        1,
    )
    valid = grid.is_valid[..., None]
    motion = torch.where(valid[:, None], grid.motion - (shift[:, None, None] / norm.local_scale).float(), grid.motion)
    identity = torch.where(valid, grid.identity - (shift[:, None] / norm.local_scale).float(), grid.identity)
    ee = replace(batch.ee, pose=torch.from_numpy(T_cam_ee.astype(np.float32)))
    grid = replace(grid, action=_changed(action, batch), motion=motion, identity=identity)
    return replace(batch, ee=ee, grid=grid, T_cam_ee=T_cam_ee)
