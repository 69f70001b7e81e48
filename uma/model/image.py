"""Image encoders: from an RGB image to a feature map, and to features at the points (paper 3.2)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from uma.model.config import ImageConfig
from uma.model.siglip import load_tower
from uma.types import InputError


def resized(image: Tensor, config: ImageConfig) -> Tensor:
    """Resize ``(B, 3, h, w)`` to the configured size, unless it already has it."""
    size = (config.height, config.width)
    return (
        image
        if image.shape[-2:] == size
        else nn.functional.interpolate(image, size, mode="bilinear", align_corners=False, antialias=True)
    )


def features_at(feature_map: Tensor, pixel: Tensor) -> Tensor:
    """Sample ``(B, c, h, w)`` maps bilinearly at ``(B, N, 2)`` positions x, y: ``(B, N, c)``.

    x and y run over [-1, 1] from the image's left and upper edge to its right and lower edge. Beyond the outermost cell
    centres, the map is constant.
    """
    # float32, because bfloat16 resolves a position to only a hundredth of the image
    sampled = nn.functional.grid_sample(
        feature_map.float(), pixel.float()[:, None], mode="bilinear", padding_mode="border", align_corners=False
    )
    return sampled[:, :, 0].transpose(1, 2)


class SmallImageEncoder(nn.Module):
    """A convolutional network, trained end to end: a map at 1/4 resolution, with context from 1/16.

    Strided convolutions at 1/2, 1/4, 1/8 and 1/16; the last three are projected to c channels and summed from coarse to
    fine. Group normalisation uses no batch statistics, so features do not depend on the batch.
    """

    widths = (16, 32, 64, 64)

    def __init__(self, config: ImageConfig):
        super().__init__()
        self.config = config
        self.stages = nn.ModuleList(
            nn.Sequential(nn.Conv2d(a, b, 3, stride=2, padding=1), nn.GroupNorm(8, b), nn.GELU(approximate="tanh"))
            for a, b in zip((3, *self.widths), self.widths)
        )
        self.project = nn.ModuleList(nn.Conv2d(width, config.features, 1) for width in self.widths[1:])

    def forward(self, image: Tensor) -> Tensor:
        """``(B, 3, h, w)`` in [0, 1] -> ``(B, c, height / 4, width / 4)``."""
        x, levels = resized(image, self.config) * 2 - 1, []
        for stage in self.stages:
            x = stage(x)
            levels.append(x)
        out = self.project[-1](levels[-1])
        for project, level in zip(reversed(self.project[:-1]), reversed(levels[1:-1])):
            out = project(level) + nn.functional.interpolate(
                out, level.shape[-2:], mode="bilinear", align_corners=False
            )
        return out


class SiglipImageEncoder(nn.Module):
    """The frozen SigLIP 2 vision tower and a learned projection of its patch features.

    Only the projection is in the state dict. Both kinds of checkpoint are supported: fixed resolution (model_type
    siglip) and NaFlex (siglip2). Both receive the whole image at the configured size, with position embeddings
    interpolated to the grid.

    Raises:
        InputError: the weights are not available (see `load_tower`), or the size is not a multiple of the tower's
            patches.
    """

    def __init__(self, config: ImageConfig):
        super().__init__()
        self.config = config
        self.tower = load_tower(config.path, config.sha256, "vision", "image")
        own = self.tower.module.config
        self.patch, self.is_naflex = own.patch_size, own.model_type.startswith("siglip2")
        for name in ("height", "width"):
            if (value := getattr(config, name)) % self.patch:
                raise InputError(
                    f"image.{name}: {value}, must be a multiple of {self.patch}, the patch size of {config.path}"
                )
        self.project = nn.Linear(own.hidden_size, config.features)

    def forward(self, image: Tensor) -> Tensor:
        """``(B, 3, h, w)`` in [0, 1] -> ``(B, c, height / patch, width / patch)``."""
        image = resized(image, self.config) * 2 - 1  # mean and standard deviation 0.5, as in SigLIP's training
        B, p = len(image), self.patch
        h, w = self.config.height // p, self.config.width // p
        if self.is_naflex:  # flattened patches, channels last, with the grid's shape
            patches = image.view(B, 3, h, p, w, p).permute(0, 2, 4, 3, 5, 1).reshape(B, h * w, p * p * 3)
            is_valid = torch.ones(B, h * w, dtype=torch.long, device=image.device)
            out = self.tower(patches, is_valid, torch.tensor([[h, w]], device=image.device).expand(B, 2))
        else:
            out = self.tower(image, interpolate_pos_encoding=True)
        features = self.project(out.last_hidden_state.to(self.project.weight.dtype))
        return features.transpose(1, 2).reshape(B, -1, h, w)


def image_encoder(config: ImageConfig) -> SmallImageEncoder | SiglipImageEncoder | None:
    """Build the encoder of ``config.kind``; None for "none". Each maps ``(B, 3, h, w)`` to ``(B, features, h',
    w')``."""
    return {"none": lambda _: None, "small": SmallImageEncoder, "siglip2": SiglipImageEncoder}[config.kind](config)
