"""The image tokeniser of the pixel systems: a small convolutional variational autoencoder, trained once and frozen."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from uma.model.inputs import Normalization
from uma.settings import within
from uma_train.baselines.pixels.frozen import frozen
from uma_train.baselines.pixels.inputs import resized
from uma_train.data.batch import Batch
from uma_train.data.clips import Layout
from uma_train.data.mixtures import Mixture
from uma_train.training.choices import PixelChoice
from uma_train.training.config import TrainConfig

NAME = "tokeniser"


@dataclass(frozen=True)
class TokeniserConfig:
    """
    Attributes:
        layout: the images; only ``height`` and ``width`` matter.
        channels: of each halving of the image.
        latent: channels of a latent.
        kl: weight of the divergence from the normal distribution.
    """

    layout: Layout = Layout()
    channels: tuple[int, ...] = (24, 48, 96)
    latent: int = 8
    kl: float = 1e-4

    def __post_init__(self) -> None:
        within(self, {"latent": (1, 64), "kl": (0, 1)}, "tokeniser.")

    @classmethod
    def of(cls, choice: PixelChoice) -> TokeniserConfig:
        return cls(choice.layout, choice.channels, choice.latent, choice.kl)

    @property
    def grid(self) -> tuple[int, int]:
        """Rows and columns of the latents."""
        f = 2 ** len(self.channels)
        return -(-self.layout.height // f), -(-self.layout.width // f)

    @property
    def tokens(self) -> int:
        """N, latents of an image."""
        return self.grid[0] * self.grid[1]


def _stage(inputs: int, outputs: int, stride: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, 3, stride, 1), nn.GroupNorm(min(8, outputs), outputs), nn.SiLU(),
        nn.Conv2d(outputs, outputs, 3, 1, 1), nn.GroupNorm(min(8, outputs), outputs), nn.SiLU(),
    )  # fmt: skip


class Tokeniser(nn.Module):
    """Images ``(..., 3, h, w)`` in 0 to 1 to normalised latents ``(..., N, c)`` and back."""

    scale: Tensor

    def __init__(self, config: TokeniserConfig, norm: Normalization | None = None):
        super().__init__()
        self.config, self.normalization = config, norm or Normalization()
        c = config.channels
        self.down = nn.Sequential(*(_stage(a, b, 2) for a, b in zip((3, *c), c, strict=False)))
        self.moments = nn.Conv2d(c[-1], 2 * config.latent, 1)
        back = tuple(reversed(c))
        self.first = nn.Conv2d(config.latent, back[0], 3, 1, 1)
        self.up = nn.ModuleList(_stage(a, b, 1) for a, b in zip(back, (*back[1:], back[-1]), strict=True))
        self.last = nn.Conv2d(back[-1], 3, 3, 1, 1)
        # Standard deviation of the latents of held-out images, by which they are divided.
        self.register_buffer("scale", torch.ones(()))

    def _moments(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Return mean and log variance ``(n, c, rows, columns)`` of ``(n, 3, h, w)`` images."""
        f = 2 ** len(self.config.channels)
        rows, columns = self.config.grid
        h, w = images.shape[-2:]
        whole = functional.pad(2 * images - 1, (0, columns * f - w, 0, rows * f - h), "replicate")
        mean, log = self.moments(self.down(whole)).chunk(2, 1)
        return mean, log.clamp(-10, 4)

    def _images(self, latents: Tensor) -> Tensor:
        x = self.first(latents)
        for stage in self.up:
            x = stage(functional.interpolate(x, scale_factor=2))
        layout = self.config.layout
        return (self.last(x)[..., : layout.height, : layout.width] + 1) / 2

    def encode(self, images: Tensor) -> Tensor:
        """Return the mean latents ``(..., N, c)``, of standard deviation about 1."""
        mean, _ = self._moments(images.reshape(-1, *images.shape[-3:]))
        return (mean / self.scale).flatten(2).transpose(1, 2).reshape(*images.shape[:-3], -1, self.config.latent)

    def decode(self, latents: Tensor) -> Tensor:
        """Return the images ``(..., 3, h, w)``, not clipped."""
        flat = latents.reshape(-1, *latents.shape[-2:]).transpose(1, 2)
        images = self._images(flat.reshape(len(flat), -1, *self.config.grid) * self.scale)
        return images.reshape(*latents.shape[:-2], *images.shape[-3:])

    def losses(self, images: Tensor, generator: torch.Generator) -> dict[str, Tensor]:
        """Squared error of the reconstruction, and the divergence, of ``(n, 3, h, w)`` images."""
        mean, log = self._moments(images)
        noise = torch.randn(mean.shape, generator=generator).to(mean)
        back = self._images(mean + (log / 2).exp() * noise)
        pixel = (back - images).square().mean()
        kl = 0.5 * (mean.square() + log.exp() - 1 - log).mean()
        return {"pixel": pixel, "kl": kl, "total": 100 * pixel + 100 * self.config.kl * kl}


def frozen_tokeniser(path: str, layout: Layout) -> Tokeniser:
    """Load a trained tokeniser for the images of ``layout``. Raises as `frozen` does."""
    return frozen(path, layout, field="tokeniser", system=NAME, settings=TokeniserConfig, network=Tokeniser)


class TokeniserRecipe:
    """Trains the tokeniser on single images of the windows."""

    def __init__(self, config: TrainConfig, norm: Normalization):
        self.norm, self.settings = norm, TokeniserConfig.of(config.pixels)
        self.model = Tokeniser(self.settings, norm)
        self.head = nn.Module()

    def blocks(self) -> list[nn.Module]:
        return []

    def trained(self) -> list[nn.Parameter]:
        return list(self.model.parameters())

    def options(self, rng: np.random.Generator) -> dict[str, Any]:
        return {"keypoints": 0, "clip": (0,)}

    def losses(self, batch: Batch, generator: torch.Generator) -> dict[str, Tensor]:
        return self.model.losses(self._images(batch).to(next(self.model.parameters()).device), generator)

    def _images(self, batch: Batch) -> Tensor:
        if batch.clip is None:
            raise ValueError("clip: None, the batch must be drawn with the current image")
        return resized(batch.clip.images[:, 0], self.settings.layout)

    def copy(self) -> Tokeniser:
        return Tokeniser(self.settings, self.norm)

    @torch.no_grad()
    def validate(self, model: nn.Module, held_out: Mixture, size: int) -> tuple[dict[str, Any], str]:
        """Measure the reconstruction, and set the scale of the latents."""
        assert isinstance(model, Tokeniser)
        options = self.options(np.random.default_rng(0))
        images = self._images(held_out.draw(size, norm=self.norm, rng=np.random.default_rng(0), **options))
        model.scale.fill_(1.0)
        latents = model.encode(images)
        model.scale.fill_(float(latents.std()))
        error = float((model.decode(model.encode(images)).clamp(0, 1) - images).square().mean())
        mean = float((images.mean(0) - images).square().mean())
        psnr = -10 * np.log10(max(error, 1e-12))
        line = f"reconstruction {psnr:.1f} dB (the mean image {-10 * np.log10(max(mean, 1e-12)):.1f} dB)"
        return {"psnr_db": float(psnr), "scale": float(model.scale)}, line
