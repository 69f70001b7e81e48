"""The inputs of a pixel system, and how it gets them from a window of an episode."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from uma_train.data.batch import Batch
from uma_train.data.clips import Layout


@dataclass(frozen=True)
class PixelBatch:
    """Inputs of a pixel system, for training or for one prediction.

    Attributes:
        past: ``(B, P, 3, h, w)`` images in 0 to 1; the last one is current.
        state: ``(B, P, 10)`` measured end-effector states at these images, encoded as actions are.
        future: ``(B, F, 3, h, w)``; zeros in a prediction.
        is_seen: ``(B, F)`` bool; False for future images without a record.
        action: ``(B, H, 10)`` normalised actions; zeros where unknown.
        has_action: ``(B,)`` bool; False for sources without compatible actions.
        task: ``(B, M, d)`` task tokens.
    """

    past: Tensor
    state: Tensor
    future: Tensor
    is_seen: Tensor
    action: Tensor
    has_action: Tensor
    task: Tensor


def resized(images: Tensor, layout: Layout) -> Tensor:
    """Average ``(..., 3, H, W)`` images over areas to ``(..., 3, height, width)``."""
    flat = images.reshape(-1, *images.shape[-3:])
    small = functional.adaptive_avg_pool2d(flat, (layout.height, layout.width))
    return small.reshape(*images.shape[:-2], layout.height, layout.width)


def pixel_batch(batch: Batch, layout: Layout, task: Tensor) -> PixelBatch:
    """Return the pixel system's inputs of a batch that was drawn with the clip and the history of ``layout``.

    Args:
        task: ``(B, M, d)``.
    """
    if batch.clip is None or batch.grid.is_supervised_action is None:
        raise ValueError("clip: None, the batch must be drawn with the layout's steps")
    P, h = layout.past, layout.history
    images = resized(batch.clip.images, layout)
    return PixelBatch(
        images[:, :P],
        batch.grid.action[:, : h + 1 : layout.every],
        images[:, P:],
        batch.clip.is_seen[:, P:],
        batch.grid.action[:, h + 1 :],
        batch.grid.is_supervised_action,
        task,
    )


def on(device: torch.device, batch: PixelBatch) -> PixelBatch:
    """Move a batch to a device."""
    return PixelBatch(*(getattr(batch, name).to(device) for name in PixelBatch.__dataclass_fields__))
