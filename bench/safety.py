"""Cost of one step of the safety filter, with and without the joint limits.

    python bench/safety.py [--steps 4000] [--json FILE]

The targets follow a circle of 20 cm at 0.3 m/s in front of the robot, away from every limit, at 125 Hz. Both filters
alternate step by step, so that background load affects both equally. The measure is the thread's own time. Near a
limit, up to two more solutions per step are needed.
"""

from __future__ import annotations

import argparse
import json
import platform
import time
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.table import Table
from scipy.spatial.transform import Rotation

from uma.control.reach import Arm
from uma.control.safety import SafetyFilter, SafetySettings
from uma.geometry import fr3
from uma.geometry.se3 import invert, make_pose

DT = 1 / 125
T_EE_FLANGE = invert(make_pose(Rotation.from_rotvec([0.0, 0.0, -np.pi / 4]).as_matrix(), np.array([0.0, 0.0, 0.1597])))


def circle(t: float, start: np.ndarray) -> np.ndarray:
    """Return the target at time ``t``; the start is at t = 0."""
    angle = 0.3 / 0.1 * t
    return make_pose(start[:3, :3], start[:3, 3] + 0.1 * np.array([np.cos(angle) - 1.0, np.sin(angle), 0.0]))


def measure(q: np.ndarray, steps: int) -> dict[str, list[float]]:
    """Return the milliseconds of each step, with and without the joint limits."""
    start = fr3.forward(q) @ invert(T_EE_FLANGE)
    filters = {
        "without": SafetyFilter(SafetySettings(joint_margin=0.0)),
        "with": SafetyFilter(SafetySettings(joint_margin=0.05)),
    }
    times: dict[str, list[float]] = {name: [] for name in filters}
    held, measured = 0, q
    for f in filters.values():
        f.reset(start)
    for i in range(steps + 50):
        target = circle(i * DT, start)
        for name, f in filters.items():
            arm = Arm(T_EE_FLANGE, measured) if name == "with" else None
            began = time.thread_time()
            verdict = f.step(target, f.pose, DT, arm=arm)
            times[name].append(1e3 * (time.thread_time() - began))
            held += bool(verdict.hold_reason)
        measured = fr3.solve(verdict.pose @ T_EE_FLANGE, measured, iterations=3)[
            0
        ]  # an arm that follows, with a controller that keeps its elbow
    if held:
        raise RuntimeError(f"held steps: {held}, limit 0 in this benchmark")
    return {name: values[50:] for name, values in times.items()}


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=4000)
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    times = measure(fr3.REST + np.array([0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.8]), args.steps)
    rows = [
        {
            "joint_limits": name,
            "steps": args.steps,
            **{k: float(np.percentile(v, p)) for k, p in (("median_ms", 50), ("p99_ms", 99))},
        }
        for name, v in times.items()
    ]
    ratio = rows[1]["median_ms"] / rows[0]["median_ms"]
    table = Table(
        "joint limits",
        "steps",
        "median ms",
        "p99",
        "share of a period",
        title=f"safety filter at 125 Hz, {platform.processor() or platform.machine()}; ratio {ratio:.2f}",
    )
    for r in rows:
        table.add_row(
            r["joint_limits"],
            str(r["steps"]),
            f"{r['median_ms']:.3f}",
            f"{r['p99_ms']:.3f}",
            f"{r['median_ms'] / (10 * DT):.1f} %",
        )
    console = Console()
    (Console(width=130) if console.width < 130 else console).print(table)
    if args.json:
        args.json.write_text(json.dumps({"rows": rows, "ratio": ratio}, indent=2) + "\n")


if __name__ == "__main__":
    main()
