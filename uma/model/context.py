"""Self-attention among the context tokens before the denoiser attends to them (`ModelConfig.context_layers`).

Observation, end-effector and task tokens share the transformer backbone in the paper (3.2). These layers run once per
observation, not at each flow step.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from uma.model.attention import SelfAttention
from uma.model.config import ModelConfig


class ContextEncoder(nn.Module):
    """Pre-norm transformer layers whose initial output is their input."""

    def __init__(self, config: ModelConfig):
        super().__init__()
        d = config.width
        self.kind = nn.Parameter(torch.randn(2, d) * 0.02)  # token type: observation, task
        self.attention = nn.ModuleList(SelfAttention(d, config.heads) for _ in range(config.context_layers))
        self.ffn = nn.ModuleList(
            nn.Sequential(nn.Linear(d, 2 * d), nn.GELU(approximate="tanh"), nn.Linear(2 * d, d))
            for _ in range(config.context_layers)
        )
        self.norms = nn.ModuleList(nn.LayerNorm(d) for _ in range(2 * config.context_layers))
        # Layers that are added to trained weights must leave the output unchanged.
        for name, parameter in self.named_parameters():
            if name.startswith("attention.") and ".out." in name or name.startswith("ffn.") and ".2." in name:
                nn.init.zeros_(parameter)

    def forward(self, observation: Tensor, task: Tensor) -> Tensor:
        """``(B, G, d)`` and ``(B, M, d)`` -> ``(B, G + M, d)`` context."""
        z = torch.cat([observation, task], 1)
        kind = torch.cat([self.kind[:1].expand(observation.shape[1], -1), self.kind[1:].expand(task.shape[1], -1)])
        for i, (attention, ffn) in enumerate(zip(self.attention, self.ffn, strict=True)):
            z = z + attention(self.norms[2 * i](z) + kind)
            z = z + ffn(self.norms[2 * i + 1](z))
        return z
