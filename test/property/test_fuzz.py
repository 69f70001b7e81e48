"""A small number of generated cases at every entry point; `python -m robustness.fuzz` runs any number.

The file also tests that each kind of failure is detected.
"""

import math

import pytest
import yaml
from hypothesis import strategies as st

from robustness.fuzz.campaign import fuzz
from robustness.fuzz.catalog import targets
from robustness.fuzz.target import Target
from uma.types import InputError

CASES = {"bundle": 3, "bag, its files": 4, "bag, its messages": 2}
"""Slow ones; of all others, 9."""


@pytest.fixture(scope="module")
def doors():
    from robustness.fuzz import nodes

    yield {target.name: target for target in targets()}
    nodes.close()


@pytest.mark.slow
def test_nothing_breaks(doors):
    found = {name: fuzz(target, CASES.get(name, 9), 1) for name, target in doors.items()}
    broken = [f"{name}: {kind}: {example}" for name, result in found.items() for kind, example in result.broken.items()]
    if broken:
        pytest.fail("\n".join(broken))  # an assert would show every door, at length
    assert (
        sum(r.cases for r in found.values()) > 300
        and sum(r.refused for r in found.values()) > 120
        and sum(r.accepted for r in found.values()) > 50
    )


@pytest.mark.slow
@pytest.mark.parametrize(
    "name, module, attribute, worse, words",
    [
        (
            "reference file",
            "uma_ros.runtime.textfile",
            "parse_yaml",
            lambda text, what: yaml.safe_load(text),
            "Error in",
        ),
        (
            "robot pose",
            "robustness.fuzz.messages",
            "check_state_pose",
            lambda msg, frame: [msg.pose.position.x / (msg.pose.position.x or 1.0) * math.nan],
            "not finite",
        ),
        ("controller at rest", "uma.control.controller", "check_freshness", lambda *_: None, "a bad header.stamp"),
        ("episode", "uma_train.data.episode", "check_members", lambda path: bytearray(80 * 2**20) and None, "MiB"),
    ],
)
def test_a_door_that_lets_too_much_through_is_caught(doors, monkeypatch, name, module, attribute, worse, words):
    import importlib

    monkeypatch.setattr(importlib.import_module(module), attribute, worse)
    result = fuzz(doors[name], 5 if name == "episode" else 60, 2)
    assert any(words in f"{kind} {example}" for kind, example in result.broken.items()), result


def test_an_error_that_names_nothing_is_caught():
    from robustness.fuzz.messages import _refused_by_field, pose

    def refuse(msg):
        raise InputError("no")

    result = fuzz(Target("vague", st.just((pose(), ())), _refused_by_field(refuse)), 1, 0)
    assert any("no field is named" in kind for kind in result.kinds)
