"""`uma mechanisms`: quantitative tests of each of the paper's mechanisms on a synthetic world, within minutes."""

from __future__ import annotations

import json
import time
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
import torch
from rich.console import Console
from rich.progress import Progress
from rich.table import Table
from scipy.stats import binomtest
from torch import Tensor

from uma.checkpoint.bundle import Contract, save_bundle
from uma.model.config import ModelConfig, PointConfig
from uma.model.contrastive import ProjectionHead
from uma.model.inputs import ACTION_DIM, decode_actions
from uma.model.masks import MaskMix
from uma.model.uma import Uma
from uma.policy.modes import MODES, Mode
from uma_train.data.batch import Batch
from uma_train.data.episode import Episode
from uma_train.data.hindsight import ReferenceSampling
from uma_train.data.windows import Windows, measure_normalization
from uma_train.studies import push_world as push
from uma_train.training.adapt import Adaptation, adapt
from uma_train.training.config import TrainConfig
from uma_train.training.loop import Trainer
from uma_train.training.objectives import Objective
from uma_train.training.validation import NUM_STEPS, retrieved
from uma_train.training.views import ViewSampling

MODEL = ModelConfig(
    width=48,
    heads=4,
    layers=2,
    task_tokens=4,
    groups=(24, 12),
    group_size=6,
    group_widths=(24,),
    task_layers=1,
    points=PointConfig(near=24, low=24, rest=16),
)
"""A model for these worlds that trains in a minute or two on one core."""

MASKS = MaskMix(control=0.25, joint=0.35, dynamics=0.15, inverse=0.15, random=0.1)
"""A mix with every regime frequent enough for a short run."""

KEYPOINTS = 2
"""Motion tokens per step, in modes with motion."""

FRESH = 10_000_000
"""First seed of the test scenes; training uses lower seeds."""


@dataclass(frozen=True)
class MechanismsConfig:
    """Configuration of `uma mechanisms`.

    Attributes:
        out: folder of the trained models and the result; trained models are reused.
        parts: "push" (coupling of motion and action, task conditioning) and "intents" (contrastive term, soft prompts).
        seed: of weights, data, batches and noise.
        episodes: demonstrations in each world.
        push_steps, intent_steps: optimiser steps.
        batch_size, lr: of both.
        samples: test scenes per number.
        weights: values of lambda_c to compare, with equal data, steps and seed.
        yaw: largest rotation of the intent scenes, radians. At pi, a camera-frame motion carries no information about
            the intent.
        views: of the contrastive term in the intent world. They vary as its scenes do, with hard negatives of its own
            scale; larger ones would differ by their length alone.
        candidates: number of intents in a retrieval.
        demonstrations, adapt_steps: of a soft prompt.
        num_steps: Euler steps of the sampler.
        threads: torch threads.
    """

    out: str = "runs/mechanisms"
    parts: tuple[str, ...] = ("push", "intents")
    seed: int = 0
    episodes: int = 3000
    push_steps: int = 800
    intent_steps: int = 1000
    batch_size: int = 32
    lr: float = 3e-3
    samples: int = 256
    weights: tuple[float, ...] = (0.0, 0.001, 0.1)
    yaw: float = np.pi
    views: ViewSampling = ViewSampling(
        turn_rad=np.pi,
        axis="vertical",
        hard_negatives=2,
        negative_views=1,
        negative_shift_m=0.14,
        negative_turn_rad=1.0,
    )
    candidates: int = 24
    demonstrations: int = 25
    adapt_steps: int = 300
    num_steps: int = NUM_STEPS
    threads: int = 1

    def __post_init__(self) -> None:
        if unknown := set(self.parts) - {"push", "intents"}:
            raise ValueError(f"parts: {sorted(unknown)[0]!r}, must be of push, intents")
        if self.samples < 2 * self.candidates:
            raise ValueError(f"samples {self.samples}: must be at least twice the {self.candidates} candidates")


@dataclass(frozen=True)
class Finding:
    """One measured number.

    Attributes:
        mechanism, what: the mechanism and the quantity.
        value, low, high: value with its 95 % interval; a fraction, or millimetres.
        count: number of samples.
        unit: "%" or "mm".
        limit: the required value, as text; empty without a requirement.
        holds: whether the requirement is met; None without a requirement.
    """

    mechanism: str
    what: str
    value: float
    low: float
    high: float
    count: int
    unit: str
    limit: str = ""
    holds: bool | None = None

    def text(self) -> str:
        """Format the value and its interval."""
        if self.unit == "%":
            return f"{100 * self.value:.1f} % ({100 * self.low:.1f} to {100 * self.high:.1f})"
        return f"{self.value:.1f} mm ({self.low:.1f} to {self.high:.1f})"


def share(
    mechanism: str, what: str, hits: np.ndarray, *, at_least: float | None = None, below: float | None = None
) -> Finding:
    """Build a finding from the fraction of ``hits`` (bool), with Wilson's interval and an optional limit."""
    value = float(np.mean(hits))
    limit, holds = "", None
    if at_least is not None:
        limit, holds = f">= {100 * at_least:.0f} %", value >= at_least
    if below is not None:
        limit, holds = f"< {100 * below:.0f} %", value < below
    return Finding(
        mechanism,
        what,
        value,
        *binomtest(int(np.sum(hits)), len(hits)).proportion_ci(method="wilson"),
        len(hits),
        "%",
        limit,
        holds,
    )


