"""The robot's side as on hardware: the controller, the franka and the gripper node, on a simulated control interface
and a pseudo-terminal. Chunks go in."""

import os
import subprocess
import sys
import time

import numpy as np
import pytest
import rclpy
from geometry_msgs.msg import PoseStamped, TransformStamped
from harness import ROOT, TOPICS
from rclpy.node import Node
from robotiq_gripper import FakeGripper
from sensor_msgs.msg import JointState
from std_srvs.srv import Trigger
from tf2_msgs.msg import TFMessage
from uma_ros.msg import ActionChunk as ActionChunkMsg
from uma_ros.msg import PolicyStatus

from uma.geometry.se3 import make_pose
from uma.robot import DROID
from uma.types import ActionChunk
from uma_ros.deployment.graph import Options, insertion
from uma_ros.deployment.supervisor import Supervisor
from uma_ros.messages.convert import chunk_to, gripper_from, pose_from, transform_to
from uma_ros.runtime.topics import COMMAND, LATCHED, SENSOR_IN, STATUS

pytest.importorskip("pylibfranka", reason="extra 'robot' is not installed")
pytest.importorskip("franky_sim", reason="extra 'sim' is not installed")
pytest.importorskip("pymodbus", reason="extra 'robot' is not installed")

TOOL = make_pose(np.eye(3), np.array([0.0, 0.0, 0.16]))


