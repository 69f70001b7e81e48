"""Multi-head attention, with an explicit path that is fast on CPUs for short sequences."""

from __future__ import annotations

import torch
from torch import Tensor, nn


def attend(q: Tensor, k: Tensor, v: Tensor, is_valid: Tensor | None = None) -> Tensor:
    """Apply softmax attention of ``(N, h, L, c)`` queries over ``(N, h, S, c)`` keys and values.

    Args:
        is_valid: ``(N, S)`` bool, keys that may be attended to; None = all.

    CPUs use explicit matrix products, because the fused kernel's backward pass is slow for 5 to 20 tokens.
    """
    bias = None
    if is_valid is not None:
        bias = torch.zeros(is_valid.shape, dtype=q.dtype, device=q.device).masked_fill_(~is_valid, -1e4)[
            :, None, None, :
        ]
    if q.is_cuda:
        return nn.functional.scaled_dot_product_attention(q, k, v, attn_mask=bias)
    logits = (q @ k.transpose(-1, -2)) * q.shape[-1] ** -0.5
    if bias is not None:
        logits = logits + bias
    return logits.softmax(-1).to(v.dtype) @ v


def keys_values(projection: nn.Linear, heads: int, context: Tensor) -> tuple[Tensor, Tensor]:
    """Return keys and values ``(N, h, S, c)`` of a context ``(N, S, d)``.

    They do not depend on flow time, so they are computed once per chunk.
    """
    N, S, d = context.shape
    k, v = projection(context).view(N, S, 2, heads, d // heads).permute(2, 0, 3, 1, 4)
    return k, v


class SelfAttention(nn.Module):
    """Self-attention over the second-last axis of ``(N, L, d)``."""

    def __init__(self, width: int, heads: int):
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(width, 3 * width)
        self.out = nn.Linear(width, width)

    def forward(self, z: Tensor, is_valid: Tensor | None = None) -> Tensor:
        """``(N, L, d)`` -> ``(N, L, d)``; ``is_valid`` ``(N, L)`` marks the keys that count."""
        N, L, d = z.shape
        if L == 1:  # no motion tokens: the softmax over one key is 1 for any query
            return self.out(nn.functional.linear(z, self.qkv.weight[2 * d :], self.qkv.bias[2 * d :]))
        q, k, v = self.qkv(z).view(N, L, 3, self.heads, d // self.heads).permute(2, 0, 3, 1, 4)
        return self.out(attend(q, k, v, is_valid).transpose(1, 2).reshape(N, L, d))


class CrossAttention(nn.Module):
    """Attention of ``(N, L, d)`` queries to a ``(N, S, d)`` context with cacheable keys and values."""

    def __init__(self, width: int, heads: int):
        super().__init__()
        self.heads = heads
        self.q = nn.Linear(width, width)
        self.kv = nn.Linear(width, 2 * width)
        self.out = nn.Linear(width, width)

    def keys_values(self, context: Tensor) -> tuple[Tensor, Tensor]:
        """See `keys_values`."""
        return keys_values(self.kv, self.heads, context)

    def forward(self, z: Tensor, keys_values: tuple[Tensor, Tensor], is_valid: Tensor | None = None) -> Tensor:
        """``(N, L, d)`` -> ``(N, L, d)``; ``is_valid`` ``(N, S)`` marks the context tokens that count.

        The context's batch may be a divisor of N: ``N / contexts`` consecutive rows then share one context.
        """
        N, L, d = z.shape
        shared = len(keys_values[0])
        q = self.q(z).view(shared, N // shared * L, self.heads, d // self.heads).transpose(1, 2)
        return self.out(attend(q, *keys_values, is_valid).transpose(1, 2).reshape(N, L, d))


class DenseAttention(nn.Module):
    """Attention of ``(N, L, d)`` tokens to each other and to a ``(N, S, d)`` context in one softmax.

    This is the paper's ablation of the structured attention pattern.
    """

    def __init__(self, width: int, heads: int):
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(width, 3 * width)
        self.kv = nn.Linear(width, 2 * width)
        self.out = nn.Linear(width, width)

    def keys_values(self, context: Tensor) -> tuple[Tensor, Tensor]:
        """See `keys_values`."""
        return keys_values(self.kv, self.heads, context)

    def forward(self, z: Tensor, keys_values: tuple[Tensor, Tensor], is_valid: Tensor | None = None) -> Tensor:
        """``(N, L, d)`` -> ``(N, L, d)``; ``is_valid`` ``(N, L)`` marks the tokens that count. All of the context
        counts.

        Rows may share a context as in `CrossAttention`.
        """
        N, L, d = z.shape
        q, k, v = self.qkv(z).view(N, L, 3, self.heads, d // self.heads).permute(2, 0, 3, 1, 4)
        own = [x.repeat_interleave(N // len(x), 0) for x in keys_values]
        k, v = (torch.cat(pair, 2) for pair in zip((k, v), own, strict=True))
        if is_valid is not None:
            is_valid = torch.cat([is_valid, is_valid.new_ones(N, keys_values[0].shape[2])], 1)
        return self.out(attend(q, k, v, is_valid).transpose(1, 2).reshape(N, L, d))
