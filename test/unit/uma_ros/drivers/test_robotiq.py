"""The 2F-85's driver against a Modbus RTU server on a pseudo-terminal, and its session against a device and a clock of
the test's own."""

import time
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from robotiq_gripper import FakeGripper

from uma.types import InputError
from uma_ros.drivers import device as link
from uma_ros.drivers.device import Backoff, DeviceError, LinkError, MissingPackage
from uma_ros.drivers.gripper.robotiq import (
    FAULTS,
    GripperSession,
    JawMotion,
    Outcome,
    Robotiq,
    RobotiqSettings,
    Status,
    counts,
    decode,
    opening,
)

pytest.importorskip("pymodbus", reason="extra 'robot' is not installed")
pytest.importorskip("serial", reason="extra 'robot' is not installed")

FAST = 8.0  # the fake's fingers move this much faster than real ones


@pytest.fixture
def hand():
    gripper = FakeGripper(pace=FAST)
    yield gripper
    gripper.close()


def session_on(hand: FakeGripper, **changes) -> GripperSession:
    return GripperSession(Robotiq(RobotiqSettings(port=hand.port, **changes)))


def run(session: GripperSession, until, timeout: float = 10.0) -> None:
    end = time.monotonic() + timeout
    while not until():
        session.cycle(time.monotonic())
        assert time.monotonic() < end, (session.trouble, session.status)
        time.sleep(0.002)


def carry_out(session: GripperSession, *goal) -> Outcome:
    number = session.goto(*goal)
    run(session, lambda: session.outcome(number) is not None)
    return session.outcome(number)


# -- conventions -------------------------------------------------------------------------------------------------------


def test_opening_0_to_1_maps_to_255_counts():
    s = RobotiqSettings()
    assert (counts(0.0, s), counts(1.0, s)) == (0, 255)
    assert (opening(s.open_counts, s), opening(s.closed_counts, s)) == (0.0, 1.0)
    assert opening(0, s) == 0.0 and opening(255, s) == 1.0
    assert counts(0.25, s) < counts(0.5, s) < counts(0.75, s)


@given(st.floats(0.01, 0.99))
def test_counts_and_opening_are_inverse_within_half_a_count(x):
    s = RobotiqSettings()
    assert abs(opening(counts(x, s), s) - x) <= 0.5001 / (s.closed_counts - s.open_counts)


@pytest.mark.parametrize(
    "registers, expected",
    [
        # by the manual: gOBJ 7-6, gSTA 5-4, gGTO 3, gACT 0 | reserved; fault | request echo; position | current
        ([0x3100, 0x0000, 0x0300], Status(True, JawMotion.MOVING, 0, 0, 3, 0.0)),
        ([0xF900, 0x00FF, 0xE600], Status(True, JawMotion.AT_POSITION, 0, 255, 230, 0.0)),
        ([0xB900, 0x00FF, 0x6423], Status(True, JawMotion.CONTACT_CLOSING, 0, 255, 100, 0.35)),
        ([0x7900, 0x0000, 0x6400], Status(True, JawMotion.CONTACT_OPENING, 0, 0, 100, 0.0)),
        ([0x1100, 0x0500, 0x0000], Status(False, JawMotion.MOVING, 5, 0, 0, 0.0)),
    ],
)
def test_registers_follow_the_manual(registers, expected):
    found = decode(registers)
    assert replace(found, current=0.0) == replace(expected, current=0.0) and found.current == pytest.approx(
        expected.current
    )


def test_every_fault_has_words():
    for code, text in FAULTS.items():
        assert text in decode([0x3100, code << 8, 0]).fault_text
    assert "unknown" in decode([0x3100, 0x0200, 0]).fault_text


@pytest.mark.parametrize("registers", [[], [0, 0], [0, 0, 1 << 16]])
def test_a_reply_of_another_size_is_a_broken_link(registers):
    with pytest.raises(LinkError, match="must be 3"):
        decode(registers)


def test_settings_out_of_range_are_refused_by_name():
    with pytest.raises(InputError, match="max_force: 400"):
        RobotiqSettings(max_force=400.0)


# -- over the wire -----------------------------------------------------------------------------------------------------


def test_gripper_activates_moves_and_reports_its_opening(hand):
    session = session_on(hand)
    run(session, lambda: session.is_ready)
    assert hand.written()[:2] == [(0, 0, 0), (0x0100, 0, 0)], "cleared first, then activated"
    assert carry_out(session, 1.0) == Outcome(reached=True) and session.opening() == 1.0
    assert carry_out(session, 0.5) == Outcome(reached=True) and session.opening() == pytest.approx(0.5, abs=0.01)
    assert carry_out(session, 0.0) == Outcome(reached=True) and session.opening() == 0.0


