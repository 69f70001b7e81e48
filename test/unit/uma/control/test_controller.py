"""Start, stop and recovery of the controller, and the silences that hold the arm, on two simulated clocks."""

import numpy as np
import pytest
from controller_bench import FLANGE, PERIOD, Bench, lookup, moved, running

from uma.control.controller import MAX_JUMP, Controller
from uma.control.controller_settings import ControllerSettings
from uma.control.session import State
from uma.types import HORIZON, RATE_HZ

# -- start, stop, recover ----------------------------------------------------------------------------------------------


@pytest.fixture
def bench() -> Bench:
    return running()


def test_nothing_is_sent_before_a_chunk():
    b = Bench()
    command = b.tick(20)
    assert command.target is None and command.close_gripper is None and b.state is State.READY


def test_a_start_without_inputs_is_refused_with_their_list():
    topics = {"robot": "/current_pose", "gripper": "/joint_states"}
    c = Controller(ControllerSettings(heartbeat_s=1.0), lookup, origins=topics)
    inputs = [r"robot \(/current_pose\), gripper \(/joint_states\), calibration, operator", "calibration, operator"]
    with pytest.raises(RuntimeError, match=f"^not started: nothing received yet from {inputs[0]}$"):
        c.start(0.0)
    c.receive_pose(FLANGE, 0.0, 0.0, 0.0)
    c.receive("gripper", 0.0)
    with pytest.raises(RuntimeError, match=f"from {inputs[1]}$"):
        c.start(0.0)
    c.receive("calibration", 0.0)
    c.receive("operator", 0.0)
    c.step(0.01, 0.01)
    assert c.session.state is State.READY and c.session.reason == "waiting for something to do", "no start was kept"
    assert c.start(0.01) == "started; waits for a chunk of a task"
    assert c.start(0.5) == (
        "started; waits for robot: silent for 0.50 s, limit 0.30 s; gripper: silent for 0.50 s, limit 0.30 s; "
        "a chunk of a task"
    )


def test_a_refused_start_does_not_count_later():
    b = Bench(autostart=False)
    with pytest.raises(RuntimeError, match="not started"):
        b.controller.start(b.now)
    b.tick()
    b.send_chunk(0.1)
    assert b.tick(20).target is None and b.state is State.READY


def test_what_the_controller_waits_for():
    b = Bench(autostart=False)
    assert b.controller.waits(b.now) == (["robot: nothing received yet", "gripper: nothing received yet"], "")
    b.tick()
    b.send_chunk()
    b.tick()
    assert b.controller.waits(b.now) == ([], "READY: waiting for /uma/start")
    assert b.controller.start(b.now) == "started"
    b.send_chunk()
    b.tick()
    assert b.state is State.RUNNING and b.controller.waits(b.now) == ([], "")
    b.tick(int(2.0 / PERIOD))
    assert b.state is State.HOLD and b.controller.waits(b.now) == ([b.reason], "")


def test_chunks_move_nothing_before_the_start():
    b = Bench(autostart=False)
    b.tick()
    b.send_chunk(0.1)
    assert b.tick(20).target is None and b.state is State.READY and b.reason == "waiting for /uma/start"
    b.controller.start(b.now)
    b.send_chunk(0.1)
    assert b.tick(80).target is not None and b.state is State.RUNNING and moved(b.commands[-1]) > 0.01


def test_a_stop_holds_the_pose_until_the_start(bench):
    bench.send_chunk(0.1, stamp=bench.t + 0.01)
    bench.tick(30)
    bench.controller.stop(bench.now, bench.t)
    assert bench.controller.schedule.last_due is None
    bench.tick(60)
    held = bench.commands[-1].target
    for _ in range(3):
        bench.send_chunk(0.1)
        assert np.allclose(bench.tick(10).target, held, atol=1e-9), "the held pose is still sent"
    assert bench.state is State.IDLE and bench.reason == "stopped by /uma/stop, waiting for /uma/start"
    bench.controller.start(bench.now)
    bench.send_chunk(0.1)
    bench.tick(60)
    assert bench.state is State.RUNNING and np.linalg.norm(bench.commands[-1].target - held) > 0.01


def test_recover_outside_a_fault_is_refused(bench):
    with pytest.raises(RuntimeError, match="in RUNNING: nothing to recover from"):
        bench.controller.recover(bench.now, bench.t)


