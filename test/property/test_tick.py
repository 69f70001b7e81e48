"""One control period of the controller, on a clock that is set by hand: what the safety filter gets."""

import numpy as np
import pytest

from robustness.safety import DOWN, T_EE_FLANGE, placed
from uma.control.controller import CLOCK_SET
from uma.control.controller_settings import ControllerSettings
from uma.geometry.se3 import make_pose
from uma.types import HORIZON, RATE_HZ

START = make_pose(DOWN, np.array([0.45, 0.0, 0.3]))


@pytest.fixture
def controller(monkeypatch):
    """A controller with an active chunk, its clock, and the arguments of its filter.

    The arguments are (target, lasted, elapsed, nominal_speed).
    """
    poses = np.repeat(START[None], HORIZON, 0)
    poses[:, 0, 3] += 0.012 * np.arange(1, HORIZON + 1)
    made, clock, asked = placed(ControllerSettings(autostart=True), START, 1.7e9, poses), {"t": 1.7e9}, []
    step = made.safety.step

    def ask(target, measured, lasted, elapsed, arm, nominal_speed):
        asked.append((target, lasted, elapsed, nominal_speed))
        return step(target, measured, lasted, elapsed, arm, nominal_speed)

    monkeypatch.setattr(made.safety, "step", ask)

    def tick(seconds):
        clock["t"] += seconds
        return made.step(1.7e9, clock["t"])

    yield made, tick, asked


def test_the_filter_gets_the_pace_of_the_chunk(controller):
    _, tick, asked = controller
    for _ in range(3):
        tick(0.008)
    target, lasted, elapsed, nominal_speed = asked[-1]
    assert target is not None and lasted == elapsed == pytest.approx(0.008, abs=1e-6)
    assert nominal_speed[0] == pytest.approx(0.012 * RATE_HZ, rel=1e-3)


@pytest.mark.parametrize("jump, periods", [(0.02, 2.5), (0.5, 4.0), (CLOCK_SET + 5.0, 1.0)])
def test_a_late_period_counts_at_most_four_and_a_set_clock_one(controller, jump, periods):
    _, tick, asked = controller
    tick(jump)
    _, lasted, elapsed, _ = asked[-1]
    assert lasted == pytest.approx(periods * 0.008, abs=1e-6) and elapsed == pytest.approx(jump, abs=1e-6)


def test_after_a_clock_turned_back_nothing_planned_is_due(controller):
    made, tick, asked = controller
    commands = [tick(-10.0)]
    assert not asked and made.schedule.last_due is None
    commands.append(tick(0.008))
    assert asked[-1][0] is None, "no target: the pose is held"
    places = np.array([command.target[:3, 3] for command in commands])
    assert len(places) and np.ptp(places, axis=0).max() < 1e-9
    assert np.allclose(places[0], (START @ T_EE_FLANGE)[:3, 3], atol=1e-9)
