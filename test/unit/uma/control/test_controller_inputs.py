"""Refusals, clocks, tasks, gripper and settings of the controller, on two simulated clocks."""

from dataclasses import replace

import numpy as np
import pytest
from controller_bench import FLANGE, PERIOD, TOOL, Bench, moved, running

from uma.control.session import State
from uma.geometry import fr3
from uma.types import HORIZON, RATE_HZ, InputError, MotionPrediction, ReferenceMotion

# -- what is refused ---------------------------------------------------------------------------------------------------


@pytest.fixture
def bench() -> Bench:
    return running()


@pytest.mark.parametrize(
    "changes, words",
    [
        ({"frame": "camera"}, "header.frame_id: 'camera', must be 'fr3_link0'"),
        ({"stamp": 990.0}, r"header.stamp: 10 s old, limit 1 s"),
        ({"stamp": 1002.0}, r"header.stamp: 1.98 s ahead of the clock, limit 0.5 s"),
        ({"ee_frame": "nothing"}, "ee_frame: frame 'nothing': no static transform to 'fr3_link8'"),
        ({"rate_hz": 1000.0, "stamp": 999.5}, "chunk 1: its last action was due 0.5"),
        ({"stamp": 999.9}, "chunk 1: ends 0.1.. s before the active chunk"),
        ({"ee_frame": "other_tcp"}, "ee_frame: 'other_tcp' differs in pose from the active end effector"),
    ],
)
def test_a_chunk_is_refused_by_field_value_and_limit(bench, changes, words):
    with pytest.raises(InputError, match=words):
        bench.send_chunk(0.1, **changes)
    assert moved(bench.tick(40)) < 1e-6


def test_a_chunk_before_the_robots_pose_is_refused():
    b = Bench()
    with pytest.raises(InputError, match="robot pose: none received yet"):
        b.send_chunk()


@pytest.mark.parametrize("age, words", [(0.4, "0.4 s old, limit 0.3 s"), (-0.7, "0.7 s ahead of the clock")])
def test_an_old_robot_state_is_refused(bench, age, words):
    with pytest.raises(InputError, match=words):
        bench.controller.receive_pose(FLANGE, bench.t - age, bench.now, bench.t)


def test_another_tool_is_taken_after_the_arm_was_forgotten(bench):
    bench.silent = {"robot"}
    bench.tick(50)
    bench.silent = set()
    bench.tick()
    bench.send_chunk(ee_frame="other_tcp")
    assert np.allclose(bench.tick().target, FLANGE, atol=1e-4) and bench.state is State.RUNNING


# -- time --------------------------------------------------------------------------------------------------------------


def test_time_turned_back_clears_the_plan(bench):
    bench.send_chunk(0.2, stamp=bench.t + 0.01)
    bench.tick(30)
    bench.t -= 20.0
    bench.tick()
    assert bench.controller.schedule.last_due is None
    bench.tick(60)
    before = bench.commands[-1].target
    assert np.allclose(bench.tick(10).target, before, atol=1e-9)
    bench.send_chunk()
    assert bench.controller.schedule.last_due == pytest.approx(bench.t + HORIZON / RATE_HZ)
    bench.t -= 20.0
    bench.tick(130)
    assert bench.state is State.HOLD and bench.reason == "no fresh chunk: last chunk 1.0 s ago"


def test_a_clock_that_stands_still_moves_nothing(bench):
    bench.send_chunk(0.2, stamp=bench.t + 0.01)
    bench.tick(10)
    before = bench.commands[-1].target
    for _ in range(5):
        bench.now += PERIOD
        assert np.array_equal(bench.controller.step(bench.now, bench.t).target, before)


# -- operator and task -------------------------------------------------------------------------------------------------


def test_each_task_waits_for_its_confirmation():
    b = Bench(confirm="task")
    b.tick()
    b.send_chunk(0.1)
    assert b.tick(5).target is None and b.reason == "waiting for /uma/confirm (this task)"
    b.controller.confirm()
    b.send_chunk(0.1)
    b.tick(50)
    assert b.state is State.RUNNING and moved(b.commands[-1]) > 1e-3
    with pytest.raises(RuntimeError, match="nothing waits for confirmation"):
        b.controller.confirm()
    b.controller.receive_task(b.t, None, b.now, b.t)
    assert b.state is State.READY and b.controller.schedule.last_due is None


