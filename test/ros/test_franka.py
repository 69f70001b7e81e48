"""The franka node over libfranka's protocol, with a simulated arm on loopback. The test replaces the controller."""

import time

import numpy as np
import pytest
from franka_bench import Bench
from geometry_msgs.msg import PoseStamped
from harness import TOPICS

from uma.geometry import fr3
from uma.geometry.se3 import rotation_angle
from uma_ros.runtime.topics import COMMAND

pytest.importorskip("pylibfranka", reason="extra 'robot' is not installed")
pytest.importorskip("franky_sim", reason="extra 'sim' is not installed")

HOME = fr3.forward(np.array([0.0, -0.35, 0.0, -2.35, 0.0, 2.0, 0.785]))


@pytest.fixture(scope="module")
def shared(tmp_path_factory):
    """An arm and a node for the tests that keep both alive.

    The first three tests need an arm that has not moved. A motion continues until a reflex.
    """
    b = Bench(tmp_path_factory.mktemp("franka"))
    try:
        b.reached()
        yield b
    finally:
        code = b.close()
    assert code == 0


@pytest.fixture
def bench(shared):
    shared.spin(1.2 if shared.moved else 0.0)  # the last targets grow old
    shared.stops, shared.moved = 0, False
    shared.refused.clear()
    return shared


def test_flange_pose_is_by_our_own_kinematics(bench):
    bench.wait(lambda: len(bench.poses) > 20 and bench.joints, "states")
    T = bench.flange()
    assert np.linalg.norm(T[:3, 3] - HOME[:3, 3]) < 2e-3 and rotation_angle(T[:3, :3], HOME[:3, :3]) < 5e-3
    assert bench.poses[-1].header.frame_id == "fr3_link0" and list(bench.joints[-1].name) == list(fr3.JOINT_NAMES)
    stamps = [m.header.stamp.sec + m.header.stamp.nanosec * 1e-9 for m in bench.poses]
    assert stamps == sorted(stamps) and abs(stamps[-1] - time.time()) < 10.0
    bench.wait(
        lambda: bench.diagnostics.get("phase") == "WATCHING" and bench.diagnostics["mode"] == "IDLE", "the diagnostics"
    )


def test_bad_targets_are_refused_by_field_and_move_nothing(bench):
    bench.wait(lambda: bench.joints, "joints")
    q = np.array(bench.joints[-1].position)
    far, T = HOME.copy(), HOME.copy()
    far[0, 3] += 1.0
    for target, frame, words in (
        (T, "world", "'world', must be 'fr3_link0'"),
        (far, "fr3_link0", "the joints come no nearer than"),
    ):
        bench.wait(
            lambda target=target, frame=frame, words=words: (
                bench.target(target, frame) or any(words in text for text in bench.refused)
            ),
            words,
        )
    jump = HOME.copy()
    jump[1, 3] += 0.25  # within reach, but over 0.3 rad away in a joint
    end = time.monotonic() + 1.0
    bench.wait(lambda: bench.target(jump) or time.monotonic() > end, "a second of it")
    assert np.abs(np.array(bench.joints[-1].position) - q).max() < 0.015
    assert "; not followed" in bench.log.read_text()


def test_with_two_publishers_of_targets_none_is_followed(bench):
    second = bench.node.create_publisher(PoseStamped, TOPICS.target_pose, COMMAND)
    bench.wait(lambda: "2 nodes publish targets" in bench.diagnostics.get("targets", ""), "the problem")
    T = HOME.copy()
    T[2, 3] += 0.02
    bench.wait(lambda: bench.target(T) or any("must be one" in text for text in bench.refused), "the refusal")
    assert bench.diagnostics["phase"] == "WATCHING"
    bench.node.destroy_publisher(second)
    bench.wait(
        lambda: "targets" not in bench.diagnostics or "publish" not in bench.diagnostics["targets"], "the end of it"
    )
    bench.go([0.0, 0.0, 0.02])


def test_it_follows_a_stream_of_targets_and_holds_when_it_ends(bench):
    before, way = bench.flange(), np.array([0.05, -0.06, -0.04])
    bench.go(way)
    assert rotation_angle(bench.flange()[:3, :3], before[:3, :3]) < 0.01, "the orientation is kept"
    bench.wait(
        lambda: bench.diagnostics.get("phase") == "MOVING" and bench.diagnostics["mode"] == "MOVE", "the diagnostics"
    )
    bench.spin(2.0)
    assert np.linalg.norm(bench.flange()[:3, 3] - before[:3, 3] - way) < 2e-3, "it stays where the targets ended"
    bench.go(-way)


def test_after_a_reflex_nothing_moves_until_it_is_recovered(bench):
    bench.go([0.03, 0.0, 0.0])
    bench.say("reflex")
    bench.wait(lambda: bench.stops == 1, "the stop of the controller")
    bench.wait(
        lambda: (
            "motion aborted by reflex" in bench.diagnostics.get("arm", "") and bench.diagnostics["mode"] == "REFLEX"
        ),
        "the reason",
    )
    assert "joint_velocity_violation" in bench.diagnostics["arm"] and "/uma/recover_robot" in bench.diagnostics["arm"]
    silent, q = len(bench.poses), np.array(bench.joints[-1].position)
    T = bench.flange()
    T[2, 3] += 0.05
    for _ in range(100):
        bench.target(T)
        bench.spin(0.008)
    assert len(bench.poses) == silent, "for the controller it is silent"
    assert np.abs(np.array(bench.joints[-1].position) - q).max() < 0.015, (
        "targets do not move it: 5 cm would be 0.1 rad; it only comes to rest"
    )
    bench.spin(1.2)  # the targets grow old
    answer = bench.recover()
    assert answer.success and "/uma/start" in answer.message
    bench.wait(lambda: len(bench.poses) > silent, "the pose")
    bench.go([0.0, 0.04, 0.0])
    assert bench.stops == 1


def test_recovery_under_a_user_stop_fails_with_its_reason(bench):
    bench.go([0.02, 0.0, 0.0])
    bench.say("stop")
    bench.wait(lambda: bench.diagnostics.get("mode") == "USER_STOPPED", "the mode")
    answer = bench.recover()
    assert not answer.success and answer.message
    bench.say("release")
    bench.wait(lambda: bench.diagnostics.get("mode") == "REFLEX", "the release")
    assert bench.recover().success
    bench.go([-0.02, 0.0, 0.0])


def test_lost_connection_returns_and_waits_for_recovery(bench):
    bench.go([0.0, 0.03, 0.0])
    bench.say("mute")
    bench.wait(
        lambda: "next attempt" in bench.diagnostics.get("arm", "") and bench.diagnostics["phase"] == "UNREACHED",
        "the loss",
    )
    assert bench.stops == 1 and not bench.recover().success
    bench.say("unmute")
    bench.wait(lambda: bench.diagnostics.get("phase") == "BLOCKED", "the connection")
    q = np.array(bench.joints[-1].position)
    T = fr3.forward(q)
    T[2, 3] += 0.05
    for _ in range(60):
        bench.target(T)
        bench.spin(0.008)
    assert np.abs(np.array(bench.joints[-1].position) - q).max() < 0.015
    bench.spin(1.2)
    silent = len(bench.poses)
    assert bench.recover().success
    bench.wait(lambda: len(bench.poses) > silent, "the pose")
    bench.go([0.0, -0.03, 0.0])
