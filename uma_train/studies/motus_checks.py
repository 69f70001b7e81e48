"""What tells Motus's modes, wiring and rates from their names, on the synthetic world in pixels and on an episode."""

from __future__ import annotations

import copy
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor, nn

from uma.model.inputs import Normalization, decode_actions
from uma.types import HORIZON
from uma_train.baselines.motus.config import GROUPS
from uma_train.baselines.motus.latent_recipe import part
from uma_train.baselines.motus.latents import LatentConfig
from uma_train.baselines.motus.network import WHOLE_CUT, Cut, MotusNetwork
from uma_train.baselines.pixels.inputs import PixelBatch
from uma_train.data.clips import Layout
from uma_train.data.episode import Episode
from uma_train.data.windows import Windows
from uma_train.studies import motus_world, pixel_world, push_world
from uma_train.studies.findings import Finding, number, share
from uma_train.studies.motus_latents import TEST

TASK_CUT: Cut = frozenset((reader, "task") for reader in GROUPS if reader != "task")
"""Nothing outside the task tokens reads them."""

ACTION_CUT: Cut = frozenset((reader, "action") for reader in GROUPS if reader != "action")
"""Nothing outside the action tokens reads them."""

LAYOUTS = (Layout(past=1, future=2, every=8), Layout(past=1, future=4, every=4), Layout(past=1, future=8, every=2))
"""Eight, four and two actions for every image."""


def scenes(model: MotusNetwork, count: int, seed: int = 0, **options: object) -> PixelBatch:
    """Draw test scenes."""
    rng = np.random.default_rng([TEST, 10 + seed])
    return motus_world.draw(rng, count, width=model.config.uma.width, layout=model.layout, **options).batch


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def way(action: Tensor) -> np.ndarray:
    """Return the side of chunks, -1, 0 or 1."""
    return np.sign(pixel_world.acted(action))


def shown(model: MotusNetwork, batch: PixelBatch, patches: Tensor) -> np.ndarray:
    """Return the side of the block in the last of the predicted images, -1, 0 or 1."""
    return np.sign(pixel_world.seen(model.images(patches)[:, -1], batch.past[:, -1]))


def rarer(side: np.ndarray) -> np.ndarray:
    left = side < 0
    return left if left.mean() < 0.5 else ~left


def modes(model: MotusNetwork, count: int) -> list[Finding]:
    """One network must sample jointly, marginally and conditionally, by the pair of flow times alone (check 3)."""
    batch = scenes(model, count)
    truth = way(batch.action)
    action, patches = model.sample(batch, "joint", 1, generator(1))
    policy = way(model.sample(batch, "policy", 1, generator(2))[0])
    _, video = model.sample(batch, "video", 1, generator(3))
    inverse = way(model.sample(batch, "inverse", 1, generator(4))[0])
    world = shown(model, batch, model.sample(batch, "world", 1, generator(5))[1])
    other = replace(batch, action=torch.randn(batch.action.shape, generator=generator(6)))
    change = (model.sample(other, "video", 1, generator(3))[1] - video).abs().max()
    noise = torch.randn(patches.shape, generator=generator(7))
    again = way(model.sample(batch, "policy", 1, generator(2), image_noise=noise)[0])
    moved = abs(float((policy > 0).mean() - (again > 0).mean()))
    return [
        share(
            "modes",
            "joint: image and action agree on the side",
            way(action) == shown(model, batch, patches),
            at_least=0.95,
        ),
        share("modes", "the same, policy and video sampled apart", policy == shown(model, batch, video), below=0.7),
        share("modes", "policy (VLA): the rarer side", rarer(policy), at_least=0.25),
        share("modes", "inverse (IDM): actions on the side that the images show", inverse == truth, at_least=0.95),
        share("modes", "world model: images on the side of the actions", world == truth, at_least=0.95),
        number("modes", "video (VGM): largest change by another chunk", float(change), count=count, exactly=0),
        number("modes", "policy: change of the share of one side by other image noise", moved, count=count, below=0.15),
    ]


