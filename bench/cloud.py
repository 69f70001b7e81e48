"""Time to prepare a cloud, by image size, preset and path, on one simulated scene.

    python bench/cloud.py [--repeats 30] [--seed 1000000] [--threads 1] [--json FILE]

The paths are NumPy, torch on the CPU and, with a CUDA device, torch as one replayed CUDA graph. One round times every
case once, so that background load affects all of them equally.
"""

from __future__ import annotations

import argparse
import json
import platform
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from rich.console import Console
from rich.table import Table

from uma.model.cloud import point_set, representatives
from uma.model.cloud_torch import CloudPreparation
from uma.model.config import PRESETS, PointConfig
from uma.types import Observation

SIZES = ((320, 180), (640, 360), (672, 376), (1280, 720), (1920, 1080))
NAMES = ("small", "base")


def observations(seed: int) -> dict[tuple[int, int], Observation]:
    """Observe one scene with cameras of each size."""
    from uma_sim.tasks import make_station

    seen = {}
    for size in SIZES:
        station = make_station(seed, width=size[0], height=size[1])
        seen[size] = station.observe()
        station.close()
    return seen


def with_torch(observation: Observation, config: PointConfig, device: str) -> Callable[[], object]:
    """Return a function that prepares the observation's cloud on ``device``, with a CUDA graph on CUDA devices."""
    c = observation.camera
    module = CloudPreparation(c.height, c.width, config).to(device)
    arrays = observation.depth, observation.rgb, np.array([c.fx, c.fy, c.cx, c.cy]), observation.T_cam_ee[:3, 3]
    given = [torch.from_numpy(np.ascontiguousarray(a)).to(device) for a in arrays]
    if device == "cpu":
        return lambda: module(*given)
    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        for _ in range(3):
            module(*given)
    torch.cuda.current_stream().wait_stream(stream)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        module(*given)

    def replay() -> None:
        graph.replay()
        torch.cuda.synchronize()

    return replay


def cases(seen: dict[tuple[int, int], Observation]) -> dict[tuple[str, str, tuple[int, int]], Callable[[], object]]:
    """Return the timed functions by path, preset and size."""
    found = {}
    devices = ["cpu", *(["cuda"] if torch.cuda.is_available() else [])]
    for name in NAMES:
        config = PRESETS[name]().points
        for size, observation in seen.items():
            found["NumPy", name, size] = lambda o=observation, c=config: point_set(o, c)
            for device in devices:
                found[f"torch, {device}", name, size] = with_torch(observation, config, device)
    return found


def milliseconds(functions: dict, repeats: int) -> dict:
    """Return ``repeats`` times of each function in milliseconds, interleaved, after three warm-up rounds."""
    times: dict = {key: [] for key in functions}
    for i in range(repeats + 3):
        for key, function in functions.items():
            start = time.perf_counter()
            function()
            if i >= 3:
                times[key].append(1e3 * (time.perf_counter() - start))
    return times


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=30)
    parser.add_argument("--seed", type=int, default=1_000_000)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)

    seen = observations(args.seed)
    times = milliseconds(cases(seen), args.repeats)
    median = {key: float(np.median(values)) for key, values in times.items()}
    rows = []
    for path, name, size in sorted(times, key=lambda key: (key[1] != "small", key[0], key[2])):
        key, o = (path, name, size), seen[size]
        rows.append(
            {
                "preset": name,
                "path": path,
                "size": f"{size[0]}x{size[1]}",
                "points_in": len(representatives(o.depth, PRESETS[name]().points.range_m)),
                "median_ms": median[key],
                "p95_ms": float(np.percentile(times[key], 95)),
                "over_smallest": median[key] / median[path, name, SIZES[0]],
                "over_numpy": median[key] / median["NumPy", name, size],
            }
        )
    titles = ("preset", "path", "image", "valid points", "median ms", "p95", "/ 320x180", "/ NumPy")
    machine = platform.processor() or platform.machine()
    title = f"{args.repeats} clouds each, {args.threads} thread(s), {machine}, torch {torch.__version__}"
    table = Table(*titles, title=title)
    for r in rows:
        numbers = (r[k] for k in ("median_ms", "p95_ms", "over_smallest", "over_numpy"))
        table.add_row(r["preset"], r["path"], r["size"], str(r["points_in"]), *(f"{v:.2f}" for v in numbers))
    console = Console()
    (Console(width=120) if console.width < 120 else console).print(table)
    if args.json:
        facts = {"rows": rows, "threads": args.threads, "torch": torch.__version__, "numpy": np.__version__}
        args.json.write_text(json.dumps(facts, indent=2) + "\n")


if __name__ == "__main__":
    main()
