"""PointNet++ set abstraction over points in farthest-point order."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from uma.model.config import ModelConfig


def gather(values: Tensor, index: Tensor) -> Tensor:
    """Gather rows of ``(B, N, c)`` at ``(B, G, k)`` indices -> ``(B, G, k, c)``."""
    B, G, k = index.shape
    flat = index.reshape(B, G * k, 1).expand(-1, -1, values.shape[-1])
    return values.gather(1, flat).view(B, G, k, values.shape[-1])


class _GroupMaximum(torch.autograd.Function):
    """``(B, G, k, c)`` -> ``(B, G, c)`` maximum with a fast gradient on CPUs; ties share it, as in ``amax``."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        y = x.amax(dim=2)
        ctx.save_for_backward(x, y)
        return y

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        x, y = ctx.saved_tensors
        is_max = [(part == y).to(gradient.dtype) for part in x.unbind(2)]
        share = gradient / sum(is_max[1:], is_max[0])
        return torch.stack([share * hit for hit in is_max], dim=2)


class SetAbstraction(nn.Module):
    """One PointNet++ level: centres, their nearest neighbours, a shared MLP and a maximum.

    The centres are the first points of the list. `uma.model.inputs` orders points so that every prefix is spread by
    farthest-point sampling. So the sequential search runs once per image and never in training.
    """

    def __init__(self, in_width: int, out_width: int, centres: int, group_size: int):
        super().__init__()
        self.centres, self.group_size = centres, group_size
        # The first bias is a column of ones, and the second follows the maximum. The function is the same, without slow
        # gradient sums over every grouped point.
        self.first = nn.Linear(in_width + 4, out_width, bias=False)
        self.second = nn.Linear(out_width, out_width, bias=False)
        self.bias = nn.Parameter(torch.zeros(out_width))

    def forward(self, xyz: Tensor, features: Tensor) -> tuple[Tensor, Tensor]:
        """``(B, N, 3)`` and ``(B, N, c)`` -> ``(B, G, 3)`` and ``(B, G, out_width)``."""
        centre = xyz[:, : self.centres]
        with torch.no_grad():
            near = (
                torch.cdist(centre.float(), xyz.float()).topk(min(self.group_size, xyz.shape[1]), largest=False).indices
            )
        local = gather(xyz, near) - centre[:, :, None]
        local = local * 20.0  # scales centimetre offsets to about 1
        grouped = torch.cat([local, gather(features, near), torch.ones_like(local[..., :1])], dim=-1)
        lifted = self.second(nn.functional.relu(self.first(grouped)))
        pooled = _GroupMaximum.apply(lifted) if torch.is_grad_enabled() else lifted.amax(dim=2)
        return centre, pooled + self.bias


class PointEncoder(nn.Module):
    """Encodes points with features as tokens: the levels of PointNet++ (paper 3.2) and a positional MLP."""

    def __init__(self, config: ModelConfig, feature_width: int, position_width: int):
        super().__init__()
        widths = (feature_width, *config.group_widths, config.width)
        self.levels = nn.ModuleList(
            SetAbstraction(a, b, g, config.group_size)
            for a, b, g in zip(widths[:-1], widths[1:], config.groups, strict=True)
        )
        self.position = nn.Sequential(
            nn.Linear(position_width, config.width), nn.GELU(approximate="tanh"), nn.Linear(config.width, config.width)
        )
        self.norm = nn.LayerNorm(config.width)

    def forward(self, xyz: Tensor, features: Tensor, position: Tensor) -> Tensor:
        """Return tokens ``(B, G, d)``.

        Args:
            xyz: ``(B, N, 3)`` metres.
            features: ``(B, N, c)``.
            position: ``(B, N, p)`` normalised coordinates; the first G rows locate the tokens.
        """
        G = self.levels[-1].centres
        for level in self.levels:
            xyz, features = level(xyz, features)
        return self.norm(features + self.position(position[:, :G]))
