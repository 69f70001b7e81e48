"""Faults of nodes and of their messages: killed, stopped, wrong, slow. Contexts over a running graph."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import numpy as np
from geometry_msgs.msg import PoseStamped
from harness import TOPICS, Graph, place_of
from rosgraph_msgs.msg import Clock
from sensor_msgs.msg import CameraInfo, Image

from uma_ros.messages.convert import chunk_from, chunk_to, pose_to, seconds, stamp_from
from uma_ros.runtime.topics import CAMERA_OUT, SENSOR_IN


class Relay:
    """Replaces the camera node. `alter` maps (kind, image) to the published image; None = none."""

    def __init__(self, graph: Graph) -> None:
        node = graph.client.node
        self.alter: Callable[[str, Image], Image | None] = lambda kind, image: image
        pairs = (
            (Image, "rgb", TOPICS.rgb),
            (Image, "depth", TOPICS.depth),
            (CameraInfo, "camera_info", TOPICS.camera_info),
            (CameraInfo, "depth_info", TOPICS.depth_info),
        )
        self._made: list = []
        for kind, name, topic in pairs:
            out = node.create_publisher(kind, topic, CAMERA_OUT)

            def relay(msg, name=name, out=out) -> None:
                altered = self.alter(name, msg) if name in ("rgb", "depth") else msg
                if altered is not None:
                    out.publish(altered)

            subscription = node.create_subscription(kind, f"{TOPICS.sim_camera}/{name}", relay, SENSOR_IN)
            self._made += [partial(node.destroy_publisher, out), partial(node.destroy_subscription, subscription)]

    def close(self) -> None:
        """Destroy the publishers and subscriptions."""
        for destroy in self._made:
            destroy()


@contextmanager
def killed(graph: Graph, name: str) -> Iterator[None]:
    graph.kill(name)
    yield
    graph.start(name)


@contextmanager
def stopped(graph: Graph, name: str) -> Iterator[None]:
    pid = graph.supervisor.processes[name].pid
    os.killpg(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.killpg(pid, signal.SIGCONT)


@contextmanager
def lying(graph: Graph, alter: Callable[[str, Image], Image | None]) -> Iterator[None]:
    graph.relay.alter = alter
    yield
    graph.relay.alter = lambda kind, image: image


@contextmanager
def frozen(graph: Graph) -> Iterator[None]:
    """The same image repeated under new stamps."""
    first: dict[str, Image] = {}

    def again(kind: str, image: Image) -> Image:
        kept = first.setdefault(kind, image)
        return Image(
            header=image.header,
            height=kept.height,
            width=kept.width,
            encoding=kept.encoding,
            is_bigendian=kept.is_bigendian,
            step=kept.step,
            data=kept.data,
        )

    with lying(graph, again):
        yield


def no_depth(kind: str, image: Image) -> Image:
    """Depth that is invalid everywhere."""
    if kind == "depth":
        image.data = np.full(image.height * image.width, np.nan, np.float32).tobytes()
    return image


@contextmanager
def bad_chunk(graph: Graph, change: Callable) -> Iterator[None]:
    """One bad chunk among good ones, before the extrinsics node."""
    msg = chunk_to(chunk_from(graph.client.chunks[-1]))
    change(msg)
    graph.client.out["chunk"].publish(msg)
    yield


@contextmanager
def time_turned_back(graph: Graph) -> Iterator[None]:
    """A second clock publishes one time ten seconds in the past."""
    c = graph.client
    out = c.node.create_publisher(Clock, "/clock", 1)
    c.wait(lambda: out.get_subscription_count() > 3, 10.0, "subscribers of the clock")
    out.publish(Clock(clock=stamp_from(c.ros_time() - 10.0)))
    yield
    c.node.destroy_publisher(out)


@contextmanager
def two_publishers(graph: Graph) -> Iterator[None]:
    """Another node publishes the arm's present pose as target, which competes with the controller's targets."""
    c = graph.client
    with c.rival() as rival:

        def push() -> None:
            msg = PoseStamped(pose=pose_to(c.ee()))
            msg.header.frame_id, msg.header.stamp = "fr3_link0", stamp_from(c.ros_time())
            c.own_targets.add(place_of(msg))
            rival.publish(msg)

        timer = c.node.create_timer(0.02, push)
        yield
        c.node.destroy_timer(timer)


@contextmanager
def slow(graph: Graph) -> Iterator[None]:
    """A chunk takes a second."""
    Path(os.environ["UMA_TEST_SLOW"]).touch()
    yield
    Path(os.environ["UMA_TEST_SLOW"]).unlink()


def with_nan(msg) -> None:
    msg.poses[3].position.x = float("nan")


def from_the_past(msg) -> None:
    msg.header.stamp = stamp_from(seconds(msg.header.stamp) - 5.0)
