"""What one step of the safety filter costs, with and without the joint limits.

    python bench/safety.py [--steps 4000] [--json FILE]

A circle of 20 cm at 0.3 m/s in front of the robot, targets at 125 Hz; the filter without and the one with joint limits take every step by turns, so that a busy
machine disturbs both alike. 'near a limit' turns the wrist to and fro at the end of joint 7, where the way to rest is looked at as well. Every row of the table is
the median over all its steps.
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
    """Targets of the ordinary case, from the start at t = 0."""
    angle = 0.3 / 0.1 * t
    return make_pose(start[:3, :3], start[:3, 3] + 0.1 * np.array([np.cos(angle) - 1.0, np.sin(angle), 0.0]))


def wrist(t: float, start: np.ndarray) -> np.ndarray:
    """Turns of 0.4 rad about the approach axis, to 0.06 rad before the end of joint 7."""
    return start @ make_pose(Rotation.from_rotvec([0.0, 0.0, -0.2 * (1.0 - np.cos(2.0 * t))]).as_matrix(), np.zeros(3))


def measure(path, q: np.ndarray, steps: int) -> dict[str, list[float]]:
    """Milliseconds of each step, by whether the joints are looked at."""
    start = fr3.forward(q) @ invert(T_EE_FLANGE)
    filters = {"without": SafetyFilter(SafetySettings(joint_margin=0.0)), "with": SafetyFilter(SafetySettings(joint_margin=0.05))}
    times: dict[str, list[float]] = {name: [] for name in filters}
    held, measured = 0, q
    for f in filters.values():
        f.reset(start)
    for i in range(steps + 50):
        target = path(i * DT, start)
        for name, f in filters.items():
            arm = Arm(T_EE_FLANGE, measured) if name == "with" else None
            began = time.perf_counter()
            verdict = f.step(target, f.pose, DT, arm=arm)
            times[name].append(1e3 * (time.perf_counter() - began))
            held += bool(verdict.held)
        measured = fr3.solve(verdict.pose @ T_EE_FLANGE, measured, iterations=3)[0]  # an arm that follows, and whose controller keeps its elbow
    if held:
        raise RuntimeError(f"{held} steps were held: not the case that was to be measured")
    return {name: values[50:] for name, values in times.items()}


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=4000)
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    at_rest = fr3.REST + np.array([0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.8])
    near = fr3.REST.copy()
    near[6] = fr3.UPPER[6] - 0.07
    rows = []
    for case, path, q in (("a circle", circle, at_rest), ("near a limit", wrist, near)):
        times = measure(path, q, args.steps)
        medians = {name: float(np.median(v)) for name, v in times.items()}
        p99 = {name: float(np.percentile(v, 99)) for name, v in times.items()}
        rows.append({"case": case, "steps": args.steps, "median_ms": medians, "p99_ms": p99, "ratio": medians["with"] / medians["without"]})
    table = Table(
        "case",
        "steps",
        "without, median ms",
        "p99",
        "with, median ms",
        "p99",
        "with / without",
        "share of a period",
        title=f"safety filter at 125 Hz, {platform.processor() or platform.machine()}",
    )
    for r in rows:
        m, p = r["median_ms"], r["p99_ms"]
        table.add_row(
            r["case"],
            str(r["steps"]),
            f"{m['without']:.3f}",
            f"{p['without']:.3f}",
            f"{m['with']:.3f}",
            f"{p['with']:.3f}",
            f"{r['ratio']:.2f}",
            f"{m['with'] / (10 * DT):.1f} %",
        )
    console = Console()
    (Console(width=130) if console.width < 130 else console).print(table)
    if args.json:
        args.json.write_text(json.dumps({"rows": rows}, indent=2) + "\n")


if __name__ == "__main__":
    main()
