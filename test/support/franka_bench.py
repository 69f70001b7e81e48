"""A simulated arm on loopback, the franka node on it, and a stand-in for the controller."""

import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import rclpy
from diagnostic_msgs.msg import DiagnosticArray
from geometry_msgs.msg import PoseStamped
from harness import ROOT, TOPICS
from rclpy.node import Node
from sensor_msgs.msg import JointState
from std_srvs.srv import Trigger
from uma_ros.msg import PolicyStatus

from uma_ros.deployment.graph import NodeSpec
from uma_ros.deployment.supervisor import Supervisor
from uma_ros.messages.convert import pose_from, pose_to
from uma_ros.runtime.topics import COMMAND, SENSOR_IN, STATUS

SERVER = Path(__file__).with_name("fci_server.py")


class Bench:
    """A simulated arm, the node on it, and a stand-in for the controller."""

    def __init__(self, folder, late: bool = False, **parameters) -> None:
        # libfranka's port is fixed: every bench has an address of its own.
        host = f"127.{os.getpid() % 200 + 20}.{time.monotonic_ns() % 250 + 1}.3"
        self.host, self.arm = host, None
        if not late:
            self.switch_on()
        values = {
            "fci.host": host,
            "fci.hold_after": 1.0,
            "max_target_age": 2.0,
            **parameters,
        }  # the machine may be busy
        self.supervisor = Supervisor(folder / "log")
        self.supervisor.start(
            NodeSpec("franka", values, module="uma_ros.nodes.franka"), str(ROOT / "config/parameters.yaml")
        )
        self.log = folder / "log/franka.log"
        rclpy.init()
        self.node = Node("tester")
        self.poses: list[PoseStamped] = []
        self.joints: list[JointState] = []
        self.refused: list[str] = []
        self.stops, self.moved = 0, False
        self.diagnostics: dict[str, str] = {}
        self.node.create_subscription(PoseStamped, TOPICS.robot_pose, self.poses.append, SENSOR_IN)
        self.node.create_subscription(JointState, TOPICS.joint_states, self.joints.append, SENSOR_IN)
        self.node.create_subscription(DiagnosticArray, "/diagnostics", self._on_diagnostics, 10)
        self.node.create_subscription(PolicyStatus, TOPICS.status, lambda m: self.refused.append(m.refused), STATUS)
        self.node.create_service(Trigger, "/uma/stop", self._on_stop)
        self.out = self.node.create_publisher(PoseStamped, TOPICS.target_pose, COMMAND)
        self.recovery = self.node.create_client(Trigger, "/uma/recover_robot")

    def switch_on(self) -> None:
        self.arm = subprocess.Popen(
            [sys.executable, str(SERVER), self.host], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        while self.arm.stdout.readline().strip() != "ready":
            assert self.arm.poll() is None

    def _on_diagnostics(self, msg: DiagnosticArray) -> None:
        self.diagnostics = {v.key: v.value for s in msg.status for v in s.values}

    def _on_stop(self, _, response):
        self.stops += 1
        return response

    def say(self, word: str) -> None:
        self.arm.stdin.write(word + "\n")
        self.arm.stdin.flush()

    def spin(self, seconds: float) -> None:
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            rclpy.spin_once(self.node, timeout_sec=0.002)

    def wait(self, condition, what: str, timeout: float = 60.0) -> None:
        end = time.monotonic() + timeout
        while not condition():
            rclpy.spin_once(self.node, timeout_sec=0.01)
            assert time.monotonic() < end, (
                f"{what} did not come: {self.diagnostics}\n{self.refused[-1:]}\n{self.log.read_text()[-3000:]}"
            )

    def flange(self) -> np.ndarray:
        return pose_from(self.poses[-1].pose, "pose")

    def reached(self) -> None:
        self.wait(
            lambda: self.poses and self.out.get_subscription_count() and self.recovery.service_is_ready(),
            "the arm's pose",
        )

    def target(self, T: np.ndarray, frame: str = "fr3_link0") -> None:
        msg = PoseStamped(pose=pose_to(T))
        msg.header.frame_id, msg.header.stamp = frame, self.node.get_clock().now().to_msg()
        self.out.publish(msg)

    def go(self, offset, seconds: float = 1.5, until=None) -> None:
        """Stream targets from where the arm is, along a straight line eased in and out, and stay until it is there."""
        start, began, self.moved = self.flange(), time.monotonic(), True
        goal = start[:3, 3] + offset
        there = until or (lambda: np.linalg.norm(self.flange()[:3, 3] - goal) < 2e-3)
        while True:
            s = min((time.monotonic() - began) / seconds, 1.0)
            T = start.copy()
            T[:3, 3] += np.asarray(offset) * (s * s * (3 - 2 * s))
            self.target(T)
            self.spin(0.008)
            if s >= 1.0 and there():
                return
            assert time.monotonic() - began < seconds + 60.0, (
                f"{self.flange()[:3, 3]} is not {goal}: {self.diagnostics} "
                f"{self.refused[-1:]}\n{self.log.read_text()[-2000:]}"
            )

    def recover(self):
        future = self.recovery.call_async(Trigger.Request())
        self.wait(future.done, "the recovery's answer")
        return future.result()

    def close(self) -> int:
        self.node.destroy_node()
        rclpy.try_shutdown()
        code = self.supervisor.stop()["franka"]
        if self.arm is not None:
            self.arm.kill()
            self.arm.wait()
        return code
