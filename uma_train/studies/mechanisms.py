"""`uma mechanisms`: quantitative tests of each of the paper's mechanisms on a synthetic world, within minutes."""

from __future__ import annotations

import json
import time
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import torch
from rich.console import Console
from rich.table import Table
from torch import Tensor

from uma.model.contrastive import ProjectionHead
from uma.model.uma import Uma
from uma.policy.modes import MODES
from uma_train.data.batch import Batch
from uma_train.data.episode import Episode
from uma_train.data.windows import Windows
from uma_train.studies import push_world as push
from uma_train.studies.findings import Finding, distance, share
from uma_train.studies.small_model import (
    FRESH,
    MASKS,
    MODEL,
    Endpoints,
    MechanismsConfig,
    encode_references,
    sample_windows,
    side,
    train_world,
    zero_tokens,
)
from uma_train.training.adapt import Adaptation, adapt
from uma_train.training.latent import retrieved
from uma_train.training.objectives import Objective
from uma_train.training.validation import NUM_STEPS


def train_push(config: MechanismsConfig, console: Console) -> Uma:
    """Train the model of the pushing world with a task dropout of one half."""
    episodes = [push.push_episode(seed, points=MODEL.points.total) for seed in range(config.episodes)]
    return train_world(
        config,
        "push",
        episodes,
        Objective(contrastive_weight=0.0, task_dropout=0.5, masks=MASKS),
        config.push_steps,
        console,
    )[0]


def push_findings(model: Uma, samples: int, num_steps: int = NUM_STEPS) -> list[Finding]:
    """Evaluate joint, inverse, dynamics and control samples in the pushing world, on ``samples`` test scenes each."""
    N = MODEL.points.total

    def scenes(first: int, **options: object) -> list[Episode]:
        return [push.push_episode(FRESH + first + i, points=N, **options) for i in range(samples)]

    def run(mode: str, episodes: list[Episode], task: Tensor, seed: int) -> Endpoints:
        return sample_windows(model, episodes, task, MODES[mode], seed=seed, num_steps=num_steps)

    nothing = zero_tokens()
    out = []
    for habit, colour in ((False, "even"), (True, f"{100 * push.HABIT:.0f} % right")):
        here = scenes(0, habit=habit)
        truth = np.array([np.sign(e.meta["intent"][1]) for e in here])
        joint = run("joint", here, nothing, 1)
        out.append(
            share(
                "joint",
                f"{colour}: motion and action agree, zero tokens",
                side(joint.acted) == side(joint.moved),
                at_least=0.95,
            )
        )
        left = side(joint.acted) > 0
        if not habit:
            out.append(share("joint", f"{colour}: the rarer side", left if left.mean() < 0.5 else ~left, at_least=0.25))
        control, motion = run("control", here, nothing, 2).acted, run("joint", here, nothing, 3).moved
        limit = None if habit else 0.75  # with the habit, independent samples already agree in 0.85^2 + 0.15^2 = 74.5 %
        out.append(
            share(
                "separate",
                f"{colour}: motion and action agree, sampled independently",
                side(control) == side(motion),
                below=limit,
            )
        )
        out.append(
            share(
                "inverse",
                f"{colour}: actions on the motion's side, zero tokens",
                side(run("inverse", here, nothing, 4).acted) == truth,
                at_least=0.95,
            )
        )
        if habit:
            out.append(
                share(
                    "task tokens",
                    f"{colour}: zero tokens, control follows the habit",
                    side(control) < 0,
                    at_least=0.75,
                )
            )
    rare = scenes(samples, habit=True, side=1)
    out.append(
        share(
            "dynamics",
            "motion follows actions to the rarer side, zero tokens",
            side(run("dynamics", rare, nothing, 5).moved) > 0,
            at_least=0.95,
        )
    )
    usual = encode_references(model, scenes(samples, habit=True, side=-1))
    out.append(share("dynamics", "the same, tokens of the other side", side(run("dynamics", rare, usual, 5).moved) > 0))
    own = encode_references(model, rare)
    out.append(
        share(
            "control",
            "actions follow the reference to the rarer side",
            side(run("control", rare, own, 6).acted) > 0,
            at_least=0.95,
        )
    )
    out.append(
        share(
            "control",
            "the same, sampled jointly with motion",
            side(run("joint", rare, own, 6).acted) > 0,
            at_least=0.95,
        )
    )
    for text, to in (("left for right", 1), ("right for left", -1)):
        here, other = (
            scenes(2 * samples, habit=False, side=-to),
            encode_references(model, scenes(3 * samples, habit=False, side=to)),
        )
        out.append(
            share(
                "task tokens",
                f"swapped {text}, from another scene: the side flips",
                side(run("control", here, other, 7).acted) == to,
                at_least=0.95,
            )
        )
    return out


def train_intents(config: MechanismsConfig, weight: float, console: Console) -> tuple[Uma, ProjectionHead]:
    """Train a model of the intent world, half of whose episodes are video, with lambda_c = ``weight``."""
    episodes = [
        push.intent_episode(seed, points=MODEL.points.total, yaw=config.yaw, is_video=seed % 2 == 1)
        for seed in range(config.episodes)
    ]
    objective = Objective(contrastive_weight=weight, task_dropout=0.1, masks=MASKS, views=config.views)
    return train_world(config, f"intents-{weight:g}", episodes, objective, config.intent_steps, console)


