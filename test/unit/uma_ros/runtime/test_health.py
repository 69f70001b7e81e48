"""Severities of states and problems, the log of waits, and the groups of the diagnostics aggregator."""

import re

import pytest
import yaml
from harness import ROOT

from uma.control.session import State
from uma_ros.deployment.schema import NODES
from uma_ros.runtime.health import Severity, WaitLog, judged


@pytest.mark.parametrize(
    "state, problems, errors, severity, message",
    [
        (None, {}, (), Severity.OK, "ok"),
        (State.RUNNING, {}, (), Severity.OK, "ok"),
        (State.IDLE, {}, (), Severity.OK, "ok"),
        (State.HOLD, {}, (), Severity.WARN, "a reason"),
        (State.FAULT, {}, (), Severity.ERROR, "a reason"),
        (State.RUNNING, {"gripper": "silent"}, (), Severity.WARN, "gripper: silent"),
        (State.RUNNING, {"arm": "reflex"}, ("arm",), Severity.ERROR, "arm: reflex"),
        (None, {"a": "x", "b": "y"}, ("b",), Severity.ERROR, "a: x; b: y"),
        (State.FAULT, {"bag": "disk full"}, (), Severity.ERROR, "a reason; bag: disk full"),
        (State.FAULT, {"bag": "a reason"}, ("bag",), Severity.ERROR, "a reason"),
    ],
)
def test_diagnostics_are_as_severe_as_the_worst(state, problems, errors, severity, message):
    assert judged(state, "a reason", problems, errors, "ok") == (severity, message)


def lines(seconds, inputs, person=""):
    """The lines of a wait log that is asked every second."""
    log = WaitLog()
    due = ((now, log.due(float(now), inputs, person)) for now in range(seconds))
    return [(now, *line) for now, line in due if line is not None]


def test_missing_inputs_are_logged_in_full_and_then_as_warnings():
    inputs = ["camera: nothing received yet", "robot: silent for 2.00 s, limit 0.30 s"]
    said = lines(21, inputs)
    assert [(now, severity) for now, severity, _ in said] == [(5, 0), (10, 1), (15, 1), (20, 1)]
    assert said[0][2] == "waiting for 5 s: " + "; ".join(inputs)


def test_a_request_to_a_person_is_logged_once():
    assert lines(60, [], "READY: waiting for a task") == [(5, Severity.OK, "READY: waiting for a task")]


def test_a_short_wait_is_not_logged():
    log = WaitLog()
    for now in range(0, 100, 2):
        assert log.due(float(now), ["camera: silent"] if now % 8 < 4 else []) is None


def test_the_aggregator_shows_every_node_once():
    groups = yaml.safe_load((ROOT / "config/diagnostics.yaml").read_text())["analyzers"]["ros__parameters"]
    assert groups.pop("path") == "UMA"
    for node in NODES:
        for name in (f"uma: {node}", f"uma: left/{node}", f"uma: lab/left/{node}"):
            shown = [k for k, group in groups.items() for regex in group["regex"] if re.fullmatch(regex, name)]
            assert len(shown) == 1, (name, shown)
            assert not any(re.fullmatch(regex, name + "x") for group in groups.values() for regex in group["regex"])
    assert all(group["type"] == "diagnostic_aggregator/GenericAnalyzer" for group in groups.values())
