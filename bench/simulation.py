"""Speed of the simulated station: a control step, an image, a demonstration, task by task.

    python bench/simulation.py [--tasks insertion sweeping folding] [--rounds 20] [--json FILE]

It measures the processor time of this process with all its threads (software rendering has several), so that other load
counts little: the time of one core. A round times each part once, in turn. "image as a picture" is the detailed model
with shadows, for people; training and policies do not need it.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

os.environ.setdefault("MUJOCO_GL", "egl")

from rich.console import Console
from rich.progress import track
from rich.table import Table

from uma.types import RATE_HZ
from uma_sim import experts, tasks
from uma_sim.rollout import OBSERVE_EVERY
from uma_sim.tasks import make_station


def timed(work: Callable, *args: Any) -> tuple[float, Any]:
    """Return the processor time in seconds, and the result."""
    began = time.process_time()
    result = work(*args)
    return time.process_time() - began, result


def measure(task: str, rounds: int) -> dict[str, list[float]]:
    """Return the seconds per part, one value per round, in a scene at work."""
    station = make_station(300_000, task)
    expert = experts.expert(station.task.name)
    station.observe(), station.picture(640, 360)
    found: dict[str, list[float]] = {"expert": [], "step": [], "image": [], "picture": []}
    for _ in track(range(rounds), task, console=Console(stderr=True)):
        took, action = timed(expert.act, station)
        found["expert"].append(took)
        for part, work, words in (
            ("step", station.act, action),
            ("image", station.observe, ()),
            ("picture", station.picture, (640, 360)),
        ):
            found[part].append(timed(work, *words)[0])
    station.close()
    return found


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--tasks",
        nargs="+",
        default=["insertion", "sweeping", "folding"],
        choices=sorted(tasks.MODULES),
        metavar="TASK",
    )
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--json", default="")
    args = parser.parse_args()
    table, rows = (
        Table(
            title=f"{args.rounds} rounds, medians, processor time; {platform.processor() or platform.machine()}, "
            f"{os.cpu_count()} cores"
        ),
        {},
    )
    headings = (
        "task",
        "control step",
        "expert",
        "image 320x180",
        "image as a picture",
        "images/s",
        "real time, with an image every step",
        "data: simulated s/s",
    )
    for heading in headings:
        table.add_column(heading, justify="left" if heading == "task" else "right")
    for task in args.tasks:
        rows[task] = measure(task, args.rounds)
        step, expert, image, picture = (
            statistics.median(rows[task][k]) for k in ("step", "expert", "image", "picture")
        )
        recorded = (step + expert + image / OBSERVE_EVERY) * RATE_HZ
        table.add_row(
            task,
            *(f"{1e3 * v:.1f} ms" for v in (step, expert, image, picture)),
            f"{1 / image:.0f}",
            f"{1 / ((step + image) * RATE_HZ):.1f} x",
            f"{1 / recorded:.1f}",
        )
    Console(width=150).print(table)
    if args.json:
        Path(args.json).write_text(json.dumps(rows, indent=2) + "\n")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
