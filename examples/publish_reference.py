"""Publish a reference motion on /uma/reference_motion from Python (uma_ros/msg/ReferenceMotion)."""

import argparse
import time

import rclpy
from uma_ros.msg import ReferenceMotion as ReferenceMotionMsg

from uma.types import ReferenceMotion
from uma_ros.messages.convert import reference_to
from uma_ros.runtime.topics import TASK_IN, Topics


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--timeout", type=float, default=10.0, help="seconds to wait for a subscriber (default 10)")
    timeout = parser.parse_args().timeout
    # One keypoint, two waypoints, metres in the base frame: a point on the table goes 15 cm up.
    reference = ReferenceMotion([[[0.5, -0.1, 0.02], [0.5, -0.1, 0.17]]], frame="fr3_link0", object_label="block")

    rclpy.init()
    node = rclpy.create_node("publish_reference")
    publisher = node.create_publisher(ReferenceMotionMsg, Topics().reference_motion, TASK_IN)
    deadline = time.monotonic() + timeout
    while not publisher.get_subscription_count() and time.monotonic() < deadline:
        rclpy.spin_once(node, timeout_sec=0.1)
    has_subscriber = publisher.get_subscription_count() > 0
    if has_subscriber:
        publisher.publish(reference_to(reference, node.get_clock().now().to_msg()))
        publisher.wait_for_all_acked()
    print(f"published to {publisher.topic_name}" if has_subscriber else f"no subscriber within {timeout:g} s")
    node.destroy_node()
    rclpy.shutdown()
    return 0 if has_subscriber else 1


if __name__ == "__main__":
    raise SystemExit(main())
