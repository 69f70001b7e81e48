"""The contrastive objective of the task latent: it encodes intent, independent of the scene (paper A.1)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from uma.model.config import ModelConfig


class ProjectionHead(nn.Module):
    """g_phi: two layers over the flattened task tokens, normalised to unit length (paper Eq. 8).

    It serves training only, so bundles do not contain it.
    """

    def __init__(self, config: ModelConfig, width: int = 128):
        super().__init__()
        self.layers = nn.Sequential(
            nn.Linear(config.task_tokens * config.task_width, config.width),
            nn.GELU(approximate="tanh"),
            nn.Linear(config.width, width),
        )

    def forward(self, task: Tensor) -> Tensor:
        """``(N, M, task_width)`` task tokens -> ``(N, e)`` unit vectors."""
        return nn.functional.normalize(self.layers(task.flatten(1)), dim=-1)


def info_nce(z: Tensor, group: Tensor, temperature: float = 0.07) -> Tensor:
    """Multi-positive InfoNCE (paper Eq. 9).

    Args:
        z: ``(N, e)`` unit vectors, one per view.
        group: ``(N,)`` index of each view's task specification. Views of one group are positives, all others negatives.
        temperature: tau.

    Returns:
        The mean over anchors with a positive; 0 if there are none.
    """
    similarity = (z.float() @ z.float().T) / temperature
    itself = torch.eye(len(z), dtype=torch.bool, device=z.device)
    positive = (group[:, None] == group[None]) & ~itself
    has_positive = positive.any(1)
    if not has_positive.any():
        return z.sum() * 0.0
    everything = similarity.masked_fill(itself, -torch.inf).logsumexp(1)
    wanted = similarity.masked_fill(~positive, -torch.inf)[has_positive].logsumexp(1)
    return (everything[has_positive] - wanted).mean()
