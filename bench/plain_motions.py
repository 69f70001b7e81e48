"""Whether a checkpoint follows plain motions of the utensil in the insertion scenes, whose holders it must ignore.

    python bench/plain_motions.py [--checkpoint models/uma-small] [--scenes 8] [--first-seed 7700000] [--json FILE]

Lift: up by 15 cm. Turn: up by 15 cm, then by 90 degrees. Carry: up by 10 cm, 15 cm to the freest side, and down. Six
keypoints; a motion counts if their mean distance to their ends is below 3 cm for a second within 20 s.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.progress import track
from scipy.spatial.transform import Rotation

from uma.checkpoint.default import DEFAULT
from uma.geometry import se3
from uma.policy import Policy
from uma.types import ReferenceMotion
from uma_sim.planning import sketches
from uma_sim.station import Station
from uma_sim.tasks import make_station
from uma_train.evaluation.rehearse import NEAR_M, rehearse

KINDS = ("lift", "turn", "carry")
UP, WAY_M = np.array([0.0, 0.0, 0.15]), 0.15
LOW, HIGH = np.array([0.36, -0.20]), np.array([0.62, 0.26])
"""Corners of the area in which a carrying ends, base frame, metres."""


def aside(station: Station, centre: np.ndarray) -> np.ndarray:
    """Return the ``(3,)`` way across the table whose end is farthest from the other objects."""
    others = station.task.static_points(station)[:, :2]
    angles = np.radians(np.arange(0, 360, 30))
    ways = WAY_M * np.stack([np.cos(angles), np.sin(angles), 0 * angles], 1)
    ends = centre[:2] + ways[:, :2]
    room = np.linalg.norm(ends[:, None] - others, axis=-1).min(1)
    room[((ends < LOW) | (ends > HIGH)).any(1)] = -1.0
    return ways[room.argmax()]


def rows(kind: str, station: Station, start: np.ndarray) -> list[np.ndarray]:
    """Return the waypoints of each of the ``(K, 3)`` keypoints, base frame."""
    if kind == "lift":
        return [np.stack([s, s + UP]) for s in start]
    centre = start.mean(0)
    if kind == "turn":
        R = Rotation.from_rotvec([0, 0, np.pi / 2]).as_matrix()
        return [np.stack([s, s + UP, centre + R @ (s - centre) + UP]) for s in start]
    way, up = aside(station, centre), UP * 2 / 3
    return [np.stack([s, s + up, s + up + way, s + way]) for s in start]


def end(policy: Policy, kind: str, seed: int) -> float:
    """Return the mean distance of the keypoints to their ends, metres."""
    station = make_station(seed, "insertion")
    exact = sketches.of_scene(station, 6, 4, 0, seed)
    start = np.stack([se3.apply(station.T_base_cam, w[0]) for w in exact.waypoints])
    waypoints = tuple(se3.apply(se3.invert(station.T_base_cam), r) for r in rows(kind, station, start))
    found = rehearse(station, policy, ReferenceMotion(waypoints, frame=station.camera.frame), "", 20.0)
    station.close()
    return found.distance


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--checkpoint", default=DEFAULT)
    parser.add_argument("--scenes", type=int, default=8)
    parser.add_argument("--first-seed", type=int, default=7_700_000)
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    policy, console = Policy.load(args.checkpoint), Console()
    found = {}
    for kind in KINDS:
        seeds = range(args.first_seed, args.first_seed + args.scenes)
        found[kind] = [end(policy, kind, seed) for seed in track(seeds, kind)]
        near = sum(e < NEAR_M for e in found[kind])
        console.print(f"{kind}: {near} of {len(seeds)}, ends in cm {[round(100 * e, 1) for e in found[kind]]}")
    if args.json:
        args.json.write_text(json.dumps(found, indent=2) + "\n")


if __name__ == "__main__":
    main()
