"""How far the predicted motion leaves the reference, in episodes that succeed and in others: a choice of max_departure.

    python bench/departure.py [--tasks insertion sweeping folding] [--episodes 6] [--first-seed 7950000]
        [--checkpoint models/uma-small] [--limits 0.05 0.1 0.15 0.2] [--json FILE]

The chunks are executed as in `uma benchmark`. After each chunk its object motion is predicted from the tracked
keypoints, as in the policy node, and compared with the reference as in the controller. An episode would hold at a limit
if any of its departures is larger. The controller holds until a chunk returns below the limit, which is not simulated.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from pathlib import Path
from unittest.mock import patch

from rich.console import Console
from rich.progress import track
from rich.table import Table

from uma.control.departure import departure
from uma.policy import Policy
from uma.policy.tracker import KeypointTracker
from uma.types import RATE_HZ, ActionChunk, Observation
from uma_sim.station import Station
from uma_train.evaluation import closed_loop
from uma_train.evaluation.actors import actor_of, reference_of
from uma_train.evaluation.benchmark_config import BenchmarkConfig

LIMITS = (0.05, 0.10, 0.15, 0.20, 0.30)


def episode(config: BenchmarkConfig, seed: int, motion: Policy) -> dict:
    """Run an episode of UMA; return its outcome and the departures of its chunks, metres."""
    away: list[float] = []

    def watched(
        config: BenchmarkConfig, name: str, seed: int, station: Station, first: Observation
    ) -> Callable[[Observation, int], ActionChunk]:
        act, advance = actor_of(config, name, seed, station, first), station.advance
        reference = reference_of(config, station, seed)
        task = motion.encode_task(first, reference)
        tracker = KeypointTracker(first, task.keypoints)

        seen = [station.time]

        def follow(seconds: float) -> None:
            advance(seconds)
            if station.time >= seen[0] + 0.99 / RATE_HZ:
                seen[0] = station.time
                tracker.update(station.observe())

        def watch(observation: Observation, n: int) -> ActionChunk:
            chunk = act(observation, n)
            away.append(
                departure(
                    motion.predict_motion(observation, task, chunk, sequence=n, keypoints=tracker.state), reference
                )
            )
            return chunk

        station.advance = follow  # type: ignore[method-assign]
        return watch

    with patch.object(closed_loop, "actor_of", watched):
        result = closed_loop.run_episode(config, "uma", seed)
    return {"task": config.task, "seed": seed, "outcome": result.outcome, "departures_m": [round(a, 4) for a in away]}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--tasks", nargs="+", default=["insertion", "sweeping", "folding"])
    parser.add_argument("--episodes", type=int, default=6)
    parser.add_argument("--first-seed", type=int, default=7_950_000)
    parser.add_argument("--checkpoint", default="models/uma-small")
    parser.add_argument("--limits", type=float, nargs="+", default=list(LIMITS))
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    motion, rows = Policy.load(args.checkpoint, num_steps=2, num_samples=1), []
    jobs = [(task, args.first_seed + i) for i in range(args.episodes) for task in args.tasks]
    for task, seed in track(jobs, "episodes"):
        config = BenchmarkConfig(task=task, checkpoint=args.checkpoint)
        rows.append(episode(config, seed, motion))
        if args.json:
            args.json.write_text(json.dumps(rows, indent=1) + "\n")
    table = Table("task", "episodes", "of which", *(f"above {limit:g} m" for limit in args.limits))
    for task in args.tasks:
        for name, wanted in (("successes", True), ("failures", False)):
            some = [r for r in rows if r["task"] == task and (r["outcome"] == "success") is wanted]
            held = [str(sum(max(r["departures_m"], default=0.0) > limit for r in some)) for limit in args.limits]
            table.add_row(task, str(len(some)), name, *held)
    Console(width=120).print(table)


if __name__ == "__main__":
    main()