def distance(mechanism: str, what: str, metres: np.ndarray, *, beats: Finding | None = None) -> Finding:
    """Build a finding from a mean distance with its normal interval; ``beats`` must lie above that interval."""
    mm = 1e3 * np.asarray(metres)
    half = 1.96 * mm.std(ddof=1) / np.sqrt(len(mm))
    value = float(mm.mean())
    limit, holds = ("", None) if beats is None else (f"< {beats.low:.0f} mm", bool(value + half < beats.low))
    return Finding(mechanism, what, value, float(value - half), float(value + half), len(mm), "mm", limit, holds)


def train_world(
    config: MechanismsConfig, name: str, episodes: list[Episode], objective: Objective, steps: int, console: Console
) -> tuple[Uma, ProjectionHead]:
    """Train `MODEL` on ``episodes``, or resume the run. Return the averaged model and the projection head.

    Raises:
        ValueError: the folder holds a run with another configuration.
    """
    folder = Path(config.out) / name
    norm = measure_normalization(episodes)
    if not (folder / "start").exists():
        torch.manual_seed(config.seed)
        save_bundle(
            folder / "start",
            Uma(MODEL, norm),
            Contract(),
            training={"seed": config.seed},
            card=f"# {name}: untrained\n",
        )
    trainer = Trainer(
        TrainConfig(
            out=str(folder),
            init=str(folder / "start"),
            steps=steps,
            batch_size=config.batch_size,
            micro_batch=config.batch_size,
            windows_per_task=1,
            lr=config.lr,
            warmup=50,
            ema=0.99,
            keypoints=KEYPOINTS,
            seed=config.seed,
            device="cpu",
            bf16=False,  # slower than single precision at this width
            objective=objective,
        ),
        Windows(episodes),
        norm,
    )
    state = folder / "state.pt"
    if state.exists():
        trainer.load(state)
    with Progress(console=console) as progress:
        bar = progress.add_task(name, total=steps, completed=trainer.step)
        began = time.monotonic() - trainer.seconds
        while not trainer.is_done():
            trainer.update(trainer.draw(trainer.step))
            trainer.seconds = time.monotonic() - began
            progress.update(bar, completed=trainer.step)
            if trainer.step % 500 == 0 or trainer.step == steps:
                trainer.save(state)
    console.print(f"{name}: {trainer.step} steps of {config.batch_size} in {trainer.seconds:.0f} s")
    return trainer.averaged(), trainer.head.eval()


def evenly(model: Uma, episodes: list[Episode], keypoints: int, seed: int) -> Batch:
    """Return one window per episode, with a full reference."""
    windows = Windows(episodes, first_is_initial=1.0, sampling=ReferenceSampling(to_the_end=1.0, pinned=0.0))
    return windows.draw(
        len(episodes), keypoints, model.normalization, np.random.default_rng(seed), np.arange(len(episodes))
    )


@torch.no_grad()
def encode_references(model: Uma, episodes: list[Episode], seed: int = 0) -> Tensor:
    """Encode a reference drawn from each episode as task tokens ``(B, M, d)``."""
    batch = evenly(model, episodes, 0, seed)
    return model.encode_task(batch.initial_points, batch.reference)


@dataclass(frozen=True)
class Endpoints:
    """Final object positions of sampled windows, in the objects' first frames, ``(B, 3)`` metres.

    Attributes:
        acted: from the world's physics under the sampled actions.
        moved: from the sampled motion; empty without motion tokens.
    """

    acted: np.ndarray
    moved: np.ndarray


@torch.no_grad()
def sample_windows(
    model: Uma,
    episodes: list[Episode],
    task: Tensor,
    mode: Mode,
    *,
    seed: int = 0,
    num_steps: int = NUM_STEPS,
) -> Endpoints:
    """Sample one window per episode, each with its own noise.

    Args:
        task: ``(B, M, d)`` tokens, or one ``(M, d)`` for all.
        mode: target tokens; the others are given from the episode.
    """
    keypoints = KEYPOINTS if mode.has_motion else 0
    batch, B = evenly(model, episodes, keypoints, seed), len(episodes)
    T = batch.grid.action.shape[1]
    generator = torch.Generator().manual_seed(seed)
    noise = (torch.randn(B, T, ACTION_DIM, generator=generator), torch.randn(B, T, keypoints, 3, generator=generator))
    cache = model.prepare_context(batch.points, batch.ee, task.expand(B, -1, -1))
    action, motion = model.sample(batch.grid, mode.pattern(B, T, keypoints), cache, noise, num_steps)
    norm = model.normalization
    acted, moved = [], []
    for i, e in enumerate(episodes):
        T_cam_object = np.array(e.meta["T_cam_object"])
        poses, _ = decode_actions(action[i, 1:].numpy(), batch.T_cam_ee[i], norm)
        acted.append(push.carried(T_cam_object, poses))
        if keypoints:
            travelled = norm.local_scale * (motion[i, -1] - batch.grid.identity[i]).numpy().mean(0)
            moved.append(travelled @ T_cam_object[:3, :3])
    return Endpoints(np.array(acted), np.array(moved))


def side(ends: np.ndarray) -> np.ndarray:
    """Return 1 for ends on the object's left and -1 for its right."""
    return np.sign(ends[:, 1])


def zero_tokens() -> Tensor:
    """Return zero task tokens, which carry no task information."""
    return torch.zeros(MODEL.task_tokens, MODEL.width)


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
        tokens, _ = adapt(model, draw, start, how)
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
    if "push" in config.parts:
        findings += push_findings(train_push(config, console), config.samples, config.num_steps)
    if "intents" in config.parts:
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
