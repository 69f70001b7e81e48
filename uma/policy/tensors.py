"""NumPy inputs of one or many samples as the model's batches."""

from __future__ import annotations

import numpy as np
import torch

from uma.model.encoders import EndEffectorBatch, PointBatch, ReferenceBatch
from uma.model.inputs import PointSet, ReferenceArrays


def point_batch(sets: list[PointSet]) -> PointBatch:
    """Stack `PointSet` into a batch."""
    return PointBatch(
        torch.from_numpy(np.stack([s.xyz for s in sets])),
        torch.from_numpy(np.stack([s.rgb for s in sets]).astype(np.float32) / 255.0),
        torch.from_numpy(np.stack([s.height for s in sets])),
    )


def ee_batch(poses: np.ndarray, gripper: np.ndarray) -> EndEffectorBatch:
    """``(B, 4, 4)`` and ``(B,)`` as float32 tensors."""
    return EndEffectorBatch(torch.from_numpy(np.asarray(poses, np.float32)), torch.from_numpy(np.asarray(gripper, np.float32)))


def reference_batch(arrays: list[ReferenceArrays]) -> ReferenceBatch:
    """Stack references, cut to the longest among them."""
    length = max(1, max(int(a.is_valid.sum()) for a in arrays))
    return ReferenceBatch(*(torch.from_numpy(np.stack([getattr(a, name)[:length] for a in arrays])) for name in ("position", "start", "phase", "is_valid")))
