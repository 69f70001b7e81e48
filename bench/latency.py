"""Latency of one chunk on this CPU, by stage and by regime, beside the arithmetic floor.

    python bench/latency.py [--checkpoint models/primitives-small] [--repeats 60] [--json FILE]

The floor is the stage's multiply-adds (counted by torch) over the multiply rate of a large float32 matrix product measured
in the same run with the same threads: what the arithmetic alone would take if it were one big product. What lies above it
is the cost of many small operations. Regimes are interleaved, so that a busy machine disturbs all of them alike.
"""

from __future__ import annotations

import argparse
import json
import platform
import time
from pathlib import Path

import numpy as np
import torch
from rich.console import Console
from rich.table import Table
from torch.utils.flop_counter import FlopCounterMode

from uma.policy import Policy
from uma.types import HORIZON

REGIMES = (("control, 1 sample", 1, False), ("control, 8 samples (default)", 8, False), ("joint, 1 sample", 1, True))


def matmul_rate(size: int = 1024, repeats: int = 10) -> float:
    """Float32 floating-point operations per second of a square product: the best of ``repeats``."""
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
    parser.add_argument("--checkpoint", default="models/primitives-small")
    parser.add_argument("--repeats", type=int, default=60)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)

    from uma_sim.station import Station

    station = Station(1_000_000)
    observation, reference = station.observe(), station.task.plan_reference(station)
    rate = matmul_rate()
    policies = {name: Policy.load(args.checkpoint, num_samples=n) for name, n, _ in REGIMES}
    tasks = {name: p.encode_task(observation, reference) for name, p in policies.items()}
    flops = {}
    for name, _, motion in REGIMES:
        with FlopCounterMode(display=False) as counter:
            policies[name].predict(observation, tasks[name], with_motion=motion)
        flops[name] = counter.get_total_flops()
    samples: dict[str, dict[str, list[float]]] = {name: {} for name, _, _ in REGIMES}
    task_ms = []
    for i in range(args.repeats + 3):
        for name, _, motion in REGIMES:
            latency = policies[name].predict(observation, tasks[name], sequence=i, with_motion=motion).latency_ms
            if i >= 3:
                for stage, ms in latency.items():
                    samples[name].setdefault(stage, []).append(ms)
        start = time.perf_counter()
        policies[REGIMES[0][0]].encode_task(observation, reference)
        task_ms.append(1e3 * (time.perf_counter() - start))

    rows = []
    for name, stages in samples.items():
        for stage, values in stages.items():
            floor = 1e3 * flops[name] / rate if stage == "total" else None
            rows.append(
                {
                    "regime": name,
                    "stage": stage,
                    "floor_ms": floor,
                    **{k: float(np.percentile(values, q)) for k, q in (("median", 50), ("p95", 95), ("p99", 99))},
                }
            )
    rows.append(
        {
            "regime": "once a task",
            "stage": "task encoder",
            "floor_ms": None,
            **{k: float(np.percentile(task_ms[3:], q)) for k, q in (("median", 50), ("p95", 95), ("p99", 99))},
        }
    )
    table = Table(
        "regime",
        "stage",
        "median ms",
        "p95",
        "p99",
        "floor ms",
        "median / floor",
        title=f"{args.repeats} chunks of {HORIZON} actions, {args.threads} thread(s), {platform.processor() or platform.machine()}, "
        f"torch {torch.__version__}, {rate / 1e9:.0f} GFLOP/s matrix product",
    )
    for r in rows:
        floor = r["floor_ms"]
        table.add_row(
            r["regime"],
            r["stage"],
            *(f"{r[k]:.1f}" for k in ("median", "p95", "p99")),
            *((f"{floor:.1f}", f"{r['median'] / floor:.1f}") if floor else ("", "")),
        )
    console = Console()
    (Console(width=130) if console.width < 130 else console).print(table)
    if args.json:
        args.json.write_text(
            json.dumps({"rows": rows, "gflops": rate / 1e9, "flops": flops, "threads": args.threads, "torch": torch.__version__}, indent=2) + "\n"
        )


if __name__ == "__main__":
    main()
