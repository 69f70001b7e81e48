"""The pace of simulated time."""

import pytest

pytest.importorskip("rclpy")
from uma_ros.runtime.clock_governor import MOST_OWED, SLOWEST, SimClockGovernor


def steps(
    pace: SimClockGovernor, seconds: float, start: float = 0.0, latency: float | None = None, every: float = 0.25
) -> int:
    count, told = 0, start
    for i in range(int(seconds / 0.005)):
        now = start + (i + 1) * 0.005
        if latency is not None and now - told >= every:
            pace.chunk(latency, now)
            told = now
        count += pace.due(now, 2)
    return count


@pytest.mark.parametrize("factor", [0.5, 1.0, 3.0])
def test_time_runs_at_the_given_rate(factor):
    assert abs(steps(SimClockGovernor(0.01, factor, 0.2, 0.0), 10.0) - 1000 * factor) <= 1


def test_only_late_chunks_slow_the_clock():
    pace = SimClockGovernor(0.01, 1.0, 0.2, 0.0)
    assert abs(steps(pace, 10.0, latency=0.19) - 1000) <= 1
    assert steps(pace, 10.0, start=10.0, latency=0.6) < 400
    slow = pace.factor
    steps(pace, 14.0, start=20.0)
    assert slow < 0.5 and pace.factor == 1.0


def test_constant_latency_settles_near_the_limit():
    pace, wall, latency = SimClockGovernor(0.01, 1.0, 0.2, 0.0), 0.5, []
    for n in range(40):
        latency.append(pace.factor * wall)
        pace.chunk(latency[-1], n * wall)
        steps(pace, wall, start=n * wall)
    assert latency[0] == 0.5 and sum(latency[20:]) / 20 < 0.22


def test_clock_stays_within_the_watchdogs_limits():
    pace = SimClockGovernor(0.01, 2.0, 0.2, 0.0)
    for _ in range(50):
        pace.chunk(5.0, 0.0)
    assert pace.factor == pytest.approx(SLOWEST * 2.0)
    off = SimClockGovernor(0.01, 1.0, 0.0, 0.0)
    off.chunk(5.0, 0.0)
    assert off.factor == 1.0


def test_a_pause_is_not_made_up_for_in_a_burst():
    pace = SimClockGovernor(0.01, 1.0, 0.2, 0.0)
    assert pace.due(60.0, 2) == 2
    assert 2 + steps(pace, 0.5, start=60.0) <= MOST_OWED + 51
