"""Age of the sensor data behind the arm's motion, hop by hop, on the live simulated graph, with the camera at 15 and 30
Hz.

    python bench/age.py [--seconds 20] [--rates 15 30] [--checkpoint models/uma-small] [--json FILE]

An age is the ROS time of a message's receipt (of a target: its stamp) minus the stamp of its image. A target belongs to
the last chunk received before it. The clock is the simulation's, in steps of 10 ms, extrapolated by the steady clock,
and does not slow down for a slow policy. The task is published again every few seconds, and each chunk is followed as
in `uma demo`.

Meanwhile /uma/predict_motion is called with the newest chunk every 2.5 seconds, and its response time is measured on
the steady clock.
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
import time
from collections import defaultdict
from pathlib import Path

import numpy as np
import rclpy
from geometry_msgs.msg import PoseStamped
from rclpy.node import Node
from rich.console import Console
from rich.table import Table
from rosgraph_msgs.msg import Clock
from sensor_msgs.msg import Image
from uma_ros.msg import ActionChunk, PolicyStatus, ReferenceMotion
from uma_ros.srv import PredictMotion

from uma_ros.deployment.graph import Options, insertion
from uma_ros.deployment.supervisor import Supervisor
from uma_ros.messages.convert import seconds
from uma_ros.runtime.resources import find
from uma_ros.runtime.topics import COMMAND, LATCHED, SENSOR_IN, STATUS, TASK_IN, Topics, qos_profile

HOPS = ("image heard", "chunk heard", "chunk in the base frame heard", "target sent")


class Listener:
    """Subscribes to the graph's topics and stores the ages, in seconds."""

    def __init__(self) -> None:
        self.node, self.ages, self.status = Node("age"), defaultdict(list), {}
        self.task: ReferenceMotion | None = None
        self._clock: tuple[float, float] | None = None  # simulated, steady
        self._chunk_stamp = float("-inf")
        self.is_counting, self.span = False, []
        t, subscribe = Topics(), self.node.create_subscription
        subscribe(Clock, "/clock", self._on_clock, qos_profile(1, False))
        subscribe(Image, t.rgb, lambda m: self._record("image heard", m), SENSOR_IN)
        subscribe(ActionChunk, t.action_chunk, self._on_chunk, COMMAND)
        subscribe(ActionChunk, t.action_chunk_base, self._on_base_chunk, COMMAND)
        subscribe(PoseStamped, t.target_pose, self._on_target, qos_profile(50, True))
        subscribe(ReferenceMotion, t.sim_reference, lambda m: setattr(self, "task", m), LATCHED)
        subscribe(PolicyStatus, t.status, lambda m: self.status.update({m.node: m.state}), STATUS)
        self.out = self.node.create_publisher(ReferenceMotion, t.reference_motion, TASK_IN)
        self.predict, self.predicted, self.chunk = (
            self.node.create_client(PredictMotion, "uma/predict_motion"),
            [],
            None,
        )

    def _on_clock(self, msg: Clock) -> None:
        self._clock = seconds(msg.clock), time.monotonic()
        if self.is_counting:
            self.span.append(self._clock)

    def _record(self, hop: str, msg: Image | ActionChunk) -> None:
        if self.is_counting and self._clock is not None:
            simulated, at = self._clock
            self.ages[hop].append(simulated + min(time.monotonic() - at, 0.01) - seconds(msg.header.stamp))

    def _on_chunk(self, msg: ActionChunk) -> None:
        self._record("chunk heard", msg)
        self.chunk = msg

    def _on_base_chunk(self, msg: ActionChunk) -> None:
        self._record("chunk in the base frame heard", msg)
        self._chunk_stamp = seconds(msg.header.stamp)

    def _on_target(self, msg: PoseStamped) -> None:
        if self.is_counting and self.status.get("controller") == PolicyStatus.RUNNING:
            self.ages["target sent"].append(seconds(msg.header.stamp) - self._chunk_stamp)

    def request_prediction(self) -> None:
        """Request the predicted motion of the newest chunk and time the response; a refusal is printed, not counted."""
        if self.chunk is None:
            return
        began = time.monotonic()

        def answered(future: rclpy.task.Future) -> None:
            if (reply := future.result()).success:
                self.predicted.append(1e3 * (time.monotonic() - began))
            else:
                print(f"/uma/predict_motion: {reply.message}")

        self.predict.call_async(PredictMotion.Request(chunk=self.chunk)).add_done_callback(answered)

    def spin(self, until: float) -> None:
        while time.monotonic() < until:
            rclpy.spin_once(self.node, timeout_sec=0.02)


