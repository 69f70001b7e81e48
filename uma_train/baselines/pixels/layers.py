"""Layers of the pixel systems: attention blocks, modulation by a condition, and a light diffusion head."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional

from uma.model.uma import sinusoid


class Attention(nn.Module):
    """Self-attention of ``(B, n, d)``; ``may`` ``(n, n)`` bool, True where a row may attend to a column."""

    def __init__(self, width: int, heads: int):
        super().__init__()
        self.heads = heads
        self.qkv, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)

    def forward(self, x: Tensor, may: Tensor | None = None) -> Tensor:
        B, n, d = x.shape
        q, k, v = self.qkv(x).view(B, n, 3, self.heads, d // self.heads).permute(2, 0, 3, 1, 4)
        y = functional.scaled_dot_product_attention(q, k, v, attn_mask=may)
        return self.out(y.transpose(1, 2).reshape(B, n, d))


class Block(nn.Module):
    """A pre-norm transformer block of ``(B, n, d)``."""

    def __init__(self, width: int, heads: int):
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.attention = Attention(width, heads)
        self.mlp = nn.Sequential(nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width))

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.attention(self.norm1(x))
        return x + self.mlp(self.norm2(x))


class ModulatedBlock(nn.Module):
    """A transformer block whose norms are modulated by a condition ``(B, c)`` (AdaLN-zero: the identity at first)."""

    def __init__(self, width: int, heads: int, condition: int):
        super().__init__()
        self.norm1 = nn.LayerNorm(width, elementwise_affine=False)
        self.norm2 = nn.LayerNorm(width, elementwise_affine=False)
        self.attention = Attention(width, heads)
        self.mlp = nn.Sequential(nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width))
        self.modulation = nn.Linear(condition, 6 * width)
        nn.init.zeros_(self.modulation.weight)
        nn.init.zeros_(self.modulation.bias)

    def forward(self, x: Tensor, condition: Tensor) -> Tensor:
        a1, b1, g1, a2, b2, g2 = self.modulation(functional.silu(condition))[:, None].chunk(6, -1)
        x = x + g1 * self.attention(self.norm1(x) * (1 + a1) + b1)
        return x + g2 * self.mlp(self.norm2(x) * (1 + a2) + b2)


class DiffusionHead(nn.Module):
    """Predicts the noise of ``(n, size)`` vectors at steps ``(n,)`` from conditions ``(n, d)``: a modulated MLP."""

    def __init__(self, size: int, condition: int, width: int, layers: int):
        super().__init__()
        self.width = width
        self.inputs = nn.Linear(size, width)
        self.time = nn.Sequential(nn.Linear(width, width), nn.SiLU(), nn.Linear(width, width))
        self.condition = nn.Linear(condition, width)
        self.norms = nn.ModuleList(nn.LayerNorm(width, elementwise_affine=False) for _ in range(layers))
        self.modulations = nn.ModuleList(nn.Linear(width, 3 * width) for _ in range(layers))
        self.mlps = nn.ModuleList(
            nn.Sequential(nn.Linear(width, width), nn.SiLU(), nn.Linear(width, width)) for _ in range(layers)
        )
        self.out = nn.Linear(width, size)
        for linear in (*self.modulations, self.out):
            nn.init.zeros_(linear.weight)
            nn.init.zeros_(linear.bias)

    def forward(self, x: Tensor, t: Tensor, condition: Tensor) -> Tensor:
        y = self.inputs(x)
        c = functional.silu(self.time(sinusoid(t, self.width)) + self.condition(condition))
        for norm, modulation, mlp in zip(self.norms, self.modulations, self.mlps, strict=True):
            a, b, g = modulation(c).chunk(3, -1)
            y = y + (1 + g) * mlp(norm(y) * (1 + a) + b)
        return self.out(y)
