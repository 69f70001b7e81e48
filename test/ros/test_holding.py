"""What keeps the arm at rest without a death, on graphs of their own: a start that nobody has asked for, a dry run, an
image that stays the same; and the end of a graph."""

import os

import numpy as np
import pytest
from harness import Graph, far_task, still
from uma_ros.msg import PolicyStatus

from robustness.faults.nodes import Relay, frozen


def test_every_process_is_gone_afterwards(tmp_path):
    """Also when they are ended while they are still starting."""
    g = Graph(tmp_path)
    pids = [p.pid for p in g.supervisor.processes.values()]
    g.close()
    for pid in pids:
        with pytest.raises(ProcessLookupError):
            os.killpg(pid, 0)


def test_without_autostart_chunks_are_a_preview(tmp_path):
    g = Graph(tmp_path, changes={"controller": {"autostart": False}})
    c = g.client
    try:
        c.wait(
            lambda: c.state("policy") == c.state("controller") == PolicyStatus.READY and c.scene and c.poses,
            90.0,
            "READY",
        )
        c.send(far_task(g))
        c.wait(lambda: len(c.base_chunks) >= 3 and c.motions, 30.0, "chunks and predicted motion to look at")
        assert c.state("controller") == PolicyStatus.READY and "/uma/start" in c.status["controller"].reason
        assert not c.targets and still(g) < 1e-3
        before = c.ee()[:3, 3]
        assert c.call("/uma/start").success
        c.wait(lambda: np.linalg.norm(c.ee()[:3, 3] - before) > 0.1, 30.0, "motion after the start")
        assert all(not m.refused or "s old" in m.refused for m in c.status.values()), [
            (m.node, m.refused) for m in c.status.values()
        ]
    finally:
        g.close()


def test_a_dry_run_does_everything_but_move(tmp_path):
    g = Graph(tmp_path, changes={"controller": {"dry_run": True}})
    c = g.client
    try:
        g.begin()
        n = len(c.base_chunks)
        c.wait(
            lambda: len(c.base_chunks) > n + 2 and c.state("controller") == PolicyStatus.RUNNING,
            30.0,
            "chunks that are followed",
        )
        assert c.status["controller"].dry_run
        assert not c.targets and still(g) < 1e-3 and len(c.base_chunks) > 1
    finally:
        g.close()


def test_frozen_image_under_new_stamps_holds_the_arm(tmp_path):
    """A fault in which everything goes on talking. The table of all faults: test/ros/faults.py."""
    g = Graph(tmp_path, without=("camera",))
    c = g.client
    try:
        g.relay = Relay(g)
        g.begin()
        with frozen(g):
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
            assert still(g) < 1e-3
            assert len(c.chunks) == chunks, "nothing is made of an image that is not believed"
    finally:
        g.close()
