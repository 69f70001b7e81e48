"""One period of the real controller, called by hand: what it hands to the safety filter."""

import numpy as np
import pytest

from uma.types import RATE_HZ
from uma_ros.nodes.controller import CLOCK_SET


@pytest.fixture
def controller(monkeypatch):
    """A controller with a chunk under way, on a clock that is set by hand, and what its filter was asked: (target,
    lasted, elapsed, pace)."""
    import fuzz_nodes
    from fuzz_messages import chunk

    node = fuzz_nodes.fresh_controller()
    msg = chunk("fr3_link0", fuzz_nodes.now())
    for i, pose in enumerate(msg.poses):
        pose.position.x += 0.012 * (i + 1)
    node._on_chunk(msg)
    assert not node.status.message.num_refused, node.status.message.refused
    clock, asked = {"t": node.ros_time()}, []
    monkeypatch.setattr(node, "ros_time", lambda: clock["t"])
    step = node.safety.step

    def ask(target, measured, lasted, elapsed, arm, pace):
        asked.append((target, lasted, elapsed, pace))
        return step(target, measured, lasted, elapsed, arm, pace)

    monkeypatch.setattr(node.safety, "step", ask)
    node._tick()
    yield node, clock, asked
    fuzz_nodes.close()


def test_the_filter_is_told_the_pace_of_the_chunk(controller):
    node, clock, asked = controller
    for _ in range(3):
        clock["t"] += 0.008
        node._tick()
    target, lasted, elapsed, pace = asked[-1]
    assert target is not None and lasted == elapsed == pytest.approx(0.008, abs=1e-6)
    assert pace[0] == pytest.approx(0.012 * RATE_HZ, rel=1e-3)


@pytest.mark.parametrize("jump, periods", [(0.02, 2.5), (0.5, 4.0), (CLOCK_SET + 5.0, 1.0)])
def test_a_clock_set_forward_moves_nothing_on_and_a_late_period_at_most_four(controller, jump, periods):
    node, clock, asked = controller
    clock["t"] += jump
    node._tick()
    _, lasted, elapsed, _ = asked[-1]
    assert lasted == pytest.approx(periods * 0.008, abs=1e-6) and elapsed == pytest.approx(jump, abs=1e-6)


def test_after_a_clock_turned_back_nothing_planned_is_due(controller):
    node, clock, asked = controller
    sent = len(node._out.messages)
    clock["t"] -= 10.0
    node._tick()
    assert not asked and node.schedule.last_due is None
    clock["t"] += 0.008
    node._tick()
    assert asked[-1][0] is None, "no target: the pose is held"
    places = np.array([[m.pose.position.x, m.pose.position.y, m.pose.position.z] for m in node._out.messages[sent:]])
    assert len(places) and np.ptp(places, axis=0).max() < 1e-9