def measure(rate: float, length: float, checkpoint: str) -> dict:
    """Measure the ages with the camera at ``rate`` Hz over ``length`` seconds.

    Raises:
        RuntimeError: the graph does not start.
    """
    with tempfile.TemporaryDirectory() as folder:
        config = str(find("config/parameters.yaml"))
        options = Options(seed=3, checkpoint=checkpoint, config=config, run_dir=folder, description="off")
        specs = {spec.name: spec for spec in insertion(options)}
        specs["station"].parameters.update({"camera_rate": float(rate), "max_latency": 0.0})
        specs["camera"].parameters["rate"] = float(rate)
        with Supervisor(Path(folder) / "log") as supervisor:
            for spec in specs.values():
                supervisor.start(spec, options.config)
            rclpy.init()
            try:
                listener = Listener()
                deadline = time.monotonic() + 120.0
                while listener.status.get("policy") != PolicyStatus.READY or listener.task is None:
                    listener.spin(time.monotonic() + 0.1)
                    if time.monotonic() > deadline or supervisor.dead():
                        raise RuntimeError(
                            f"graph: not running within 120 s: {listener.status}, ended: {supervisor.dead()}"
                        )
                listener.out.publish(listener.task)
                listener.spin(time.monotonic() + 3.0)
                listener.is_counting = True
                end = time.monotonic() + length
                while time.monotonic() < end:
                    listener.out.publish(listener.task)
                    for _ in range(2):
                        listener.spin(min(time.monotonic() + 2.5, end))
                        listener.request_prediction()
                listener.spin(time.monotonic() + 2.0)
            finally:
                rclpy.try_shutdown()
    (sim_a, a), (sim_b, b) = listener.span[0], listener.span[-1]
    measured = {hop: np.array(listener.ages[hop]) * 1e3 for hop in HOPS} | {
        "(a chunk's motion answered after)": np.array(listener.predicted)
    }
    hops = {}
    for hop, ages in measured.items():
        hops[hop] = {
            "count": len(ages),
            **{f"p{q}_ms": round(float(np.percentile(ages, q)), 1) if len(ages) else None for q in (50, 95, 99)},
        }
    return {
        "camera_hz": rate,
        "seconds": length,
        "real_time_factor": round((sim_b - sim_a) / (b - a), 3),
        "load": round(os.getloadavg()[0], 2),
        "hops": hops,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--seconds", type=float, default=20.0)
    parser.add_argument("--rates", type=float, nargs="*", default=[15.0, 30.0])
    parser.add_argument("--checkpoint", default="")
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    os.environ.setdefault("ROS_AUTOMATIC_DISCOVERY_RANGE", "LOCALHOST")
    rows = [measure(rate, args.seconds, args.checkpoint) for rate in args.rates]
    table = Table("camera", "real time", "age of the image when", "count", "p50 ms", "p95 ms", "p99 ms")
    for row in rows:
        for hop, figures in row["hops"].items():
            table.add_row(
                f"{row['camera_hz']:g} Hz", f"{row['real_time_factor']:.2f} x", hop, *(str(v) for v in figures.values())
            )
    Console(width=130).print(table)
    if args.json:
        args.json.write_text(json.dumps(rows, indent=2) + "\n")


if __name__ == "__main__":
    main()
