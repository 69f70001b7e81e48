"""States, watchdogs and cadence, on a fake clock."""

import sys
import threading

import pytest

from uma.control.cadence import Cadence
from uma.control.session import Session, State
from uma.control.watchdog import Watchdog


def session(**kwargs):
    s = Session(**kwargs)
    s.update(0.0, [], False)
    return s


def test_the_ordinary_way():
    s = Session()
    assert s.state is State.IDLE
    s.update(0.0, ["camera: nothing received yet"], False)
    assert s.state is State.IDLE and "camera" in s.reason
    assert s.update(1.0, [], False).new is State.READY
    assert s.update(1.1, [], True) is None and "start" in s.reason, "work alone does not start it"
    s.start(1.2)
    assert s.update(1.3, [], True).new is State.RUNNING


def test_autostart_runs_as_soon_as_there_is_work():
    assert session(autostart=True).update(1.0, [], True).new is State.RUNNING


def test_stale_input_holds_with_its_name():
    s = session(autostart=True)
    s.update(1.0, [], True)
    t = s.update(2.0, ["camera: silent for 0.60 s, limit 0.50 s"], True)
    assert t.new is State.HOLD and "camera" in t.reason
    assert s.update(2.1, [], True).new is State.RUNNING


def test_a_long_hold_needs_a_new_start():
    s = session(hold_limit=5.0)
    s.start(0.5)
    s.update(1.0, [], True)
    s.update(2.0, [], True, hold="no fresh chunk")
    assert s.state is State.HOLD
    s.update(7.5, [], True, hold="no fresh chunk")
    assert s.state is State.READY
    s.update(7.6, [], True)
    assert s.state is State.READY, "no motion without a new start"
    s.start(8.0)
    assert s.update(8.1, [], True).new is State.RUNNING


@pytest.mark.parametrize("autostart", [True, False])
def test_stop_holds_against_everything_but_start(autostart):
    s = session(autostart=autostart)
    s.start(0.1)
    s.update(0.2, [], True)
    assert s.stop(0.3, "stopped by /uma/stop").new is State.IDLE
    for t in range(1, 20):
        s.update(float(t), [], True)
        assert s.state is State.IDLE
    s.start(20.0)
    s.update(20.1, [], True)
    s.update(20.2, [], True)
    assert s.state is State.RUNNING


def test_a_fault_needs_recover_and_then_start():
    s = session(autostart=True)
    s.update(1.0, [], True)
    assert s.fault(1.1, "the robot's pose jumped").new is State.FAULT
    assert s.update(1.2, [], True) is None and s.state is State.FAULT
    with pytest.raises(RuntimeError, match="recover"):
        s.start(1.3)
    assert s.stop(1.4, "stopped") is None and s.state is State.FAULT
    s.recover(1.5)
    for t in (1.6, 1.7, 1.8):
        s.update(t, [], True)
    assert s.state is State.READY
    s.start(2.0)
    assert s.update(2.1, [], True).new is State.RUNNING


def test_recover_outside_a_fault_is_refused():
    with pytest.raises(RuntimeError, match="nothing to recover"):
        session().recover(1.0)


def test_a_watchdog_names_who_is_silent_for_how_long():
    w = Watchdog({"camera": 0.5, "robot": 0.2})
    assert w.stale(0.0) == ["camera: nothing received yet", "robot: nothing received yet"]
    assert w.missing() == ["camera", "robot"]
    w.receive("camera", 1.0)
    assert w.missing() == ["robot"]
    w.receive("robot", 1.0)
    assert w.stale(1.1) == []
    assert w.stale(1.3) == ["robot: silent for 0.30 s, limit 0.20 s"]


def test_cadence_counts_overruns_without_the_cold_one():
    c = Cadence("chunks", period=0.1)
    for i in range(20):
        c.beat(i * 0.1 + (0.2 if i >= 10 else 0.0), 900.0 if i == 0 else 50.0 + i)
    assert c.overruns == 1 and c.rate(2.1, 0.5) == pytest.approx(10.0, rel=1e-6)
    report = c.report()
    assert report["count"] == 20 and report["latency_p99_ms"] < 100.0


def test_cadence_is_read_while_another_thread_beats():
    """A policy's worker beats while its executor reads the cadence twenty times a second."""
    c, ended = Cadence("chunks", period=0.1), threading.Event()
    for i in range(3000):
        c.beat(float(i), 1.0)

    def beat() -> None:
        t = 3000.0
        while not ended.is_set():
            c.beat(t := t + 1.0, 1.0)

    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    thread = threading.Thread(target=beat)
    thread.start()
    try:
        for _ in range(100):
            assert c.rate(float(c.count), 1e9) > 0.0  # over all that is kept
            assert c.report()["count"] >= 3000
    finally:
        ended.set()
        thread.join()
        sys.setswitchinterval(interval)
