"""The policy on a second host: bandwidth, age of the chunks, and what a broken link does.

    sudo python bench/two_hosts.py [--seconds 20] [--json FILE]

Two network namespaces of this machine stand for the hosts, and a virtual cable joins them. The robot's host runs
everything but the policy. Each transport of the images is measured in turn, and the policy beside the robot as well.
Ages are those of `bench/age.py`. The bandwidth is that of the cable, towards the policy.

At the end of a measurement the cable is cut while the arm moves. The time to HOLD is that on the steady clock until the
controller's status says HOLD.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import rclpy
from age import HOPS, Listener
from rclpy.executors import ExternalShutdownException
from rich.console import Console
from rich.table import Table
from std_msgs.msg import Header
from uma_ros.msg import PolicyStatus

from uma_ros.deployment.graph import Options, insertion
from uma_ros.deployment.supervisor import Supervisor
from uma_ros.runtime.resources import find
from uma_ros.runtime.topics import STATUS, Topics

ROBOT, POLICY, CABLE = "uma_robot", "uma_policy", "uma0"
ADDRESSES = {ROBOT: "10.77.0.1/24", POLICY: "10.77.0.2/24"}
CASES = (("one host", "raw"), ("two hosts", "raw"), ("two hosts", "compressed"))
HEARTBEAT_S = 0.4


def ip(*words: str, check: bool = True) -> None:
    subprocess.run(["ip", *words], check=check, capture_output=not check)


def remove_hosts() -> None:
    for host in ADDRESSES:
        ip("netns", "del", host, check=False)


def make_hosts() -> None:
    """Make the two network namespaces and the cable."""
    remove_hosts()
    for host in ADDRESSES:
        ip("netns", "add", host)
    ip("link", "add", CABLE, "netns", ROBOT, "type", "veth", "peer", "name", CABLE, "netns", POLICY)
    for host, address in ADDRESSES.items():
        ip("-n", host, "address", "add", address, "dev", CABLE)
        ip("-n", host, "link", "set", CABLE, "up")
        ip("-n", host, "link", "set", "lo", "up")


def sent_bytes() -> int:
    """Return the bytes that this namespace sent over the cable."""
    return int(Path(f"/sys/class/net/{CABLE}/statistics/tx_bytes").read_text())


def wait(listener: Listener, supervisor: Supervisor, seconds: float, is_true, what: str) -> float:
    """Spin until ``is_true``; return the seconds that it took.

    Raises:
        RuntimeError: it is not true within ``seconds``, or a node ended.
    """
    began = time.monotonic()
    while not is_true():
        listener.spin(time.monotonic() + 0.02)
        if time.monotonic() - began > seconds or supervisor.dead():
            raise RuntimeError(f"{what}: not within {seconds:g} s; {listener.status}, ended: {supervisor.dead()}")
    return time.monotonic() - began


def measure(case: str, transport: str, length: float, heartbeat: bool) -> dict:
    """Measure one case in the robot's namespace.

    Args:
        heartbeat: the second host sends a heartbeat, and the controller demands it.
    """
    with tempfile.TemporaryDirectory() as folder:
        options = Options(
            seed=3,
            config=str(find("config/parameters.yaml")),
            run_dir=folder,
            image_transport=transport,
            max_departure=0.0,
        )
        specs = {spec.name: spec for spec in insertion(options)}
        if heartbeat:
            specs["controller"].parameters["heartbeat_s"] = HEARTBEAT_S
        away = ["ip", "netns", "exec", POLICY] if case == "two hosts" else []
        beat = subprocess.Popen([*away, sys.executable, __file__, "--beat"]) if heartbeat else None
        with Supervisor(Path(folder) / "log") as supervisor:
            for name, spec in specs.items():
                words = spec.command(options.config)
                supervisor.start(spec, options.config, [*away, *words] if name == "policy" else words)
            rclpy.init()
            try:
                row = _follow(Listener(), supervisor, case, length)
            finally:
                rclpy.try_shutdown()
                if beat is not None:
                    beat.terminate()
                    beat.wait()
    return {"case": case, "transport": transport, "heartbeat": heartbeat, **row}


def _follow(listener: Listener, supervisor: Supervisor, case: str, length: float) -> dict:
    def is_ready() -> bool:
        return listener.status.get("policy") == PolicyStatus.READY and listener.task is not None

    def runs() -> bool:
        return listener.status.get("controller") == PolicyStatus.RUNNING

    wait(listener, supervisor, 120.0, is_ready, "the start")
    listener.spin(time.monotonic() + 1.0)
    listener.out.publish(listener.task)
    wait(listener, supervisor, 20.0, runs, "the first motion")
    listener.is_counting = True
    began, sent = time.monotonic(), sent_bytes()
    while time.monotonic() - began < length:
        listener.out.publish(listener.task)
        listener.spin(time.monotonic() + 2.5)
    rate = (sent_bytes() - sent) / (time.monotonic() - began)
    listener.is_counting = False
    row: dict = {"mb_per_s": round(rate / 1e6, 2)}
    row["ages"] = {
        hop: {"count": len(v), **{f"p{q}_ms": round(1e3 * float(np.percentile(v, q)), 1) for q in (50, 95)}}
        for hop in HOPS
        if (v := listener.ages[hop])
    }
    if case == "two hosts":
        listener.out.publish(listener.task)
        listener.spin(time.monotonic() + 1.0)
        wait(listener, supervisor, 20.0, runs, "motion before the cut")
        ip("link", "set", CABLE, "down")
        held = lambda: listener.status.get("controller") != PolicyStatus.RUNNING  # noqa: E731
        row["hold_after_s"] = round(wait(listener, supervisor, 20.0, held, "HOLD after the cut"), 2)
        listener.spin(time.monotonic() + 3.0)
        ip("link", "set", CABLE, "up")
        row["policy_back_after_s"] = round(wait(listener, supervisor, 60.0, _reported(listener), "the policy"), 2)
        listener.out.publish(listener.task)
        row["moves_again_after_s"] = round(wait(listener, supervisor, 60.0, runs, "motion after the cut"), 2)
    return row


def _reported(listener: Listener):
    """Return a test that is true once the policy's status arrives again."""
    listener.status.pop("policy", None)
    return lambda: "policy" in listener.status


