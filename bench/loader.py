"""Windows per second of the loader, by motion tokens, storage and number of processes.

    python bench/loader.py [--data FOLDER] [--rounds 15] [--batch 64] [--json FILE]

Every process draws its own batches, as in a training run. In a round every regime draws ``--batches`` batches. All
processes run the same regime at once, so that background load affects all of them equally. A rate is the
windows of all processes over the time of the slowest. The last column divides by processor time instead: the rate of an
otherwise idle core.

Without ``--data``, random episodes with the points of the `small` preset are generated. Shards are read through the
page cache. For data sets larger than memory, the disk's random reads are a separate limit, about 7 KB per window and as
much per task.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import platform
import tempfile
import time
from pathlib import Path

import numpy as np
import torch
from rich.console import Console
from rich.table import Table

from uma.model.config import small
from uma.model.inputs import Normalization
from uma_train.data.episode import Episode, list_episodes, load_episode, save_episode
from uma_train.data.shards import open_folder, open_shards, pack
from uma_train.data.windows import Windows

KEYPOINTS = (0, 4, 16)
STORAGE = ("memory", "shards")


def random_episode(seed: int, steps: int = 80) -> Episode:
    """Build an episode of noise with the shape of a simulated one."""
    rng = np.random.default_rng(seed)
    frames, points = steps // 2, small().points.total
    pose = np.tile(np.eye(4, dtype=np.float32), (steps, 1, 1))
    pose[:, :3, 3] = np.linspace([0, 0, 0.8], [0.2, 0.1, 0.9], steps)
    tracks = (pose[:, None, :3, 3] + rng.normal(0, 0.03, (1, 16, 3))).astype(np.float32)
    grip = np.zeros(steps, np.float32)
    xyz = rng.integers(-9000, 9000, (frames, points, 3), dtype=np.int16)
    return Episode(
        xyz,
        rng.integers(0, 255, (frames, points, 3), dtype=np.uint8),
        rng.integers(0, 2000, (frames, points), dtype=np.int16),
        np.arange(0, steps, 2, dtype=np.int32),
        pose,
        grip,
        pose,
        grip,
        tracks,
        rng.normal(0, 0.1, (8, 3)).astype(np.float32),
        {"seed": seed},
    )


def measure(folder: str, barrier, results, args: argparse.Namespace) -> None:
    """Run all regimes in one process and send (storage, keypoints, round, begin, end, processor seconds)."""
    torch.set_num_threads(1)
    stores = {
        "memory": Windows([load_episode(p) for p in list_episodes(folder)]),
        "shards": Windows(open_shards(Path(folder) / "packed")),
    }
    rng, norm, rows = np.random.default_rng(os.getpid()), Normalization(), []
    for r in range(args.rounds + 1):
        for storage, windows in stores.items():
            for K in KEYPOINTS:
                barrier.wait()
                begin, used = time.monotonic(), time.process_time()
                for _ in range(args.batches):
                    windows.draw(args.batch, K, norm, rng, windows_per_task=args.windows_per_task)
                if r:  # round 0 is the warm-up
                    rows.append((storage, K, r, begin, time.monotonic(), time.process_time() - used))
    results.put(rows)


def rates(folder: str, processes: int, args: argparse.Namespace) -> dict[tuple[str, int], list[tuple[float, float]]]:
    """Return windows per second and per processor second of each round, by (storage, keypoints)."""
    context = multiprocessing.get_context("spawn")
    barrier, results = context.Barrier(processes), context.Queue()
    workers = [context.Process(target=measure, args=(folder, barrier, results, args)) for _ in range(processes)]
    for w in workers:
        w.start()
    rows = [row for _ in workers for row in results.get(timeout=1800)]
    for w in workers:
        w.join()
    out: dict[tuple[str, int], list[tuple[float, float]]] = {}
    windows = processes * args.batches * args.batch
    for key in sorted({row[:3] for row in rows}):
        begin, end, used = zip(*(row[3:] for row in rows if row[:3] == key), strict=True)
        out.setdefault(key[:2], []).append((windows / (max(end) - min(begin)), windows / sum(used)))
    return out


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path)
    parser.add_argument("--episodes", type=int, default=40, help="number of random episodes, without --data")
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--batches", type=int, default=4, help="per regime and round")
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--windows-per-task", type=int, default=2)
    parser.add_argument("--processes", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    os.environ["OMP_NUM_THREADS"] = "1"
    with tempfile.TemporaryDirectory() as made:
        folder = args.data or Path(made)
        if args.data is None:
            for i in range(args.episodes):
                save_episode(folder / f"{i:04d}.npz", random_episode(i))
        pack(folder, folder / "packed")
        store = open_folder(folder)
        console = Console()
        rows = []
        for processes in args.processes:
            for (storage, K), values in rates(str(folder), processes, args).items():
                wall, core = np.array(values).T
                spread = {name: float(np.percentile(wall, q)) for name, q in (("p10", 10), ("median", 50), ("p90", 90))}
                rows.append(
                    {
                        "processes": processes,
                        "storage": storage,
                        "keypoints": K,
                        **spread,
                        "per_core": float(np.median(core)),
                    }
                )
    table = Table(
        "processes",
        "episodes in",
        "keypoints",
        "windows/s, median",
        "p10",
        "p90",
        "per core second",
        title=f"{len(store)} episodes of {store.points} points per frame, batches of {args.batch}, "
        f"{args.windows_per_task} windows per task, "
        f"{args.rounds} rounds of {args.batches} batches, {os.cpu_count()} cores, "
        f"{platform.processor() or platform.machine()}",
    )
    for r in rows:
        table.add_row(
            str(r["processes"]),
            r["storage"],
            str(r["keypoints"]),
            *(f"{r[k]:.0f}" for k in ("median", "p10", "p90", "per_core")),
        )
    (Console(width=130) if console.width < 130 else console).print(table)
    if args.json:
        about = {
            "episodes": len(store),
            "points": store.points,
            "batch": args.batch,
            "windows_per_task": args.windows_per_task,
            "rounds": args.rounds,
        }
        args.json.write_text(
            json.dumps({"rows": rows, **about, "numpy": np.__version__, "torch": torch.__version__}, indent=2) + "\n"
        )


if __name__ == "__main__":
    main()
