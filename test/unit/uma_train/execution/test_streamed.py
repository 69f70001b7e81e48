"""Executed actions of a chunk while the next one is computed, step by step and through the controller."""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest

pytest.importorskip("mujoco")

from uma.control.controller_settings import ControllerSettings
from uma.control.hysteresis import Hysteresis
from uma.control.safety import SafetySettings
from uma.geometry import se3
from uma.types import HORIZON, RATE_HZ, ActionChunk
from uma_sim.station import Station
from uma_sim.tasks import make_station
from uma_train.data.draws import driven
from uma_train.data.simulate_config import SimulateConfig
from uma_train.evaluation.benchmark_config import BenchmarkConfig
from uma_train.evaluation.closed_loop import _steps
from uma_train.execution import driving
from uma_train.execution.driving import DelayedExecutor
from uma_train.execution.streamed import SimulatedController


def plan(first: int) -> list[tuple[int, float]]:
    return [(first + i, 0.0) for i in range(HORIZON)]


def test_the_chunk_before_goes_on_until_the_next_is_there():
    delayed, here = DelayedExecutor(3, 4), (-1, 0.0)
    executed = [p for n in range(3) for p, _ in delayed.next(plan(100 * n), here, 4 * n / RATE_HZ)]
    assert executed == [-1, -1, -1, 3, 4, 5, 6, 103, 104, 105, 106, 203]
    # What ran before something else acted is no longer what the arm is on.
    assert [p for p, _ in delayed.next(plan(300), here, 30 / RATE_HZ)] == [-1, -1, -1, 303]
    assert [p for p, _ in DelayedExecutor(0, 4).next(plan(0), here, 0.0)] == [0, 1, 2, 3]


def test_the_gripper_changes_only_beyond_the_thresholds():
    hysteresis = Hysteresis(0.6, 0.4)
    assert [hysteresis.update(v) for v in (0.5, 0.61, 0.9, 0.5, 0.41, 0.39, 0.2, 0.59, 0.7)] == [
        None,
        True,
        None,
        None,
        None,
        False,
        None,
        None,
        True,
    ]


@pytest.fixture
def station():
    made = make_station(3, "insertion", render=False)
    yield made
    made.close()


def moved(station: Station, metres: float, gripper: float) -> ActionChunk:
    """Sideways, evenly over the whole chunk, in the camera frame."""
    T = np.repeat(station.ee_pose()[None], HORIZON, 0)
    T[:, 1, 3] += np.linspace(0, metres, HORIZON + 1)[1:]
    return ActionChunk(
        se3.invert(station.T_base_cam) @ T,
        np.full(HORIZON, gripper),
        station.time,
        station.camera.frame,
        station.ee_frame,
    )


def test_a_chunk_is_followed_after_its_latency_at_its_time(station):
    simulated, start = SimulatedController(station, 0.2), station.ee_pose()
    simulated.give(moved(station, 0.16, 0.55))
    for _ in range(3):  # 0.2 s
        simulated.step()
    assert np.linalg.norm(station.ee_pose()[:3, 3] - start[:3, 3]) < 1e-3
    simulated.step()
    assert simulated.controller.schedule.target(station.time).index >= 3, (
        "actions that are late by then are not made up for one by one"
    )
    for _ in range(HORIZON + 5):
        simulated.step()
    assert np.allclose(station.ee_pose()[:3, 3] - start[:3, 3], [0, 0.16, 0], atol=4e-3)
    assert station.gripper_position() < 0.05, "0.55 is below the threshold for closing"
    assert abs(station.time - (HORIZON + 9) / RATE_HZ) < 0.011, (
        "its ticks are no whole share of a step, but nothing is lost"
    )


def test_what_the_filter_does_not_pass_is_not_executed(station):
    limits, settings = SafetySettings(), ControllerSettings(autostart=True, blend_s=0.0)
    simulated = SimulatedController(station, 0.0, settings)
    simulated.give(moved(station, 1.6, 1.0))
    speeds, before = [], None
    for _ in range(HORIZON):
        simulated.step()
        here = station._target[:3, 3]
        speeds += [] if before is None else [np.linalg.norm(here - before) * RATE_HZ]
        before = here.copy()
        assert limits.workspace_min[1] - 1e-6 <= here[1] <= limits.workspace_max[1] + 1e-6
    assert 0.3 < max(speeds) < limits.max_step_m * RATE_HZ + 1e-6
    assert station.gripper_position() > 0.9


