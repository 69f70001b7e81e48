"""Faults of disk, link, checkpoint, calibration, gripper and arm. Contexts over a running graph."""

from __future__ import annotations

import os
import resource
import shutil
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import numpy as np
from control_msgs.action import GripperCommand
from diagnostic_msgs.msg import DiagnosticArray
from harness import ROOT, TOPICS, Graph
from rclpy.action import ActionServer
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from std_msgs.msg import String
from uma_ros.msg import ActionChunk, PolicyStatus

from robustness.faults import nodes
from uma.types import InputError
from uma_ros.bags.reader import bag_topics
from uma_ros.bags.recover import recover
from uma_ros.calibration.files import load_calibration, save_calibration
from uma_ros.deployment.graph import NodeSpec
from uma_ros.runtime.topics import COMMAND, SENSOR_IN

LOST = 0.3
"""Fraction of the messages that a bad link loses."""
FAR_CHUNKS, MUTE_GRIPPER, ARM_STATES = "/uma_test/action_chunk", "/uma_test/gripper", "/uma_test/robot_state"
BUNDLE = ROOT / "models/uma-small"

# -- the disk ----------------------------------------------------------------------------------------------------------


def _recording(graph: Graph) -> Path:
    return next(Path(graph.options.record).glob("*.mcap"))


def bag_has_grown(graph: Graph) -> bool:
    """Return whether the file is larger than its index will be.

    A limit on the file's length, unlike a full disk, makes the recorder's reserve unusable.
    """
    return any(path.stat().st_size > 2**21 for path in Path(graph.options.record).glob("*.mcap"))


@contextmanager
def disk_full(graph: Graph) -> Iterator[None]:
    """The recorder's files cannot grow."""
    pid = graph.supervisor.processes["recorder"].pid
    limits = resource.prlimit(pid, resource.RLIMIT_FSIZE)
    resource.prlimit(pid, resource.RLIMIT_FSIZE, (_recording(graph).stat().st_size, limits[1]))
    yield


def bag_stays_whole(graph: Graph) -> str:
    """Check that the recorder reports the error and keeps running, and that its bag is readable."""
    c = graph.client
    c.wait(lambda: c.state("recorder") == PolicyStatus.FAULT, 20.0, "FAULT of the recorder")
    try:
        count = sum(n for _, n in bag_topics(graph.options.record).values())
    except InputError as error:
        raise AssertionError(f"{c.status['recorder'].reason}; {error}") from None
    assert "writing failed" in c.status["recorder"].reason and count > 100 and "recorder" in graph.alive(), (
        c.status["recorder"].reason,
        count,
    )
    return f"recorder: {c.status['recorder'].reason}; read again: {count}"


@contextmanager
def recorder_killed(graph: Graph) -> Iterator[None]:
    graph.killed_at = graph.client.ros_time()
    graph.kill("recorder")
    yield


def bag_is_recovered(graph: Graph) -> str:
    """Check that the recovered bag contains everything but the last 0.5 s."""
    count, first, last = recover(graph.options.record, Path(graph.options.record).with_name("recovered"))
    lost = graph.killed_at - last * 1e-9
    assert count > 100 and lost < 0.5, (count, lost)
    return f"uma recover: {count} messages of {(last - first) * 1e-9:.1f} s, to {lost:.2f} s before the end"


@contextmanager
def recorder_stopped(graph: Graph) -> Iterator[None]:
    with nodes.stopped(graph, "recorder"):
        yield
    size = _recording(graph).stat().st_size
    graph.client.wait(lambda: _recording(graph).stat().st_size > size, 20.0, "the recorder to go on")


# -- the link ----------------------------------------------------------------------------------------------------------


class FarPolicy:
    """Relays the policy's chunks to the usual topic. With `is_bad` it drops some, like the link to another machine."""

    def __init__(self, graph: Graph) -> None:
        self.is_bad, self.rng, self.lost = False, np.random.default_rng(0), 0
        out = graph.client.node.create_publisher(ActionChunk, TOPICS.action_chunk, COMMAND)
        graph.client.node.create_subscription(
            ActionChunk, FAR_CHUNKS, lambda m: None if self.loses() else out.publish(m), COMMAND
        )

    def loses(self) -> bool:
        lost = self.is_bad and self.rng.random() < LOST
        self.lost += lost
        return lost


def far_policy(graph: Graph) -> None:
    graph.far = FarPolicy(graph)


@contextmanager
def bad_link(graph: Graph) -> Iterator[None]:
    graph.far.is_bad = True
    graph.relay.alter = lambda kind, image: None if graph.far.loses() else image
    yield
    graph.far.is_bad = False


def something_was_lost(graph: Graph) -> str:
    assert graph.far.lost > 3, graph.far.lost
    return f"{graph.far.lost} chunks and images lost"


# -- the checkpoint ----------------------------------------------------------------------------------------------------


@contextmanager
def checkpoint_swapped(graph: Graph, is_damaged: bool) -> Iterator[None]:
    """The policy restarts with another checkpoint, or with a checkpoint with one changed byte."""
    path = Path(tempfile.mkdtemp(dir=graph.options.run_dir)) / "checkpoint"
    shutil.copytree(BUNDLE, path)
    if is_damaged:
        weights = bytearray((path / "model.safetensors").read_bytes())
        weights[-5] ^= 1
        (path / "model.safetensors").write_bytes(weights)
    spec = graph.specs["policy"]
    graph.kill("policy")
    graph.supervisor.start(replace(spec, parameters={**spec.parameters, "checkpoint": str(path)}), graph.options.config)
    yield
    if "policy" in graph.alive():
        graph.kill("policy")
    graph.start("policy")


