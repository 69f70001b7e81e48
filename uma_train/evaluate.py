"""Open-loop errors on held-out windows, one row per inference mode."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from uma.geometry import se3
from uma.model.inputs import decode_actions
from uma.model.masks import pattern
from uma.model.uma import Uma
from uma_train.data.windows import Batch, Windows


@dataclass(frozen=True)
class ModeErrors:
    """Errors of one mode.

    Attributes:
        position_mm: action position error at steps 0, 7, 15, millimetres; NaN where actions are given.
        rotation_deg: the same of rotation.
        gripper: share of steps whose gripper is on the wrong side of a half.
        motion_mm: mean keypoint error, millimetres; NaN in control mode.
        motion_still_mm: the same error of the guess that nothing moves from where it is.
    """

    position_mm: tuple[float, float, float]
    rotation_deg: tuple[float, float, float]
    gripper: float
    motion_mm: float
    motion_still_mm: float


def mode_errors(model: Uma, batch: Batch, mode: str, *, num_steps: int = 8, seed: int = 0) -> ModeErrors:
    """Sample one chunk per window in ``mode`` (control, joint, dynamics or inverse) and compare."""
    grid = batch.grid
    B, T, K, _ = grid.motion.shape
    if mode == "control":
        K = 0
        grid = type(grid)(grid.action, grid.motion[:, :, :0], grid.identity[:, :0], grid.is_valid[:, :0])
    mask = pattern(B, T, K, action_target=mode != "dynamics", motion_target=mode in ("joint", "dynamics"))
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        cache = model.prepare_context(batch.points, batch.ee, model.encode_task(batch.initial_points, batch.reference))
        noise = (torch.randn(B, T, grid.action.shape[-1], generator=generator), torch.randn(B, T, K, 3, generator=generator))
        action, motion = (v.numpy() for v in model.sample(grid, mask, cache, noise, num_steps))
    nan3 = (float("nan"),) * 3
    position, rotation, gripper = nan3, nan3, float("nan")
    if mode != "dynamics":
        truth = grid.action.numpy()
        p, r, g = [], [], []
        for b in range(B):
            poses, grip = decode_actions(action[b, 1:], batch.T_cam_ee[b], model.normalization)
            poses_t, grip_t = decode_actions(truth[b, 1:], batch.T_cam_ee[b], model.normalization)
            p.append(np.linalg.norm(poses[:, :3, 3] - poses_t[:, :3, 3], axis=-1))
            r.append(se3.rotation_angle(poses[:, :3, :3], poses_t[:, :3, :3]))
            g.append((grip > 0.5) != (grip_t > 0.5))
        at = [0, 7, 15]
        position = tuple(1e3 * np.mean(p, 0)[at])
        rotation = tuple(np.degrees(np.mean(r, 0)[at]))
        gripper = float(np.mean(g))
    moved = still = float("nan")
    if mode in ("joint", "dynamics"):
        truth = grid.motion.numpy()
        moved = 1e3 * model.normalization.local_scale * float(np.linalg.norm(motion[:, 1:] - truth[:, 1:], axis=-1).mean())
        still = 1e3 * model.normalization.local_scale * float(np.linalg.norm(truth[:, :1] - truth[:, 1:], axis=-1).mean())
    return ModeErrors(position, rotation, gripper, moved, still)


def validate(model: Uma, windows: Windows, *, keypoints: int = 6, size: int = 128, seed: int = 0) -> dict[str, ModeErrors]:
    """Errors of every mode on ``size`` windows spread evenly over ``windows``, the same on every call."""
    rng = np.random.default_rng(seed)
    frames = np.linspace(0, len(windows) - 1, size).round().astype(int)
    batch = windows.draw(size, keypoints, model.normalization, rng, frames)
    was_training = model.training
    model.eval()
    out = {mode: mode_errors(model, batch, mode, seed=seed) for mode in ("control", "joint", "dynamics", "inverse")}
    model.train(was_training)
    return out