def test_the_session_runs_and_holds_for_want_of_a_chunk(station):
    simulated = SimulatedController(station, 0.1)
    controller, states = simulated.controller, []
    simulated.give(moved(station, 0.16, 0.0))
    for _ in range(HORIZON + 8):
        simulated.step()
        states.append((controller.session.state.name, controller.session.reason))
    names = [name for name, _ in states]
    assert names[0] == "READY" and names[2] == "RUNNING" and names[-1] == "HOLD"
    assert names.index("HOLD") == HORIZON + 2, "2/15 s after the last action was due"
    assert states[-1][1].startswith("no fresh chunk: the last action was due")
    simulated.give(moved(station, 0.02, 0.0))
    for _ in range(4):
        simulated.step()
    assert controller.session.state.name == "RUNNING" and not simulated.refused


def test_a_chunk_that_the_controller_refuses_moves_nothing(station):
    simulated, start = SimulatedController(station, 0.0), station.ee_pose()
    simulated.give(replace(moved(station, 0.16, 0.0), rate_hz=1000.0))
    station.advance(0.05)
    simulated._start += 0.05
    for _ in range(HORIZON):
        simulated.step()
    assert simulated.refused.startswith("chunk 0: its last action was due")
    assert np.linalg.norm(station.ee_pose()[:3, 3] - start[:3, 3]) < 1e-3


def test_chunks_that_would_all_be_too_old_are_refused(station):
    with pytest.raises(ValueError, match="latency_s: 1.05, must be at most max_chunk_age, 1 s"):
        SimulatedController(station, 1.05)


def test_benchmark_executes_chunks_as_configured(station, monkeypatch):
    """Over the first three steps: at once, after two of them, or, through the controller, not yet."""
    monkeypatch.setattr(station, "observe", lambda: None)
    way = []
    for changes in ({"streamed_ms": 0.0}, {"streamed_ms": 0.0, "delay": 2}, {"streamed_ms": 200.0}):
        start = station.ee_pose()[1, 3]
        steps = _steps(BenchmarkConfig(**changes), station, lambda o, n: moved(station, 0.16, 0.0), None)
        for _ in range(3):
            next(steps)()
        way.append(station.ee_pose()[1, 3] - start)
        station.act(station.ee_pose(), 0.0)
        station.advance(0.5)
    assert way[0] > way[1] + 0.006 > 0.012 and abs(way[2]) < 1e-3


def test_a_policy_at_the_wheel_is_late_by_what_is_drawn(station, monkeypatch):
    class Still:
        encode_task = staticmethod(lambda observation, reference: None)
        predict = staticmethod(lambda observation, task, sequence: SimpleNamespace(chunk=moved(station, 0.16, 1.0)))

    monkeypatch.setattr(driving, "policy_of", lambda checkpoint: Still())
    monkeypatch.setattr(station, "observe", lambda: None)
    held = set()
    for seed in range(20):
        for most in (0, 4):
            act = driven(SimulateConfig(policy="x", policy_delay=most), seed, station, np.random.default_rng(seed))
            grips = [grip for _, grip in act(station, 0.0)]
            assert len(grips) == 4 and grips == sorted(grips), "the last target is held until the chunk is there"
            held.add((most, grips.count(0.0)))
    assert held == {(0, 0), *((4, n) for n in range(5))}


def test_delays_that_make_no_sense_are_refused():
    for changes, text in (
        ({"streamed_ms": 267.0}, "streamed_ms: 267"),
        ({"delay": 2}, "delay: 2, must be 0 with streamed_ms 130"),
        ({"streamed_ms": -1.0}, "streamed_ms: -1"),
    ):
        with pytest.raises(ValueError, match=text):
            BenchmarkConfig(**changes)
    with pytest.raises(ValueError, match="policy_delay: 5"):
        SimulateConfig(policy_delay=5)
