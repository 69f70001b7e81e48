"""NumPy inputs of one or many samples as the model's batches."""

from __future__ import annotations

import numpy as np
import torch

from uma.geometry.camera import image_places
from uma.model.encoders import EndEffectorBatch, PointBatch, ReferenceBatch
from uma.model.inputs import PointSet, ReferenceArrays
from uma.types import Observation


def image_batch(images: np.ndarray) -> torch.Tensor:
    """``(B, h, w, 3)`` uint8 as ``(B, 3, h, w)`` float32 in [0, 1]."""
    return torch.from_numpy(np.ascontiguousarray(images)).permute(0, 3, 1, 2).float() / 255.0


def point_batch(sets: list[PointSet], observations: list[Observation] | None = None) -> PointBatch:
    """Stack `PointSet` into a batch, with the images that they are from where the model looks at those."""
    images = places = None
    if observations is not None:
        images = image_batch(np.stack([o.rgb for o in observations]))
        cameras = np.array([(c.fx, c.fy, c.cx, c.cy, c.width, c.height) for c in (o.camera for o in observations)])
        places = torch.from_numpy(image_places(np.stack([s.xyz for s in sets]), cameras))
    return PointBatch(
        torch.from_numpy(np.stack([s.xyz for s in sets])),
        torch.from_numpy(np.stack([s.rgb for s in sets]).astype(np.float32) / 255.0),
        torch.from_numpy(np.stack([s.height for s in sets])),
        images,
        places,
    )


def ee_batch(poses: np.ndarray, gripper: np.ndarray) -> EndEffectorBatch:
    """``(B, 4, 4)`` and ``(B,)`` as float32 tensors."""
    return EndEffectorBatch(torch.from_numpy(np.asarray(poses, np.float32)), torch.from_numpy(np.asarray(gripper, np.float32)))


def reference_batch(arrays: list[ReferenceArrays]) -> ReferenceBatch:
    """Stack references, cut to the longest among them."""
    length = max(1, max(int(a.is_valid.sum()) for a in arrays))
    return ReferenceBatch(*(torch.from_numpy(np.stack([getattr(a, name)[:length] for a in arrays])) for name in ("position", "start", "phase", "is_valid")))
