"""Image encoders: an RGB image to a feature map, and its features at the points (paper 3.2)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from uma.model.config import ImageConfig
from uma.model.siglip import load_tower
from uma.types import InputError


def resized(image: Tensor, config: ImageConfig) -> Tensor:
    """``(B, 3, h, w)`` at the configured size; untouched where it already has it."""
    size = (config.height, config.width)
    return (
        image
        if image.shape[-2:] == size
        else nn.functional.interpolate(image, size, mode="bilinear", align_corners=False, antialias=True)
    )


def features_at(feature_map: Tensor, pixel: Tensor) -> Tensor:
    """Bilinear features of ``(B, c, h, w)`` maps at ``(B, N, 2)`` places x, y: ``(B, N, c)``.

    x and y run over [-1, 1] from the image's left and upper edge to its right and lower edge, whatever the map's
    resolution. Beyond the centres of the outermost cells the map continues with their values.
    """
    # float32: in bfloat16 a place would be known to a hundredth of the image only
    sampled = nn.functional.grid_sample(
        feature_map.float(), pixel.float()[:, None], mode="bilinear", padding_mode="border", align_corners=False
    )
    return sampled[:, :, 0].transpose(1, 2)


class SmallImageEncoder(nn.Module):
    """A convolutional net trained with the rest: a map at a quarter of the resolution, with context from a sixteenth.

    Strided convolutions at 1/2, 1/4, 1/8 and 1/16; the last three are projected to c channels and summed from coarse to
    fine. Normalised per image and group of channels: no statistics of the batch, so a feature is the same alone and in
    a batch.
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
    """The frozen SigLIP 2 vision tower and a learned projection of its patch features; only the projection is in the
    state dict.

    Both kinds of checkpoint are read: with a fixed resolution (model_type siglip) and NaFlex (siglip2). Either one sees
    the whole image at the configured size, undistorted where that has the camera's aspect, its position embeddings
    interpolated to the grid.

    Raises:
        InputError: the weights cannot be had (see `load_tower`), or the size is not a multiple of the tower's patches.
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
        image = resized(image, self.config) * 2 - 1  # mean and standard deviation 0.5, as SigLIP was trained
        B, p = len(image), self.patch
        h, w = self.config.height // p, self.config.width // p
        if self.is_naflex:  # patches as rows of pixels, channels last, with the grid's shape beside them
            patches = image.view(B, 3, h, p, w, p).permute(0, 2, 4, 3, 5, 1).reshape(B, h * w, p * p * 3)
            is_valid = torch.ones(B, h * w, dtype=torch.long, device=image.device)
            out = self.tower(patches, is_valid, torch.tensor([[h, w]], device=image.device).expand(B, 2))
        else:
            out = self.tower(image, interpolate_pos_encoding=True)
        features = self.project(out.last_hidden_state.to(self.project.weight.dtype))
        return features.transpose(1, 2).reshape(B, -1, h, w)


def image_encoder(config: ImageConfig) -> SmallImageEncoder | SiglipImageEncoder | None:
    """The encoder of ``config.kind``; None for "none". Each maps ``(B, 3, h, w)`` images to ``(B, features, h',
    w')``."""
    return {"none": lambda _: None, "small": SmallImageEncoder, "siglip2": SiglipImageEncoder}[config.kind](config)