def told(model: MotusNetwork, batch: PixelBatch, side: np.ndarray) -> PixelBatch:
    """Return the batch with task tokens that tell a side."""
    return replace(batch, task=motus_world.task_of(torch.from_numpy(side).float(), model.config.uma.width))


def wiring(model: MotusNetwork, count: int) -> list[Finding]:
    """What reads what, by cutting the shared attention (check 4)."""
    batch = scenes(model, count, 1)
    truth = way(batch.action)
    inverse = way(model.sample(batch, "inverse", 1, generator(1), cut=WHOLE_CUT)[0])
    drawn = model.sample(batch, "policy", 1, generator(2), cut=WHOLE_CUT)[0]
    length = np.abs(pixel_world.acted(drawn))
    low, high = pixel_world.WAY
    named = told(model, batch, truth)
    follows = way(model.sample(named, "policy", 1, generator(3))[0]) == truth
    still_follows = way(model.sample(named, "policy", 1, generator(3), cut=WHOLE_CUT)[0]) == truth
    untold = [
        model.sample(told(model, batch, s * truth), "policy", 1, generator(4), cut=TASK_CUT)[0] for s in (1.0, -1.0)
    ]
    return [
        share("wiring", "future images cut: inverse on the shown side", inverse == truth, below=0.75),
        share("wiring", "future images cut: policy, the rarer side", rarer(way(drawn)), at_least=0.25),
        share(
            "wiring", "the same, pushes of a possible length", (length > low - 2) & (length < high + 2), at_least=0.9
        ),
        share("wiring", "the same, with a told side: on that side", still_follows, at_least=0.95),
        share("wiring", "policy with a told side: on that side", follows, at_least=0.95),
        number(
            "wiring",
            "task cut: largest change of the policy's actions by the other side's tokens",
            float((untold[0] - untold[1]).abs().max()),
            count=count,
            exactly=0,
        ),
    ]


def gradient(
    model: MotusNetwork, batch: PixelBatch, loss: str, expert: str, stage: str, cut: Cut = frozenset()
) -> float:
    """Return the sum of absolute gradients of one expert's parameters from one loss."""
    twin = copy.deepcopy(model).train()
    twin.zero_grad(set_to_none=True)
    chosen = twin.losses(batch, generator(), stage, cut)[loss]
    if chosen.requires_grad:
        chosen.backward()
    return float(sum(p.grad.abs().sum() for p in twin.of_expert(expert) if p.grad is not None))


def separate_weights(model: MotusNetwork, count: int) -> list[Finding]:
    """Experts must have weights of their own, and get no gradient from a loss that cannot reach them (check 4)."""
    batch = scenes(model, count, 2)
    sets = [{id(p) for p in model.of_expert(name)} for name in ("video", "action", "understanding")]
    shared = sum(len(a & b) for i, a in enumerate(sets) for b in sets[:i])
    elsewhere = [p for m in (model.tokeniser, model.task_encoder) for p in m.parameters()]
    left = {id(p) for p in model.parameters()} - set().union(*sets) - {id(p) for p in elsewhere}
    videos = replace(batch, has_action=torch.zeros_like(batch.has_action))
    rows: list[tuple[str, float, float | None]] = [
        ("weights of two experts, or of none", shared + len(left), 0),
        ("stage 1: gradient of the action expert", gradient(model, batch, "total", "action", "video"), 0),
        ("stage 1: gradient of the video expert", gradient(model, batch, "total", "video", "video"), None),
        ("images' loss, action tokens cut: gradient of the action expert",
         gradient(model, batch, "video", "action", "action", ACTION_CUT), 0),
        ("the same, not cut", gradient(model, batch, "video", "action", "action"), None),
        ("videos without actions: gradient of their actions' loss",
         sum(gradient(model, videos, "action", e, "action") for e in ("video", "action")), 0),
    ]  # fmt: skip
    return [
        number("experts", what, value, count=count, exactly=limit, above=0 if limit is None else None)
        for what, value, limit in rows
    ]


