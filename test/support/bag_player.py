"""Plays a bag like `ros2 bag play BAG --clock`, because rosbag2 is not on PyPI.

Every message has its recorded bytes, type, QoS and time. /clock has the time of the bag at 40 Hz.
"""

from __future__ import annotations

import argparse
import importlib
import sys
import time

import rclpy
from builtin_interfaces.msg import Time
from rclpy.qos import DurabilityPolicy, HistoryPolicy, QoSProfile, ReliabilityPolicy
from rosbags.rosbag2 import Reader
from rosgraph_msgs.msg import Clock

import uma_ros  # noqa: F401  (discovery stays on this host)

CLOCK_HZ = 40.0


def message_class(name: str) -> type:
    package, _, kind = name.split("/")
    return getattr(importlib.import_module(f"{package}.msg"), kind)


def profile(offers: list) -> QoSProfile:
    """Return an offered QoS profile that matches the subscribers of all recorded profiles."""
    offer = offers[0]
    return QoSProfile(
        history=HistoryPolicy.KEEP_LAST,
        depth=offer.depth,
        reliability=ReliabilityPolicy.RELIABLE
        if offer.reliability.name == "RELIABLE"
        else ReliabilityPolicy.BEST_EFFORT,
        durability=DurabilityPolicy.TRANSIENT_LOCAL
        if offer.durability.name == "TRANSIENT_LOCAL"
        else DurabilityPolicy.VOLATILE,
    )


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("bag")
    parser.add_argument("--delay", type=float, default=2.0, help="s; until those who listen have found it")
    parser.add_argument("--loop", type=int, default=1, help="how many times, without a pause")
    parser.add_argument("--exclude-topics", nargs="*", default=[])
    args = parser.parse_args()
    rclpy.init()
    node = rclpy.create_node("rosbag2_player")
    with Reader(args.bag) as reader:
        wanted = [c for c in reader.connections if c.topic not in args.exclude_topics]
        messages = [(t, connection.topic, bytes(data)) for connection, t, data in reader.messages(connections=wanted)]
        start = reader.start_time
        publishers = {
            c.topic: node.create_publisher(message_class(c.msgtype), c.topic, profile(c.ext.offered_qos_profiles))
            for c in wanted
        }
    clock = node.create_publisher(Clock, "/clock", QoSProfile(depth=1, reliability=ReliabilityPolicy.BEST_EFFORT))
    time.sleep(args.delay)
    for _ in range(args.loop):
        began, next_clock = time.monotonic(), 0.0
        for stamp, topic, data in messages:
            due = (stamp - start) * 1e-9
            while True:
                passed = time.monotonic() - began
                if passed >= next_clock:
                    now = start + int(passed * 1e9)
                    clock.publish(Clock(clock=Time(sec=now // 1_000_000_000, nanosec=now % 1_000_000_000)))
                    next_clock = passed + 1.0 / CLOCK_HZ
                if passed >= due:
                    break
                time.sleep(max(min(due, next_clock) - passed, 0.0))
            publishers[topic].publish(data)
    node.destroy_node()
    rclpy.shutdown()
    return 0


if __name__ == "__main__":
    sys.exit(main())