def retrieval(config: MechanismsConfig, model: Uma, head: ProjectionHead | None) -> np.ndarray:
    """Test whether an intent is retrieved in another scene pose with other keypoints and waypoints.

    Embeddings are the task tokens, or their projections g_phi (paper Eq. 8).
    """
    n = config.samples // config.candidates * config.candidates
    tokens = []
    for first in (0, n):
        rng = np.random.default_rng([3, config.seed])
        here = [
            push.intent_episode(
                FRESH + first + i, points=MODEL.points.total, yaw=config.yaw, intent=push.draw_intent(rng)
            )
            for i in range(n)
        ]
        tokens.append(encode_references(model, here, seed=first))
    with torch.no_grad():
        return retrieved(*(c.flatten(1) if head is None else head(c) for c in tokens), config.candidates)


def prompt_findings(config: MechanismsConfig, model: Uma, label: str) -> list[Finding]:
    """Measure goal errors of `push.HELD_OUT` on test scenes for several prompts.

    Prompts are: unadapted, adapted with actions, adapted from motion only, and its own references.
    """
    N = MODEL.points.total

    def scenes(first: int, count: int, **options: object) -> list[Episode]:
        return [push.intent_episode(FRESH + first + i, points=N, yaw=config.yaw, **options) for i in range(count)]

    goal = push.object_path(push.hand_path(push.HELD_OUT))[-1, :3, 3]
    fresh = scenes(100_000, config.samples, intent=push.HELD_OUT)

    def errors(task: Tensor) -> np.ndarray:
        return np.linalg.norm(
            sample_windows(model, fresh, task, MODES["prompt"], seed=8, num_steps=config.num_steps).acted - goal,
            axis=-1,
        )

    mechanism = f"soft prompt, lambda_c {label}"
    start = encode_references(model, scenes(200_000, 256)).mean(0)
    unadapted = distance(mechanism, "c_0, the mean of the trained tasks' tokens", errors(start))
    out = [unadapted, distance(mechanism, "zeroed tokens", errors(zero_tokens()))]
    for is_video, text in ((False, "motion and actions"), (True, "motion only")):
        windows = Windows(scenes(300_000, config.demonstrations, intent=push.HELD_OUT, is_video=is_video))

        def draw(size: int, keypoints: int, rng: np.random.Generator, windows: Windows = windows) -> Batch:
            return windows.draw(size, keypoints, model.normalization, rng)

        how = Adaptation(
            steps=config.adapt_steps,
            batch_size=config.batch_size,
            action_weight=0.0 if is_video else 2.0,
            masks=MASKS,
            seed=config.seed,
        )
        tokens = adapt(model, draw, start, how).tokens
        out.append(
            distance(
                mechanism, f"adapted on {config.demonstrations} demonstrations: {text}", errors(tokens), beats=unadapted
            )
        )
    out.append(
        distance(mechanism, "not adapted: references of the task itself", errors(encode_references(model, fresh)))
    )
    return out


def intent_findings(config: MechanismsConfig, console: Console) -> list[Finding]:
    """Measure retrieval and soft prompts for every lambda_c of ``config.weights``."""
    found, prompts = [], []
    for weight in config.weights:
        model, head = train_intents(config, weight, console)
        what, mechanism = (
            f"same intent retrieved in a new pose, among {config.candidates}",
            f"retrieval, lambda_c {weight:g}",
        )
        found.append(share(mechanism, f"{what}: task tokens", retrieval(config, model, None)))
        # Without the term, g_phi is an untrained random projection, shown as the fair reference of the trained one.
        projected = share(mechanism, f"{what}: g_phi of them", retrieval(config, model, head))
        if weight and config.weights[0] == 0:
            projected = replace(
                projected, limit="above lambda_c 0", holds=projected.low > max(f.high for f in found[:2])
            )
        found.append(projected)
        prompts += prompt_findings(config, model, f"{weight:g}")
        for f in [f for f in found + prompts if f.mechanism.endswith(f" {weight:g}")]:
            console.print(f"{f.mechanism}: {f.what}: {f.text()}", highlight=False)
    return found + prompts


def mechanisms(config: MechanismsConfig, console: Console | None = None) -> dict:
    """Train or resume, measure, print, and write ``result.json``.

    Returns:
        The content of ``result.json``.

    Raises:
        ValueError: the folder holds runs with another configuration.
    """
    console = console or Console()
    torch.set_num_threads(config.threads)
    out = Path(config.out)
    out.mkdir(parents=True, exist_ok=True)
    began = time.monotonic()
    findings = []
    if config.system == "point_flow":
        from uma_train.studies import flow_checks

        findings += flow_checks.findings(flow_checks.train_flow(config, console), config.samples)
    elif config.system != "uma":
        from uma_train.studies.system_checks import system_findings

        findings += system_findings(config, console)
    if config.system == "uma" and "push" in config.parts:
        findings += push_findings(train_push(config, console), config.samples, config.num_steps)
    if config.system == "uma" and "intents" in config.parts:
        findings += intent_findings(config, console)
    table = Table(title=f"seed {config.seed}, {config.samples} test scenes per number, 95 % intervals")
    for heading in ("mechanism", "quantity", "measured", "of", "must be", "holds"):
        table.add_column(heading, justify="right" if heading == "of" else "left")
    for f in findings:
        table.add_row(
            f.mechanism, f.what, f.text(), str(f.count), f.limit, {None: "", True: "yes", False: "NO"}[f.holds]
        )
    Console(width=170).print(table) if console.width < 170 else console.print(table)
    result = {
        "config": asdict(config),
        "findings": [asdict(f) for f in findings],
        "wall_seconds": round(time.monotonic() - began, 1),
        "torch": torch.__version__,
    }
    (out / "result.json").write_text(json.dumps(result, indent=2) + "\n")
    return result