def test_a_stop_takes_the_confirmation_back():
    b = Bench(confirm="task")
    b.tick()
    b.controller.confirm()
    b.send_chunk()
    b.tick()
    assert b.state is State.RUNNING
    b.controller.stop(b.now, b.t)
    b.controller.start(b.now)
    b.send_chunk()
    b.tick()
    assert b.state is State.READY and b.reason == "waiting for /uma/confirm (this task)"


def test_the_schedule_gets_the_time_of_each_task(bench, monkeypatch):
    tasks = []
    monkeypatch.setattr(bench.controller.schedule, "new_task", lambda stamp, t: tasks.append((stamp, t)))
    bench.controller.receive_task(bench.t - 0.1, None, bench.now, bench.t)
    assert tasks == [(bench.t - 0.1, bench.t)]


def test_a_confirmed_chunk_is_followed_to_its_end_alone():
    b = Bench(confirm="chunk")
    b.tick()
    b.send_chunk(0.05)
    b.controller.confirm()
    b.send_chunk(0.05)
    b.tick(25)
    last_due = b.controller.schedule.last_due
    b.send_chunk(0.3)
    assert b.controller.schedule.last_due == last_due, "another one does not replace it"
    for _ in range(8):
        b.tick(20)
        b.send_chunk(0.3)
    assert b.state is State.READY and b.reason == "waiting for /uma/confirm (this chunk)"
    assert b.controller.schedule.last_due is None
    assert moved(b.commands[-1]) == pytest.approx(0.05, abs=5e-3)


def test_a_motion_that_departs_from_the_task_holds_the_arm():
    b = Bench(max_departure=0.05)
    b.tick()
    b.send_chunk()
    path = np.array([[0.0, 0.0, 0.8], [0.1, 0.0, 0.8]])
    b.controller.receive_task(b.t, ReferenceMotion((path,)), b.now, b.t)
    away = np.repeat([[[0.05, 0.2, 0.8]]], HORIZON, 0)
    frame = ReferenceMotion((path,)).frame
    b.controller.receive_motion(MotionPrediction(away, b.t, frame))
    b.tick()
    assert b.state is State.HOLD
    assert b.reason == "the predicted motion leaves the reference by 0.200 m, limit 0.05 m"
    b.send_chunk(0.2, stamp=b.t + 0.01)
    assert moved(b.tick(30)) < 1e-6
    b.controller.receive_task(b.t, ReferenceMotion((path,)), b.now, b.t)
    b.tick()
    assert b.state is State.RUNNING, "it was another task that it departed from"
    b.controller.receive_motion(MotionPrediction(away, b.t, frame))
    b.tick()
    assert b.state is State.HOLD
    b.controller.receive_motion(MotionPrediction(away - [0.0, 0.2, 0.0], b.t, frame))
    b.tick()
    assert b.state is State.RUNNING
    with pytest.raises(InputError, match="motion of 2 keypoints"):
        b.controller.receive_motion(MotionPrediction(np.repeat(away, 2, 1), b.t, frame))


# -- gripper -----------------------------------------------------------------------------------------------------------


def test_the_gripper_gets_its_goal_once(bench):
    bench.send_chunk(grip=0.9, stamp=bench.t + 0.01)
    first = len(bench.commands)
    bench.tick(60)
    goals = [c.close_gripper for c in bench.commands[first:] if c.close_gripper is not None]
    assert goals == [True]
    bench.send_chunk(grip=0.5)
    assert bench.tick(30).close_gripper is None, "between the thresholds it stays as it is"
    bench.send_chunk(grip=0.1)
    assert bench.tick().close_gripper is False
    bench.silent = {"robot"}
    bench.tick(50)
    bench.silent = set()
    bench.tick()
    bench.send_chunk(grip=0.1)
    assert bench.tick().close_gripper is False, "another one may be there"


def test_a_goal_that_was_not_sent_is_given_again(bench):
    bench.send_chunk(grip=0.9, stamp=bench.t + 0.01)
    for _ in range(4):
        assert bench.tick().close_gripper is True
        bench.controller.repeat_gripper()
    assert bench.tick().close_gripper is True
    assert bench.tick().close_gripper is None


