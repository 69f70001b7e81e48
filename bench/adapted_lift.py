"""Whether an adapted prompt tells a checkpoint what its words leave open: how high to lift.

    python bench/adapted_lift.py [--thing mug] [--demonstrations 25] [--episodes 60] [--out runs/adapted_lift]

All lifts end 17 to 23 cm above their start, so one prompt can be right for all of them. The words are "lift the mug",
without a height. Demonstrations have training shapes, and the scenes of the comparison have evaluation-only ones.
Five rows act in the same scenes: the words alone, a prompt adapted with actions, one adapted with motion alone, words
that name the height, and the reference. Finished parts are kept, so the same command resumes.
"""

from __future__ import annotations

import argparse
import json
from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict, replace
from pathlib import Path
from unittest.mock import patch

from rich.console import Console
from rich.progress import track

from uma.checkpoint.bundle import load_bundle
from uma.checkpoint.default import DEFAULT
from uma.checkpoint.prompt import Prompt, save_prompt
from uma_sim.tasks.intents import scenes
from uma_sim.tasks.intents import task as intents
from uma_train.data.simulate import simulate
from uma_train.data.simulate_config import SimulateConfig
from uma_train.evaluation.benchmark_config import BenchmarkConfig
from uma_train.evaluation.closed_loop import run_episode
from uma_train.training.adapt import Adaptation
from uma_train.training.prompts import AdaptConfig, adapt_prompt

RISE = (0.17, 0.23)
"""Lowest and highest end of a lift, metres above its start."""


def seeds(thing: str, first: int, held_out: bool) -> Iterator[int]:
    """Yield the scenes from ``first`` on in which ``thing`` is lifted by `RISE`."""
    seed = first
    while True:
        drawn = scenes.sample(seed, "lift", held_out)
        path = drawn.goals[drawn.goal].waypoints[:, 2, 3]
        if drawn.things[0].kind == thing and RISE[0] <= path[-1] - path[0] <= RISE[1]:
            yield seed
        seed += 1


def demonstrations(thing: str, first: int, count: int, out: Path) -> None:
    """Record ``count`` lifts whose instruction names no height."""
    for seed in seeds(thing, first, held_out=False):
        simulate(
            SimulateConfig("intents/lift", str(out), 1, seed, workers=1, images="none", camera="nominal", noise=0.8),
            Console(quiet=True),
        )
        if len(list(out.glob("*.npz"))) >= count:
            return


def prompts(checkpoint: str, data: Path, out: Path, words: str) -> dict[str, Path]:
    """Return the prompt files: c_0, adapted with actions, adapted with motion alone."""
    found = {name: out / f"{name}.safetensors" for name in ("words", "with actions", "motion alone")}
    if not found["words"].exists():
        bundle = load_bundle(checkpoint)
        assert bundle.model.language_encoder is not None
        tokens = bundle.model.language_encoder([words])[0]
        save_prompt(found["words"], Prompt(tokens, bundle.checkpoint_id, words, {}, bundle.model.grounding is not None))
    for name, weight in (("with actions", 2.0), ("motion alone", 0.0)):
        if not found[name].exists():
            how = Adaptation(steps=240, action_weight=weight)
            adapt_prompt(AdaptConfig(checkpoint, (str(data),), str(found[name]), words, "text", 1, how))
    return found


def main() -> None:
    """Record, adapt, compare, and print one row each."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--checkpoint", default=DEFAULT)
    parser.add_argument("--thing", default="mug")
    parser.add_argument("--demonstrations", type=int, default=25)
    parser.add_argument("--episodes", type=int, default=60)
    parser.add_argument("--first-demonstration", type=int, default=600_000)
    parser.add_argument("--first-seed", type=int, default=8_600_000)
    parser.add_argument("--out", type=Path, default=Path("runs/adapted_lift"))
    args = parser.parse_args()
    console, words = Console(), f"lift the {args.thing}"
    plain = replace(intents.LIFT, instruction=lambda station, goal: words)
    with patch.object(intents, "LIFT", plain):
        demonstrations(args.thing, args.first_demonstration, args.demonstrations, args.out / "demonstrations")
    files = prompts(args.checkpoint, args.out / "demonstrations", args.out, words)
    chosen = [s for s, _ in zip(seeds(args.thing, args.first_seed, True), range(args.episodes), strict=False)]
    rows = {name: ("uma_prompt", str(path)) for name, path in files.items()}
    rows |= {"words and height": ("uma_text", ""), "reference": ("uma", "")}
    log = args.out / "episodes.jsonl"
    done = {(r["row"], r["seed"]): r for r in map(json.loads, log.read_text().splitlines())} if log.exists() else {}
    for row, (policy, prompt) in rows.items():
        config = BenchmarkConfig(
            "intents/lift", args.checkpoint, policies=(policy,), prompt=prompt, held_out=True, camera="nominal"
        )
        for seed in track(chosen, row):
            if (row, seed) not in done:
                done[row, seed] = {"row": row, **asdict(run_episode(config, policy, seed))}
                with log.open("a") as f:
                    f.write(json.dumps(done[row, seed]) + "\n")
        outcomes = Counter(done[row, seed]["outcome"] for seed in chosen)
        console.print(f"{row}: {outcomes['success']} of {len(chosen)}; {dict(outcomes)}")


if __name__ == "__main__":
    main()
