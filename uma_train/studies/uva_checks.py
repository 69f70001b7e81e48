"""What tells UVA's mechanisms from their names, on the synthetic world in pixels."""

from __future__ import annotations

import copy
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor, nn

from uma_train.baselines.pixels.inputs import PixelBatch
from uma_train.baselines.uva.network import UvaNetwork
from uma_train.studies import pixel_world
from uma_train.studies.findings import Finding, number, share

TEST = 10_000_000
"""Seed of the test scenes."""


def scenes(model: UvaNetwork, count: int, seed: int = 0, **options: object) -> PixelBatch:
    """Draw test scenes."""
    rng = np.random.default_rng([TEST, seed])
    return pixel_world.draw(rng, count, width=model.config.uma.width, layout=model.layout, **options)


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def no_leak(model: UvaNetwork, count: int) -> list[Finding]:
    """Policy mode must not read the future, the chunk, or the video head."""
    batch = scenes(model, count)
    noise = generator(1)
    garbage = replace(
        batch,
        future=torch.rand(batch.future.shape, generator=noise),
        action=torch.randn(batch.action.shape, generator=noise),
    )
    actions = model.act(batch, 1, 1, generator())
    other = copy.deepcopy(model)
    with torch.no_grad():
        for p in other.video_head.parameters():
            p.normal_()
    change = float((actions - model.act(garbage, 1, 1, generator())).abs().max())
    head = float((actions - other.act(batch, 1, 1, generator())).abs().max())
    return [
        number(
            "no leak", "largest change of policy actions by another future and chunk", change, count=count, exactly=0
        ),
        number("no leak", "the same, by random weights of the video head", head, count=count, exactly=0),
    ]


def error_of(model: UvaNetwork, batch: PixelBatch, mode: str) -> tuple[np.ndarray, float]:
    """Return the displacement in the last imagined image, pixels, and the mean squared error of the latents."""
    future, _ = model.imagine(batch, 1, generator(), mode)
    wanted = model.tokeniser.encode(batch.future)
    shown = pixel_world.seen(model.tokeniser.decode(future[:, -1]), batch.past[:, -1])
    return shown, float((future - wanted).square().mean())


def forward_follows(model: UvaNetwork, count: int) -> list[Finding]:
    """The imagined block must follow given actions, and flip with them."""
    batch = scenes(model, count)
    truth = np.sign(pixel_world.acted(batch.action))
    shown, own = error_of(model, batch, "forward")
    mirrored = batch.action.clone()
    mirrored[..., 0] *= -1
    flipped, _ = error_of(model, replace(batch, action=mirrored), "forward")
    # Another scene's chunk, half of whose sides differ.
    _, shuffled = error_of(model, replace(batch, action=batch.action.roll(1, 0)), "forward")
    _, video = error_of(model, batch, "video")
    return [
        share("forward", "the imagined block goes to the side of the actions", np.sign(shown) == truth, at_least=0.9),
        share("forward", "mirrored actions: it goes to the other side", np.sign(flipped) == -truth, at_least=0.9),
        number("forward", "error of latents, own actions", own, count=count, below=0.5 * video),
        number("forward", "the same, another scene's actions", shuffled, count=count, above=0.7 * video),
        number("forward", "the same, without actions (video)", video, count=count),
    ]


def inverse_resolves(model: UvaNetwork, count: int) -> list[Finding]:
    """Given the future, the side must be known; without it, both sides must occur."""
    batch = scenes(model, count)
    way = pixel_world.acted(batch.action)
    policy = pixel_world.acted(model.act(batch, 1, 1, generator())[:, 0])
    inverse = pixel_world.acted(model.act(batch, 1, 1, generator(), "inverse")[:, 0])
    left = np.sign(policy) < 0
    rarer = left if left.mean() < 0.5 else ~left
    apart = float(np.abs(policy - way).mean())
    return [
        share("inverse", "actions on the side that the future shows", np.sign(inverse) == np.sign(way), at_least=0.95),
        share("inverse", "policy: the rarer side", rarer, at_least=0.25),
        number("inverse", "error, pixels", float(np.abs(inverse - way).mean()), count=count, below=0.25 * apart),
        number("inverse", "the policy's error, pixels", apart, count=count),
    ]


class Calls:
    """Counts the calls of modules."""

    def __init__(self, **modules: nn.Module):
        self.count = dict.fromkeys(modules, 0)
        self._hooks = [m.register_forward_hook(self._counting(name)) for name, m in modules.items()]

    def _counting(self, name: str):
        def hook(*_: object) -> None:
            self.count[name] += 1

        return hook

    def close(self) -> dict[str, int]:
        for hook in self._hooks:
            hook.remove()
        return self.count


def light_acting(model: UvaNetwork) -> list[Finding]:
    """A chunk must take one pass of the transformer, and neither the video head nor the decoder."""
    batch = scenes(model, 4)
    counts = []
    for steps in (10, 20):
        calls = Calls(
            transformer=model.layers[0], video=model.video_head, decoder=model.tokeniser.first, head=model.action_head
        )
        model.act(batch, steps, 8, generator())
        counts.append(calls.close())
    first, second = counts
    return [
        number("speed", "passes of the transformer for 8 chunks", first["transformer"], exactly=1),
        number("speed", "the same with twice the denoising steps", second["transformer"], exactly=1),
        number("speed", "calls of video head and decoder", first["video"] + first["decoder"], exactly=0),
        number("speed", "calls of the action head per denoising step", second["head"] / 20, exactly=1),
    ]


def action_free(model: UvaNetwork, count: int) -> list[Finding]:
    """A batch without actions must teach the transformer and the video head, and not the action head."""
    twin = copy.deepcopy(model).train()
    twin.zero_grad(set_to_none=True)
    twin.losses(scenes(model, count, has_action=False), generator())["total"].backward()

    def size(*modules: nn.Module) -> float:
        grads: list[Tensor] = [p.grad for m in modules for p in m.parameters() if p.grad is not None]
        return float(sum(g.abs().sum() for g in grads))

    return [
        number("action-free", "gradient of the action head", size(twin.action_head, twin.action_latent), exactly=0),
        number("action-free", "gradient of the transformer", size(twin.layers), above=0),
        number("action-free", "gradient of the video head", size(twin.video_head), above=0),
    ]


def findings(model: UvaNetwork, count: int) -> list[Finding]:
    """Measure every check on ``count`` test scenes."""
    return [
        *no_leak(model, min(count, 16)),
        *forward_follows(model, count),
        *inverse_resolves(model, count),
        *light_acting(model),
        *action_free(model, min(count, 16)),
    ]
