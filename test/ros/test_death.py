"""Nodes killed in mid-motion: the arm holds, status says why, nothing else crashes, and it goes on only on request."""

import os

import numpy as np
import pytest
from faults import Relay, frozen
from geometry_msgs.msg import Point
from harness import Graph
from uma_ros.msg import KeypointTrajectory, PolicyStatus, ReferenceMotion

from uma.types import RATE_HZ
from uma_ros.convert import chunk_from, pose_from, seconds

PERIOD = 1.0 / RATE_HZ
TOOL = 0.1597


@pytest.fixture
def graph(tmp_path):
    g = Graph(tmp_path)
    try:
        g.begin()
        yield g
    finally:
        g.close()


def far_task(graph, way=(0.05, -0.38, 0.0)) -> ReferenceMotion:
    """A point that takes over a second to reach, from wherever the arm is."""
    p = pose_from(graph.client.poses[-1][1].pose, "pose")[:3, 3] + way
    msg = ReferenceMotion(keypoints=[KeypointTrajectory(waypoints=[Point(x=float(p[0]), y=float(p[1]), z=float(p[2] - TOOL))])])
    msg.header.frame_id = "fr3_link0"
    return msg


def in_motion(graph) -> None:
    """Send a far task and return while the arm moves."""
    c = graph.client
    c.send(far_task(graph))
    start = c.ee()[:3, 3]
    c.wait(lambda: np.linalg.norm(c.ee()[:3, 3] - start) > 0.04, 30.0, "motion")


def still(graph, seconds_=1.0) -> float:
    """Largest movement in metres over a while on the robot's own clock, from 0.3 s after what the nodes have said last."""
    c = graph.client
    begin = max(seconds(m.header.stamp) for m in c.status.values()) + 0.3
    c.wait(lambda: c.poses and c.poses[-1][0] > begin + seconds_, 60.0, "states of the robot")
    p = np.array([pose_from(m.pose, "pose")[:3, 3] for t, m in c.poses if t > begin])
    return float(np.linalg.norm(p - p[0], axis=1).max())


def test_policy_killed_in_motion(graph):
    c = graph.client
    in_motion(graph)
    c.poses.clear()
    graph.kill("policy")
    # A moment without the processor may hold it for another reason first.
    told = lambda: c.state("controller") == PolicyStatus.HOLD and "no fresh chunk" in c.status["controller"].reason  # noqa: E731
    c.wait(told, 20.0, "HOLD")
    reason = c.status["controller"].reason
    last_due = chunk_from(c.base_chunks[-1]).due()[-1]
    c.wait(lambda: c.poses[-1][0] > last_due + 1.5, 30.0, "what the arm does then")
    late = max(c.lateness(last_due - 0.5, last_due + 0.5) - 0.04, 0.0)  # commands and, after them, the filter that follows at a limited speed
    times = np.array([t for t, _ in c.poses])
    places = np.stack([pose_from(m.pose, "pose")[:3, 3] for _, m in c.poses])
    after = places[times > last_due + 2 * PERIOD + 2 * late]
    moved = np.linalg.norm(after - after[0], axis=1).max()
    hold = seconds(next(m for m in c.history[::-1] if m.node == "controller" and m.state == PolicyStatus.RUNNING).header.stamp)
    print(f"controller late by {late * 1e3:.0f} ms; after 2 periods past the last due action it moved {moved * 1e3:.2f} mm; HOLD was said at most {max(0, hold - last_due):.2f} s after it: {reason}")
    assert len(after) > 50 and moved < 1e-3
    assert "no fresh chunk" in reason and "policy is silent" in reason
    assert graph.alive() == {"station", "camera", "extrinsics", "controller"}

    targets = len(c.targets)
    silent = lambda: any(m.node == "controller" and "robot: silent" in m.reason for m in c.history)  # noqa: E731  (then the robot's side holds)
    c.wait(lambda: len(c.targets) - targets > 100 or silent(), 10.0, "targets: the hold is commanded, not left to chance")

    graph.start("policy")
    c.wait(lambda: c.state("policy") == PolicyStatus.READY, 60.0, "the restarted policy")
    c.spin(1.0)
    assert still(graph) < 1e-3, "a restarted policy does not move by itself"
    assert c.state("controller") == PolicyStatus.HOLD
    before = c.ee()[:3, 3]
    c.send(far_task(graph, (0.0, 0.15, 0.05)))
    c.wait(lambda: c.state("controller") == PolicyStatus.RUNNING, 30.0, "RUNNING after the request")
    c.wait(lambda: np.linalg.norm(c.ee()[:3, 3] - before) > 0.05, 30.0, "motion after the request")


def test_camera_killed_in_motion(graph):
    c = graph.client
    in_motion(graph)
    graph.kill("camera")
    c.wait(lambda: c.state("policy") == PolicyStatus.HOLD and "camera" in c.status["policy"].reason, 20.0, "HOLD of the policy")
    c.wait(lambda: c.state("controller") == PolicyStatus.HOLD, 20.0, "HOLD of the controller")
    assert still(graph) < 1e-3
    assert graph.alive() == {"station", "extrinsics", "policy", "controller"}
    graph.start("camera")
    c.wait(lambda: c.state("policy") == PolicyStatus.RUNNING, 60.0, "the policy sees again")