class Station:
    """Three nodes of the hardware graph, and someone in the place of policy and extrinsics."""

    def __init__(self, folder) -> None:
        host = f"127.{os.getpid() % 200 + 20}.{time.monotonic_ns() % 250 + 1}.4"
        self.hand = FakeGripper(pace=4.0)
        self.arm = subprocess.Popen(
            [sys.executable, str(ROOT / "test/support/fci_server.py"), host],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        while self.arm.stdout.readline().strip() != "ready":
            assert self.arm.poll() is None
        options = Options(station="hardware", drivers="gripper,franka", config=str(ROOT / "config/parameters.yaml"))
        specs = {spec.name: spec for spec in insertion(options)}
        slow = {"max_state_age": 2.0, "max_chunk_age": 5.0}  # the machine may be busy
        specs["controller"].parameters.update(slow)
        specs["franka"].parameters.update({"fci.host": host, "fci.hold_after": 1.0, "max_target_age": 2.0})
        specs["gripper"].parameters.update({"robotiq.port": self.hand.port})
        self.supervisor = Supervisor(folder / "log")
        for name in ("gripper", "franka", "controller"):
            self.supervisor.start(specs[name], options.config)
        self.folder = folder / "log"
        rclpy.init()
        self.node = Node("tester")
        self.pose = self.opening = self.status = None
        self.poses_heard = 0
        listen = self.node.create_subscription
        listen(PoseStamped, TOPICS.robot_pose, self._on_pose, SENSOR_IN)
        listen(JointState, TOPICS.joint_states, self._on_joints, SENSOR_IN)
        listen(PolicyStatus, TOPICS.status, self._on_status, STATUS)
        self.out = self.node.create_publisher(ActionChunkMsg, TOPICS.action_chunk_base, COMMAND)
        self._tf = self.node.create_publisher(TFMessage, "/tf_static", LATCHED)
        t = TransformStamped(child_frame_id="robotiq_2f85_tcp", transform=transform_to(TOOL))
        t.header.frame_id = "fr3_link8"
        self._tf.publish(TFMessage(transforms=[t]))
        self.sequence = 0

    def _on_pose(self, msg) -> None:
        self.pose = pose_from(msg.pose, "pose")
        self.poses_heard += 1

    def _on_joints(self, msg) -> None:
        if DROID.gripper_joint in msg.name:
            self.opening = gripper_from(msg)

    def _on_status(self, msg) -> None:
        if msg.node == "controller":
            self.status = msg

    def spin(self, seconds: float) -> None:
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            rclpy.spin_once(self.node, timeout_sec=0.01)

    def wait(self, condition, what: str, timeout: float = 60.0) -> None:
        end = time.monotonic() + timeout
        while not condition():
            rclpy.spin_once(self.node, timeout_sec=0.01)
            logs = (
                "\n".join(f"{p.name}: {p.read_text()[-1500:]}" for p in self.folder.iterdir())
                if time.monotonic() > end
                else ""
            )
            assert time.monotonic() < end, f"{what} did not come: {self.status}\n{logs}"

    def call(self, name: str):
        client = self.node.create_client(Trigger, name)
        self.wait(client.service_is_ready, name)
        future = client.call_async(Trigger.Request())
        self.wait(future.done, name)
        return future.result()

    def state(self) -> int:
        return -1 if self.status is None else self.status.state

    def chunk(self, goal: np.ndarray, gripper: float) -> None:
        """Send 16 actions from where the tool is toward ``goal`` ``(3,)``, which the ninth reaches: at most 0.2 m/s for
        7 cm."""
        T = self.pose @ TOOL
        poses = np.tile(T, (16, 1, 1))
        s = np.minimum(np.linspace(0.0, 16 / 9, 17)[1:, None], 1.0)
        poses[:, :3, 3] += (goal - T[:3, 3]) * s * s * (3 - 2 * s)
        self.sequence += 1
        stamp = self.node.get_clock().now().to_msg()
        t = stamp.sec + stamp.nanosec * 1e-9
        self.out.publish(
            chunk_to(
                ActionChunk(poses, np.full(16, gripper), t, "fr3_link0", "robotiq_2f85_tcp", sequence=self.sequence),
                stamp,
            )
        )

    def go(self, goal: np.ndarray, gripper: float) -> None:
        """Chunks until the tool is there."""
        end = time.monotonic() + 60.0
        while np.linalg.norm((self.pose @ TOOL)[:3, 3] - goal) > 4e-3:
            self.chunk(goal, gripper)
            self.spin(0.27)
            assert time.monotonic() < end, f"{(self.pose @ TOOL)[:3, 3]} is not {goal}: {self.status}"

    def close(self) -> dict[str, int]:
        self.node.destroy_node()
        rclpy.try_shutdown()
        codes = self.supervisor.stop(patience=20.0)
        self.arm.kill()
        self.arm.wait()
        self.hand.close()
        return codes


def test_chunks_drive_the_arm_until_a_reflex_needs_recovery(tmp_path):
    station = Station(tmp_path)
    try:
        s = station
        s.wait(lambda: s.pose is not None and s.opening is not None and s.state() == PolicyStatus.READY, "READY")
        assert s.call("/uma/start").success
        home = (s.pose @ TOOL)[:3, 3]
        s.go(home + [0.04, 0.05, -0.03], 0.0)
        s.hand.object_at = 150
        s.go(home + [0.04, 0.05, 0.02], 1.0)
        s.wait(lambda: s.opening > 0.6, "the grasp")
        assert s.opening < 0.7, "on the object"
        s.arm.stdin.write("reflex\n")
        s.arm.stdin.flush()
        s.wait(lambda: s.state() != PolicyStatus.RUNNING, "the end of motion")
        heard, grasp = s.poses_heard, s.opening
        s.spin(3.0)
        assert s.poses_heard - heard < 40 and abs(s.opening - grasp) < 0.01, "the arm is silent, the object is held"
        answer = s.call("/uma/recover_robot")
        assert answer.success, answer.message
        s.wait(lambda: s.poses_heard > heard + 60, "the arm's pose")
        before = s.pose[:3, 3].copy()
        s.spin(1.0)
        assert np.linalg.norm(s.pose[:3, 3] - before) < 2e-3, "no motion without a new start"
        s.chunk(home, 1.0)
        s.spin(1.0)
        assert np.linalg.norm(s.pose[:3, 3] - before) < 2e-3, "nor on a chunk"
        assert s.call("/uma/start").success
        s.go(home, 1.0)
        assert abs(s.opening - grasp) < 0.01
    finally:
        codes = station.close()
    assert set(codes.values()) == {0}, codes
