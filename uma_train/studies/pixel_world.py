"""A synthetic world in pixels: a hand pushes a block to the left or right, and nothing in the past says to which side.

The camera looks straight down. The hand is a grey disc on a coloured block, both at rest in all past images. The chunk
moves the hand along x by `WAY` pixels, and the block moves with it. Sides are equally likely in every scene.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from uma.model.inputs import ACTION_DIM
from uma.types import HORIZON
from uma_train.baselines.pixels.inputs import PixelBatch
from uma_train.data.clips import Layout

LAYOUT = Layout(height=16, width=32)
"""Small images for systems that train within minutes."""

WAY = (4.0, 7.0)
"""Shortest and longest push, pixels."""

SCALE = 4.0
"""Pixels of one unit of a normalised action."""

BLOCK, HAND = (3.5, 2.5), 1.6
"""Half edges of the block, and radius of the hand, pixels."""

TASK_TOKENS = 4


def path(side: np.ndarray, way: np.ndarray) -> np.ndarray:
    """Return ``(B, H + 1)`` displacements along x, pixels, at rest at both ends."""
    u = np.linspace(0, 1, HORIZON + 1)
    return side[:, None] * way[:, None] * (u**2 * (3 - 2 * u))[None]


def draw_image(centre: np.ndarray, colour: np.ndarray, layout: Layout = LAYOUT) -> np.ndarray:
    """Render ``(n, 3, h, w)`` images in 0 to 1 of blocks of ``colour`` ``(n, 3)`` at ``centre`` ``(n, 2)`` pixels."""
    y, x = np.mgrid[: layout.height, : layout.width].astype(np.float32)
    dx, dy = x[None] - centre[:, 0, None, None], y[None] - centre[:, 1, None, None]
    block = np.clip(BLOCK[0] - np.abs(dx) + 0.5, 0, 1) * np.clip(BLOCK[1] - np.abs(dy) + 0.5, 0, 1)
    hand = np.clip(HAND - np.hypot(dx, dy) + 0.5, 0, 1)
    table = 0.75 + 0.05 * np.sin(x / 3.0) * np.cos(y / 3.0)
    image = table * (1 - block)[:, None] + colour[:, :, None, None] * block[:, None]
    return (image * (1 - hand)[:, None] + 0.2 * hand[:, None]).astype(np.float32)


def draw(
    rng: np.random.Generator,
    size: int,
    *,
    side: np.ndarray | None = None,
    has_action: bool = True,
    width: int = 32,
    layout: Layout = LAYOUT,
) -> PixelBatch:
    """Draw ``size`` scenes.

    Args:
        side: ``(size,)`` 1 = to the right, -1 = to the left; None = drawn, evenly.
        has_action: False = videos without actions, which are zero.
        width: d of the task tokens, which are zero.
    """
    drawn = rng.choice([-1.0, 1.0], size)
    way, colour = rng.uniform(*WAY, size), rng.uniform(0.1, 0.9, (size, 3))
    margin = BLOCK[0] + WAY[1] + 1
    centre = np.stack(
        [
            rng.uniform(margin, layout.width - 1 - margin, size),
            rng.uniform(BLOCK[1] + 1, layout.height - 2 - BLOCK[1], size),
        ],
        1,
    )
    moved = path(drawn if side is None else np.asarray(side, float), way)
    steps = [s for s in layout.steps if s > 0]

    def image(step: int) -> np.ndarray:
        return draw_image(centre + np.stack([moved[:, min(step, HORIZON)], np.zeros(size)], 1), colour, layout)

    past = np.repeat(image(0)[:, None], layout.past, 1)
    action = np.zeros((size, HORIZON, ACTION_DIM), np.float32)
    if has_action:
        action[..., 0], action[..., -1] = moved[:, 1:] / SCALE, 1.0
    state = np.zeros((size, layout.past, ACTION_DIM), np.float32)
    state[..., -1] = 1.0
    return PixelBatch(
        torch.from_numpy(past),
        torch.from_numpy(state),
        torch.from_numpy(np.stack([image(s) for s in steps], 1)),
        torch.ones(size, len(steps), dtype=torch.bool),
        torch.from_numpy(action),
        torch.full((size,), has_action),
        torch.zeros(size, TASK_TOKENS, width),
    )


def acted(action: Tensor) -> np.ndarray:
    """Return the displacement along x that normalised actions ``(B, H, 10)`` end at, pixels ``(B,)``."""
    return action[:, -1, 0].float().numpy() * SCALE


def seen(image: Tensor, first: Tensor) -> np.ndarray:
    """Return the displacement of the block along x from ``first`` to ``image``, each ``(B, 3, h, w)``, pixels ``(B,)``.

    It is that of the best overlap of what differs from the table, in whole pixels.
    """
    h, w = image.shape[-2:]
    y, x = np.mgrid[:h, :w].astype(np.float32)
    table = torch.from_numpy(0.75 + 0.05 * np.sin(x / 3.0) * np.cos(y / 3.0)).float()
    here, there = ((v.float().cpu() - table).abs().mean(1) for v in (first, image))
    shifts = np.arange(-int(WAY[1]) - 3, int(WAY[1]) + 4)
    error = torch.stack([(torch.roll(here, int(s), -1) - there).square().mean((1, 2)) for s in shifts], 1)
    return shifts[error.argmin(1).numpy()].astype(float)
