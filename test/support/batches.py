"""A random training batch without motion tokens."""

import numpy as np
import torch

from uma.model.config import tiny
from uma.model.encoders import EndEffectorBatch, PointBatch, ReferenceBatch
from uma.model.uma import TokenGrid
from uma_train.data.batch import Batch


def batch(B: int = 4, seed: int = 0) -> Batch:
    g = torch.Generator().manual_seed(seed)
    N = tiny().points.total
    points = PointBatch(
        torch.randn(B, N, 3, generator=g) * 0.2, torch.rand(B, N, 3, generator=g), torch.rand(B, N, generator=g)
    )
    start = torch.randn(B, 3, 1, 3, generator=g).expand(B, 3, 4, 3)  # 3 keypoints of 4 waypoints
    position = start + torch.arange(4)[None, None, :, None] * torch.randn(B, 1, 1, 3, generator=g) * 0.1
    phase = torch.linspace(0, 1, 4).repeat(B, 3)
    reference = ReferenceBatch(
        position.reshape(B, 12, 3), start.reshape(B, 12, 3), phase, torch.ones(B, 12, dtype=torch.bool)
    )
    ee = EndEffectorBatch(torch.eye(4).repeat(B, 1, 1), torch.zeros(B))
    grid = TokenGrid(
        torch.zeros(B, 17, 10), torch.zeros(B, 17, 0, 3), torch.zeros(B, 0, 3), torch.ones(B, 0, dtype=torch.bool)
    )
    return Batch(points, ee, points, reference, grid, np.eye(4)[None].repeat(B, 0))
