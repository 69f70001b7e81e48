"""`uma adapt`: a prompt from a few demonstrations, with the start and the step chosen on held-out ones.

The same command resumes after a kill.
"""

from __future__ import annotations

import hashlib
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from rich.console import Console
from rich.progress import Progress, TaskID
from torch import Tensor

from uma.checkpoint.bundle import load_bundle
from uma.checkpoint.default import DEFAULT
from uma.checkpoint.prompt import Prompt, save_prompt
from uma.checkpoint.typed import to_json
from uma.model.uma import Uma
from uma.settings import within
from uma_train.data.batch import Batch
from uma_train.data.mixtures import Mixture, open_all, open_sources, parse_sources
from uma_train.training.adapt import (
    Adaptation,
    Adapted,
    adapt,
    held_out_batches,
    held_out_loss,
    weights_hash,
)
from uma_train.training.resume import States

Draw = Callable[[int, int, np.random.Generator], Batch]

FEWEST = 5
"""Least number of demonstrations of which a fifth is held out; with fewer, all are optimised on."""

LINE_EVERY = 10
"""Steps from one line of progress to the next where the output is not a terminal."""

REFERENCES = 4
"""Number of the demonstrations' own references among the starts."""

SCENES = 32
"""Drawn scenes, over which the mean is taken."""


@dataclass(frozen=True)
class AdaptConfig:
    """Configuration of `uma adapt`.

    Attributes:
        checkpoint: bundle; its weights stay unchanged.
        data: folders of the demonstrations, as for `uma train`.
        out: the prompt file.
        name: of the task, for display.
        start: c_0. "best" chooses the others by the loss on held-out demonstrations. "mean" of the demonstrations'
            encoded references, "reference" of the first, "text" = their most frequent instruction, or "zero". With
            ``language.scene``, a prompt from "text" is completed by the scene that it is used in; others are fixed.
        restarts: number of starts that are optimised, best first; the best result on held-out demonstrations is kept.
        adaptation: settings of the optimisation.
    """

    checkpoint: str = DEFAULT
    data: tuple[str, ...] = ("data/demonstrations",)
    out: str = "runs/prompt.safetensors"
    name: str = ""
    start: Literal["best", "mean", "reference", "text", "zero"] = "best"
    restarts: int = 2
    adaptation: Adaptation = Adaptation()

    def __post_init__(self) -> None:
        within(self, {"restarts": (1, 16)})


def is_in_scene(model: Uma, start: str) -> bool:
    """Whether a prompt from this start is completed by the scene that it is used in; see `adapt`."""
    return start == "text" and model.grounding is not None


@torch.no_grad()
def starts(model: Uma, draw: Draw, episodes: Mixture, start: str, seed: int) -> dict[str, Tensor]:
    """Return the candidates for c_0, name -> ``(M, d)``; see `AdaptConfig.start`.

    Raises:
        ValueError: "text" without a language encoder or without an instruction in the demonstrations.
    """
    out: dict[str, Tensor] = {}
    batch = draw(SCENES, 0, np.random.default_rng([seed, 0]))
    texts = Counter(e.meta["text"] for e in episodes.episodes if e.meta["text"])
    if start == "text" and (model.language_encoder is None or not texts):
        is_mute = model.language_encoder is None
        lacks = "the checkpoint has no language encoder" if is_mute else "the demonstrations have no instruction"
        raise ValueError(f"start: 'text', but {lacks}")
    if start in ("best", "text") and model.language_encoder is not None and texts:
        text = texts.most_common(1)[0][0]
        out["text"] = model.language_encoder([text])[0]
    if start in ("best", "mean", "reference"):
        c = model.encode_task(batch.initial_points, batch.reference)
        if start != "reference":
            out["mean"] = c.mean(0)
        if start != "mean":
            out |= {f"reference {i}": c[i] for i in range(REFERENCES if start == "best" else 1)}
    if start == "zero":
        out["zero"] = torch.zeros(model.config.task_tokens, model.config.task_width)
    return out


