"""Masked DiT blocks (paper A.2, Fig. 7): dual adaptive layer norm around structured attention."""

from __future__ import annotations

from torch import Tensor, nn

from uma.model.attention import CrossAttention, DenseAttention, SelfAttention
from uma.model.config import ModelConfig


class DualModulation(nn.Module):
    """Scale, shift and gate for target and for given tokens, from the flow-time embedding (paper Eq. 10).

    The zero initialisation makes every modulation the identity and closes every gate.
    """

    def __init__(self, width: int, sublayers: int, gated: bool = True):
        super().__init__()
        self.sublayers, self.parts = sublayers, 3 if gated else 2
        self.linear = nn.Linear(width, 2 * sublayers * self.parts * width)
        nn.init.zeros_(self.linear.weight)
        nn.init.zeros_(self.linear.bias)

    def forward(self, time: Tensor) -> Tensor:
        """``(B, d)`` embedding -> ``(sublayers, B, 2, parts * d)``; index 0 of the pair is target, 1 is given."""
        B, d = time.shape
        return self.linear(nn.functional.silu(time)).view(B, self.sublayers, 2, self.parts * d).transpose(0, 1)


def route(pair: Tensor, role: Tensor, parts: int) -> tuple[Tensor, ...]:
    """Select each token's modulation: ``(B, 2, parts * d)`` and one-hot roles ``(B, T, P, 2)`` -> ``parts`` of ``(B, T,
    P, d)``.

    Either batch may be 1 and is then shared. A product with one-hot rows selects exactly, and its gradient is cheap.
    """
    B, T, P, _ = role.shape
    return (role.reshape(B, T * P, 2) @ pair).unflatten(1, (T, P)).chunk(parts, -1)


class MaskedDiTBlock(nn.Module):
    """Spatial, temporal and context attention and a feed-forward over a ``(B, T, P, d)`` grid of tokens.

    Spatial attention couples motion and action within a step. Temporal attention links one keypoint, or the actions,
    across steps. Context attention attends to observation, task and proprioception tokens (paper 3.2, A.2). "dense" is
    the ablation with one attention over all of them.
    """

    def __init__(self, config: ModelConfig):
        super().__init__()
        d, h = config.width, config.heads
        self.order = config.block_order
        self.modulation = DualModulation(d, len(self.order))
        layers: list[nn.Module] = []
        for kind in self.order:
            if kind == "context":
                layers.append(CrossAttention(d, h))
            elif kind == "dense":
                layers.append(DenseAttention(d, h))
            elif kind == "ffn":
                layers.append(
                    nn.Sequential(
                        nn.Linear(d, config.ffn_ratio * d),
                        nn.GELU(approximate="tanh"),
                        nn.Linear(config.ffn_ratio * d, d),
                    )
                )
            else:
                layers.append(SelfAttention(d, h))
        self.layers = nn.ModuleList(layers)
        self.norms = nn.ModuleList(nn.LayerNorm(d, elementwise_affine=False) for _ in self.order)

    def cache(self, context: Tensor) -> list[tuple[Tensor, Tensor]]:
        """Return the keys and values of each sub-layer that attends to the ``(B, S, d)`` context."""
        return [
            layer.keys_values(context) for layer in self.layers if isinstance(layer, CrossAttention | DenseAttention)
        ]

    def forward(
        self,
        z: Tensor,
        time: Tensor | None,
        role: Tensor,
        is_valid: Tensor | None,
        cached: list[tuple[Tensor, Tensor]],
        modulation: Tensor | None = None,
    ) -> Tensor:
        """Run one block.

        Args:
            z: ``(B, T, P, d)`` tokens.
            time: ``(B, d)`` flow-time embedding; unused if ``modulation`` is given.
            role: ``(B, T, P, 2)`` or ``(1, T, P, 2)`` one-hot: target, given.
            is_valid: ``(B, P)`` bool; padded keypoints, and actions of samples without them, are not attended to. None
                = all valid.
            cached: from `cache`; its batch may be a divisor of B, see `CrossAttention`.
            modulation: precomputed output of `self.modulation` for one flow time.
        """
        B, T, P, d = z.shape
        modulation = self.modulation(time) if modulation is None else modulation
        contexts = iter(cached)
        key_valid = None if is_valid is None else is_valid[:, None].expand(B, T, P).reshape(B * T, P)
        for i, (kind, layer, norm) in enumerate(zip(self.order, self.layers, self.norms, strict=True)):
            scale, shift, gate = route(modulation[i], role, 3)
            y = norm(z) * (1 + scale) + shift
            if kind == "spatial":
                y = layer(y.reshape(B * T, P, d), key_valid).view(B, T, P, d)
            elif kind == "temporal":
                y = layer(y.transpose(1, 2).reshape(B * P, T, d)).view(B, P, T, d).transpose(1, 2)
            elif kind == "context":
                y = layer(y.reshape(B, T * P, d), next(contexts)).view(B, T, P, d)
            elif kind == "dense":
                y = layer(
                    y.reshape(B, T * P, d), next(contexts), None if key_valid is None else key_valid.reshape(B, T * P)
                ).view(B, T, P, d)
            else:
                y = layer(y)
            z = z + gate * y
        return z


class FinalLayer(nn.Module):
    """Dual-modulated norm and two linear heads: 3D keypoint velocities and action velocities (paper 3.2)."""

    def __init__(self, width: int, action_dim: int):
        super().__init__()
        self.modulation = DualModulation(width, 1, gated=False)
        self.norm = nn.LayerNorm(width, elementwise_affine=False)
        self.action = nn.Linear(width, action_dim)
        self.motion = nn.Linear(width, 3)
        for head in (self.action, self.motion):
            nn.init.zeros_(head.weight)
            nn.init.zeros_(head.bias)

    def forward(
        self, z: Tensor, time: Tensor | None, role: Tensor, modulation: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """``(B, T, P, d)`` -> action ``(B, T, A)`` from token 0 and motion ``(B, T, P - 1, 3)`` from the rest."""
        scale, shift = route((self.modulation(time) if modulation is None else modulation)[0], role, 2)
        z = self.norm(z) * (1 + scale) + shift
        return self.action(z[:, :, 0]), self.motion(z[:, :, 1:])