def test_an_active_gripper_is_not_activated_again(hand):
    first = session_on(hand)
    run(first, lambda: first.is_ready)
    hand.object_at = 120
    assert carry_out(first, 1.0).stalled
    first.device.close()
    hand.requests.clear()
    second = session_on(hand)
    run(second, lambda: second.is_ready)
    assert not hand.written() and second.opening() == pytest.approx(opening(120, second.settings)), (
        "it would have let the object fall"
    )


def test_object_between_the_fingers_is_a_stall(hand):
    hand.object_at = 140
    session = session_on(hand)
    run(session, lambda: session.is_ready)
    assert carry_out(session, 1.0) == Outcome(stalled=True)
    assert session.status.motion is JawMotion.CONTACT_CLOSING and session.opening() == pytest.approx(
        opening(140, session.settings)
    )


def test_speed_and_force_are_capped_and_scaled(hand):
    session = session_on(hand, max_speed=0.085, max_force=60.0)
    run(session, lambda: session.is_ready)
    carry_out(session, 1.0, 9.0, 500.0)
    assert hand.written()[-1] == (0x0900, 255, 128 << 8 | 47), "(85 - 20) / 130 and (60 - 20) / 215 of 255"
    carry_out(session, 0.0, 0.02, 20.0)
    assert hand.written()[-1] == (0x0900, 0, 0)
    carry_out(session, 0.1)
    assert hand.written()[-1][2] == 128 << 8 | 24, "without a wish: the defaults, capped too"


@pytest.mark.parametrize("goal", [(-0.1,), (1.1,), (np.nan,), (0.5, np.inf), (0.5, 0.1, -1.0), (0.5, np.nan)])
def test_a_bad_goal_is_refused_and_changes_nothing(hand, goal):
    session = session_on(hand)
    run(session, lambda: session.is_ready)
    before = len(hand.written())
    with pytest.raises(InputError):
        session.goto(*goal)
    session.cycle(time.monotonic())
    assert len(hand.written()) == before


def test_before_the_activation_goals_are_refused_with_the_reason(hand):
    session = session_on(hand, activate=False)
    run(session, lambda: session.status is not None)
    with pytest.raises(DeviceError, match="not activated"):
        session.goto(1.0)
    assert not hand.written()
    session.reactivate()
    run(session, lambda: session.is_ready)
    assert carry_out(session, 1.0).reached


def test_major_fault_ends_the_goal_until_an_activation(hand):
    session = session_on(hand)
    run(session, lambda: session.is_ready)
    hand.pace = 0.1
    number = session.goto(1.0)
    session.cycle(time.monotonic())
    hand.fault = 0x0E
    run(session, lambda: session.outcome(number) is not None)
    assert "overcurrent" in session.outcome(number).failed
    writes = len(hand.written())
    run_for(session, 0.3)
    assert len(hand.written()) == writes and "0x0E" in session.trouble
    with pytest.raises(DeviceError, match="overcurrent"):
        session.goto(0.0)
    hand.pace = FAST
    session.reactivate()
    run(session, lambda: session.is_ready)
    assert not session.trouble and carry_out(session, 1.0).reached


def run_for(session: GripperSession, seconds: float) -> None:
    end = time.monotonic() + seconds
    run(session, lambda: time.monotonic() > end)


def test_power_cut_is_reported_and_needs_an_activation(hand):
    session = session_on(hand)
    run(session, lambda: session.is_ready)
    hand.power_cut()
    writes = len(hand.written())
    run(session, lambda: not session.is_ready)
    run_for(session, 0.3)
    assert len(hand.written()) == writes and "not activated" in session.trouble


def test_reply_over_the_limit_is_a_lost_link(hand):
    session = session_on(hand, reply_timeout=0.3)
    hand.delay = 0.1
    run(session, lambda: session.is_ready)
    assert session.num_lost == 0 and session.device.replies.percentiles()["p50"] > 90
    hand.delay = 0.5
    run(session, lambda: session.num_lost == 1)
    assert not session.is_ready and "next attempt in" in session.trouble
    hand.delay = 0.0
    run(session, lambda: session.is_ready)
    assert carry_out(session, 1.0).reached, "the late answers did not pass for later ones"


@pytest.mark.parametrize("what", ["is_silent", "damage"])
def test_bad_answers_end_the_goal_and_the_link_returns(hand, what):
    session = session_on(hand, reply_timeout=0.1)
    run(session, lambda: session.is_ready)
    number = session.goto(1.0)
    setattr(hand, what, True)
    run(session, lambda: session.outcome(number) is not None)
    assert session.outcome(number).failed and not session.is_ready
    setattr(hand, what, False)
    run(session, lambda: session.is_ready)
    assert len([w for w in hand.written() if w == (0x0100, 0, 0)]) == 1, "still active: not activated again"


