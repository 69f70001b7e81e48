"""Runs faults on the running graph and measures their effects."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from harness import Graph, point_task
from rclpy.executors import ExternalShutdownException
from uma_ros.msg import PolicyStatus

from robustness.faults.bag import Received
from robustness.faults.catalog import FAULTS, Fault
from robustness.faults.nodes import Relay
from uma.control.safety import SafetySettings
from uma.types import RATE_HZ
from uma_ros.messages.convert import pose_from

WATCH = 4.0
"""Seconds of observation of the arm after the start of the fault."""

SPAN = 0.05
"""Seconds over which a speed is measured."""

LIMITS = SafetySettings()
FASTEST = 0.015 * RATE_HZ + LIMITS.catch_up * LIMITS.max_speed
"""Largest speed of a target, m/s: the scripted policy's plan plus the filter's catch-up."""

MEASURED = 0.01
"""Error of a speed over 50 ms from stamps and rounding, m/s."""

OVERSHOOT = 0.2
"""Speed of the simulated arm beyond its targets, m/s. It lags by 100 ms, and several targets may arrive at once."""


class Bench:
    """Runs faults. Those that leave the graph intact share one graph; the others have their own.

    Args:
        folder: folder of logs and bags.
        record: run each fault on its own graph, and check its bag.
    """

    def __init__(self, folder: Path, record: bool = False) -> None:
        self.folder, self.record, self.number, self.graph = folder, record, 0, None

    def run(self, name: str) -> dict:
        fault, kept = FAULTS[name], None
        shared = fault.is_plain and not self.record
        if shared:
            kept, self.graph = self.graph, None
        else:
            self.close()
        self.number += 1
        graph = kept or started(fault, self.folder / f"{self.number}", self.record)
        try:
            try:
                row = watched(fault, graph)
            except ExternalShutdownException:  # a signal to the tester
                raise
            except Exception as error:  # a condition before or after the fault is missing: the other runs go on
                row = {
                    "rest_s": float("nan"),
                    "peak": float("nan"),
                    "commanded": float("nan"),
                    "must_rest": fault.must_rest,
                    "was_told": False,
                    "said": f"the run failed: {type(error).__name__}: {error}",
                    "told": "",
                    "refused": "",
                    "alive": sorted(graph.alive()),
                }
                row |= {"is_absent": bool(fault.absent), "recovered": False}
            if shared and is_safe(row) and row["recovered"]:
                self.graph, graph = graph, None
        finally:
            if graph is not None:
                graph.close()
        if self.record:
            row["bag"] = graph.before.row(graph)
        return row

    def close(self) -> None:
        if self.graph is not None:
            self.graph.close()
            self.graph = None


def started(fault: Fault, folder: Path, record: bool) -> Graph:
    """Start a graph that is ready for the fault, with the arm moving. ``record`` also records a bag."""
    without = (*fault.absent, *fault.late, *(("camera",) if fault.relayed else ()))
    graph = Graph(
        folder, without=without, changes=fault.changes, record=str(folder / "bag") if record or fault.record else ""
    )
    c, graph.before = graph.client, None
    try:
        if fault.relayed:
            graph.relay = Relay(graph)
        fault.prepare(graph)
        if fault.absent:
            c.wait(lambda: {"policy", "controller"} <= set(c.status) and c.poses and c.scene, 90.0, "the other nodes")
        else:
            graph.begin()
            c.wait(lambda: fault.is_ready(graph), 60.0, "the conditions of the fault")
        if record:
            c.wait(
                lambda: c.state("recorder") == PolicyStatus.RUNNING or fault.absent and "recorder" in c.status,
                60.0,
                "the recorder",
            )
            c.spin(1.0)
            graph.before = Received(graph)
    except BaseException:
        graph.close()
        raise
    return graph


def watched(fault: Fault, graph: Graph) -> dict:
    """Inject the fault while the arm moves. Return the measurements of the run."""
    c = graph.client

    def go(*way: float) -> None:
        c.send(point_task(c.ee()[:3, 3] + way))

    # Upward and away from the scene, to whichever side is further from where the arm stands.
    there = max((np.array([0.5, y, 0.55]) - c.ee()[:3, 3] for y in (-0.3, 0.25)), key=np.linalg.norm)
    way, start = there / np.linalg.norm(there), c.ee()[:3, 3]
    go(*(0.35 * way))
    if not fault.absent:  # the arm may still be finishing the previous motion
        c.wait(lambda: (c.ee()[:3, 3] - start) @ way > 0.04, 30.0, "motion")
    seen, at, asked = len(c.history), len(c.poses), len(c.targets)
    began = c.poses[-1][0]
    if graph.before:
        graph.before.end()
    with fault.make(graph):
        end = time.monotonic() + WATCH
        while time.monotonic() < end:
            c.spin(0.05)
        said = [
            m.reason
            for m in c.history[seen:]
            if m.node == "controller" and m.state in (PolicyStatus.HOLD, PolicyStatus.IDLE, PolicyStatus.FAULT)
        ]
        refused = [m.refused for m in c.history[seen:] if m.refused]
        told, was_told = "", True
        try:
            told = fault.told(graph) if fault.told else ""
        except AssertionError as error:
            told, was_told = f"not said: {error}", False
        times, speed = _speeds(c.poses[at - 1 :])
        commanded = _speeds([(stamp, msg) for _, stamp, msg in c.targets[asked:]])[1]
    moving = times[speed > 0.005]
    row = {
        "rest_s": float(moving[-1] - began) if len(moving) else 0.0,
        "peak": float(speed.max(initial=0.0)),
        "commanded": float(commanded.max(initial=0.0)),
        "must_rest": fault.must_rest,
        "is_absent": bool(fault.absent),
        "was_told": was_told,
        "said": said[-1] if said else "",
        "told": told,
        "refused": refused[-1] if refused else "",
        "alive": sorted(graph.alive()),
    }
    row["recovered"] = _recovers(graph, go)
    if not row["recovered"]:
        row["then"] = {name: f"{msg.state} {msg.reason}" for name, msg in c.status.items()}
        row["dead"] = {name: (code, graph.log(name)[-1500:]) for name, code in graph.supervisor.dead().items()}
    return row


def is_safe(row: dict) -> bool:
    """Return whether a run kept the speed limits, came to rest if required, and was reported as required."""
    fastest, arm = (0.0, 0.02) if row["is_absent"] else (FASTEST + MEASURED, FASTEST + OVERSHOOT)
    return bool(
        row["was_told"]
        and row["commanded"] <= fastest
        and row["peak"] <= arm
        and (not row["must_rest"] or row["rest_s"] < WATCH - 0.3)
    )


def _speeds(poses: list) -> tuple[np.ndarray, np.ndarray]:
    """Return times and speeds (m/s) of (stamp, pose) pairs, each over the last `SPAN`. Unordered stamps are dropped."""
    if len(poses) < 2:
        return np.zeros(0), np.zeros(0)
    t = np.array([p[0] for p in poses])
    is_later = np.append(True, t[1:] > np.maximum.accumulate(t)[:-1])
    t, x = t[is_later], np.stack([pose_from(m.pose, "pose")[:3, 3] for _, m in poses])[is_later]
    before = np.searchsorted(t, t - SPAN, "right") - 1
    now = np.flatnonzero(before >= 0)
    return t[now], np.linalg.norm(x[now] - x[before[now]], axis=1) / (t[now] - t[before[now]])


def _recovers(graph: Graph, go: Callable[..., None]) -> bool:
    """Return whether a new task moves the arm again, after /uma/recover and /uma/start where required."""
    c = graph.client
    try:
        received = len(c.poses)
        c.wait(
            lambda: len(c.poses) > received + 50, 60.0, "the robot's state"
        )  # a restarted station has placed the arm elsewhere
        c.wait(
            lambda: c.state("policy") in (PolicyStatus.READY, PolicyStatus.RUNNING, PolicyStatus.HOLD),
            60.0,
            "the policy",
        )
        c.spin(1.0)
        if c.state("controller") == PolicyStatus.FAULT:
            c.call("/uma/recover")
        start = c.ee()[:3, 3]
        way = np.array([0.0, -np.copysign(0.12, start[1]), 0.0])  # towards the middle, where there is room
        for _ in range(7):
            c.call("/uma/start")
            go(*way)
            end = time.monotonic() + 6.0
            while time.monotonic() < end:
                c.spin(0.1)
                if (c.ee()[:3, 3] - start) @ way > 0.05 * 0.12:
                    return True
    except AssertionError:
        pass
    return False
