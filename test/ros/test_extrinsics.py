"""The extrinsics node as a process: which calibration it takes, and what it says of one that it refuses."""

import json
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
import rclpy
from geometry_msgs.msg import TransformStamped
from harness import ROOT, TOPICS
from tf2_msgs.msg import TFMessage
from uma_ros.msg import ActionChunk, PolicyStatus

from uma.geometry.se3 import make_pose
from uma.types import ActionChunk as CheckedChunk
from uma_ros.calibration.entries import Calibration
from uma_ros.calibration.files import save_calibration
from uma_ros.messages.convert import chunk_to, transform_to
from uma_ros.messages.static_frames import StaticFrames
from uma_ros.runtime.topics import COMMAND, LATCHED, STATIC_TF_IN, STATUS
from uma_sim.scene import CAMERA_POSITION, CAMERA_TARGET, look_at

LEVEL = [0.29, 0.59, 0.38, -2.0, 0.0, 2.8]


def node(path, *parameters: str) -> subprocess.Popen:
    words = [f"calibration:={path}", *parameters]
    given = [word for pair in (("-p", word) for word in words) for word in pair]
    command = [sys.executable, "-m", "uma_ros.nodes.extrinsics", "--ros-args", *given]
    return subprocess.Popen(command, cwd=ROOT, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "calibration_info.json"
    wrist = [0.07, 0.03, 0.05, -0.2, 0.1, -1.5]
    cameras = {"22008760_left": LEVEL, "22008760_right": LEVEL, "18026681_left": wrist, "1_left": [0.0] * 6}
    path.write_text(json.dumps({name: {"pose": pose, "timestamp": 1.69e9} for name, pose in cameras.items()}))
    return path


@pytest.mark.parametrize(
    "parameters, words",
    [
        (("camera:=18026681",), "18026681|wrist camera"),
        (("camera:=22008760_right",), "right lens"),
        (("camera:=1_left",), "all zeros"),
        ((), "must be one of"),
    ],
)
def test_a_camera_that_cannot_be_used_is_refused_by_name(file, parameters, words):
    process = node(file, *parameters)
    output, _ = process.communicate(timeout=60)
    assert process.returncode not in (0, None), output
    assert any(word in output for word in words.split("|")) and "calibration_info.json" in output
    assert "Traceback" not in output


def test_a_missing_calibration_names_the_command_that_makes_one(tmp_path):
    process = node(tmp_path / "none.yaml")
    output, _ = process.communicate(timeout=60)
    assert process.returncode not in (0, None) and "uma calibrate" in output and "none.yaml" in output


@pytest.mark.parametrize(
    "parameters",
    [("camera:=22008760",), ("camera:=18026681", "refuse_implausible:=false")],
    ids=["serial", "only warned"],
)
def test_a_serial_without_quotes_is_taken(file, parameters):
    process = node(file, *parameters)
    try:
        seen = []
        for line in process.stdout:
            seen.append(line)
            if "extrinsic xyz" in line:
                break
        assert "camera to base" in "".join(seen), "".join(seen)
    finally:
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=30)


def test_the_root_of_a_drivers_tree_is_hung_below_the_base(tmp_path):
    """zed-ros2-wrapper gives the optical frame a parent, so the calibration moves that tree's root."""
    T = look_at(CAMERA_POSITION, CAMERA_TARGET)
    save_calibration(Calibration("optical", "fr3_link0", T), tmp_path / "c.yaml")
    rclpy.init()
    driver = rclpy.create_node("driver")
    frames, parents = StaticFrames(), {}

    def listen(message):
        frames.add_message(message)
        parents.update({t.child_frame_id: t.header.frame_id for t in message.transforms})

    driver.create_subscription(TFMessage, "/tf_static", listen, STATIC_TF_IN)
    process = node(tmp_path / "c.yaml")
    try:
        spin(driver, lambda: parents.get("optical") == "fr3_link0")
        link = TransformStamped(child_frame_id="optical", transform=transform_to(make_pose(np.eye(3), [0, 0.06, 0])))
        link.header.frame_id = "/zed_camera_link"
        publisher = driver.create_publisher(TFMessage, "/tf_static", LATCHED)
        publisher.publish(TFMessage(transforms=[link]))
        spin(driver, lambda: parents.get("zed_camera_link") == "fr3_link0")
        assert np.allclose(frames.lookup("fr3_link0", "zed_camera_link") @ make_pose(np.eye(3), [0, 0.06, 0]), T)
    finally:
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=30)
        driver.destroy_node()
        rclpy.shutdown()
    assert process.returncode == 0


def test_another_publisher_of_the_camera_s_place_ends_the_chunks(tmp_path):
    """A second robot without a frame_prefix would give the policy another camera's place."""
    T = look_at(CAMERA_POSITION, CAMERA_TARGET)
    save_calibration(Calibration("optical", "fr3_link0", T), tmp_path / "c.yaml")
    rclpy.init()
    other = rclpy.create_node("other")
    frames, chunks, refused = StaticFrames(), [], []
    other.create_subscription(TFMessage, "/tf_static", frames.add_message, STATIC_TF_IN)
    other.create_subscription(ActionChunk, TOPICS.action_chunk_base, chunks.append, COMMAND)
    other.create_subscription(PolicyStatus, TOPICS.status, lambda m: refused.append(m.refused), STATUS)
    out = other.create_publisher(ActionChunk, TOPICS.action_chunk, COMMAND)
    tf = other.create_publisher(TFMessage, "/tf_static", LATCHED)

    def place(shift: float) -> None:
        link = TransformStamped(
            child_frame_id="optical", transform=transform_to(T @ make_pose(np.eye(3), [0, shift, 0]))
        )
        link.header.frame_id = "fr3_link0"
        tf.publish(TFMessage(transforms=[link]))

    def send() -> None:
        chunk = CheckedChunk(np.tile(np.eye(4), (16, 1, 1)), np.zeros(16), time.time(), "optical", "tcp")
        out.publish(chunk_to(chunk, other.get_clock().now().to_msg()))

    process = node(tmp_path / "c.yaml")
    try:
        spin(other, lambda: frames.connects("fr3_link0", "optical") and out.get_subscription_count())
        place(1e-4)  # a robot description rounds
        spin(other, lambda: send() or chunks)
        place(0.05)
        spin(other, lambda: send() or any("places optical in fr3_link0, must be this node alone" in r for r in refused))
        chunks.clear()
        for _ in range(5):
            send()
            rclpy.spin_once(other, timeout_sec=0.2)
        assert not chunks
    finally:
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=60)
        other.destroy_node()
        rclpy.shutdown()


def test_a_calibration_of_another_base_is_refused(tmp_path):
    save_calibration(Calibration("optical", "fr3_link0", look_at(CAMERA_POSITION, CAMERA_TARGET)), tmp_path / "c.yaml")
    output, _ = node(tmp_path / "c.yaml", f"robot:={ROOT}/config/robot_left.yaml").communicate(timeout=90)
    assert "c.yaml: base_frame: 'fr3_link0', must be 'left_fr3_link0', as in the robot file" in output


def spin(node, until, seconds: float = 60.0) -> None:
    """Run a node's callbacks until a condition holds."""
    end = time.monotonic() + seconds
    while not until():
        assert time.monotonic() < end, "timed out"
        rclpy.spin_once(node, timeout_sec=0.1)
