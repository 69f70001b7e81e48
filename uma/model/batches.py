"""Converts NumPy inputs of one or many samples to the model's batches."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch

from uma.model.encoders import EndEffectorBatch, PointBatch, ReferenceBatch
from uma.model.inputs import ReferenceArrays

if TYPE_CHECKING:
    from uma.model.percept import Percept


def image_batch(images: np.ndarray) -> torch.Tensor:
    """Convert ``(B, h, w, 3)`` uint8 to ``(B, 3, h, w)`` float32 in [0, 1]."""
    return torch.from_numpy(np.ascontiguousarray(images)).permute(0, 3, 1, 2).float() / 255.0


def point_batch(percepts: Sequence[Percept]) -> PointBatch:
    """Stack the clouds of percepts, with their images if the model has image features."""
    sets, first = [p.cloud for p in percepts], percepts[0]
    image = pixel = None
    if first.image is not None:
        image = image_batch(np.stack([np.asarray(p.image) for p in percepts]))
        pixel = torch.from_numpy(np.stack([np.asarray(p.normalized_uv) for p in percepts]))
    return PointBatch(
        torch.from_numpy(np.stack([s.xyz for s in sets])),
        torch.from_numpy(np.stack([s.rgb for s in sets]).astype(np.float32) / 255.0),
        torch.from_numpy(np.stack([s.height for s in sets])),
        image,
        pixel,
    )


def ee_batch(poses: np.ndarray, gripper: np.ndarray, carried: Sequence[np.ndarray | None] = ()) -> EndEffectorBatch:
    """Convert poses ``(B, 4, 4)`` and gripper values ``(B,)`` to float32 tensors.

    Args:
        carried: the hand's motion ``(4, 4)`` since each grasp, None without one; empty = left out.
    """
    known = torch.from_numpy(np.asarray(poses, np.float32)), torch.from_numpy(np.asarray(gripper, np.float32))
    if not carried:
        return EndEffectorBatch(*known)
    motion = np.stack([np.eye(4) if m is None else m for m in carried]).astype(np.float32)
    holds = torch.tensor([m is not None for m in carried])
    return EndEffectorBatch(*known, carried=torch.from_numpy(motion), holds=holds)


def reference_batch(arrays: Sequence[ReferenceArrays]) -> ReferenceBatch:
    """Stack references, cut to the longest of them."""
    length = max(1, max(int(a.is_valid.sum()) for a in arrays))
    return ReferenceBatch(
        *(
            torch.from_numpy(np.stack([getattr(a, n)[:length] for a in arrays]))
            for n in ("position", "start", "phase", "is_valid")
        )
    )
