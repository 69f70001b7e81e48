"""The graph of replay.launch.py beside a player that does what `ros2 bag play BAG --clock` does, on a bag of our own
recorder."""

import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from harness import ROOT, TOPICS, Graph
from sensor_msgs.msg import Image
from uma_ros.msg import PolicyStatus

from uma_ros.bags.reader import bag_topics, read_bag
from uma_ros.deployment.graph import REPLAY_NAMES, replay
from uma_ros.messages.convert import chunk_from, nanoseconds
from uma_ros.offline.recording import read_recording
from uma_ros.runtime.topics import Topics

ANSWERS = replace(Topics(), **REPLAY_NAMES).in_namespace()
TASKS = (TOPICS.reference_motion, TOPICS.active_reference)


@pytest.fixture(scope="module")
def bag(tmp_path_factory) -> Path:
    """Some seconds of the insertion graph with the fake policy."""
    folder = tmp_path_factory.mktemp("recorded")
    g = Graph(folder, record=str(folder / "bag"))
    try:
        g.client.wait(lambda: g.client.state("recorder") == PolicyStatus.RUNNING, 60.0, "the recorder")
        g.begin()
        g.client.wait(lambda: len(g.client.chunks) >= 10, 60.0, "chunks to record")
    finally:
        codes = g.close()
    assert set(codes.values()) == {0}, codes
    return folder / "bag"


@pytest.fixture(scope="module")
def stamps(bag) -> list[int]:
    """Return the stamps of the bag's images, ns."""
    return [nanoseconds(m.header.stamp) for _, _, m in read_bag(bag, {TOPICS.rgb: Image})]


@pytest.fixture
def graph(tmp_path):
    g = Graph(tmp_path, graph=replay, topics=ANSWERS)
    try:
        yield g
    finally:
        codes = g.close()
    assert codes == {"policy": 0}


def play(bag: Path, *more: str) -> subprocess.Popen:
    return subprocess.Popen([sys.executable, str(ROOT / "test/support/bag_player.py"), str(bag), *more])


def ended(player: subprocess.Popen):
    def look() -> bool:
        assert player.poll() in (None, 0)
        return player.poll() == 0

    return look


def length(bag: Path) -> float:
    times = [t for _, t, _ in read_bag(bag)]
    return (times[-1] - times[0]) * 1e-9


def stamps_of(chunks) -> list[int]:
    return [nanoseconds(m.header.stamp) for m in chunks]


def test_on_the_bags_clock_and_task_as_often_as_it_is_played(graph, bag, stamps):
    c = graph.client
    c.wait(
        lambda: c.state("policy") == PolicyStatus.IDLE and "checkpoint" not in c.status["policy"].reason,
        30.0,
        "the policy, waiting for the bag",
    )
    episode = read_recording(bag)
    recorded, (times, poses) = {s: chunk for s, chunk in episode.chunks}, episode.ee
    T_cam_base = episode.frames.lookup(episode.camera.frame, "fr3_link0")
    tool = episode.frames.lookup("fr3_link8", "robotiq_2f85_tcp")
    first = None
    for number in range(2):
        c.chunks.clear()
        player = play(bag)
        c.wait(
            lambda: c.state("policy") == PolicyStatus.RUNNING and len(c.chunks) >= 3,
            30.0 + length(bag),
            f"chunks while the bag is played, time {number + 1}",
        )
        assert "policy" not in {i.node_name for i in c.node.get_publishers_info_by_topic(TOPICS.action_chunk)}, (
            "the answers of then are the player's alone"
        )
        c.wait(ended(player), 60.0 + length(bag), "the end of the bag")
        c.wait(
            lambda: c.state("policy") == PolicyStatus.HOLD and "silent" in c.status["policy"].reason,
            10.0,
            "HOLD once the bag is silent",
        )
        heard = stamps_of(c.chunks)
        assert set(heard) <= set(stamps) and len(heard) >= 3 and heard == sorted(heard)
        assert c.active is not None and c.active.header.frame_id == episode.camera.frame
        first = first or heard
        if number:
            assert heard[0] <= first[2], (
                "the second time it answers from the start of the bag: the frame that the task meets may be "
                "a chunk or two later"
            )
        for msg in c.chunks:
            chunk = chunk_from(msg)
            assert len(chunk.poses) == 16 and chunk.frame == episode.camera.frame
            ee = T_cam_base @ poses[int(np.searchsorted(times, chunk.stamp + 1e-6)) - 1] @ tool
            assert np.linalg.norm(chunk.poses[0][:3, 3] - ee[:3, 3]) < 0.05, "it starts at the recorded pose of the arm"
        c.spin(1.5)
        assert len(c.chunks) == len(heard), "nothing to answer, no answer"
    assert "/clock" not in bag_topics(bag), "a player of Jazzy would repeat it beside its own"
    assert recorded and graph.alive() == {"policy"}


def test_a_loop_turns_time_back_without_a_pause(graph, bag, stamps):
    c = graph.client
    player = play(bag, "--loop", "2")
    c.wait(
        lambda: any(b < a for a, b in zip(stamps_of(c.chunks), stamps_of(c.chunks)[1:])),
        60.0 + 2 * length(bag),
        "a chunk of the second round",
    )
    n = len(c.chunks)
    c.wait(lambda: len(c.chunks) >= n + 3, 60.0, "more of them")
    assert set(stamps_of(c.chunks)) <= set(stamps)
    c.wait(ended(player), 60.0 + 2 * length(bag), "the end")


def test_the_task_of_a_bag_that_has_the_echo_alone(graph, bag):
    """Recording began after the task was given: the echo is latched, the reference motion is not."""
    c = graph.client
    player = play(bag, "--loop", "5", "--exclude-topics", TOPICS.reference_motion)
    c.wait(lambda: c.chunks and c.active, 60.0 + length(bag), "chunks")
    sent = read_recording(bag).references[0][1]
    assert len(c.active.keypoints) == len(sent.waypoints)
    player.terminate()
    player.wait(10.0)


def test_a_task_given_live(graph, bag, stamps, tmp_path):
    c = graph.client
    c.wait(lambda: c.state("policy") is not None, 30.0, "the policy")
    words = [
        sys.executable,
        "-m",
        "uma.cli",
        "reference",
        "--replay",
        "--timeout",
        "60",
        "config/reference_insertion.yaml",
    ]
    send = subprocess.Popen(
        words, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )  # before there is a clock
    time.sleep(2.0)
    player = play(bag, "--loop", "5", "--exclude-topics", *TASKS)
    c.wait(lambda: c.state("policy") == PolicyStatus.RUNNING and c.chunks, 60.0 + length(bag), "chunks")
    assert set(stamps_of(c.chunks)) <= set(stamps) and c.active.object_label == "whisk" and len(c.active.keypoints) == 6
    c.wait(lambda: send.poll() is not None, 30.0, "the answer")
    assert send.returncode == 0 and "received by policy: " in send.stdout.read()
    player.terminate()
    player.wait(10.0)