def follows_the_clock(model: MotusNetwork, count: int) -> list[Finding]:
    """Each imagined image must show the actions up to its own step (check 5)."""
    batch = scenes(model, count, 3)
    images = model.images(model.sample(batch, "world", 1, generator(1))[1])
    at = np.stack([pixel_world.seen(images[:, j], batch.past[:, -1]) for j in range(images.shape[1])], 1)
    path = pixel_world.SCALE * batch.action[..., 0].numpy()
    steps = np.array(model.frame_steps())
    own = float(np.abs(at - path[:, steps - 1]).mean())
    other = float(np.abs(at - path[:, steps[::-1] - 1]).mean())
    return [
        number("rates", "world model: error of the block at the images' steps, pixels", own, count=count, below=1.0),
        number("rates", "the same, steps of the images exchanged", other, count=count, above=2 * own),
    ]


def filmed() -> Episode:
    """Return an episode with an image of every step, whose brightness is the step's number."""
    e = push_world.push_episode(TEST, points=64)
    S = len(e.pose)
    grey = np.broadcast_to(np.arange(S, dtype=np.uint8)[:, None, None, None], (S, 18, 32, 3)).copy()
    clouds = {name: np.repeat(getattr(e, name), S, 0) for name in ("xyz", "rgb", "height")}
    steps = np.arange(S, dtype=np.int32)
    return replace(e, **clouds, frame_step=steps, images=grey, image_frame=steps)


def rates() -> list[Finding]:
    """Images and actions of a window must be of the right steps, at every ratio of their rates (check 5)."""
    episode, norm = filmed(), Normalization()
    windows, dense = Windows([episode]), LatentConfig().steps
    late, far, chunks = [], [], []
    for layout in LAYOUTS:
        steps = tuple(sorted({*layout.steps, *dense}))
        batch = windows.draw(1, 0, norm, np.random.default_rng(0), np.zeros(1, int), clip=steps)
        for wanted in (layout.steps, dense):
            clip = part(batch, steps, wanted).clip
            assert clip is not None
            late.append(np.abs(255 * clip.images[0].mean((1, 2, 3)).numpy() - np.array(wanted)).max())
        poses, _ = decode_actions(batch.grid.action[0, 1:].numpy(), batch.T_cam_ee[0], norm)
        far.append(1e3 * np.linalg.norm(poses[:, :3, 3] - episode.pose[1 : HORIZON + 1, :3, 3], axis=-1).max())
        chunks.append(batch.grid.action)
    change = max(float((c - chunks[0]).abs().max()) for c in chunks)
    return [
        number("rates", "images at 8, 4 and 2 actions each: largest error of a step", max(late), below=0.01),
        number("rates", "actions at 15 Hz: largest error of a target at its step, mm", max(far), below=0.01),
        number("rates", "largest change of the actions by the images' rate", change, exactly=0),
    ]


def independent_times(model: MotusNetwork) -> list[Finding]:
    """Both flow times must be drawn apart, and that of a missing chunk must be 1."""
    times = model.draw_times(torch.ones(20_000, dtype=torch.bool), generator(7))
    missing = model.draw_times(torch.zeros(100, dtype=torch.bool), generator(8))[0]
    correlation = abs(float(np.corrcoef(times[0].numpy(), times[1].numpy())[0, 1]))
    return [
        number("modes", "correlation of the flow times", correlation, count=20_000, below=0.03),
        number("modes", "flow time of a missing chunk", float(missing.min()), count=100, exactly=1),
    ]


def findings(model: nn.Module, count: int) -> list[Finding]:
    """Measure the checks 3 to 5 on ``count`` test scenes."""
    assert isinstance(model, MotusNetwork)
    return [
        *modes(model, count),
        *independent_times(model),
        *wiring(model, count),
        *separate_weights(model, min(count, 16)),
        *follows_the_clock(model, count),
        *rates(),
    ]
