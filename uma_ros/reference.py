"""`uma reference FILE.yaml`: send a reference motion, and hear what became of it. Also reads and writes such files.

    frame: fr3_link0          # any frame with a known transform to the camera
    object_label: spoon       # for people
    keypoints:
      - waypoints: [[0.45, -0.10, 0.03], [0.45, -0.10, 0.20]]   # m, in order
        phase: [0.0, 1.0]     # optional, in [0, 1]
        is_valid: [true, true]  # optional
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

import numpy as np
import yaml

from uma.types import InputError, ReferenceMotion


def load_reference(path: str | Path) -> ReferenceMotion:
    """Read a reference file. Raises `InputError` naming the file and the entry."""
    try:
        data = yaml.safe_load(Path(path).read_text())
    except (OSError, yaml.YAMLError) as error:
        raise InputError(f"reference {path}: {error}") from None
    if not isinstance(data, dict) or not {"frame", "keypoints"} <= set(data) or set(data) - {"frame", "keypoints", "object_label"}:
        raise InputError(f"reference {path}: must be a mapping with frame, keypoints and perhaps object_label")
    points, phases, valids = [], [], []
    for k, keypoint in enumerate(data["keypoints"] or []):
        if not isinstance(keypoint, dict) or "waypoints" not in keypoint or set(keypoint) - {"waypoints", "phase", "is_valid"}:
            raise InputError(f"reference {path}: keypoints[{k}]: must be a mapping with waypoints and perhaps phase, is_valid")
        try:
            w = np.array(keypoint["waypoints"], dtype=np.float64)
        except (TypeError, ValueError) as error:
            raise InputError(f"reference {path}: keypoints[{k}].waypoints: {error}") from None
        if w.ndim != 2 or w.shape[1] != 3:
            raise InputError(f"reference {path}: keypoints[{k}].waypoints: shape {w.shape}, must be (T, 3)")
        points.append(w)
        phases.append(np.array(keypoint.get("phase") or [], dtype=np.float64))
        valids.append(np.array(keypoint.get("is_valid") or [], dtype=bool))
    return ReferenceMotion(tuple(points), tuple(phases), tuple(valids), str(data["frame"]), str(data.get("object_label") or ""))


def save_reference(reference: ReferenceMotion, path: str | Path, comment: str = "") -> None:
    """Write a reference file."""
    lines = [f"# {line}" for line in comment.splitlines()]
    lines += [f"frame: {reference.frame}", f"object_label: {yaml.safe_dump(reference.object_label).splitlines()[0]}", "keypoints:"]
    for w, p, v in zip(reference.waypoints, reference.phase, reference.is_valid):
        lines.append("  - waypoints: [" + ", ".join("[" + ", ".join(f"{x:.4f}" for x in point) + "]" for point in w) + "]")
        if not np.array_equal(p, np.linspace(0.0, 1.0, len(w))):
            lines.append("    phase: [" + ", ".join(f"{x:.4f}" for x in p) + "]")
        if not v.all():
            lines.append("    is_valid: [" + ", ".join(str(bool(x)).lower() for x in v) + "]")
    Path(path).write_text("\n".join(lines) + "\n")


def main(argv: list[str]) -> int:
    """Exit code 0 when the policy took the task, 1 when it refused it or is not there, 2 for a bad file."""
    parser = argparse.ArgumentParser(prog="uma reference", description="Send a reference motion to the running policy.")
    parser.add_argument("file", help="YAML file; config/reference_example.yaml shows the format")
    parser.add_argument("--timeout", type=float, default=10.0, help="seconds to wait for the policy (default 10)")
    args = parser.parse_args(argv)
    reference = load_reference(args.file)

    from uma_ros import runtime  # noqa: F401  (sets the discovery range before rclpy starts)
    import rclpy

    from uma_ros.convert import reference_to
    from uma_ros.msg import PolicyStatus, ReferenceMotion as ReferenceMsg
    from uma_ros.names import LATCHED, STATUS, TASK_IN, Topics

    topics, answer = Topics(), []
    rclpy.init()
    node = rclpy.create_node("uma_reference")
    try:
        publisher = node.create_publisher(ReferenceMsg, topics.reference_motion, TASK_IN)
        old = None

        def on_echo(msg: ReferenceMsg) -> None:
            if sent and (msg.header.stamp.sec, msg.header.stamp.nanosec) != old:
                answer.append("")

        def on_status(msg: PolicyStatus) -> None:
            if sent and msg.node == "policy" and msg.num_refused > before.get("n", msg.num_refused) and topics.reference_motion in msg.refused:
                answer.append(msg.refused)
            if not sent and msg.node == "policy":
                before["n"] = msg.num_refused

        before: dict[str, int] = {}
        sent = False
        stamps: list = []
        node.create_subscription(ReferenceMsg, topics.active_reference, lambda m: (stamps.append((m.header.stamp.sec, m.header.stamp.nanosec)), on_echo(m)), LATCHED)
        node.create_subscription(PolicyStatus, topics.status, on_status, STATUS)
        deadline = time.monotonic() + args.timeout
        while time.monotonic() < deadline and not (publisher.get_subscription_count() and "n" in before):
            rclpy.spin_once(node, timeout_sec=0.1)
        if "n" not in before:
            print(f"no policy heard on {topics.status} within {args.timeout:g} s; is it running, in this ROS domain?", file=sys.stderr)
            return 1
        old = stamps[-1] if stamps else None
        publisher.publish(reference_to(reference, node.get_clock().now().to_msg()))
        sent = True
        while time.monotonic() < deadline and not answer:
            rclpy.spin_once(node, timeout_sec=0.1)
        if not answer:
            print(f"sent; the policy has not taken it within {args.timeout:g} s (see /uma/status)", file=sys.stderr)
            return 1
        print(answer[0] or f"the policy works on it: {len(reference.waypoints)} keypoints, given in {reference.frame}", file=sys.stderr if answer[0] else sys.stdout)
        return 1 if answer[0] else 0
    finally:
        node.destroy_node()
        rclpy.try_shutdown()
