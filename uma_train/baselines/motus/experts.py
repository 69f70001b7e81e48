"""Motus's transformer: experts with weights of their own, joined by one attention in every layer."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.nn import functional


class ExpertLayer(nn.Module):
    """One expert's part of a layer: norms, projections to and from the shared attention, and a feed-forward network.

    Args:
        width: of the expert.
        inner: of the shared attention, heads times head width, equal for all experts.
        condition: width of the flow time's embedding, by which both sub-layers are modulated (AdaLN-zero); 0 = plain
            norms without a time.
    """

    def __init__(self, width: int, inner: int, condition: int):
        super().__init__()
        self.norm1, self.norm2 = (nn.LayerNorm(width, elementwise_affine=not condition) for _ in range(2))
        self.qkv, self.out = nn.Linear(width, 3 * inner), nn.Linear(inner, width)
        self.mlp = nn.Sequential(nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width))
        self.modulation = nn.Linear(condition, 6 * width) if condition else None
        if self.modulation is not None:
            nn.init.zeros_(self.modulation.weight)
            nn.init.zeros_(self.modulation.bias)

    def modulated(self, condition: Tensor | None, which: Tensor | None) -> list[Tensor] | None:
        """Return shifts, scales and gates ``(B, n, width)`` of each token from conditions ``(B, c, d)``.

        Args:
            which: ``(n,)`` the condition of each token.
        """
        if self.modulation is None or condition is None:
            return None
        return list(self.modulation(functional.silu(condition))[:, which].chunk(6, -1))

    def project(self, x: Tensor, m: list[Tensor] | None) -> Tensor:
        """Return queries, keys and values ``(B, n, 3 inner)``."""
        y = self.norm1(x)
        return self.qkv(y if m is None else y * (1 + m[0]) + m[1])

    def finish(self, x: Tensor, attended: Tensor, m: list[Tensor] | None) -> Tensor:
        """Add the attention's output ``(B, n, inner)`` and the feed-forward network."""
        x = x + (self.out(attended) if m is None else m[2] * self.out(attended))
        y = self.norm2(x)
        return x + (self.mlp(y) if m is None else m[5] * self.mlp(y * (1 + m[3]) + m[4]))


class JointLayer(nn.Module):
    """A layer of all experts. Their tokens meet in one attention ("tri-modal joint attention"), and nowhere else.

    Args:
        widths: expert -> width.
        conditions: expert -> width of its condition, 0 = none.
    """

    def __init__(self, widths: Mapping[str, int], conditions: Mapping[str, int], inner: int, heads: int):
        super().__init__()
        self.heads = heads
        self.experts = nn.ModuleDict({name: ExpertLayer(w, inner, conditions[name]) for name, w in widths.items()})

    def forward(
        self,
        tokens: dict[str, Tensor],
        conditions: Mapping[str, Tensor],
        which: Mapping[str, Tensor],
        may: Tensor | None = None,
    ) -> dict[str, Tensor]:
        """Advance the tokens of the experts that are present.

        Args:
            tokens: expert -> ``(B, n, width)``, in the order of the attention.
            conditions, which: expert -> its conditions, and that of each token; see `ExpertLayer.modulated`.
            may: ``(N, N)`` bool over all tokens, True where a row may attend to a column; None = everywhere.
        """
        parts = {name: self.experts[name] for name in tokens}
        ms = {name: part.modulated(conditions.get(name), which.get(name)) for name, part in parts.items()}
        joined = torch.cat([parts[name].project(x, ms[name]) for name, x in tokens.items()], 1)
        B, N, _ = joined.shape
        q, k, v = joined.view(B, N, 3, self.heads, -1).permute(2, 0, 3, 1, 4)
        y = functional.scaled_dot_product_attention(q, k, v, attn_mask=may).transpose(1, 2).reshape(B, N, -1)
        pieces = y.split([x.shape[1] for x in tokens.values()], 1)
        return {
            name: parts[name].finish(x, piece, ms[name])
            for (name, x), piece in zip(tokens.items(), pieces, strict=True)
        }
