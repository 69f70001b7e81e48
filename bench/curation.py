"""Accuracy and cost of the curation chain on simulated clips: predicted masks, noisy depth, every image at 15 Hz.

    python bench/curation.py [--set develop|fresh] [--clips N] [--tasks TASK,..] [--out FOLDER]

Truth comes from the body's pose or the cloth's vertices; a point is visible if the clean depth agrees within 10 mm,
and moving if it is over 10 mm from its start. Finished clips are kept in FOLDER, so the same command resumes.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.table import Column, Table

from uma_train.curation.chain import Chain
from uma_train.curation.segment import PlaneAndMotion
from uma_train.curation.simulated import Simulated, simulate

COUNTS = {"insertion": 4, "sweeping": 3, "folding": 3, "primitives/move": 3, "primitives/gather": 3}
FIRST = {"develop": 1_000_001, "fresh": 1_000_101}
"""First seed of each set. Constants were chosen on "develop"."""
BEFORE = {
    "insertion": (0.72, 3.1, 0.57, 4.6e-6),
    "sweeping": (0.98, 0.7, 0.98, 2.8e-7),
    "folding": (0.78, 34.0, 0.08, 5.8e-5),
    "primitives/move": (0.83, 7.2, 0.52, 4.4e-6),
    "primitives/gather": (0.91, 1.7, 0.91, 8.5e-6),
}
"""Survival, median mm, good10 and 10-step MSE of a prototype of the same recipe, medians over its own clips."""
MOVED_M, GOOD_M, STEPS = 0.010, 0.010, 10


def measure(made: Simulated) -> dict:
    """Run the chain on one clip and compare it with the truth."""
    began = time.perf_counter()
    clip = replace(made.clip, is_object=PlaneAndMotion()(made.clip))
    clip, facts = Chain()(clip)
    seconds = time.perf_counter() - began
    assert clip.is_object is not None and clip.coords is not None
    assert clip.visibs is not None and clip.on_object is not None
    pixels, is_there = made.queried(clip)
    both = clip.on_object & is_there
    true, seen = made.follow(pixels[both])
    row = scores(true, seen, clip.coords[:, both].astype(np.float64), clip.visibs[:, both])
    iou = (clip.is_object & made.is_object).sum() / max((clip.is_object | made.is_object).sum(), 1)
    cost = {"images": len(clip.video), "ms": 1e3 * seconds / len(clip.video)}
    return {"iou": float(iou), "points": int(both.sum()), "tracker": facts["tracker"], **row, **cost}


def scores(true: np.ndarray, seen: np.ndarray, found: np.ndarray, valid: np.ndarray) -> dict:
    """Return the numbers of one clip from ``(T, N, 3)`` true and found positions, and ``(T, N)`` flags."""
    moved = np.linalg.norm(true - true[0], axis=-1) > MOVED_M
    error = np.linalg.norm(found - true, axis=-1)
    asked = seen & moved
    kept, count = asked & valid, max(int(asked.sum()), 1)
    wrong = valid & ~seen & moved
    runs = np.stack([valid[i : len(valid) - STEPS + i] for i in range(STEPS + 1)]).all(0)
    step = (found[STEPS:] - found[:-STEPS]) - (true[STEPS:] - true[:-STEPS])
    nothing = float("nan")
    return {
        "asked": int(asked.sum()),
        "survival": float(kept.sum() / count),
        "median_mm": 1e3 * float(np.median(error[kept])) if kept.any() else nothing,
        "p95_mm": 1e3 * float(np.percentile(error[kept], 95)) if kept.any() else nothing,
        "good10": float((kept & (error < GOOD_M)).sum() / count),
        "mse": float((step[runs] ** 2).mean()) if runs.any() else nothing,
        "hidden_valid": float(wrong.sum() / max((moved & ~seen).sum(), 1)),
        "hidden_median_mm": 1e3 * float(np.median(error[wrong])) if wrong.any() else nothing,
    }


def results(which: str, tasks: list[str], limit: int, out: Path, console: Console) -> list[dict]:
    """Return the rows of all clips, of which finished ones are read."""
    out.mkdir(parents=True, exist_ok=True)
    rows = []
    for task in tasks:
        for seed in range(FIRST[which], FIRST[which] + min(limit, COUNTS[task])):
            path = out / f"{task.replace('/', '-')}-{seed}.json"
            if not path.exists():
                row = {"task": task, "seed": seed}
                try:
                    row |= measure(simulate(task, seed))
                except ValueError as error:
                    row |= {"refused": str(error)}
                part = path.with_suffix(".part")
                part.write_text(json.dumps(row) + "\n")
                os.replace(part, path)
            rows.append(json.loads(path.read_text()))
            console.print({k: round(v, 7) if isinstance(v, float) else v for k, v in rows[-1].items()}, highlight=False)
    return rows


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--set", choices=tuple(FIRST), default="develop")
    parser.add_argument("--clips", type=int, default=9, help="most clips a task")
    parser.add_argument("--tasks", default=",".join(COUNTS))
    parser.add_argument("--out", type=Path, default=Path("runs/curation"))
    args = parser.parse_args()
    console = Console(width=150)
    tasks = args.tasks.split(",")
    rows = results(args.set, tasks, args.clips, args.out / args.set, console)
    keys = ("iou", "survival", "median_mm", "p95_mm", "good10", "mse", "hidden_valid", "ms")
    titles = ("clips", *keys, "before: survival", "median_mm", "good10", "mse")
    machine = platform.processor() or platform.machine()
    table = Table(Column("task", no_wrap=True), *titles, title=f"{args.set}, medians over clips, {machine}")
    for task in tasks:
        kept = [r for r in rows if r["task"] == task and "refused" not in r]
        tried = sum(r["task"] == task for r in rows)
        cells = [f"{np.nanmedian([r[k] for r in kept]):.2g}" if kept else "-" for k in keys]
        table.add_row(task, f"{len(kept)} of {tried}", *cells, *(f"{x:.2g}" for x in BEFORE[task]))
    console.print(table)
    (args.out / f"{args.set}.json").write_text(json.dumps(rows, indent=2) + "\n")


if __name__ == "__main__":
    main()
