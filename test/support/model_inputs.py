"""A tiny model with scrambled weights, random inputs for it, and one sampling run."""

import dataclasses

import torch

from uma.model.config import ModelConfig, tiny
from uma.model.encoders import EndEffectorBatch, PointBatch, ReferenceBatch
from uma.model.inputs import ACTION_DIM, Normalization
from uma.model.uma import TokenGrid, Uma

T = 17


def scrambled(config: ModelConfig | None = None) -> Uma:
    """A model whose zero-initialised parts are not zero."""
    torch.manual_seed(0)
    model = Uma(config or tiny(), Normalization())
    with torch.no_grad():
        for p in model.parameters():
            if (p == 0).all():
                p.normal_(0, 0.1)
    return model.eval()


def inputs(B: int = 2, K: int = 3, seed: int = 0):
    g = torch.Generator().manual_seed(seed)
    N = tiny().points.total

    def randn(*shape):
        return torch.randn(*shape, generator=g)

    points = PointBatch(
        randn(B, N, 3) * 0.2 + torch.tensor([0, 0, 0.9]),
        torch.rand(B, N, 3, generator=g),
        torch.rand(B, N, generator=g) * 0.1,
    )
    carried = torch.eye(4).repeat(B, 1, 1)
    carried[:, :3, 3] = 0.05
    holds = torch.ones(B, dtype=torch.bool)
    ee = EndEffectorBatch(torch.eye(4).repeat(B, 1, 1), torch.rand(B, generator=g), None, carried, holds)
    points = dataclasses.replace(
        points, image=torch.rand(B, 3, 90, 160, generator=g), normalized_uv=torch.rand(B, N, 2, generator=g) * 2 - 1
    )
    reference = ReferenceBatch(
        randn(B, 8, 3), randn(B, 8, 3), torch.rand(B, 8, generator=g), torch.ones(B, 8, dtype=torch.bool)
    )
    grid = TokenGrid(randn(B, T, ACTION_DIM), randn(B, T, K, 3), randn(B, K, 3), torch.ones(B, K, dtype=torch.bool))
    noise = (randn(B, T, ACTION_DIM), randn(B, T, K, 3))
    return points, ee, reference, grid, noise


def run(model, points, ee, reference, grid, noise, mask, steps=3):
    cache = model.prepare_context(points, ee, model.encode_task(points, reference))
    return model.sample(grid, mask, cache, noise, steps)
