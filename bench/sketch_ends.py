"""How often a sketch of an intent ends where the benchmark's judge wants the object, if it is followed exactly.

    python bench/sketch_ends.py [--episodes 8] [--first-seed 8200000] [--json FILE]

The scenes and sketches are those of `uma benchmark --task intents/KIND --sketch STYLE --camera nominal --held-out`. The
object goes where the least-squares rigid motion of its keypoints takes it, from the first waypoints to the last ones.
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
from uma.policy.query import end_waypoints
from uma_sim.tasks import make_station
from uma_sim.tasks.intents.goals import KINDS, RELEASED, distance
from uma_sim.tasks.intents.judge import NEAR_M, NEAR_RAD
from uma_train.evaluation.actors import reference_of
from uma_train.evaluation.benchmark_config import BenchmarkConfig

STYLES = ("exact", "careful", "sloppy", "translate")


def end(kind: str, seed: int, style: str) -> tuple[float, float]:
    """Return how far the sketch's end is from the goal, in metres and radians; a released object falls to its goal's
    height."""
    station = make_station(seed, f"intents/{kind}", render=False, held_out=True)
    reference = reference_of(BenchmarkConfig(task=f"intents/{kind}", sketch=style), station, seed)
    first, last = end_waypoints(reference.waypoints, reference.is_valid)
    T = station.T_base_cam
    moved = se3.fit_rigid(se3.apply(T, first), se3.apply(T, last)) @ station.object_pose()
    goal = station.scene.goals[station.scene.goal].waypoints[-1]
    if kind in RELEASED:
        moved[2, 3] = goal[2, 3]
    return distance(station.scene.things[0], moved, goal)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--episodes", type=int, default=8)
    parser.add_argument("--first-seed", type=int, default=8_200_000)
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    seeds = range(args.first_seed, args.first_seed + args.episodes)
    table, out = Table(title=f"ends within {NEAR_M} m and {np.degrees(NEAR_RAD):.0f} degrees, of {len(seeds)}"), {}
    for heading in ("sketch", *KINDS, "all", "median (cm)", "median (degrees)"):
        table.add_column(heading)
    for style in STYLES:
        found = {k: np.array([end(k, s, style) for s in seeds]) for k in track(KINDS, style)}
        is_near = {k: int(((v[:, 0] <= NEAR_M) & (v[:, 1] <= NEAR_RAD)).sum()) for k, v in found.items()}
        metres, radians = np.median(np.concatenate(list(found.values())), 0)
        out[style] = is_near | {"all": sum(is_near.values()), "m": metres, "rad": radians}
        counts = [str(n) for n in is_near.values()]
        table.add_row(style, *counts, str(sum(is_near.values())), f"{100 * metres:.1f}", f"{np.degrees(radians):.0f}")
    Console(width=max(110, Console().width)).print(table)
    if args.json:
        args.json.write_text(json.dumps(out, indent=2) + "\n")


if __name__ == "__main__":
    main()
