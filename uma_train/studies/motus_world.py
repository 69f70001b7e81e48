"""The world in pixels for Motus: images at every interval of the latent actions, and told tasks."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from uma_train.baselines.motus.flow import flow_fields
from uma_train.baselines.motus.latents import LatentConfig, increments
from uma_train.baselines.pixels.inputs import PixelBatch
from uma_train.data.clips import Layout
from uma_train.studies import pixel_world

STRIDE = 4
"""Control steps of one flow field."""

LATENTS = LatentConfig(pixel_world.LAYOUT, STRIDE, (8, 16, 16), 16)


@dataclass(frozen=True)
class Clip:
    """Scenes with all their images.

    Attributes:
        batch: with the images of its layout.
        images: ``(B, n, 3, h, w)`` at the steps of `LATENTS`.
        side: ``(B,)`` -1 or 1.
    """

    batch: PixelBatch
    images: Tensor
    side: Tensor

    def flow(self) -> Tensor:
        """Return ``(B, n - 1, 2, h, w)`` pixels."""
        return flow_fields(self.images)

    def increments(self) -> Tensor:
        """Return ``(B, n - 1, 10)``."""
        return increments(self.batch.action, self.batch.state[:, -1], STRIDE)


def draw(
    rng: np.random.Generator,
    size: int,
    *,
    layout: Layout = pixel_world.LAYOUT,
    width: int = 32,
    told: float = 0.0,
    side: np.ndarray | None = None,
) -> Clip:
    """Draw ``size`` scenes.

    Args:
        layout: of the batch's images; its steps are multiples of `STRIDE`.
        width: d of the task tokens.
        told: share of the scenes whose task tokens name the side; the others' are zero.
    """
    dense = Layout(layout.height, layout.width, 1, 16 // STRIDE, STRIDE)
    batch = pixel_world.draw(rng, size, layout=dense, width=width, side=side)
    images = torch.cat([batch.past, batch.future], 1)
    way = batch.action[:, -1, 0].sign()
    is_told = torch.from_numpy((rng.random(size) < told).astype(np.float32))
    index = [s // STRIDE for s in layout.steps if s > 0]
    sparse = replace(
        batch,
        past=images[:, :1].expand(-1, layout.past, -1, -1, -1),
        state=batch.state.expand(-1, layout.past, -1),
        future=images[:, index],
        is_seen=torch.ones(size, len(index), dtype=torch.bool),
        task=task_of(way * is_told, width),
    )
    return Clip(sparse, images, way)


def task_of(side: Tensor, width: int) -> Tensor:
    """Return the task tokens ``(B, M, width)`` of sides ``(B,)``; zero for 0."""
    pattern = torch.ones(pixel_world.TASK_TOKENS, width)
    pattern[:, width // 2 :] = 0.0
    return side[:, None, None] * pattern
