"""Start is permitted only with everything in place, and each refusal has its own words."""

from dataclasses import replace

import pytest
from controller_bench import FLANGE, Bench

from uma.control.session import State
from uma.sketch.reach import Hint
from uma_ros.teach.gatekeeper import Facts, NodeState, refusals

READY = NodeState(State.READY, "waiting for a task")
STOPPED = NodeState(State.IDLE, "stopped by /uma/stop, waiting for /uma/start")
GOOD = Facts(True, "task", "task", READY, READY)


def test_start_is_permitted_after_a_preview_and_after_a_stop():
    assert refusals(GOOD) == []
    assert refusals(replace(GOOD, controller=STOPPED)) == []


def _stopped(bench: Bench) -> None:
    bench.controller.stop(bench.now, bench.t)


def _silent(bench: Bench) -> None:
    bench.now, bench.t = bench.now + 2.0, bench.t + 2.0


def _home(bench: Bench) -> None:
    bench.tick(int(bench.controller.home(FLANGE, "tcp", bench.now, bench.t) / 0.008) + 50)


@pytest.mark.parametrize("way", [_stopped, _silent, _home])
def test_a_controller_that_lacks_a_start_alone_may_start(way):
    bench = Bench(autostart=False)
    bench.tick(5)
    way(bench)
    bench.tick(5)
    assert bench.state is State.IDLE
    assert refusals(replace(GOOD, controller=NodeState(bench.state, bench.reason))) == []
    bench.controller.start(bench.now)
    bench.send_chunk()
    bench.tick()
    assert bench.state is State.RUNNING


@pytest.mark.parametrize(
    "change, words",
    [
        ({"is_operator": False}, "another page has control"),
        ({"task": ""}, "no task"),
        ({"previewed": "other"}, "not previewed"),
        ({"previewed": ""}, "not previewed"),
        ({"waits": True}, "keep it (K) or drop it (X)"),
        ({"moved": "the object moved since the click"}, "the object moved"),
        ({"policy": None}, "the policy is silent"),
        ({"policy": replace(READY, age=3.0)}, "the policy is silent"),
        ({"policy": NodeState(State.RUNNING)}, "acts already"),
        ({"policy": NodeState(State.HOLD, "camera: silent")}, "the policy is in HOLD: camera: silent"),
        ({"controller": None}, "the controller is silent"),
        ({"controller": NodeState(State.FAULT, "collision")}, "press Recover"),
        ({"controller": NodeState(State.HOLD, "no fresh chunk")}, "the controller is in HOLD"),
        ({"controller": NodeState(State.IDLE, "waiting for robot")}, "the controller is in IDLE: waiting for robot"),
        ({"controller": replace(STOPPED, reason="stopped, waiting for /left/uma/start")}, "the controller is in IDLE"),
        ({"hints": [Hint(2, True, "x = 1.2 m is outside")]}, "waypoint 2: x = 1.2 m is outside"),
        ({"hints": [Hint(None, True, "no motion")]}, "no motion"),
    ],
)
def test_one_missing_thing_refuses_the_start_in_words(change, words):
    found = refusals(replace(GOOD, **change))
    assert len(found) == 1 and words in found[0]


def test_a_warning_does_not_refuse():
    assert refusals(replace(GOOD, hints=[Hint(1, False, "perhaps out of reach")])) == []


def test_all_reasons_are_told_at_once():
    found = refusals(Facts(False, "task", "", None, None, "moved", [Hint(1, True, "below the table")]))
    assert len(found) == 6
