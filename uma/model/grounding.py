"""Finds in the scene what task tokens speak of (`LanguageConfig.scene`).

A text alone cannot state a place. Its tokens look at the features of the initial point cloud, and each points to where
the reference motion would be at its phase. The result is in the latent of the task encoder.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from uma.model.attention import CrossAttention, SelfAttention
from uma.model.config import ModelConfig
from uma.model.encoders import mlp

LAYERS = 2
"""Layers of attention to the scene and among the tokens."""


class Grounding(nn.Module):
    """Task tokens of a text -> task tokens of that text in a scene.

    The place of token m is a mean over the cloud's tokens, with weights and offsets of its own, and a displacement that
    does not depend on the scene, such as that of a lift.
    """

    def __init__(self, config: ModelConfig):
        super().__init__()
        d, h = config.width, config.heads
        self.config = config
        self.to_scene = nn.ModuleList(CrossAttention(d, h) for _ in range(LAYERS))
        self.among = nn.ModuleList(SelfAttention(d, h) for _ in range(LAYERS))
        self.ffn = nn.ModuleList(mlp(d, d) for _ in range(LAYERS))
        self.norms = nn.ModuleList(nn.LayerNorm(d) for _ in range(3 * LAYERS + 1))
        self.query, self.key = nn.Linear(d, d), nn.Linear(d, d)
        self.offset, self.displacement = nn.Linear(d, 3), nn.Linear(d, 3)
        self.stated = nn.Linear(d, sum(config.stated[1:]))
        for linear in (self.offset, self.displacement, self.stated):
            nn.init.zeros_(linear.weight)
            nn.init.zeros_(linear.bias)

    def forward(self, task: Tensor, cloud: Tensor, centre: Tensor) -> Tensor:
        """``(B, M, task_width)`` tokens of texts -> tokens in the scene, of the same shape.

        Args:
            cloud: ``(B, G, d)`` features of the initial scene.
            centre: ``(B, G, 3)`` their normalised places.
        """
        c, place, rest = task.split([self.config.width, 3, sum(self.config.stated[1:])], -1)
        norms = iter(self.norms)
        for to_scene, among, ffn in zip(self.to_scene, self.among, self.ffn, strict=True):
            assert isinstance(to_scene, CrossAttention)  # ModuleList does not type its members
            c = c + to_scene(next(norms)(c), to_scene.keys_values(cloud))
            c = c + among(next(norms)(c))
            c = c + ffn(next(norms)(c))
        z = next(norms)(c)
        weight = ((self.query(z) @ self.key(cloud).mT).float() * z.shape[-1] ** -0.5).softmax(-1)[..., None]
        # No matrix product: autocast would round the places to bfloat16.
        pointed = (weight * (centre + self.offset(cloud).float())[:, None]).sum(2)
        return torch.cat([c, pointed + self.displacement(z).float(), rest + self.stated(z)], -1)
