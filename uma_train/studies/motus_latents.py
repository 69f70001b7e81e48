"""What Motus's latent actions mean, and what pretraining on them is worth, on the synthetic world in pixels."""

from __future__ import annotations

import copy

import numpy as np
import torch
from rich.console import Console
from torch import Tensor

from uma_train.baselines.motus.flow import flow_fields
from uma_train.baselines.motus.latents import LatentActions
from uma_train.baselines.motus.network import MotusNetwork
from uma_train.studies import motus_world, pixel_world
from uma_train.studies.findings import Finding, number
from uma_train.studies.motus_training import Learned, Pool, train_stage
from uma_train.studies.motus_world import Clip

TEST = 30_000_000
"""Seed of the test scenes."""

SENSOR = 0.01
"""Noise of a resting camera's images, of 1."""


def r2(predicted: Tensor, wanted: Tensor) -> float:
    """Return the explained share of the variance of all columns."""
    return 1 - float((predicted - wanted).square().sum() / (wanted - wanted.mean(0)).square().sum())


def probed(model: LatentActions, fit: Pool, test: Pool) -> float:
    """Return R2 of a linear probe from codes to true increments, fitted and tested on clips that training never saw."""

    def codes(pool: Pool) -> Tensor:
        z = model.encode(pool.flow).double()
        return torch.cat([z, torch.ones(len(z), 1).double()], 1)

    with torch.no_grad():
        weights = torch.linalg.lstsq(codes(fit), fit.increments.double()).solution
        return r2(codes(test) @ weights, test.increments.double())


def meaning(learned: Learned, count: int) -> list[Finding]:
    """A latent action must mean an action, and only its labels can make it one (check 1).

    The probes without labels have no limit: here one thing moves, so that any code of the flow has the motion in it.
    """
    fit, test = (Pool.of(motus_world.draw(np.random.default_rng([TEST, s]), count)) for s in (1, 2))
    n, model = len(test.flow), learned.right
    models = {"right": model, "without": learned.without, "shuffled": learned.shuffled}
    probe = {name: probed(m, fit, test) for name, m in models.items()}
    with torch.no_grad():
        plain = {name: r2(m.encode(test.flow), test.increments) for name, m in models.items()}
        back = model.decode(model.encode(test.flow))
        left = float((back - test.flow).square().mean() / (test.flow - learned.unlabelled.flow.mean(0)).square().mean())
    what = "R2 of the true increments"
    return [
        number("latent action", f"{what}, by a linear probe of the latent action", probe["right"], count=n, above=0.9),
        number("latent action", "the same probe, lambda_a 0", probe["without"], count=n),
        number("latent action", "the same probe, labels shuffled", probe["shuffled"], count=n),
        number("latent action", f"{what}, by the latent action itself", plain["right"], count=n, above=0.75),
        number("latent action", "the same, lambda_a 0", plain["without"], count=n, below=0.5),
        number("latent action", "the same, labels shuffled", plain["shuffled"], count=n, below=0.5),
        number("latent action", "static clip: distance from the code of no motion", still(model, count), below=0.1),
        number("latent action", "squared error of the flow, of that of the mean flow", left, count=n, below=0.5),
    ]


def still(model: LatentActions, count: int) -> float:
    """Return the mean distance of codes of noisy images of one scene from the code of no motion.

    It is in units of the mean distance of the codes of moving scenes.
    """
    clip = motus_world.draw(np.random.default_rng([TEST, 3]), count)
    first = clip.images[:, :1].expand_as(clip.images)
    noise = torch.randn(first.shape, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        none = model.encode(torch.zeros_like(clip.flow()[:1, 0]))
        away = [
            float((model.encode(flow).flatten(0, 1) - none).norm(dim=-1).mean())
            for flow in (flow_fields(first + SENSOR * noise), clip.flow())
        ]
    return away[0] / away[1]


def action_error(model: MotusNetwork, clip: Clip, mode: str) -> np.ndarray:
    """Return the mean distance of sampled and true actions along x ``(B,)``, pixels."""
    drawn, _ = model.sample(clip.batch, mode, 1, torch.Generator().manual_seed(0))
    return pixel_world.SCALE * (drawn - clip.batch.action)[..., 0].abs().mean(1).numpy()


def transfer(
    starts: dict[str, MotusNetwork], demos: Clip, steps: int, count: int, seed: int, console: Console
) -> list[Finding]:
    """Pretraining on latent actions must help fine-tuning on few demonstrations (check 2).

    Args:
        starts: networks before the fine-tuning, which are not changed. "stages 1 and 2" must beat "nothing".
        steps: of the fine-tuning of every start.
    """
    starts = {name: copy.deepcopy(model) for name, model in starts.items()}
    for model in starts.values():
        train_stage(model, "action", steps, console, demos=demos, seed=seed, lr=1e-3)
    width = starts["nothing"].config.uma.width
    test = motus_world.draw(np.random.default_rng([TEST, 4]), count, width=width, told=1.0)
    out = []
    for mode, text in (("policy", "policy with a told side"), ("inverse", "inverse")):
        errors = {name: action_error(model, test, mode) for name, model in starts.items()}
        margin = 1.96 * np.hypot(*(errors[name].std(ddof=1) for name in ("stages 1 and 2", "nothing"))) / count**0.5
        for name, error in errors.items():
            limit = float(errors["nothing"].mean() - margin) if name == "stages 1 and 2" else None
            what = f"{text}: error of held-out actions after {name}, pixels"
            out.append(number("transfer", what, float(error.mean()), count=count, below=limit))
    return out
