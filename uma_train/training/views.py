"""Views of a task specification (o_0, x_c) for the contrastive objective (paper A.1), on padded batches."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import torch
from scipy.spatial.transform import Rotation
from torch import Tensor

from uma.model.encoders import PointBatch, ReferenceBatch
from uma.model.heights import table


@dataclass(frozen=True)
class ViewSampling:
    """Distribution of views.

    Attributes:
        views: augmented views per sample, S - 1; the unaugmented one is the S-th and alone conditions the denoiser.
        hard_negatives: tasks per sample in the same scene with the same initial keypoints and another motion.
        negative_views: augmented views of each hard negative, positives of each other (not specified in the paper).
            Without them a hard negative only repels, so telling real from random motions suffices. With them every
            scene holds several tasks.
        keep_keypoint, keep_waypoint: probability that a view keeps a keypoint, or an inner waypoint.
        shift_m, turn_rad: range of the random rigid motion of scene and reference: uniform per axis, and about the
            axis.
        axis: "any", or "vertical" like the scenes of a robot on a table, from the points' heights.
        negative_shift_m, negative_turn_rad: range of the hard negatives' final pose.
    """

    views: int = 2
    hard_negatives: int = 1
    negative_views: int = 0
    keep_keypoint: float = 0.7
    keep_waypoint: float = 0.6
    shift_m: float = 0.15
    turn_rad: float = 0.6
    axis: Literal["any", "vertical"] = "any"
    negative_shift_m: float = 0.35
    negative_turn_rad: float = 2.0


def vertical(points: PointBatch) -> np.ndarray:
    """Return ``(B, 3)`` unit normals, pointing up, of the planes below the points."""
    return torch.nn.functional.normalize(table(points.xyz, points.height)[:, :3], dim=-1).numpy()


def random_rigid(
    count: int, shift: float, turn: float, rng: np.random.Generator, axis: np.ndarray | None = None
) -> tuple[Tensor, Tensor]:
    """Draw ``(count, 3, 3)`` rotations, random or about ``axis`` ``(count, 3)``, and shifts ``(count, 3)``, metres."""
    drawn = rng.normal(size=(count, 3))
    drawn /= np.linalg.norm(drawn, axis=1, keepdims=True)
    angle = rng.uniform(0, turn, (count, 1)) * rng.choice([-1, 1], (count, 1))
    R = Rotation.from_rotvec((drawn if axis is None else axis) * angle).as_matrix()
    return torch.from_numpy(R.astype(np.float32)), torch.from_numpy(
        rng.uniform(-shift, shift, (count, 3)).astype(np.float32)
    )


def keypoint_index(reference: ReferenceBatch) -> Tensor:
    """Return the ``(B, L)`` keypoint index of each token; tokens of a keypoint are consecutive and share a start."""
    change = (reference.start[:, 1:] != reference.start[:, :-1]).any(-1)
    return torch.cat([torch.zeros_like(change[:, :1]), change], 1).cumsum(1)


def subsample(reference: ReferenceBatch, sampling: ViewSampling, rng: np.random.Generator) -> ReferenceBatch:
    """Drop random keypoints and waypoints; at least one keypoint stays, with its first and last waypoint.

    The paper thins dense motions in time, which nearly keeps their ends. A sparse reference without its last waypoint
    would be another task, so its view would be no positive.
    """
    B, L = reference.is_valid.shape
    index = keypoint_index(reference)
    count = int(index.max()) + 1
    keep = torch.from_numpy(rng.random((B, count)) < sampling.keep_keypoint)
    real = index.masked_fill(~reference.is_valid, 0).amax(1) + 1
    sure = torch.from_numpy((rng.random(B) * real.numpy()).astype(np.int64))
    keep[torch.arange(B), sure] = True
    one, is_new = torch.ones(B, 1, dtype=torch.bool), index[:, 1:] != index[:, :-1]
    is_first = torch.cat([one, is_new], 1)
    is_last = torch.cat([is_new | ~reference.is_valid[:, 1:], one], 1)  # padding is at the end
    waypoint = is_first | is_last | torch.from_numpy(rng.random((B, L)) < sampling.keep_waypoint)
    return replace(reference, is_valid=reference.is_valid & keep.gather(1, index) & waypoint)


def moved(points: PointBatch, reference: ReferenceBatch, R: Tensor, p: Tensor) -> tuple[PointBatch, ReferenceBatch]:
    """Move scene and reference by one rigid motion per sample, about the cloud's centre; heights stay unchanged."""
    middle = points.xyz.mean(1, keepdim=True)

    def move(x: Tensor) -> Tensor:
        return (x - middle) @ R.transpose(1, 2) + middle + p[:, None]

    return replace(points, xyz=move(points.xyz)), replace(
        reference, position=move(reference.position), start=move(reference.start)
    )


def augmented(
    points: PointBatch, reference: ReferenceBatch, sampling: ViewSampling, rng: np.random.Generator
) -> tuple[PointBatch, ReferenceBatch]:
    """Return one positive view of every sample: subsampled, then moved."""
    axis = vertical(points) if sampling.axis == "vertical" else None
    return moved(
        points,
        subsample(reference, sampling, rng),
        *random_rigid(len(points.xyz), sampling.shift_m, sampling.turn_rad, rng, axis),
    )


def hard_negative(reference: ReferenceBatch, sampling: ViewSampling, rng: np.random.Generator) -> ReferenceBatch:
    """Return the same keypoints on another path, an interpolated random rigid motion of their starts."""
    B, L = reference.is_valid.shape
    valid = reference.is_valid[..., None].float()
    middle = (reference.start * valid).sum(1) / valid.sum(1).clamp_min(1)
    axis = rng.normal(size=(B, 3))
    axis /= np.linalg.norm(axis, axis=1, keepdims=True)
    turn = rng.uniform(0, sampling.negative_turn_rad, (B, 1)) * reference.phase.numpy()
    R = Rotation.from_rotvec((axis[:, None] * turn[..., None]).reshape(-1, 3)).as_matrix().reshape(B, L, 3, 3)
    shift = torch.from_numpy(
        rng.uniform(-sampling.negative_shift_m, sampling.negative_shift_m, (B, 1, 3)).astype(np.float32)
    )
    local = reference.start - middle[:, None]
    position = (
        (torch.from_numpy(R.astype(np.float32)) @ local[..., None])[..., 0]
        + middle[:, None]
        + shift * reference.phase[..., None]
    )
    return replace(reference, position=position)
