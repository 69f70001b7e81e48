"""What `uma_train.jobs.mapping.map` costs per item against a plain loop over the same function.

Run with ``python bench/jobs.py [--items 500] [--workers 2] [--ray]``.
"""

import argparse
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from rich.console import Console

from uma_train.jobs.mapping import map
from uma_train.jobs.recorded import save_arrays

QUIET = Console(quiet=True)


def work(item: dict, state: None) -> dict[str, np.ndarray]:
    """Return 12 kB, at once."""
    return {"x": np.full((64, 48), item["n"], np.float32)}


def items(count: int) -> list[dict]:
    return [{"id": f"{n:06d}", "n": n} for n in range(count)]


def plain(count: int, out: Path) -> float:
    out.mkdir()
    began = time.monotonic()
    for item in items(count):
        save_arrays(out / f"{item['id']}.npz", work(item, None))
    return time.monotonic() - began


def mapped(count: int, out: Path, executor: str, workers: int) -> float:
    began = time.monotonic()
    counts = map(work, items(count), out, "bench", executor, workers, console=QUIET)
    assert counts["ok"] == count, counts
    return time.monotonic() - began


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--items", type=int, default=500)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--ray", action="store_true")
    args = parser.parse_args()
    n = args.items
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        loop = plain(n, root / "plain")
        print(f"plain loop          {1e3 * loop / n:7.2f} ms an item")
        for executor in ("local", *(["ray"] if args.ray else [])):
            start = mapped(1, root / f"{executor}_1", executor, 1)
            whole = mapped(n, root / executor, executor, args.workers)
            again = mapped(n, root / executor, executor, args.workers)
            each = 1e3 * (whole - start) / n
            print(f"{executor:6} {args.workers} workers    {each:7.2f} ms an item, first item after {start:.1f} s")
            print(f"{executor:6} nothing to do {1e3 * again / n:7.2f} ms an item")
    return 0


if __name__ == "__main__":
    sys.exit(main())
