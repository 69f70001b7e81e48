"""What tells UWM's mechanisms from their names, on the synthetic world in pixels."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from uma_train.baselines.pixels.inputs import PixelBatch
from uma_train.baselines.uwm.network import UwmNetwork
from uma_train.studies import pixel_world
from uma_train.studies.findings import Finding, number, share

TEST = 20_000_000
"""Seed of the test scenes."""


def scenes(model: UwmNetwork, count: int, seed: int = 0, **options: object) -> PixelBatch:
    """Draw test scenes."""
    rng = np.random.default_rng([TEST, seed])
    return pixel_world.draw(rng, count, width=model.config.uma.width, layout=model.layout, **options)


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def shown(model: UwmNetwork, batch: PixelBatch, patches: Tensor) -> np.ndarray:
    """Return the side of the block in the last of the predicted images, -1, 0 or 1."""
    return np.sign(pixel_world.seen(model.images(patches)[:, -1], batch.past[:, -1]))


def rarer(side: np.ndarray) -> np.ndarray:
    left = side < 0
    return left if left.mean() < 0.5 else ~left


def joint_agrees(model: UwmNetwork, count: int) -> list[Finding]:
    """Actions and images that are sampled jointly must agree; sampled apart they agree by chance."""
    batch = scenes(model, count)
    action, patches = model.sample(batch, "joint", 1, generator(1))
    apart_action, _ = model.sample(batch, "policy", 1, generator(2))
    _, apart_patches = model.sample(batch, "video", 1, generator(3))
    together = np.sign(pixel_world.acted(action)) == shown(model, batch, patches)
    apart = np.sign(pixel_world.acted(apart_action)) == shown(model, batch, apart_patches)
    return [
        share("joint", "image and action agree on the side", together, at_least=0.95),
        share("joint", "the same, policy and video sampled apart", apart, below=0.7),
    ]


def conditions(model: UwmNetwork, count: int) -> list[Finding]:
    """Policy must cover both sides; inverse and forward must follow what is given."""
    batch = scenes(model, count)
    way = np.sign(pixel_world.acted(batch.action))
    policy = np.sign(pixel_world.acted(model.sample(batch, "policy", 1, generator(1))[0]))
    inverse = np.sign(pixel_world.acted(model.sample(batch, "inverse", 1, generator(2))[0]))
    forward = shown(model, batch, model.sample(batch, "forward", 1, generator(3))[1])
    return [
        share("conditional", "policy: the rarer side", rarer(policy), at_least=0.25),
        share("conditional", "inverse: actions on the side that the images show", inverse == way, at_least=0.95),
        share("conditional", "forward: images on the side of the actions", forward == way, at_least=0.95),
    ]


def marginal_is_real(model: UwmNetwork, count: int) -> list[Finding]:
    """The images' noise must not carry the side of the policy's actions; images in their place must."""
    batch = scenes(model, count)
    noise = torch.randn(
        count, model.config.tokeniser.tokens, model.patch, generator=generator(9)
    )  # of other images in the same places
    first = np.sign(pixel_world.acted(model.sample(batch, "policy", 1, generator(1))[0]))
    second = np.sign(pixel_world.acted(model.sample(batch, "policy", 1, generator(1), image_noise=noise)[0]))
    mirrored = replace(batch, future=scenes(model, count, side=-np.sign(pixel_world.acted(batch.action))).future)
    inverse = np.sign(pixel_world.acted(model.sample(mirrored, "inverse", 1, generator(1))[0]))
    return [
        number(
            "marginal",
            "change of the share of the right side by other noise of the images",
            abs(float((first > 0).mean() - (second > 0).mean())),
            count=count,
            below=0.15,
        ),
        share(
            "marginal",
            "inverse: images of the other side turn the actions",
            inverse == -np.sign(pixel_world.acted(batch.action)),
            at_least=0.9,
        ),
    ]


def action_free(model: UwmNetwork, count: int) -> list[Finding]:
    """Hidden actions of videos must not count; the noise steps of other samples must be independent."""
    video = scenes(model, count, has_action=False)
    hidden = replace(video, action=torch.randn(video.action.shape, generator=generator(5)))
    with torch.no_grad():
        first, second = (float(model.losses(b, generator(6))["total"]) for b in (video, hidden))
    steps = model.draw_steps(torch.ones(20_000, dtype=torch.bool), generator(7))
    correlation = float(np.corrcoef(steps.action.numpy(), steps.image.numpy())[0, 1])
    return [
        number("action-free", "change of the loss by the hidden actions", abs(first - second), count=count, exactly=0),
        number("action-free", "correlation of the noise steps", abs(correlation), count=20_000, below=0.03),
    ]


def findings(model: UwmNetwork, count: int) -> list[Finding]:
    """Measure every check on ``count`` test scenes."""
    return [
        *joint_agrees(model, count),
        *conditions(model, count),
        *marginal_is_real(model, count),
        *action_free(model, min(count, 16)),
    ]


def control_findings(model: UwmNetwork, count: int) -> list[Finding]:
    """Measure a network with one shared noise step: it samples jointly, and must fail to condition."""
    batch = scenes(model, count)
    way = np.sign(pixel_world.acted(batch.action))
    action, patches = model.sample(batch, "joint", 1, generator(1))
    inverse = np.sign(pixel_world.acted(model.sample(batch, "inverse", 1, generator(2))[0]))
    forward = shown(model, batch, model.sample(batch, "forward", 1, generator(3))[1])
    together = np.sign(pixel_world.acted(action)) == shown(model, batch, patches)
    return [
        share("shared step (PAD)", "joint: image and action agree on the side", together, at_least=0.9),
        share("shared step (PAD)", "inverse: actions on the side that the images show", inverse == way, below=0.95),
        share("shared step (PAD)", "forward: images on the side of the actions", forward == way, below=0.95),
    ]
