"""The examples that need ROS: a reference motion arrives, and a bag becomes arrays."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("rclpy")

import rclpy
from geometry_msgs.msg import PoseStamped
from rclpy.serialization import serialize_message
from sensor_msgs.msg import Image
from uma_ros.msg import ActionChunk as ActionChunkMsg
from uma_ros.msg import ReferenceMotion as ReferenceMotionMsg

from uma.types import ActionChunk
from uma_ros.bags.writer import BagWriter
from uma_ros.messages.convert import chunk_to, image_to, pose_to, reference_from, stamp_from
from uma_ros.runtime.topics import STATUS, TASK_IN, Topics

ROOT = Path(__file__).resolve().parents[2]
TOPICS = Topics().in_namespace()


def started(name: str, *words: str) -> subprocess.Popen:
    """``python examples/NAME.py WORDS``, running."""
    command = [sys.executable, f"examples/{name}.py", *words]
    return subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def test_a_published_reference_arrives():
    rclpy.init()
    node, heard = rclpy.create_node("tester"), []
    node.create_subscription(ReferenceMotionMsg, TOPICS.reference_motion, heard.append, TASK_IN)
    process = started("publish_reference", "--timeout", "30")
    while process.poll() is None:
        rclpy.spin_once(node, timeout_sec=0.1)
    for _ in range(20):
        rclpy.spin_once(node, timeout_sec=0.05)
    node.destroy_node()
    rclpy.try_shutdown()
    assert process.returncode == 0, process.stdout.read()
    (message,) = heard
    reference = reference_from(message)
    assert reference.frame == "fr3_link0" and np.allclose(
        reference.waypoints[0], [[0.5, -0.1, 0.02], [0.5, -0.1, 0.17]]
    )


def test_without_a_subscriber_it_ends_with_1():
    process = started("publish_reference", "--timeout", "0.5")
    output, _ = process.communicate(timeout=30)
    assert process.returncode == 1 and "no subscriber within 0.5 s" in output


def test_a_bag_becomes_arrays(tmp_path):
    writer = BagWriter(tmp_path / "bag")
    kinds = {TOPICS.robot_pose: PoseStamped, TOPICS.action_chunk: ActionChunkMsg, TOPICS.depth: Image}
    for topic, kind in kinds.items():
        writer.add_topic(topic, kind, STATUS)
    chunk = ActionChunk(np.repeat(np.eye(4)[None], 16, 0), np.zeros(16), 5.0, "camera", "tool")
    for i in range(3):
        stamp, T = stamp_from(5.0 + i), np.eye(4)
        T[0, 3] = 0.1 * i
        pose = PoseStamped(pose=pose_to(T))
        pose.header.stamp = stamp
        depth = image_to(np.full((4, 6), 0.5, np.float32), "32FC1", "camera", stamp)
        for topic, message in zip(kinds, (pose, chunk_to(chunk), depth), strict=True):
            writer.write(topic, int(1e9 * (5 + i)), serialize_message(message))
    writer.close()
    output, _ = started("read_bag", str(tmp_path / "bag")).communicate(timeout=60)
    assert "end effector: (3, 4, 4) in 2.0 s, 0.20 m of path" in output, output
    assert "action chunks: (3, 16, 4, 4)" in output and "depth images: (3, 4, 6) float32" in output