def beat() -> None:
    """Publish the heartbeat until the end of the process."""
    rclpy.init()
    node = rclpy.create_node("operator")
    publisher = node.create_publisher(Header, Topics().heartbeat, STATUS)
    node.create_timer(0.1, lambda: publisher.publish(Header(stamp=node.get_clock().now().to_msg())))
    try:
        rclpy.spin(node)
    except ExternalShutdownException:
        pass


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--seconds", type=float, default=20.0)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--inside", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--beat", action="store_true", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.beat:
        beat()
        return
    if not args.inside:
        make_hosts()
        try:
            os.environ["ROS_AUTOMATIC_DISCOVERY_RANGE"] = "SUBNET"
            words = [sys.executable, __file__, *sys.argv[1:], "--inside"]
            sys.exit(subprocess.run(["ip", "netns", "exec", ROBOT, *words]).returncode)
        finally:
            remove_hosts()
    rows = [measure(*case, args.seconds, False) for case in CASES] + [measure(*CASES[-1], args.seconds, True)]
    table = Table(
        "case", "images", "heartbeat", "MB/s", "age of the image when", "count", "p50 ms", "p95 ms", "HOLD after s"
    )
    for row in rows:
        for hop, ages in row["ages"].items():
            head = (row["case"], row["transport"], str(row["heartbeat"]), str(row["mb_per_s"]))
            table.add_row(*head, hop, *(str(v) for v in ages.values()), str(row.get("hold_after_s", "")))
    Console(width=150).print(table)
    if args.json:
        args.json.write_text(json.dumps(rows, indent=2) + "\n")


if __name__ == "__main__":
    main()