def test_a_pulled_cable_is_found_again_under_the_same_name(hand, tmp_path):
    (tmp_path / "gripper").symlink_to(hand.port)
    session = GripperSession(Robotiq(RobotiqSettings(port=str(tmp_path / "gripper"), reply_timeout=0.5)))
    run(session, lambda: session.is_ready)
    hand.pull_cable()
    (tmp_path / "gripper").unlink()
    run(session, lambda: "cannot open" in session.trouble)
    hand.plug_in()
    (tmp_path / "gripper").symlink_to(hand.port)
    run(session, lambda: session.is_ready)
    assert session.num_lost == 1 and carry_out(session, 1.0).reached


def test_another_gripper_on_the_same_bus_is_not_mistaken_for_it(hand):
    session = session_on(hand, device_id=8, reply_timeout=0.1)
    run(session, lambda: "next attempt" in session.trouble)
    assert session.status is None and not hand.requests


def test_a_missing_port_and_a_missing_package_are_named(monkeypatch):
    session = GripperSession(Robotiq(RobotiqSettings(port="/dev/no-such-port")))
    session.cycle(0.0)
    assert "/dev/no-such-port" in session.trouble
    monkeypatch.setitem(__import__("sys").modules, "pymodbus", None)
    monkeypatch.setitem(__import__("sys").modules, "pymodbus.client", None)
    with pytest.raises(MissingPackage, match=r"pip install 'uma\[robot\]'"):
        Robotiq(RobotiqSettings())


# -- the session by itself
# ----------------------------------------------------------------------------------------------------


class Scripted:
    """A device whose status the test sets."""

    settings = RobotiqSettings(activate=False)

    def __init__(self) -> None:
        self.now = Status(True, JawMotion.AT_POSITION, 0, 0, 3, 0.0)
        self.said: list[tuple] = []

    def connect(self): ...
    def close(self): ...

    def status(self):
        return self.now

    def goto(self, *goal):
        self.said.append(goal)

    def stop(self):
        self.said.append(("stop",))


def test_the_status_of_the_motion_before_does_not_end_a_goal():
    device = Scripted()
    session = GripperSession(device)
    session.cycle(0.0)
    number = session.goto(1.0)
    session.cycle(1.0)
    device.now = replace(device.now, requested=255)  # the echo is new, the motion is still the old one
    session.cycle(1.01)
    assert session.outcome(number) is None
    device.now = replace(device.now, motion=JawMotion.MOVING)
    session.cycle(1.2)
    assert session.outcome(number) is None
    device.now = replace(device.now, motion=JawMotion.AT_POSITION, position=230)
    session.cycle(1.5)
    assert session.outcome(number) == Outcome(reached=True)


def test_a_motion_that_never_ends_is_a_failure_after_its_time():
    device = Scripted()
    session = GripperSession(device)
    session.cycle(0.0)
    number = session.goto(1.0)
    session.cycle(0.0)
    device.now = replace(device.now, motion=JawMotion.MOVING, requested=255)
    session.cycle(3.9)
    assert session.outcome(number) is None
    session.cycle(4.1)
    assert "after 4 s" in session.outcome(number).failed


def test_new_goal_replaces_and_cancel_stops_the_fingers():
    device = Scripted()
    session = GripperSession(device)
    session.cycle(0.0)
    first = session.goto(1.0)
    session.cycle(0.1)
    second = session.goto(0.5)
    assert session.outcome(first).failed == "replaced by another goal"
    session.cycle(0.2)
    session.cancel(first)
    session.cycle(0.3)
    assert session.outcome(second) is None and ("stop",) not in device.said
    session.cancel(second)
    session.cycle(0.4)
    assert session.outcome(second).failed == "cancelled" and device.said[-1] == ("stop",)


def test_attempts_come_at_growing_intervals_up_to_a_limit():
    backoff = Backoff(0.2, 1.0)
    assert backoff.is_due(0.0)
    assert [backoff.failed(0.0) for _ in range(5)] == [0.2, 0.4, 0.8, 1.0, 1.0]
    assert not backoff.is_due(0.99) and backoff.is_due(1.0)
    backoff.succeeded()
    assert backoff.is_due(0.0) and backoff.failed(0.0) == 0.2


def test_a_package_that_is_there_is_imported():
    assert link.require("json", "robot").dumps([]) == "[]"