def _key(config: AdaptConfig, checkpoint: str, windows: Mixture) -> str:
    """Return what must be equal for an interrupted adaptation to continue."""
    episodes = [(len(e.pose), e.meta["text"], float(e.tracks.sum())) for e in windows.episodes]
    return hashlib.sha256(repr((to_json(config), checkpoint, episodes)).encode()).hexdigest()


def adapt_prompt(config: AdaptConfig, console: Console | None = None) -> Prompt:
    """Adapt a prompt, write its file and print a summary.

    Raises:
        EpisodeError, BundleError: no usable data or checkpoint.
        ValueError: see `starts`.
    """
    console = console or Console()
    bundle = load_bundle(config.checkpoint)
    sources, frame = parse_sources(config.data), bundle.contract.policy_frame
    whole = open_all(sources, frame=frame)
    count = len(whole.episodes)
    model, how = bundle.model, config.adaptation

    def drawer(windows: Mixture) -> Draw:
        return lambda size, keypoints, rng: windows.draw(
            size, keypoints, model.normalization, rng, with_image=model.config.image.kind != "none"
        )

    training, held_out = (whole, None) if count < FEWEST else open_sources(sources, count, frame=frame)
    draw = drawer(training)
    batches = [] if held_out is None else held_out_batches(drawer(held_out), how)
    began = time.monotonic()
    before = weights_hash(model)
    candidates = starts(model, draw, training, config.start, how.seed)
    if batches:
        at_start = {
            name: held_out_loss(model, c, batches, how, is_in_scene(model, name)) for name, c in candidates.items()
        }
        candidates = {name: candidates[name] for name in sorted(candidates, key=at_start.__getitem__)}
    results: dict[str, Adapted] = {}
    out = Path(config.out)
    states = States(out.with_name(out.name + ".state"), _key(config, bundle.checkpoint_id, whole))
    chosen_starts = list(candidates.items())[: config.restarts if batches else 1]
    with Progress(console=console) as progress:
        for number, (name, c) in enumerate(chosen_starts, 1):
            state = states[name]
            done = 0 if state is None else state["step"]
            bar = progress.add_task(f"from {name}", total=how.steps, completed=done)
            if done:
                console.print(f"from {name}: resumed at step {done} of {how.steps}")

            def on_step(step: int, loss: float, bar: TaskID = bar, run: str = f"{number}/{len(chosen_starts)}") -> None:
                progress.advance(bar)
                if not console.is_terminal and (step + 1) % LINE_EVERY == 0:  # a log, or the page that runs this
                    print(f"run {run} step {step + 1}/{how.steps} loss {loss:.4f}", flush=True)

            def keep(state: dict[str, Any], name: str = name) -> None:
                states.save(name, state)

            results[name] = adapt(model, draw, c, how, on_step, batches, state, keep, is_in_scene(model, name))
    chosen = min(results, key=lambda name: results[name].best[1] if batches else 0.0)
    best = results[chosen]
    n = max(1, len(best.losses) // 10)
    training_record = {
        "config": to_json(config),
        "demonstrations": count,
        "start": chosen,
        "held_out": {name: r.held_out for name, r in results.items()},
        "loss_first": float(np.mean(best.losses[:n])),
        "loss_last": float(np.mean(best.losses[-n:])),
        "weights_sha256": weights_hash(model),
        "seconds": round(time.monotonic() - began, 1),
    }
    if training_record["weights_sha256"] != before:
        raise RuntimeError("weights: changed during the adaptation, must stay equal")
    prompt = Prompt(best.tokens, bundle.checkpoint_id, config.name, training_record, is_in_scene(model, chosen))
    save_prompt(config.out, prompt)
    states.remove()
    kept = (
        f"held-out loss {best.held_out[0][1]:.3f} -> {best.best[1]:.3f} at step {best.best[0]}"
        if batches
        else f"loss {training_record['loss_first']:.3f} -> {training_record['loss_last']:.3f}"
    )
    console.print(
        f"{config.out}: {Path(config.out).stat().st_size / 1024:.1f} kB for checkpoint {bundle.checkpoint_id} from "
        f"{count} demonstrations in {training_record['seconds']:.0f} s; start: {chosen}; {kept}; all weights unchanged"
    )
    return prompt
