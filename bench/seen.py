"""Visibility of a task's objects from each camera place, during the scripted expert's demonstration.

    python bench/seen.py [--task sweeping] [--episodes 24] [--first-seed 7300000] [--places nominal 25cm other_side
    front]

It reports the fraction of tracked points visible to the camera, over an episode and while the hand works near the
table. With ``--results DIR``, a folder of `uma sweep --camera`, it also separates successful and failed episodes.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.progress import track
from rich.table import Table

from uma.geometry import se3
from uma_sim import experts
from uma_sim.scene import CAMERAS, camera_at
from uma_sim.tasks import make_station
from uma_train.data.seen import visible

EVERY, LOW = 6, 0.08
"""Control steps between two images, and the height of the end effector below which it is at work, metres."""

PARTS = {"sweeping": {"brush": slice(0, 10), "scraps": slice(10, 16)}}
"""Parts of the 16 tracked points per task; other tasks have one part."""


def shares(task: str, seed: int, place: str) -> dict[str, float]:
    """Return the mean visible fraction per part, per part at work, and of the static points."""
    station = make_station(seed, task, T_base_cam=camera_at(place, seed))
    expert = experts.expert(task)
    T_cam_base = se3.invert(station.T_base_cam)
    parts, seen = PARTS.get(task, {"object": slice(0, 16)}), {}
    for step in range(station.task.max_steps):
        if step % EVERY == 0:
            o = station.observe()
            moving = visible(se3.apply(T_cam_base, station.object_points()), o.depth, o.camera)
            resting = visible(se3.apply(T_cam_base, station.task.static_points(station)), o.depth, o.camera)
            found = {**{name: moving[part] for name, part in parts.items()}, "goal": resting}
            at_work = step > 0 and station.ee_pose()[2, 3] < LOW and station.gripper_position() > 0.3
            for name, value in found.items():
                seen.setdefault(name, []).append(value.mean())
                if at_work:
                    seen.setdefault(f"{name}, at work", []).append(value.mean())
        station.act(*expert.act(station))
        if station.task.outcome(station)[0] != "in_progress":
            break
    station.close()
    return {name: float(np.mean(values)) for name, values in seen.items()}


def main() -> None:
    """Measure, print and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--task", default="sweeping")
    parser.add_argument("--episodes", type=int, default=24)
    parser.add_argument("--first-seed", type=int, default=7_300_000)
    parser.add_argument("--places", nargs="+", default=["nominal", "25cm", "other_side", "front"], choices=CAMERAS)
    parser.add_argument("--frame", default="camera_nominal", help="policy frame of the results")
    parser.add_argument("--results", type=Path)
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    console, rows = Console(width=140), []
    for place in args.places:
        log = args.results / f"{args.frame}_{place}" / "episodes.jsonl" if args.results else None
        won = (
            {r["seed"]: r["outcome"] == "success" for r in map(json.loads, log.read_text().splitlines())}
            if log and log.exists()
            else {}
        )
        for seed in track(range(args.first_seed, args.first_seed + args.episodes), place, console=console):
            rows.append({"place": place, "seed": seed, "success": won.get(seed), **shares(args.task, seed, place)})
    names = [k for k in rows[0] if k not in ("place", "seed", "success")]
    table = Table("camera", "episodes", "of", *names, title="mean fraction of points visible to the camera, %")
    for place in args.places:
        for label, wanted in (("all", (True, False, None)), ("successes", (True,)), ("failures", (False,))):
            of = [r for r in rows if r["place"] == place and r["success"] in wanted]
            if of:
                table.add_row(
                    place, str(len(of)), label, *(f"{100 * np.mean([r[n] for r in of if n in r]):.0f}" for n in names)
                )
    console.print(table)
    if args.json:
        args.json.write_text(json.dumps(rows, indent=2) + "\n")


if __name__ == "__main__":
    main()