def test_a_jump_of_the_arm_is_a_fault(bench):
    bench.arm[0, 3] += MAX_JUMP + 0.02
    command = bench.tick()
    assert bench.state is State.FAULT and command.target is None
    assert bench.reason == "the robot's pose jumped by 0.17 m, limit 0.15 m"
    bench.send_chunk(0.1)
    with pytest.raises(RuntimeError, match="in FAULT"):
        bench.controller.start(bench.now)
    assert bench.tick(10).target is None
    bench.controller.recover(bench.now, bench.t)
    bench.send_chunk()
    assert bench.tick(10).target is None and bench.reason == "waiting for /uma/start"
    bench.controller.start(bench.now)
    bench.send_chunk(stamp=bench.t + 0.01)
    target = bench.tick().target
    assert bench.state is State.RUNNING and np.allclose(target, bench.arm, atol=2e-3), "it begins where the arm is"


def test_a_jump_of_less_is_none(bench):
    bench.arm[0, 3] += MAX_JUMP - 0.01
    assert bench.tick().target is not None and bench.state is State.RUNNING


def test_an_inactive_controller_moves_nothing():
    b = Bench()
    b.controller.deactivate("not active", b.now, b.t)
    b.tick()
    b.send_chunk(0.1)
    assert b.tick(10).target is None and b.reason == "not active; after its activation, /uma/start"
    with pytest.raises(RuntimeError, match="not active"):
        b.controller.start(b.now)
    b.controller.activate()
    b.send_chunk(0.1)
    assert b.tick(10).target is None and b.state is State.IDLE
    b.controller.start(b.now)
    b.send_chunk(0.1)
    assert b.tick().target is not None and b.state is State.RUNNING


# -- silences ----------------------------------------------------------------------------------------------------------


def test_the_pose_is_held_while_the_gripper_is_silent(bench):
    bench.silent = {"gripper"}
    bench.send_chunk(0.2, stamp=bench.t + 0.01)
    bench.tick(45)
    assert bench.state is State.HOLD and bench.reason.startswith("gripper: silent for 0.3")
    bench.tick(30)
    before = bench.commands[-1].target
    assert np.allclose(bench.tick(5).target, before, atol=1e-6)
    bench.silent = set()
    bench.tick()
    assert bench.state is State.RUNNING


def test_nothing_is_sent_while_the_robot_is_silent(bench):
    bench.silent = {"robot"}
    assert bench.tick(30).target is not None
    assert bench.tick(20).target is None and bench.reason.startswith("robot: silent for")
    bench.silent = set()
    bench.tick()
    assert bench.commands[-1].target is None, "it needs a chunk: the arm may have been moved"
    bench.send_chunk()
    assert bench.tick().target is not None and bench.state is State.RUNNING


def test_a_second_of_the_robots_silence_needs_a_start(bench):
    bench.silent = {"robot"}
    bench.tick(150)
    bench.silent = set()
    bench.tick()
    assert bench.state is State.IDLE and bench.reason == "the robot was silent for 1.2 s, waiting for /uma/start"


def test_without_fresh_chunks_the_pose_is_held(bench):
    bench.tick(int(1.0 / PERIOD), chunks=True)
    assert bench.state is State.RUNNING
    last_due = bench.controller.schedule.last_due
    for _ in range(round((HORIZON + 3) / RATE_HZ / PERIOD)):
        bench.tick()
        if bench.state is not State.RUNNING:
            break
    assert 2 / RATE_HZ < bench.t - last_due < 2 / RATE_HZ + PERIOD + 1e-6
    assert bench.state is State.HOLD and bench.reason.startswith("no fresh chunk: the last action was due 0.1 s ago")
    assert bench.tick(50).target is not None
    bench.send_chunk()
    bench.tick()
    assert bench.state is State.RUNNING


def test_a_long_hold_needs_a_new_start():
    b = Bench(autostart=False, hold_limit=0.5)
    b.tick()
    b.controller.start(b.now)
    b.send_chunk()
    b.tick(300)
    assert b.state is State.READY
    b.send_chunk()
    b.tick()
    assert b.state is State.READY and b.reason == "waiting for /uma/start"


def test_a_heartbeat_that_ends_holds_the_arm():
    b = Bench(heartbeat_s=0.1)
    b.tick()
    b.send_chunk()
    assert b.tick().target is None and b.reason == "waiting for operator: nothing received yet"
    b.controller.receive("operator", b.now)
    b.send_chunk()
    b.tick(5)
    assert b.state is State.RUNNING
    b.tick(15)
    assert b.state is State.HOLD and b.reason.startswith("operator: silent for 0.1")


def test_a_second_publisher_of_targets_holds_the_arm(bench):
    bench.controller.count_publishers("/target_pose", 2)
    bench.send_chunk(0.1, stamp=bench.t + 0.01)
    assert moved(bench.tick(40)) < 1e-6 and bench.state is State.HOLD
    assert bench.reason.startswith("/target_pose: 2 publishers, limit 1 (this node")
    bench.controller.count_publishers("/target_pose", 1)
    bench.tick(20)
    assert bench.state is State.RUNNING and moved(bench.commands[-1]) > 1e-3
