"""The way home: up, across, down, through the safety filter, and ended by every hold."""

import numpy as np
import pytest
from controller_bench import FLANGE, PERIOD, Bench
from scipy.spatial.transform import Rotation

from uma.control.home import SPEED, TURN_SPEED, way_home
from uma.control.session import State
from uma.geometry.se3 import rotation_angle
from uma.types import InputError


def away(metres):
    T = FLANGE.copy()
    T[:3, 3] += metres
    return T


def follow(bench, seconds):
    """Run while the arm goes where it is told."""
    heights = []
    for _ in range(int(seconds / PERIOD)):
        command = bench.tick()
        if command.target is not None:
            bench.arm = command.target
        heights.append(bench.arm[2, 3])
    return np.array(heights)


def home(bench):
    return bench.controller.home(FLANGE, "tcp", bench.now, bench.t)


@pytest.fixture
def bench():
    bench = Bench(autostart=False)
    bench.arm = away([0.05, 0.2, -0.1])
    bench.tick(5)
    return bench


def test_home_goes_up_across_and_down_and_stops(bench):
    seconds = home(bench)
    start = bench.arm.copy()
    heights = follow(bench, seconds / 3)
    assert bench.state == State.RUNNING and np.all(np.diff(heights) > -1e-6)
    crossed = np.linalg.norm(bench.arm[:2, 3] - start[:2, 3])
    assert crossed < 0.02 or bench.arm[2, 3] > FLANGE[2, 3] - 0.005
    follow(bench, seconds)
    np.testing.assert_allclose(bench.arm, FLANGE, atol=2e-3)
    assert bench.state == State.IDLE and "at home; waiting for /uma/start" in bench.reason
    assert all(c.close_gripper is None for c in bench.commands)


def test_chunks_on_the_way_home_are_not_followed(bench):
    seconds = home(bench)
    for _ in range(int(seconds / 0.2) + 5):
        bench.send_chunk(way=0.3, grip=1.0)
        follow(bench, 0.2)
    np.testing.assert_allclose(bench.arm, FLANGE, atol=2e-3)
    bench.controller.start(bench.now)
    bench.send_chunk(way=0.05, grip=1.0)
    follow(bench, 0.5)
    assert bench.state == State.RUNNING and bench.arm[1, 3] > FLANGE[1, 3] + 0.01


def test_a_stop_ends_the_way_home(bench):
    home(bench)
    follow(bench, 0.8)
    bench.controller.stop(bench.now, bench.t)
    here = bench.arm.copy()
    follow(bench, 1.0)
    np.testing.assert_allclose(bench.arm, here, atol=1e-6)
    assert bench.state == State.IDLE


def test_a_missing_input_ends_the_way_home(bench):
    home(bench)
    follow(bench, 0.8)
    bench.silent.add("gripper")
    follow(bench, 0.6)
    here = bench.arm.copy()
    bench.silent.clear()
    follow(bench, 1.0)
    np.testing.assert_allclose(bench.arm, here, atol=1e-6)
    assert bench.state == State.IDLE and "the way home ended: " in bench.reason and "gripper" in bench.reason


def test_home_is_refused_in_motion_in_fault_and_without_inputs(bench):
    controller = bench.controller
    controller.start(bench.now)
    bench.tick(30, chunks=True)
    with pytest.raises(RuntimeError, match="in RUNNING: call /uma/stop first"):
        home(bench)
    controller.stop(bench.now, bench.t)
    bench.silent.add("gripper")
    bench.tick(60)
    with pytest.raises(RuntimeError, match="not started: .*gripper"):
        home(bench)
    bench.silent.clear()
    bench.tick(2)
    with pytest.raises(InputError, match="nowhere"):
        controller.home(FLANGE, "nowhere", bench.now, bench.t)
    controller.session.fault(bench.now, "a test")
    with pytest.raises(RuntimeError, match="FAULT"):
        home(bench)


def test_the_way_keeps_its_speeds():
    start = away([0.3, -0.3, -0.2])
    start[:3, :3] = start[:3, :3] @ Rotation.from_euler("z", 70, degrees=True).as_matrix()
    way = way_home(start, FLANGE, 0.0, "fr3_link0", "tcp")
    poses = np.concatenate([start[None], way.poses])
    steps = np.linalg.norm(np.diff(poses[:, :3, 3], axis=0), axis=1) * way.rate_hz
    turns = [rotation_angle(a[:3, :3], b[:3, :3]) * way.rate_hz for a, b in zip(poses, poses[1:])]
    assert 0.9 * SPEED < steps.max() <= 1.02 * SPEED and max(turns) <= 1.02 * TURN_SPEED
    assert poses[:, 2, 3].max() <= FLANGE[2, 3] + 1e-9
    np.testing.assert_allclose(poses[-1], FLANGE, atol=1e-9)
    assert len(way_home(FLANGE, FLANGE, 0.0, "fr3_link0", "tcp").poses) == 1
