"""Context tokens that know of each other (`ModelConfig.fusion_layers`).

Points, end effector and task reach the denoiser as tokens that have never met: how far along the task the scene is, its
action tokens must find out by themselves,
in every flow step anew. Here it is worked out once per observation.
"""

from __future__ import annotations

from torch import Tensor, nn

from uma.model.attention import SelfAttention
from uma.model.config import ModelConfig


class FusionLayer(nn.Module):
    """Self-attention and a feed-forward among the context's tokens. What both add begins at zero, so that a trained
    network stays as it was."""

    def __init__(self, config: ModelConfig):
        super().__init__()
        d = config.width
        self.norms = nn.ModuleList(nn.LayerNorm(d) for _ in range(2))
        self.attention = SelfAttention(d, config.heads)
        self.ffn = nn.Sequential(
            nn.Linear(d, config.ffn_ratio * d), nn.GELU(approximate="tanh"), nn.Linear(config.ffn_ratio * d, d)
        )
        for last in (self.attention.out, self.ffn[-1]):
            nn.init.zeros_(last.weight)
            nn.init.zeros_(last.bias)

    def forward(self, context: Tensor) -> Tensor:
        """``(B, S, d)`` -> ``(B, S, d)``."""
        context = context + self.attention(self.norms[0](context))
        return context + self.ffn(self.norms[1](context))
