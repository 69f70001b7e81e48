"""What an operator holds in hand, on the live graph: consent to every task, a heartbeat, and a limit to how far the
outcome may depart from the task."""

import numpy as np
import pytest
from harness import TOPICS, Graph, point_task
from std_msgs.msg import Header
from uma_ros.msg import PolicyStatus
from visualization_msgs.msg import MarkerArray

from uma_ros.messages.convert import pose_from
from uma_ros.runtime.topics import COMMAND, STATUS


@pytest.fixture
def graph(tmp_path):
    g = Graph(tmp_path, changes={"controller": {"confirm": "task", "heartbeat_s": 1.0, "max_departure": 0.25}})
    try:
        yield g
    finally:
        g.close()


def test_motion_needs_consent_heartbeat_and_small_departure(graph):
    c = graph.client
    here = lambda: pose_from(c.poses[-1][1].pose, "pose")[:3, 3]  # noqa: E731
    controller = lambda state, words="": c.state("controller") == state and words in c.status["controller"].reason  # noqa: E731
    seen: set[str] = set()
    c.node.create_subscription(MarkerArray, TOPICS.markers, lambda m: seen.update(k.ns for k in m.markers), COMMAND)

    def go(*way: float) -> None:
        """A point that far from the tip; returns once the task is in force."""
        p, c.active = here() + way, None
        c.send(point_task(p))
        c.wait(lambda: c.active is not None, 30.0, "the task in force")

    c.wait(
        lambda: controller(PolicyStatus.IDLE, "operator: nothing received yet") and c.poses,
        60.0,
        "the wait for a heartbeat",
    )
    heart = c.node.create_publisher(Header, TOPICS.heartbeat, STATUS)
    beats = c.node.create_timer(0.1, lambda: heart.publish(Header()))
    c.wait(lambda: c.state("policy") == c.state("controller") == PolicyStatus.READY, 60.0, "READY")

    go(0.0, -0.15, 0.0)
    begin, chunks = here(), len(c.base_chunks)
    c.wait(
        lambda: len(c.base_chunks) >= chunks + 4 and controller(PolicyStatus.READY, "/uma/confirm"),
        30.0,
        "chunks that wait for consent",
    )
    c.wait(lambda: {"chunk", "predicted"} <= seen, 30.0, "the preview's markers")
    assert np.linalg.norm(here() - begin) < 1e-3
    assert c.call("/uma/confirm").success
    c.wait(lambda: np.linalg.norm(here() - begin) > 0.12, 30.0, "motion after consent")
    again = c.call("/uma/confirm")
    assert not again.success and "nothing waits" in again.message

    c.spin(1.5)
    go(0.05, 0.33, 0.0)
    c.wait(lambda: controller(PolicyStatus.READY, "/uma/confirm"), 30.0, "consent to the new task")
    begin = here()
    assert c.call("/uma/confirm").success
    c.wait(lambda: controller(PolicyStatus.HOLD, "the predicted motion leaves the reference by"), 30.0, "HOLD")
    c.spin(1.0)
    # One chunk may be followed before its outcome has been predicted, no more.
    assert np.linalg.norm(here() - begin) < 0.1

    go(0.0, 0.15, 0.0)
    assert c.call("/uma/confirm").success
    c.wait(lambda: controller(PolicyStatus.RUNNING), 30.0, "RUNNING")
    c.node.destroy_timer(beats)
    c.wait(
        lambda: controller(PolicyStatus.HOLD, "operator: silent for") or controller(PolicyStatus.IDLE, "operator"),
        30.0,
        "HOLD without a heartbeat",
    )
