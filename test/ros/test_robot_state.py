"""The robot state node alone, with drivers of arm and gripper that report apart."""

import time

import pytest
import rclpy
from diagnostic_msgs.msg import DiagnosticArray
from harness import ROOT, TOPICS
from rclpy.node import Node
from sensor_msgs.msg import JointState
from std_msgs.msg import String
from tf2_msgs.msg import TFMessage

from uma.geometry import fr3
from uma.robot import DROID
from uma_ros.deployment.graph import NodeSpec
from uma_ros.deployment.supervisor import Supervisor
from uma_ros.messages.convert import stamp_from
from uma_ros.runtime.robot import load_robot
from uma_ros.runtime.topics import LATCHED, STATE_OUT, TF_OUT

TIPS = {"robotiq_85_left_finger_tip_link", "robotiq_85_right_finger_tip_link"}
TIPS_OF_LEFT = {f"left_{name}" for name in TIPS}


class Bench:
    """The node alone, and drivers of arm and gripper."""

    def __init__(self, folder, **parameters):
        self.supervisor = Supervisor(folder / "log")
        spec = NodeSpec("robot_state", parameters, module="uma_ros.nodes.robot_state")
        self.supervisor.start(spec, str(ROOT / "config/parameters.yaml"))
        self.log = folder / "log/robot_state.log"
        rclpy.init()
        self.node = Node("drivers")
        self.out = self.node.create_publisher(JointState, TOPICS.joint_states, STATE_OUT)
        self.frames: list[str] = []
        self.said: dict[str, str] = {}
        self.node.create_subscription(
            TFMessage, "/tf", lambda m: self.frames.extend(t.child_frame_id for t in m.transforms), TF_OUT
        )
        self.node.create_subscription(DiagnosticArray, "/diagnostics", self._on_diagnostics, 10)

    def _on_diagnostics(self, msg):
        self.said = {v.key: v.value for s in msg.status for v in s.values}

    def send(self, names, positions, stamp=None):
        msg = JointState(name=list(names), position=list(positions))
        msg.header.stamp = stamp_from(time.time() if stamp is None else stamp)
        self.out.publish(msg)

    def wait(self, condition, what, repeat=lambda: None):
        end = time.monotonic() + 60.0
        while not condition():
            repeat()
            rclpy.spin_once(self.node, timeout_sec=0.05)
            assert time.monotonic() < end, f"{what} did not come: {self.said}\n{self.log.read_text()}"

    def close(self):
        self.node.destroy_node()
        rclpy.shutdown()
        return self.supervisor.stop()


@pytest.fixture
def bench(tmp_path):
    made = Bench(tmp_path)
    yield made
    assert made.close() == {"robot_state": 0}


def test_arm_and_gripper_may_report_apart(bench):
    arm = lambda: bench.send(fr3.JOINT_NAMES, DROID.home)  # noqa: E731
    bench.wait(lambda: "fr3_link8" in bench.frames, "the arm", arm)
    assert not TIPS & set(bench.frames)
    bench.wait(lambda: TIPS <= set(bench.frames), "the gripper", lambda: bench.send([DROID.gripper_joint], [0.2]))


def test_a_wrong_joint_state_is_refused_and_the_next_is_taken(bench):
    topic = TOPICS.joint_states
    wrong = lambda: bench.send(fr3.JOINT_NAMES, [float("nan"), *DROID.home[1:]])  # noqa: E731
    bench.wait(lambda: "position[0]: nan rad for fr3_joint1" in bench.said.get(topic, ""), "the refusal", wrong)
    assert not bench.frames
    good = lambda: bench.send(fr3.JOINT_NAMES, DROID.home)  # noqa: E731
    bench.wait(lambda: "fr3_link7" in bench.frames and topic not in bench.said, "frames without a problem", good)


def test_another_description_is_named_in_the_diagnostics(bench):
    topic = TOPICS.robot_description
    bench.wait(lambda: "arm_hz" in bench.said, "diagnostics")
    assert topic not in bench.said
    bench.node.create_publisher(String, topic, LATCHED)
    bench.wait(lambda: "2 nodes publish it" in bench.said.get(topic, ""), "the warning")


def test_the_names_are_those_of_the_robot_s_file(tmp_path):
    bench = Bench(tmp_path, robot="config/robot_left.yaml")
    left = load_robot(ROOT / "config/robot_left.yaml")
    names = (*left.arm_joints, left.gripper_joint)
    bench.wait(lambda: "left_fr3_link8" in bench.frames, "the flange", lambda: bench.send(names, (*DROID.home, 0.1)))
    bench.wait(lambda: TIPS_OF_LEFT <= set(bench.frames), "the tips", lambda: bench.send(names, (*DROID.home, 0.2)))
    assert all(name.startswith("left_") for name in bench.frames)
    assert bench.close() == {"robot_state": 0}