def damage_is_reported(graph: Graph) -> str:
    c = graph.client
    c.wait(lambda: "policy" not in graph.alive(), 60.0, "the end of the policy")
    line = next((line for line in graph.log("policy").splitlines() if "model.safetensors has hash" in line), "")
    assert line and "Traceback" not in graph.log("policy"), graph.log("policy")[-2000:]
    return f"policy: {line[-80:]}"


def other_checkpoint_is_reported(graph: Graph) -> str:
    c = graph.client

    def ready() -> bool:
        return c.state("policy") == PolicyStatus.READY and c.status["policy"].checkpoint_id not in ("", "fake")

    c.wait(ready, 90.0, "the other checkpoint")
    return f"policy: checkpoint {c.status['policy'].checkpoint_id}, {c.status['policy'].reason}"


# -- the calibration ---------------------------------------------------------------------------------------------------


@contextmanager
def started_late(graph: Graph, name: str) -> Iterator[None]:
    yield
    graph.start(name)


def missing_calibration_is_reported(graph: Graph) -> str:
    reasons = {node: graph.client.status[node].reason for node in ("policy", "controller")}
    assert all("calibration: nothing received yet" in reason for reason in reasons.values()), reasons
    return f"policy: {reasons['policy'][:60]}"


def calibration_ages(graph: Graph) -> None:
    """Date the station's calibration back by 60 days before the extrinsics node reads it."""
    c, diagnostics = graph.client, {}
    path = Path(graph.options.run_dir) / "calibration.yaml"
    c.wait(path.exists, 60.0, "the station's calibration")
    found = load_calibration(path)
    save_calibration(replace(found, date=found.date - timedelta(days=60)), path)
    c.node.create_subscription(
        DiagnosticArray, "/diagnostics", lambda m: diagnostics.update({s.name: s for s in m.status}), 10
    )
    graph.diagnostics = diagnostics
    graph.start("extrinsics")


def age_is_reported(graph: Graph) -> str:
    def status():
        return graph.diagnostics.get("uma: extrinsics")

    graph.client.wait(
        lambda: status() is not None and "days old" in status().message, 20.0, "a warning of the calibration's age"
    )
    assert status().level == b"\x01", "WARN"
    return f"extrinsics: {status().message}"


# -- the gripper -------------------------------------------------------------------------------------------------------


class TestGripper:
    """A gripper's action server that can stop answering."""

    __test__ = False

    def __init__(self) -> None:
        self._node, self._ended = Node("test_gripper"), threading.Event()
        self.answers = threading.Event()
        self.answers.set()
        self._server = ActionServer(self._node, GripperCommand, MUTE_GRIPPER, self._run)
        self._executor = SingleThreadedExecutor()
        self._executor.add_node(self._node)
        self._thread = threading.Thread(target=self._spin, daemon=True)
        self._thread.start()

    def _run(self, handle) -> GripperCommand.Result:
        handle.succeed()
        return GripperCommand.Result(reached_goal=True)

    def _spin(self) -> None:
        while not self._ended.is_set():
            if self.answers.wait(0.05):
                self._executor.spin_once(timeout_sec=0.02)

    def close(self) -> None:
        self._ended.set()
        self._thread.join(5.0)
        self._server.destroy()
        self._node.destroy_node()


def test_gripper(graph: Graph) -> None:
    graph.gripper = TestGripper()
    graph.closers.append(graph.gripper.close)


test_gripper.__test__ = False


@contextmanager
def gripper_mute(graph: Graph) -> Iterator[None]:
    """The gripper's server does not answer the goal to close."""
    graph.gripper.answers.clear()
    Path(os.environ["UMA_TEST_GRIP"]).touch()
    yield
    Path(os.environ["UMA_TEST_GRIP"]).unlink()
    graph.gripper.answers.set()


def mute_gripper_is_reported(graph: Graph) -> str:
    reasons = [
        m.reason for m in graph.client.history if m.node == "controller" and "the gripper has not answered" in m.reason
    ]
    assert reasons, "nothing of the gripper"
    return ""


# -- the arm -----------------------------------------------------------------------------------------------------------


def watched_arm(graph: Graph) -> None:
    """Start the robot node beside the simulated arm, with states of a healthy arm."""
    spec = NodeSpec("robot")
    words = [
        sys.executable,
        str(ROOT / "test/support/fake_robot.py"),
        "--ros-args",
        "-r",
        "__node:=robot",
        "-p",
        f"state:={ARM_STATES}",
        "-p",
        "use_sim_time:=true",
    ]
    graph.specs["robot"] = spec
    graph.supervisor.start(spec, graph.options.config, words)
    node = graph.client.node
    graph.arm = node.create_publisher(String, ARM_STATES, SENSOR_IN)
    graph.arm_is = "well"
    node.create_timer(0.02, lambda: graph.arm.publish(String(data=graph.arm_is)))
    graph.client.wait(lambda: graph.arm.get_subscription_count() > 0, 60.0, "the robot node")


@contextmanager
def reflex(graph: Graph) -> Iterator[None]:
    graph.arm_is = "reflex"
    yield
    graph.arm_is = "well"
    graph.client.spin(0.5)
    answer = graph.client.call("/uma/recover_robot")
    assert answer.success, answer.message


def reflex_is_reported(graph: Graph) -> str:
    assert "robot mode REFLEX (cartesian_reflex)" in graph.log("robot"), graph.log("robot")[-1000:]
    return "robot: " + next(line for line in graph.log("robot").splitlines() if "REFLEX" in line).split("]: ")[-1]