def test_controller_killed_in_motion(graph):
    c = graph.client
    in_motion(graph)
    graph.kill("controller")
    c.wait(lambda: c.state("policy") == PolicyStatus.HOLD and "controller" in c.status["policy"].reason, 20.0, "HOLD of the policy")
    assert still(graph) < 1e-3, "the robot's side holds its last target by itself"
    chunks = len(c.chunks)
    c.spin(1.0)
    assert len(c.chunks) == chunks
    assert graph.alive() == {"station", "camera", "extrinsics", "policy"}


def test_station_killed_in_motion(graph):
    """With the station the clock stops: the watchdogs run on a steady one."""
    c = graph.client
    in_motion(graph)
    graph.kill("station")
    took = c.wait(lambda: c.state("controller") in (PolicyStatus.HOLD, PolicyStatus.IDLE) and "robot" in c.status["controller"].reason, 20.0, "HOLD of the controller")
    c.wait(lambda: c.state("policy") == PolicyStatus.HOLD, 20.0, "HOLD of the policy")
    print(f"HOLD {took:.2f} s after the station's death")
    c.spin(0.5)
    targets = len(c.targets)
    c.spin(1.0)
    assert len(c.targets) == targets, "nothing is sent to a robot that does not say where it is"
    assert graph.alive() == {"camera", "extrinsics", "policy", "controller"}
    c.poses.clear()
    graph.start("station")
    c.wait(lambda: len(c.poses) > 50, 90.0, "the station's return")
    c.wait(lambda: c.state("controller") == PolicyStatus.IDLE and "/uma/start" in c.status["controller"].reason, 20.0, "a request for a new start")
    assert still(graph, 1.5) < 2e-3, "it does not resume by itself"
    assert c.call("/uma/start").success
    c.wait(lambda: c.state("controller") == PolicyStatus.RUNNING, 30.0, "RUNNING after the request")


def test_every_process_is_gone_afterwards(tmp_path):
    """Also when they are ended while they are still starting."""
    g = Graph(tmp_path)
    pids = [p.pid for p in g.supervisor.processes.values()]
    g.close()
    for pid in pids:
        with pytest.raises(ProcessLookupError):
            os.killpg(pid, 0)


def test_without_autostart_chunks_are_a_preview_until_start_is_called(tmp_path):
    g = Graph(tmp_path, changes={"controller": {"autostart": False}})
    c = g.client
    try:
        c.wait(lambda: c.state("policy") == c.state("controller") == PolicyStatus.READY and c.scene and c.poses, 90.0, "READY")
        c.send(far_task(g))
        c.wait(lambda: len(c.base_chunks) >= 3 and c.motions, 30.0, "chunks and predicted motion to look at")
        assert c.state("controller") == PolicyStatus.READY and "/uma/start" in c.status["controller"].reason
        assert not c.targets and still(g) < 1e-3
        before = c.ee()[:3, 3]
        assert c.call("/uma/start").success
        c.wait(lambda: np.linalg.norm(c.ee()[:3, 3] - before) > 0.1, 30.0, "motion after the start")
        assert all(not m.refused or "s old" in m.refused for m in c.status.values()), [(m.node, m.refused) for m in c.status.values()]
    finally:
        g.close()


def test_a_dry_run_does_everything_but_move(tmp_path):
    g = Graph(tmp_path, changes={"controller": {"dry_run": True}})
    c = g.client
    try:
        g.begin()
        n = len(c.base_chunks)
        c.wait(lambda: len(c.base_chunks) > n + 2 and c.state("controller") == PolicyStatus.RUNNING, 30.0, "chunks that are followed")
        assert c.status["controller"].dry_run
        assert not c.targets and still(g) < 1e-3 and len(c.base_chunks) > 1
    finally:
        g.close()


def test_a_second_publisher_of_targets_holds_the_arm(graph):
    c = graph.client
    in_motion(graph)
    with c.rival():
        c.wait(lambda: c.state("controller") == PolicyStatus.HOLD and "/target_pose: 2 publishers" in c.status["controller"].reason, 20.0, "HOLD of the controller")
        assert still(graph) < 1e-3
    c.wait(lambda: c.state("controller") == PolicyStatus.RUNNING, 30.0, "RUNNING when it is alone again")


def test_a_camera_that_shows_the_same_image_under_new_stamps_holds_the_arm(tmp_path):
    """A fault in which everything goes on talking. The table of all faults: test/ros/faults.py."""
    g = Graph(tmp_path, without=("camera",))
    c = g.client
    try:
        g.relay = Relay(g)
        g.begin()
        with frozen(g):
            c.wait(lambda: any(m.node == "policy" and "the same image for" in m.refused for m in c.history), 30.0, "what is wrong with the image")
            c.wait(lambda: c.state("policy") == PolicyStatus.HOLD and "camera" in c.status["policy"].reason, 30.0, "HOLD of the policy")
            c.wait(lambda: c.state("controller") == PolicyStatus.HOLD, 20.0, "HOLD of the controller")
            chunks = len(c.chunks)
            assert still(g) < 1e-3
            assert len(c.chunks) == chunks, "nothing is made of an image that is not believed"
    finally:
        g.close()
