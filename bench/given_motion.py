"""Value of tracked keypoints for motion prediction: dynamics (paper Eq. 6) without, with tracked and with true
keypoints.

    python bench/given_motion.py [--tasks insertion sweeping] [--episodes 6] [--first-seed 7700000] [--json FILE]

The scripted expert acts, and the tracker processes every image. At every eighth step the model predicts the keypoints'
motion under the expert's next 16 targets, from equal noise. Errors cover keypoints that moved by over 1 cm.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np
import torch
from rich.console import Console
from rich.progress import track
from rich.table import Table

from uma.geometry import se3
from uma.policy import Policy
from uma.policy.tracker import KeypointTracker
from uma.types import HORIZON, ActionChunk, KeypointState
from uma_sim import experts
from uma_sim.planning.sketches import of_scene
from uma_sim.tasks import make_station
from uma_train.training.carried import carried

EVERY = 8


def episode(policy: Policy, task: str, seed: int) -> list[dict]:
    """Return one row per prediction: mean errors in millimetres, and the fraction of keypoints known to the tracker."""
    station = make_station(seed, task)
    expert, T = experts.expert(task), se3.invert(station.T_base_cam)
    o = station.observe()
    reference = of_scene(station)
    start = se3.apply(T, station.object_points())
    index = [int(np.linalg.norm(start - w[0], axis=1).argmin()) for w in reference.waypoints]
    encoded = policy.encode_task(o, reference)
    tracker = KeypointTracker(o, encoded.keypoints)
    seen, targets, commands, states, truth = [], [], [], [], []
    for step in range(station.task.max_steps):
        pose, grip = expert.act(station)
        seen.append(o if step % EVERY == 0 else None)
        targets.append(T @ pose)
        commands.append(float(grip))
        states.append(tracker.state)
        truth.append(se3.apply(T, station.object_points())[index])
        station.act(pose, grip)
        if station.task.outcome(station)[0] != "in_progress":
            break
        o = station.observe()
        tracker.update(o)
    station.close()
    truth, rows = np.array(truth), []
    moving = np.linalg.norm(truth - truth[0], axis=-1).max(0) > 0.01
    for t in range(0, len(truth) - HORIZON, EVERY):
        o, future = seen[t], truth[t + 1 : t + 1 + HORIZON][:, moving]
        if not moving.any() or np.linalg.norm(future - truth[t][moving], axis=-1).max() < 0.005:
            continue
        chunk = ActionChunk(
            np.array(targets[t : t + HORIZON]),
            np.array(commands[t : t + HORIZON]),
            o.stamp,
            o.camera.frame,
            station.ee_frame,
        )
        known = KeypointState(truth[t], np.ones(len(index), bool))
        hand = carried(truth[t], o.T_cam_ee, o.gripper, chunk.poses, chunk.gripper)
        given = {"without": None, "tracked": states[t], "true": known}
        guesses = {
            k: policy.predict_motion(o, encoded, chunk, sequence=t, keypoints=v).points for k, v in given.items()
        }
        guesses |= {"nothing moves": np.repeat(truth[t][None], HORIZON, 0), "with the hand": hand}
        rows.append({k: 1e3 * float(np.linalg.norm(v[:, moving] - future, axis=-1).mean()) for k, v in guesses.items()})
        rows[-1]["known"] = float(states[t].is_visible[moving].mean())
    return rows


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--checkpoint", default="models/uma-small")
    parser.add_argument("--tasks", nargs="+", default=["insertion", "sweeping"])
    parser.add_argument("--episodes", type=int, default=6)
    parser.add_argument("--first-seed", type=int, default=7_700_000)
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    torch.set_num_threads(1)
    policy, console, results = Policy.load(args.checkpoint, num_samples=1), Console(), {}
    for task in args.tasks:
        seeds = range(args.first_seed, args.first_seed + args.episodes)
        results[task] = [row for seed in track(seeds, task, console=console) for row in episode(policy, task, seed)]
    names = ("nothing moves", "with the hand", "without", "tracked", "true", "known")
    table = Table(
        "task",
        "predictions",
        *names,
        title="mean keypoint error, mm; known: fraction of the keypoints with a tracked position",
    )
    for task, rows in results.items():
        table.add_row(
            task,
            str(len(rows)),
            *(f"{np.mean([r[n] for r in rows]):{'.2f' if n == 'known' else '.1f'}}" for n in names),
        )
    console.print(table)
    if args.json:
        args.json.write_text(json.dumps(results, indent=2) + "\n")


if __name__ == "__main__":
    main()
