"""Accuracy of checkpoints in predicting object motion from given actions (paper Eq. 6), against simple baselines.

    python bench/dynamics.py [--checkpoints DIR ...] [--episodes 24] [--first-seed 995000] [--out runs/dynamics]

It records expert episodes of four unseen scenes, then evaluates every checkpoint on their windows, K = 16. The same
command resumes the recording. ``dynamics.json`` and ``dynamics.md`` go to the folder.
"""

from __future__ import annotations

import argparse
import json
import os
from pathlib import Path

from rich.console import Console

from uma_train.data.simulate import simulate
from uma_train.data.simulate_config import SimulateConfig
from uma_train.training.validation import EvalConfig, evaluate

SCENES = {"insertion": "insertion", "sweeping": "sweeping", "stand": "primitives/stand", "gather": "primitives/gather"}

ROWS = {
    "nothing moves": ("dynamics", "motion_still_mm"),
    "rigid with the commanded hand once held": ("dynamics", "motion_rigid_mm"),
    "dynamics": ("dynamics", "motion_mm"),
    "dynamics, keypoints given": ("dynamics, keypoints given", "motion_mm"),
    "dynamics, keypoints given, another window's actions": ("dynamics, keypoints given, other actions", "motion_mm"),
    "joint": ("joint", "motion_mm"),
    "joint, keypoints given": ("joint, keypoints given", "motion_mm"),
}
"""Row of the table -> mode and field of `uma_train.training.validation.ModeErrors`."""


def table(results: dict[str, dict[str, dict]]) -> str:
    """Format a Markdown table: a block of rows per checkpoint, a column per scene, millimetres."""
    lines = ["| Checkpoint | Guess | " + " | ".join(SCENES) + " |", "|---" * (2 + len(SCENES)) + "|"]
    for checkpoint, scenes in results.items():
        for name, (mode, field) in ROWS.items():
            values = " | ".join(f"{scenes[s]['modes'][mode][field]:.1f}" for s in SCENES)
            lines.append(f"| {Path(checkpoint).name} | {name} | {values} |")
    return "\n".join(lines)


def main() -> None:
    """Record, evaluate, print and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--checkpoints", nargs="+", default=["models/uma-small"])
    parser.add_argument("--episodes", type=int, default=24)
    parser.add_argument("--first-seed", type=int, default=995_000)
    parser.add_argument("--windows", type=int, default=96)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--out", type=Path, default=Path("runs/dynamics"))
    args = parser.parse_args()
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    console, results = Console(), {}
    for name, task in SCENES.items():
        folder = str(args.out / name)
        simulate(
            SimulateConfig(
                task=task,
                first_seed=args.first_seed,
                episodes=args.episodes,
                images="none",
                camera="nominal",
                workers=args.workers,
                out=folder,
            ),
            console,
        )
    for checkpoint in args.checkpoints:
        results[checkpoint] = {}
        for name in SCENES:
            data = (str(args.out / name),)
            config = EvalConfig(checkpoint=checkpoint, data=data, held_out=0, windows=args.windows, keypoints=16)
            results[checkpoint][name] = evaluate(config, Console(quiet=True))
            console.print(f"{checkpoint}, {name}: done")
    shown = table(results)
    (args.out / "dynamics.json").write_text(
        json.dumps({"arguments": {k: str(v) for k, v in vars(args).items()}, "results": results}, indent=2) + "\n"
    )
    (args.out / "dynamics.md").write_text(shown + "\n")
    print(shown)


if __name__ == "__main__":
    main()
