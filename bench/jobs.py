"""What `uma_train.jobs.mapping.map` costs per item against a plain loop over the same function.

Run with ``python bench/jobs.py [--items 500] [--workers 2] [--ray]``.
"""

import argparse
import os
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from rich.console import Console

from uma_train.jobs.mapping import map
from uma_train.jobs.rays import start_ray
from uma_train.jobs.recorded import save_arrays

QUIET = Console(quiet=True)


def work(item: dict, state: None) -> dict[str, np.ndarray]:
    """Return 12 kB, at once."""
    return {"x": np.full((64, 48), item["n"], np.float32)}


def items(count: int) -> list[dict]:
    return [{"id": f"{n:06d}", "n": n} for n in range(count)]


def spent() -> np.ndarray:
    """Wall clock, and processor time of this process and its ended children, ms; those of Ray are not children."""
    t = os.times()
    return 1e3 * np.array([time.monotonic(), t.user + t.system + t.children_user + t.children_system])


def plain(count: int, out: Path) -> np.ndarray:
    out.mkdir()
    began = spent()
    for item in items(count):
        save_arrays(out / f"{item['id']}.npz", work(item, None))
    return spent() - began


def mapped(count: int, out: Path, executor: str, workers: int) -> np.ndarray:
    began = spent()
    counts = map(work, items(count), out, "bench", executor, workers, console=QUIET)
    assert counts["ok"] == count, counts
    return spent() - began


def row(name: str, ms: np.ndarray) -> None:
    print(f"{name:24} {ms[0]:8.2f} ms wall {ms[1]:8.2f} ms processor")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--items", type=int, default=500)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--ray", action="store_true")
    args = parser.parse_args()
    n = args.items
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        row("plain loop, an item", plain(n, root / "plain") / n)
        for executor in ("local", *(["ray"] if args.ray else [])):
            if executor == "ray":
                start_ray(num_cpus=args.workers)
            start = mapped(args.workers, root / f"{executor}_start", executor, args.workers)
            row(f"{executor}, start of {args.workers}", start)
            row(f"{executor}, an item", (mapped(n, root / executor, executor, args.workers) - start) / n)
            row(f"{executor}, nothing to do", mapped(n, root / executor, executor, args.workers) / n)
    return 0


if __name__ == "__main__":
    sys.exit(main())
