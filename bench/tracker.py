"""Accuracy and cost of the keypoint tracker on simulated demonstrations, every image at 15 Hz with the sensor's noise.

    python bench/tracker.py [--seeds 8] [--first-seed 7700000] [--size 320x180] [--tasks TASK,..] [--json FILE]

It tracks six keypoints of each scene's reference, and two static ones if the task has them. A keypoint more than 10 mm
from its start counts as moving.
"""

from __future__ import annotations

import argparse
import json
import platform
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.table import Column, Table

from uma.geometry import se3
from uma.policy.tracker import KeypointTracker
from uma_sim import experts
from uma_sim.tasks import make_station

TASKS = ("insertion", "sweeping", "folding", "primitives/stand", "primitives/gather")
KEYPOINTS, PINNED = 6, 2
MOVED_M = 0.010
KINDS = ("moving", "resting")
FORMATS = (("known", ".0%"), ("median_mm", ".1f"), ("p90_mm", ".1f"), ("over_20mm", ".1%"))


@dataclass(frozen=True)
class Run:
    """One tracked demonstration.

    Attributes:
        error: ``(T, K)`` metres to the true surface points.
        is_known: ``(T, K)`` known to the tracker.
        is_moving: ``(T, K)`` the keypoint has moved.
        ms: ``(T,)`` cost of each image.
    """

    error: np.ndarray
    is_known: np.ndarray
    is_moving: np.ndarray
    ms: np.ndarray


def follow(task: str, seed: int, width: int, height: int) -> Run:
    """Track the keypoints through the scripted expert's demonstration of one scene."""
    station = make_station(seed, task, width=width, height=height)
    T_cam_base = se3.invert(station.T_base_cam)
    reference = station.task.plan_reference(station, np.random.default_rng(seed), KEYPOINTS, 4, pinned=PINNED)
    start = np.array([path[0] for path in reference.waypoints])
    surface = se3.apply(T_cam_base, station.object_points())
    index = [int(np.linalg.norm(surface - x, axis=1).argmin()) for x in start[:KEYPOINTS]]
    tracker = KeypointTracker(station.observe(), start)
    expert = experts.expert(station.task.name)
    error, known, moving, ms = [], [], [], []
    for _ in range(station.task.max_steps):
        station.act(*expert.act(station))
        observation = station.observe()
        began = time.perf_counter()
        state = tracker.update(observation)
        ms.append(1e3 * (time.perf_counter() - began))
        truth = np.concatenate([se3.apply(T_cam_base, station.object_points())[index], start[KEYPOINTS:]])
        error.append(np.linalg.norm(state.positions - truth, axis=1))
        known.append(state.is_visible)
        moving.append(np.linalg.norm(truth - start, axis=1) > MOVED_M)
        if station.task.outcome(station)[0] != "in_progress":
            break
    station.close()
    return Run(*map(np.array, (error, known, moving, ms)))


def summary(task: str, runs: list[Run]) -> dict:
    """Summarise one task; errors cover keypoints known to the tracker."""

    def percentile(values: np.ndarray, q: float) -> float:
        return 1e3 * float(np.percentile(values, q)) if len(values) else float("nan")

    names = ("error", "is_known", "is_moving")
    error, known, moving = (np.concatenate([getattr(run, name).ravel() for run in runs]) for name in names)
    ms = np.concatenate([r.ms for r in runs])
    row: dict = {"task": task, "scenes": len(runs), "images": len(ms)}
    for name, chosen in (("moving", moving), ("resting", ~moving)):
        of = error[known & chosen]
        row[f"{name}_known"] = float(known[chosen].mean()) if chosen.any() else float("nan")
        row |= {f"{name}_median_mm": percentile(of, 50), f"{name}_p90_mm": percentile(of, 90)}
        row[f"{name}_over_20mm"] = float((of > 0.02).mean()) if len(of) else float("nan")
    return row | {"median_ms": float(np.median(ms)), "p95_ms": float(np.percentile(ms, 95))}


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=8)
    parser.add_argument("--first-seed", type=int, default=7_700_000)
    parser.add_argument("--size", default="320x180")
    parser.add_argument("--tasks", default=",".join(TASKS))
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    width, height = (int(n) for n in args.size.split("x"))
    rows = []
    seeds = range(args.first_seed, args.first_seed + args.seeds)
    for task in args.tasks.split(","):
        rows.append(summary(task, [follow(task, seed, width, height) for seed in seeds]))

    titles = [f"{kind} {name}" for kind in KINDS for name in ("known", "median mm", "p90 mm", "> 20 mm")]
    machine = platform.processor() or platform.machine()
    title = f"{args.seeds} scenes per task from {args.first_seed}, {args.size}, {machine}"
    table = Table(Column("task", no_wrap=True), *titles, "ms", "p95", title=title)
    for r in rows:
        cells = [format(r[f"{kind}_{name}"], form) for kind in KINDS for name, form in FORMATS]
        table.add_row(r["task"], *cells, f"{r['median_ms']:.1f}", f"{r['p95_ms']:.1f}")
    console = Console()
    (Console(width=140) if console.width < 140 else console).print(table)
    if args.json:
        facts = {"rows": rows, "size": args.size, "first_seed": args.first_seed, "numpy": np.__version__}
        args.json.write_text(json.dumps(facts, indent=2) + "\n")


if __name__ == "__main__":
    main()
