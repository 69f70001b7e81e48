"""One click on an object in simulated scenes: is the object found, and how long does it take?

    python bench/clicks.py [--first-seed 7100000] [--scenes 76] [--clicks 3] [--size 320x180] [--json clicks.json]

The scenes go through all tasks; every second table is chequered, and the robot is not masked. A click is a random
visible pixel of a random object with at least `LEAST_SEEN` pixels of valid depth. An object is found if the selected
pixels have a precision over 0.9 and a recall over 0.7 against the rendered truth. Times are processor time.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import time
from collections import defaultdict
from dataclasses import replace
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.progress import track
from rich.table import Table

from uma.sketch.keypoints import keypoints
from uma.sketch.segment import analyse, select
from uma.types import InputError
from uma_sim.station import Station, Task
from uma_sim.tasks import MODULES, load

LEAST_SEEN = 20
"""Fewest pixels with depth of a clicked object."""

PRECISION, RECALL = 0.9, 0.7


def with_pattern(task: Task) -> Task:
    """Return the task with a chequered table in every second scene; the others keep their table."""

    def sample(seed: int, **options):
        scene = task.sample(seed, **options)
        if seed % 2:
            return scene
        other = np.array(scene.room.table_color[:3]) * np.random.default_rng([seed, 31]).uniform(0.75, 0.97)
        return replace(scene, room=replace(scene.room, pattern=(*map(float, other), 1.0)))

    return replace(task, sample=sample)


def scores(mask: np.ndarray, truth: np.ndarray) -> tuple[float, float]:
    """Return precision and recall."""
    both = float(np.count_nonzero(mask & truth))
    return both / max(np.count_nonzero(mask), 1), both / np.count_nonzero(truth)


def judged(scene, pixel: tuple[int, int], truth: np.ndarray, by: str) -> dict:
    """Return precision, recall, refusal, milliseconds and the share of six keypoints on the object."""
    for cached in ("pairs", "component"):
        scene.__dict__.pop(cached, None)  # the time of a click includes them
    start = time.process_time()
    try:
        mask, refused = select(scene, pixel, by=by), ""
    except InputError as error:
        mask, refused = np.zeros(truth.shape, bool), str(error)
    ms = 1e3 * (time.process_time() - start)
    precision, recall = scores(mask, truth)
    on = 0.0
    if mask.any():
        u, v = keypoints(scene, mask, 6).pixels.T
        on = float(truth[v, u].mean())
    found = bool(precision > PRECISION and recall > RECALL)
    return {"precision": precision, "recall": recall, "found": found, "refused": refused, "ms": ms, "on": on}


def clicked(seed: int, task: str, size: tuple[int, int], count: int) -> list[dict]:
    """Return one row per click of a scene."""
    station = Station(seed, with_pattern(load(task)), width=size[0], height=size[1])
    seen, labels = station.observe(), station.labels()
    start = time.process_time()
    scene = analyse(seen.rgb, seen.depth, seen.camera)
    frame_ms = 1e3 * (time.process_time() - start)
    robot, is_known = int(station.model.body_rootid[station.model.body("fr3_link7").id]), np.isfinite(seen.depth)
    bodies = [b for b in np.unique(labels) if b not in (0, robot) and (is_known & (labels == b)).sum() >= LEAST_SEEN]
    rng, rows = np.random.default_rng([seed, 5]), []
    for body in rng.permutation(bodies)[:count]:
        truth = labels == body
        v, u = (int(x) for x in rng.choice(np.argwhere(truth)))
        name = station.model.body(int(body)).name
        rows.append(
            {
                "seed": seed,
                "task": task,
                "kind": name.split("_")[0].rstrip("0123456789"),
                "body": name,
                "pixel": (u, v),
                "pixels": int(truth.sum()),
                "is_chequered": station.scene.room.pattern is not None,
                "frame_ms": frame_ms,
                **{by: judged(scene, (u, v), truth, by) for by in ("object", "colour")},
            }
        )
    station.close()
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--first-seed", type=int, default=7100000)
    parser.add_argument("--scenes", type=int, default=76)
    parser.add_argument("--clicks", type=int, default=3, help="most clicks a scene, each on another object")
    parser.add_argument("--size", default="320x180")
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    width, height = map(int, args.size.split("x"))
    tasks, rows, console = list(MODULES), [], Console(width=120)
    for i in track(range(args.scenes), "scenes", console=console):
        rows += clicked(args.first_seed + i, tasks[i % len(tasks)], (width, height), args.clicks)
    table = Table("kind", "clicks", "found", "or by colour", "5 of 6 keypoints on it", "refused", title=args.size)
    kinds = defaultdict(list)
    for row in rows:
        kinds[row["kind"]].append(row)
    chequered = [row for row in rows if row["is_chequered"]]
    for kind, of in [*sorted(kinds.items()), ("chequered tables", chequered), ("all", rows)]:
        first, second = ([row[by] for row in of] for by in ("object", "colour"))
        counts = (
            sum(a["found"] for a in first),
            sum(a["found"] or b["found"] for a, b in zip(first, second)),
            sum(a["on"] > 0.8 for a in first),
            sum(bool(a["refused"]) for a in first),
        )
        table.add_row(kind, str(len(of)), *map(str, counts))
    console.print(table)
    frames = [row["frame_ms"] for row in {row["seed"]: row for row in rows}.values()]
    clicks = [row["object"]["ms"] for row in rows]
    for name, ms in (("frame", frames), ("click", clicks)):
        console.print(f"{name}: median {np.median(ms):.0f} ms, p95 {np.percentile(ms, 95):.0f} ms of processor time")
    console.print(f"machine: {platform.machine()}, {os.cpu_count()} cores, numpy {np.__version__}")
    for row in rows:
        if not row["object"]["found"]:
            a = row["object"]
            console.print(
                f"{row['seed']} {row['task']} {row['body']} {row['pixel']} {row['pixels']} px: "
                f"precision {a['precision']:.2f}, recall {a['recall']:.2f} {a['refused']}"
            )
    if args.json:
        args.json.write_text(json.dumps(rows, indent=2) + "\n")


if __name__ == "__main__":
    main()
