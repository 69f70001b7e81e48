"""Reasons to hold the arm on the running graph: consent, heartbeat, joint limits, a frozen image.

The controller's decisions are tested in `test_controller.py`; here the inputs arrive over DDS.
"""

import numpy as np
import pytest
from harness import TOPICS, Graph, point_task, still
from std_msgs.msg import Header
from uma_ros.msg import PolicyStatus
from visualization_msgs.msg import MarkerArray

from robustness.faults.nodes import Relay, frozen
from uma.geometry import fr3
from uma_ros.messages.convert import pose_from
from uma_ros.runtime.topics import COMMAND, STATUS


@pytest.fixture(scope="module")
def shared(tmp_path_factory):
    g = Graph(tmp_path_factory.mktemp("holding"))
    try:
        g.begin()
        yield g
    finally:
        codes = g.close()
    assert set(codes.values()) == {0}, codes


@pytest.fixture
def graph(shared):
    """The shared graph with the controller's own parameters and the arm at home."""
    shared.go_home()
    return shared


def test_motion_needs_consent_heartbeat_and_small_departure(graph):
    c = graph.client
    graph.restart("controller", confirm="task", heartbeat_s=1.0, max_departure=0.25)
    here = lambda: pose_from(c.poses[-1][1].pose, "pose")[:3, 3]  # noqa: E731

    def controller(state: int, words: str = "") -> bool:
        return c.state("controller") == state and words in c.status["controller"].reason

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
    # The policy still has the task of the way home: it is RUNNING, or READY for a moment.
    c.wait(lambda: controller(PolicyStatus.READY) and c.state("policy") != PolicyStatus.HOLD, 60.0, "READY")

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
    c.wait(lambda: controller(PolicyStatus.READY, "/uma/confirm"), 30.0, "consent to the third task")
    assert c.call("/uma/confirm").success
    c.wait(lambda: controller(PolicyStatus.RUNNING), 30.0, "RUNNING")
    c.node.destroy_timer(beats)
    c.wait(
        lambda: controller(PolicyStatus.HOLD, "operator: silent for") or controller(PolicyStatus.IDLE, "operator"),
        30.0,
        "HOLD without a heartbeat",
    )


def test_arm_holds_before_the_elbow_limit_and_may_return(graph):
    c = graph.client
    graph.restart("controller", safety__joint_margin=0.45, hold_limit=60.0)
    graph.run_on()
    here = lambda: pose_from(c.poses[-1][1].pose, "pose")[:3, 3]  # noqa: E731

    def go(*way: float) -> None:
        p, c.active = here() + way, None
        c.send(point_task(p))
        c.wait(lambda: c.active is not None, 30.0, "the task in force")

    go(-0.2, 0.0, 0.0)
    c.wait(
        lambda: (
            c.state("controller") == PolicyStatus.HOLD
            and "joint limits: joint 4 would be at -2." in c.status["controller"].reason
        ),
        40.0,
        "HOLD for joint 4",
    )
    c.spin(3.0)  # the policy tries again from where it is held: the arm comes nearer by ever smaller steps
    held, joints = here(), fr3.solve(pose_from(c.poses[-1][1].pose, "pose"), fr3.REST, posture=0.0)[0]
    assert fr3.LOWER[3] + 0.44 < joints[3] < fr3.LOWER[3] + 0.6, (
        "near the margin, and not beyond it but for what the simulated arm lags"
    )
    go(0.15, 0.0, 0.0)
    c.wait(lambda: c.state("controller") == PolicyStatus.RUNNING and here()[0] > held[0] + 0.08, 40.0, "the way back")


def test_frozen_image_under_new_stamps_holds_the_arm(graph):
    """All nodes keep publishing in this fault. The table of all faults: `python -m robustness.faults`."""
    c = graph.client
    graph.end("camera")
    graph.relay = Relay(graph)
    try:
        graph.run_on(60.0)
        with frozen(graph):
            c.wait(
                lambda: any(m.node == "policy" and "the same image for" in m.refused for m in c.history),
                30.0,
                "what is wrong with the image",
            )
            c.wait(
                lambda: c.state("policy") == PolicyStatus.HOLD and "camera" in c.status["policy"].reason,
                30.0,
                "HOLD of the policy",
            )
            c.wait(lambda: c.state("controller") == PolicyStatus.HOLD, 20.0, "HOLD of the controller")
            chunks = len(c.chunks)
            assert still(graph) < 1e-3
            assert len(c.chunks) == chunks, "no chunk from a frozen image"
    finally:
        graph.relay.close()
        graph.start_again("camera", lambda: "camera" not in c.status["policy"].reason, "the policy sees again")
