"""Latency of one chunk on this CPU, by image size, preset and regime; optionally beside another checkout.

    python bench/latency.py [--against DIR] [--sizes 320x180 1280x720] [--presets small base] [--repeats 40] [--json
    FILE]

``--against`` names a checkout of an earlier state, such as a git worktree. Each tree runs in its own process, and their
predictions alternate, so that background load affects both equally. "small" is the shipped checkpoint; "base" has
random weights of equal cost.

The floor is the multiply-adds of a prediction (counted by torch) at the rate of a large float32 matrix product. The
rate is measured in the same run with the same threads.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.progress import track
from rich.table import Table

ROOT = Path(__file__).resolve().parent.parent
REGIMES = {
    "control, 1 sample": (1, 8, False),
    "control, 8 samples, 8 steps": (8, 8, False),
    "control, default": (None, None, False),
    "joint, 6 keypoints, 1 sample": (1, 8, True),
}
"""Name -> samples and flow steps (None = the tree's defaults), and whether motion is predicted."""


def worker(checkpoint: str, threads: int) -> None:
    """Process JSON lines of the standard input: ``[preset, size, regime]`` -> milliseconds by stage, and operations."""
    import torch
    from torch.utils.flop_counter import FlopCounterMode

    from uma.checkpoint.bundle import Bundle, Contract, load_bundle
    from uma.model.config import base
    from uma.model.inputs import Normalization
    from uma.model.uma import Uma
    from uma.policy import Policy
    from uma_sim.tasks import make_station

    torch.set_num_threads(threads)
    bundles, scenes, policies, flops = {}, {}, {}, {}
    for count, line in enumerate(sys.stdin):
        preset, size, regime = json.loads(line)
        if preset not in bundles:
            torch.manual_seed(0)
            random = Bundle(Uma(base(), Normalization()).eval(), Contract(), "base", {}) if preset == "base" else None
            bundles[preset] = random or load_bundle(checkpoint)
        if size not in scenes:
            width, height = map(int, size.split("x"))
            station = make_station(1_000_000, width=width, height=height)
            scenes[size] = station.observe(), station.task.plan_reference(station)
            station.close()
        o, reference = scenes[size]
        samples, steps, motion = REGIMES[regime]
        settings = {} if samples is None else {"num_samples": samples, "num_steps": steps}
        if (preset, regime) not in policies:
            policies[preset, regime] = Policy(bundles[preset], **settings)
        policy = policies[preset, regime]
        task = policy.encode_task(o, reference)
        if (preset, size, regime) not in flops:
            with FlopCounterMode(display=False) as counter:
                policy.predict(o, task, with_motion=motion)
            flops[preset, size, regime] = counter.get_total_flops()
        began = time.perf_counter()
        stages = policy.predict(o, task, sequence=count, with_motion=motion).latency_ms
        total = 1e3 * (time.perf_counter() - began)
        print(
            json.dumps({"points": stages["points"], "total": total, "flops": flops[preset, size, regime]}), flush=True
        )


class Tree:
    """A checkout whose predictions are timed in a separate process."""

    def __init__(self, root: Path, checkpoint: str, threads: int):
        environment = {**os.environ, "PYTHONPATH": str(root), "OMP_NUM_THREADS": str(threads)}
        words = [
            sys.executable,
            str(Path(__file__).resolve()),
            "--worker",
            "--checkpoint",
            checkpoint,
            "--threads",
            str(threads),
        ]
        self._process = subprocess.Popen(
            words, cwd=root, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    def time_prediction(self, job: tuple[str, str, str]) -> dict:
        self._process.stdin.write(json.dumps(job) + "\n")
        self._process.stdin.flush()
        return json.loads(self._process.stdout.readline())

    def close(self) -> None:
        self._process.stdin.close()
        self._process.wait()


def matmul_rate(threads: int, size: int = 1024, repeats: int = 10) -> float:
    """Return the best rate of a square float32 product in ``repeats``, operations per second."""
    import torch

    torch.set_num_threads(threads)
    a, b = torch.randn(size, size), torch.randn(size, size)
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        a @ b
        times.append(time.perf_counter() - start)
    return 2 * size**3 / min(times)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--checkpoint", default="models/uma-small")
    parser.add_argument("--against", type=Path, help="another checkout")
    parser.add_argument("--sizes", nargs="+", default=["320x180", "640x360", "1280x720"])
    parser.add_argument("--presets", nargs="+", default=["small"], choices=("small", "base"))
    parser.add_argument("--repeats", type=int, default=40, help="predictions of each case; a tenth of it for base")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--worker", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    if args.worker:
        worker(args.checkpoint, args.threads)
        return
    rate = matmul_rate(args.threads)
    trees = {"before": Tree(args.against.resolve(), args.checkpoint, args.threads)} if args.against else {}
    trees["here"] = Tree(ROOT, args.checkpoint, args.threads)
    rows, console = [], Console(width=140)
    for preset in args.presets:
        repeats = args.repeats if preset == "small" else max(3, args.repeats // 10)
        jobs = [(preset, size, regime) for size in args.sizes for regime in REGIMES]
        found: dict = {(job, name): [] for job in jobs for name in trees}
        for _ in track(range(repeats + 1), preset, console=console):
            for job in jobs:
                for name, tree in trees.items():
                    found[job, name].append(tree.time_prediction(job))
        rows += [row(job, name, answers[1:], rate) for (job, name), answers in found.items()]  # without the warm-up
    for tree in trees.values():
        tree.close()
    show(
        rows,
        console,
        f"{args.threads} thread(s), {platform.processor() or platform.machine()}, {rate / 1e9:.0f} GFLOP/s "
        "product, times in ms",
    )
    if args.json:
        args.json.write_text(json.dumps({"rows": rows, "gflops": rate / 1e9, "threads": args.threads}, indent=2) + "\n")


def row(job: tuple[str, str, str], tree: str, answers: list[dict], rate: float) -> dict:
    total, points = ([a[k] for a in answers] for k in ("total", "points"))
    p50, p95, p99 = (float(np.percentile(total, q)) for q in (50, 95, 99))
    floor = 1e3 * answers[0]["flops"] / rate
    names = dict(zip(("preset", "size", "regime"), job, strict=True))
    return {
        **names,
        "tree": tree,
        "points": float(np.median(points)),
        "p50": p50,
        "p95": p95,
        "p99": p99,
        "floor": floor,
        "answers": len(total),
    }


def show(rows: list[dict], console: Console, title: str) -> None:
    table = Table(
        "preset",
        "image",
        "regime",
        "tree",
        "cloud",
        "p50",
        "p95",
        "p99",
        "floor",
        "p50 / floor",
        "to before",
        title=title,
    )
    before = {(r["preset"], r["size"], r["regime"]): r["p50"] for r in rows if r["tree"] == "before"}
    for r in sorted(
        rows, key=lambda r: (r["preset"] != "small", r["size"], list(REGIMES).index(r["regime"]), r["tree"])
    ):
        other = before.get((r["preset"], r["size"], r["regime"])) if r["tree"] == "here" else None
        times = (f"{r[k]:.1f}" for k in ("points", "p50", "p95", "p99", "floor"))
        table.add_row(
            r["preset"],
            r["size"],
            r["regime"],
            r["tree"],
            *times,
            f"{r['p50'] / r['floor']:.1f}",
            f"{r['p50'] / other:.2f}" if other else "",
        )
    console.print(table)


if __name__ == "__main__":
    main()
