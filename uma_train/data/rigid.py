"""Rigid motions of a batch: to another camera or another policy frame."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from uma.geometry import se3
from uma.model.frame import PolicyFrame
from uma.model.inputs import Normalization
from uma.model.uma import TokenGrid
from uma.types import HORIZON, InputError
from uma_train.data.batch import Batch
from uma_train.data.episode import EpisodeError


def step_scales(grid: TokenGrid, norm: Normalization) -> Tensor:
    """Return ``(T, 1)`` factors of the grid's action tokens: measured ones, then the chunk."""
    T = grid.action.shape[1]
    return torch.from_numpy(norm.of_steps(T, T - HORIZON))


def rotated_tokens(
    action: Tensor, steps: Tensor, left: Tensor, right: Tensor, shift: Tensor, turn: Tensor, norm: Normalization
) -> Tensor:
    """Transform encoded actions: rotation M to ``left M right``, position p to ``turn p + shift`` (metres)."""
    a = action.double()
    position = (a[..., :3] * steps * norm.position_scale) @ turn.transpose(-1, -2) + shift
    columns = a[..., 3:9] * steps * norm.rotation_scale + a.new_tensor([1, 0, 0, 0, 1, 0])
    x, y = columns[..., :3], columns[..., 3:]
    M = left[:, None] @ torch.stack([x, y, torch.linalg.cross(x, y)], -1) @ right[:, None]
    rotation = (torch.cat([M[..., 0], M[..., 1]], -1) - a.new_tensor([1, 0, 0, 0, 1, 0])) / norm.rotation_scale
    return torch.cat([position / norm.position_scale / steps, rotation / steps, a[..., 9:]], -1).to(action.dtype)


def changed(new: Tensor, batch: Batch) -> Tensor:
    """Select ``new`` action tokens where the batch has actions; absent actions and states without a robot stay zero."""
    old = batch.grid.action
    is_past = torch.arange(old.shape[1]) < old.shape[1] - HORIZON
    is_there = batch.ee.is_known[:, None] & (is_past | batch.grid.is_supervised_action[:, None])
    return torch.where(is_there[..., None], new, old)


def _conjugated(motion: Tensor | None, T: np.ndarray) -> Tensor | None:
    """Express motions ``(B, 4, 4)`` in another frame: ``T M T^-1`` with ``(B, 4, 4)`` T."""
    if motion is None:
        return None
    return torch.from_numpy((T @ motion.double().numpy() @ se3.invert(T)).astype(np.float32))


def moved(
    batch: Batch,
    R: np.ndarray,
    p: np.ndarray,
    norm: Normalization,
    specification: tuple[np.ndarray, np.ndarray] | None = None,
) -> Batch:
    """Apply one rigid motion per task, ``x -> R x + p``, to a batch: ``(tasks, 3, 3)`` and ``(tasks, 3)`` m.

    The images and the points' image coordinates stay the same.

    Args:
        specification: another motion for o_0 and the reference, of a task that another episode specifies. None = the
            same.
    """
    w, n = batch.windows_per_task, batch.T_cam_ee.shape[0]
    task = (torch.from_numpy(R), torch.from_numpy(p)[:, None])
    window = tuple(v.repeat_interleave(w, 0) for v in task)
    if specification is not None:
        task = (torch.from_numpy(specification[0]), torch.from_numpy(specification[1])[:, None])

    def move(x: Tensor, by: tuple[Tensor, Tensor]) -> Tensor:
        return (x.double() @ by[0].transpose(1, 2) + by[1]).to(x.dtype)

    T = np.tile(np.eye(4), (n, 1, 1))
    T[:, :3, :3], T[:, :3, 3] = window[0].numpy(), window[1][:, 0].numpy()
    T_cam_ee = T @ batch.T_cam_ee
    unknown = ~batch.ee.is_known.numpy()
    T_cam_ee[unknown, :3, :3] = np.eye(3)
    turn = window[0]
    action = rotated_tokens(
        batch.grid.action, step_scales(batch.grid, norm), turn, turn.transpose(1, 2), turn.new_zeros(3), turn, norm
    )
    motion = (batch.grid.motion.double() @ turn[:, None].transpose(-1, -2)).float()
    identity = (batch.grid.identity.double() @ turn.transpose(-1, -2)).float()
    reference = batch.reference
    return replace(
        batch,
        points=replace(batch.points, xyz=move(batch.points.xyz, window)),
        initial_points=replace(batch.initial_points, xyz=move(batch.initial_points.xyz, task)),
        reference=replace(reference, position=move(reference.position, task), start=move(reference.start, task)),
        ee=replace(
            batch.ee,
            pose=torch.from_numpy(T_cam_ee.astype(np.float32)),
            carried=_conjugated(batch.ee.carried, T),
        ),
        grid=replace(batch.grid, action=changed(action, batch), motion=motion, identity=identity),
        T_cam_ee=T_cam_ee,
    )


def frame_of(frame: PolicyFrame, meta: dict, plane: np.ndarray) -> np.ndarray:
    """Return ``(4, 4)`` T_frame_cam of an episode.

    Args:
        meta: of the episode; ``T_base_cam`` is used.
        plane: ``(4,)`` supporting plane in the episode's camera frame.

    Raises:
        EpisodeError: the frame cannot be established.
    """
    extrinsics = meta.get("T_base_cam")
    try:
        return frame.from_camera(plane, None if extrinsics is None else np.array(extrinsics, np.float64))
    except InputError as error:
        raise EpisodeError(f"episode of {meta.get('source') or 'unknown source'}: {error}") from None