def test_a_gripper_that_does_not_answer_holds_the_arm(bench):
    bench.overdue = "the gripper has not answered for 2.1 s, limit 2 s"
    bench.send_chunk(0.2, stamp=bench.t + 0.01)
    assert moved(bench.tick(30)) < 1e-6 and bench.state is State.HOLD and bench.reason == bench.overdue
    bench.overdue = ""
    bench.tick(30)
    assert bench.state is State.RUNNING and moved(bench.commands[-1]) > 1e-3


def test_the_gripper_gets_no_goal_while_the_filter_holds():
    b = Bench(blend_s=0.0)
    b.tick()
    outside = np.repeat((FLANGE @ TOOL)[None], HORIZON, 0)
    outside[:, 1, 3] = 1.0
    b.send_chunk(grip=0.9, poses=outside, stamp=b.t - 0.2)
    b.tick(20)
    assert all(c.hold_reason.startswith("workspace") for c in b.commands[2:])
    assert not any(c.close_gripper for c in b.commands)


# -- filter and settings -----------------------------------------------------------------------------------------------


def test_what_the_filter_holds_is_tried_again(bench):
    bench.send_chunk(0.9, stamp=bench.t + 0.01)
    bench.tick(120)
    held = [c for c in bench.commands if c.hold_reason]
    assert held and held[-1].hold_reason.startswith("workspace: target y") and bench.state is State.HOLD
    assert bench.commands[-1].status.num_held == len(held) and bench.reason == held[-2].hold_reason
    bench.send_chunk(0.01)
    bench.tick(30)
    assert bench.state is State.RUNNING and not bench.commands[-1].hold_reason


def test_a_dry_run_sends_nothing():
    b = Bench(dry_run=True)
    b.tick()
    b.send_chunk(0.1, grip=1.0)
    b.tick(50)
    assert b.state is State.RUNNING and all(c.target is None and c.close_gripper is None for c in b.commands)
    assert np.linalg.norm((b.controller.safety.pose - FLANGE @ TOOL)[:3, 3]) > 1e-3


def test_settings_change_live(bench):
    s = bench.controller.settings
    bench.controller.change_settings(
        replace(s, max_state_age=0.05, hold_limit=1.0, safety=replace(s.safety, max_step_m=0.001))
    )
    bench.send_chunk(0.3, stamp=bench.t + 0.01)
    places = [bench.tick().target[1, 3] for _ in range(60)]
    assert np.abs(np.diff(places)).max() <= 0.001 * RATE_HZ * PERIOD + 1e-9
    bench.silent = {"gripper"}
    bench.tick(8)
    assert bench.state is State.HOLD and "limit 0.05 s" in bench.reason
    assert bench.controller.session.hold_limit == 1.0


def test_why_joint_limits_are_not_looked_at_is_given():
    b = Bench()
    b.send_pose()
    b.controller.receive("gripper", b.now)
    b.send_chunk()
    for _ in range(2):
        b.now, b.t = b.now + PERIOD, b.t + PERIOD
        command = b.controller.step(b.now, b.t)
    assert command.unwatched == "not checked: no FR3 joint state on /joint_states"
    assert b.tick().unwatched == ""


def test_old_joints_do_not_count(bench, monkeypatch):
    step, arms = bench.controller.safety.step, []
    monkeypatch.setattr(
        bench.controller.safety, "step", lambda *a, arm, **k: arms.append(arm) or step(*a, arm=arm, **k)
    )
    bench.tick()
    assert np.array_equal(arms[-1].joints, fr3.REST)
    assert np.allclose(arms[-1].T_ee_flange @ TOOL, np.eye(4))
    monkeypatch.setattr(bench.controller, "receive_joints", lambda joints, now: None)
    bench.tick(40)
    assert arms[-1].joints is None


def test_the_status_counts_what_was_done(bench):
    assert [(r.transition.old, r.transition.new) for r in bench.reports if r.transition] == [
        (State.IDLE, State.READY),
        (State.READY, State.RUNNING),
    ]
    status = bench.tick(100, chunks=True).status
    assert status.state is State.RUNNING and status.num_held == 0
    assert status.achieved_rate_hz == pytest.approx(125.0, rel=0.02)
    assert 0.0 <= status.observation_age_ms <= 201.0


def test_a_controller_that_was_given_nothing_has_an_age_of_nan():
    assert np.isnan(Bench().tick().status.observation_age_ms)
