"""Soak test: hours of closed loop on the simulated graph with the shipped checkpoint; measures leaks and slow-down.

    python -m robustness.soak [--minutes 120] [--every 20] [--scripted] [--policy NAME=VALUE ...] [--station NAME=VALUE
    ...] [--json FILE]

The station slows simulated time while chunks are late. Two cores are too few for the default policy and a station in
real time. `--policy num_samples=1 num_steps=4 replan_steps=8 --station max_latency=0.4` suits them.

Every `--every` seconds a new task follows, alternately the scene's own and points in the workspace. Every ten seconds
the memory, handles and threads of each node are read from /proc. Drift is the slope of a straight line through the
readings after the first fifth of the time, with its 95 % interval. Readings are averaged in blocks of ten, because
neighbours are not independent. The exit code is 1 if a node died or missed a task, or if the controller was not RUNNING
for more than a tenth of the time.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

import numpy as np
import yaml
from geometry_msgs.msg import Point
from harness import TOPICS, Client, Graph
from rich.console import Console
from rich.progress import Progress
from rich.table import Table
from scipy import stats
from uma_ros.msg import KeypointTrajectory, PolicyStatus, ReferenceMotion

PERIOD = 10.0
"""Seconds between two readings."""

BLOCK = 10
"""Number of averaged readings per point of the line fit."""


def reading(pid: int) -> tuple[float, int, int]:
    """Return resident megabytes, open handles and threads of a process."""
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return (
        pages * os.sysconf("SC_PAGE_SIZE") / 2**20,
        len(os.listdir(f"/proc/{pid}/fd")),
        len(os.listdir(f"/proc/{pid}/task")),
    )


def slope(hours: np.ndarray, values: np.ndarray) -> tuple[float, float]:
    """Return the change per hour of block means, and half of its 95 % interval; NaN with fewer than three blocks."""
    n = len(values) // BLOCK
    if n < 3:
        return float("nan"), float("nan")
    t, v = (x[: n * BLOCK].reshape(n, BLOCK).mean(1) for x in (hours, values))
    fit = stats.linregress(t, v)
    return float(fit.slope), float(fit.stderr * stats.t.ppf(0.975, n - 2))


def points(rng: np.random.Generator) -> ReferenceMotion:
    """Return a task that moves an object to a random point in the middle of the workspace."""
    p = rng.uniform([0.35, -0.25, 0.15], [0.65, 0.25, 0.4])
    msg = ReferenceMotion(
        keypoints=[KeypointTrajectory(waypoints=[Point(x=float(p[0]), y=float(p[1]), z=float(p[2]))])]
    )
    msg.header.frame_id = "fr3_link0"
    return msg


def unsubscribe(client: Client) -> None:
    """Unsubscribe from the frequent topics, whose reception costs as much as their publication."""
    for subscription in list(client.node.subscriptions):
        if subscription.topic_name in (
            TOPICS.target_pose,
            TOPICS.robot_pose,
            TOPICS.action_chunk,
            TOPICS.action_chunk_base,
            TOPICS.predicted_motion,
        ):
            client.node.destroy_subscription(subscription)


def soak(
    minutes: float, every: float, scripted: bool, changes: dict[str, dict], folder: Path, report: Path | None
) -> dict:
    """Run the soak test and return the readings. ``changes``: parameters that override the configuration, by node."""
    graph = Graph(folder, scripted=scripted, changes=changes)
    c, rng = graph.client, np.random.default_rng(0)
    table: dict[str, list[tuple[float, float, int, int]]] = {name: [] for name in graph.specs}
    chunks: list[tuple[float, float]] = []
    states: Counter[str] = Counter()
    broken = ""
    result: dict = {"minutes": 0.0, "scripted": scripted, "changes": changes}
    try:
        graph.begin()
        unsubscribe(c)
        began, next_read, next_task, tasks, seen, sequence, sim = time.monotonic(), 0.0, 0.0, 0, 0, -1, c.ros_time()
        with Progress(console=Console(stderr=True)) as progress:
            bar = progress.add_task("soak", total=minutes * 60)
            while (now := time.monotonic() - began) < minutes * 60 and graph.alive() == set(graph.specs):
                c.spin(0.2)
                for msg in c.history[seen:]:
                    if msg.node == "policy" and "total" in msg.stages and msg.sequence != sequence:
                        sequence = msg.sequence
                        chunks.append((now, msg.latency_ms[list(msg.stages).index("total")]))
                del c.history[:-200]  # bounds the memory of the test itself
                seen = len(c.history)
                if now >= next_task:
                    next_task, tasks = now + every, tasks + 1
                    try:
                        c.send(c.scene if tasks % 2 else points(rng))
                    except AssertionError as error:
                        broken = str(error)
                        break
                if now >= next_read:
                    next_read = now + PERIOD
                    states[state_name(c.state("controller"))] += 1
                    for name, process in graph.supervisor.processes.items():
                        table[name].append((now / 3600, *reading(process.pid)))
                    result |= {
                        "minutes": now / 60,
                        "simulated_minutes": (c.ros_time() - sim) / 60,
                        "tasks": tasks,
                        "states": dict(states),
                    }
                    result |= {
                        "refused": {n: m.num_refused for n, m in c.status.items()},
                        "nodes": table,
                        "dead": graph.supervisor.dead(),
                    }
                    write(report, result | {"chunks": chunks})
                progress.update(bar, completed=now)
        dead = graph.supervisor.dead()
        if broken:
            for name in graph.alive():
                os.kill(graph.supervisor.processes[name].pid, signal.SIGUSR1)  # writes their Python stacks to the logs
            time.sleep(2.0)
        result |= {
            "minutes": now / 60,
            "dead": dead,
            "broken": broken,
            "last_words": {name: graph.log(name)[-6000:] for name in (graph.specs if broken else dead)},
        }
        write(report, result | {"chunks": chunks})
    finally:
        graph.close()
    return result | {"chunks": chunks}


def write(report: Path | None, result: dict) -> None:
    """Write the result atomically, if there is a file."""
    if report:
        part = report.with_suffix(".part")
        part.write_text(json.dumps(result) + "\n")
        os.replace(part, report)


def state_name(state: int | None) -> str:
    return {getattr(PolicyStatus, n): n for n in ("IDLE", "READY", "RUNNING", "HOLD", "FAULT")}.get(state, "unknown")


def show(result: dict, console: Console) -> None:
    title = (
        f"{result['minutes']:.0f} min ({result['simulated_minutes']:.0f} simulated), {result['tasks']} tasks, "
        f"controller {result['states']}, refused {result['refused']}"
    )
    table = Table(title=title)
    for heading in ("node", "memory at first (MB)", "at last", "drift (MB/h)", "handles", "threads"):
        table.add_column(heading, justify="left" if heading == "node" else "right")
    for name, rows in result["nodes"].items():
        rows = np.array(rows)
        late = rows[len(rows) // 5 :]
        change, half = slope(late[:, 0], late[:, 1])
        table.add_row(
            name,
            f"{rows[0, 1]:.0f}",
            f"{rows[-1, 1]:.0f}",
            f"{change:+.1f} ± {half:.1f}",
            *(f"{late[:, k].min():.0f} to {late[:, k].max():.0f}" for k in (2, 3)),
        )
    console.print(table)
    for name, words in result["last_words"].items():
        how = (
            f"ended by itself with exit code {result['dead'][name]}"
            if name in result["dead"]
            else f"at the end of the run ({result['broken']})"
        )
        console.print(f"{name} {how}; the end of its log:\n{words}", markup=False, highlight=False)
    latency = np.array(result["chunks"])
    quarters = np.array_split(latency[:, 1], 4)
    console.print(
        "chunk latency by quarter of the time, p50 / p95 / p99 (ms): "
        + "; ".join(" / ".join(f"{v:.0f}" for v in np.percentile(q, [50, 95, 99])) for q in quarters)
    )


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=120.0)
    parser.add_argument("--every", type=float, default=20.0, help="s; time between two tasks")
    parser.add_argument("--scripted", action="store_true", help="use a scripted policy instead of the model")
    for node in ("policy", "station"):
        parser.add_argument(
            f"--{node}",
            nargs="*",
            default=[],
            metavar="NAME=VALUE",
            help=f"parameters of the {node} that override config/parameters.yaml",
        )
    parser.add_argument("--json", default="", help="file of the readings")
    args = parser.parse_args()
    changes = {
        node: {name: yaml.safe_load(value) for name, _, value in (word.partition("=") for word in words)}
        for node, words in (("policy", args.policy), ("station", args.station))
    }
    with tempfile.TemporaryDirectory() as folder:
        result = soak(
            args.minutes, args.every, args.scripted, changes, Path(folder), Path(args.json) if args.json else None
        )
    show(result, Console(width=180))
    running = result["states"].get("RUNNING", 0) / max(sum(result["states"].values()), 1)
    return int(bool(result["last_words"]) or running < 0.9)


if __name__ == "__main__":
    sys.exit(main())
