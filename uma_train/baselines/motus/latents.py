"""Latent actions: a small variational autoencoder of optical flow, whose code is drawn towards actions by a few labels.

The actions of this repository are targets relative to the current pose. A latent action stands for what an interval
adds to the target. A chunk of latent actions is therefore the sum of its codes so far.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from uma.model.inputs import ACTION_DIM, Normalization
from uma.settings import within
from uma.types import HORIZON, InputError
from uma_train.data.clips import Layout

UNIT = 0.03
"""Flow of one unit of the encoder's input, as a share of the image's width."""

TOKENS = 4
"""Tokens of a flow field before the code, as in the paper."""


@dataclass(frozen=True)
class LatentConfig:
    """
    Attributes:
        layout: the images; only ``height`` and ``width`` matter.
        stride: control steps of one flow field.
        channels: of each halving of the flow field.
        token: width of a token.
        supervision: lambda_a, weight of the squared error of actions (paper 1.0).
        kl: beta, weight of the divergence from the normal distribution (paper 1e-6).
    """

    layout: Layout = Layout()
    stride: int = 4
    channels: tuple[int, ...] = (24, 48, 64)
    token: int = 64
    supervision: float = 1.0
    kl: float = 1e-6

    def __post_init__(self) -> None:
        within(self, {"token": (4, 1024), "supervision": (0, 1000), "kl": (0, 1)}, "latents.")
        if not 1 <= self.stride <= HORIZON or HORIZON % self.stride:
            raise InputError(f"latents.stride: {self.stride}, must divide the {HORIZON} actions")

    @property
    def steps(self) -> tuple[int, ...]:
        """Steps of the images between which flow is computed, the current one first."""
        return tuple(range(0, HORIZON + 1, self.stride))

    @property
    def grid(self) -> tuple[int, int]:
        """Rows and columns of the smallest feature map."""
        f = 2 ** len(self.channels)
        return -(-self.layout.height // f), -(-self.layout.width // f)


def increments(action: Tensor, now: Tensor, stride: int) -> Tensor:
    """Return what each interval adds to the target ``(B, n, 10)``.

    Args:
        action: ``(B, H, 10)`` normalised actions.
        now: ``(B, 10)`` the measured state, encoded as actions are.
    """
    return torch.cat([now[:, None], action[:, stride - 1 :: stride]], 1).diff(dim=1)


def chunk_of(codes: Tensor, now: Tensor, stride: int) -> Tensor:
    """Return ``(B, H, 10)`` targets whose `increments` are ``codes`` ``(B, n, 10)``, spread evenly over the steps."""
    return now[:, None] + (codes / stride).repeat_interleave(stride, 1).cumsum(1)


def _stage(inputs: int, outputs: int, stride: int) -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(inputs, outputs, 3, stride, 1), nn.GroupNorm(min(8, outputs), outputs), nn.SiLU())


class LatentActions(nn.Module):
    """Flow fields ``(..., 2, h, w)`` in pixels to latent actions ``(..., 10)`` and back.

    Deviations from the paper: a small network from scratch in place of a pretrained DC-AE, on the field itself in place
    of its RGB rendering. The code has as many dimensions as an action here. It is itself the predicted action, which
    the paper leaves open.
    """

    def __init__(self, config: LatentConfig, norm: Normalization | None = None):
        super().__init__()
        self.config, self.normalization = config, norm or Normalization()
        c = config.channels
        self.down = nn.Sequential(*(_stage(a, b, 2) for a, b in zip((4, *c), c, strict=False)))
        self.token = nn.Conv2d(c[-1], config.token, 1)
        self.code = nn.Sequential(nn.Linear(TOKENS * config.token, 128), nn.SiLU(), nn.Linear(128, 2 * ACTION_DIM))
        rows, columns = config.grid
        self.spread = nn.Sequential(nn.Linear(ACTION_DIM, 128), nn.SiLU(), nn.Linear(128, c[-1] * rows * columns))
        back = tuple(reversed(c))
        self.up = nn.ModuleList(_stage(a, b, 1) for a, b in zip(back, (*back[1:], back[-1]), strict=True))
        self.last = nn.Conv2d(back[-1], 2, 3, 1, 1)

    @property
    def unit(self) -> float:
        return UNIT * self.config.layout.width

    def moments(self, flow: Tensor) -> tuple[Tensor, Tensor]:
        """Return mean and log variance ``(n, 10)`` of the codes of ``(n, 2, h, w)`` fields."""
        n, _, h, w = flow.shape
        y, x = torch.meshgrid(torch.linspace(-1, 1, h), torch.linspace(-1, 1, w), indexing="ij")
        place = torch.stack([x, y]).to(flow).expand(n, -1, -1, -1)
        maps = self.token(self.down(torch.cat([flow / self.unit, place], 1)))
        tokens = functional.adaptive_avg_pool2d(maps, (2, 2)).flatten(1)
        mean, log = self.code(tokens).chunk(2, 1)
        return mean, log.clamp(-14, 4)

    def decode(self, code: Tensor) -> Tensor:
        """Return the fields ``(n, 2, h, w)`` of codes ``(n, 10)``."""
        x = self.spread(code).view(len(code), -1, *self.config.grid)
        for stage in self.up:
            x = stage(functional.interpolate(x, scale_factor=2))
        layout = self.config.layout
        return self.last(x)[..., : layout.height, : layout.width] * self.unit

    def encode(self, flow: Tensor) -> Tensor:
        """Return the mean codes ``(..., 10)``."""
        return self.moments(flow.reshape(-1, *flow.shape[-3:]))[0].reshape(*flow.shape[:-3], ACTION_DIM)

    def losses(
        self, flow: Tensor, wanted: Tensor, is_labelled: Tensor, generator: torch.Generator
    ) -> dict[str, Tensor]:
        """Unexplained share of the flow, squared error of the labelled actions, divergence, and the sum (paper Eq. 2).

        Args:
            flow: ``(n, 2, h, w)``.
            wanted: ``(n, 10)`` increments of the target; only rows in ``is_labelled`` ``(n,)`` bool are read.
        """
        mean, log = self.moments(flow)
        noise = torch.randn(mean.shape, generator=generator).to(mean)
        back = self.decode(mean + (log / 2).exp() * noise)
        floor = 1e-4 * self.unit**2
        recon = (back - flow).square().mean() / (flow.square().mean() + floor)
        error = torch.where(is_labelled[:, None], mean - wanted, 0.0).square().sum(-1)
        action = error.sum() / is_labelled.sum().clamp_min(1)
        kl = 0.5 * (mean.square() + log.exp() - 1 - log).sum(-1).mean()
        total = recon + self.config.supervision * action + self.config.kl * kl
        return {"flow": recon, "action": action, "kl": kl, "total": total}
