"""Hints on sketches: what is refused, what is warned about, and that good sketches have none."""

import numpy as np
import pytest
from tables import T_BASE_CAM

from uma.geometry import se3
from uma.sketch.editor import Editor
from uma.sketch.reach import hints

BASE = np.array([[0.45, 0.0, 0.02], [0.51, 0.0, 0.02], [0.45, 0.05, 0.02]])


def editor() -> Editor:
    e = Editor()
    e.choose(se3.apply(se3.invert(T_BASE_CAM), BASE), T_BASE_CAM)
    return e


def test_a_plain_carry_with_a_turn_has_no_hint():
    e = editor()
    e.carry_to((0.5, 0.2, 0.03))
    e.turn(-1, "z", 0.6)
    assert hints(e.sketch) == []


def test_a_start_alone_is_no_motion():
    (hint,) = hints(editor().sketch)
    assert hint.is_refusal and "no motion" in hint.text


def test_motion_without_a_turn_is_a_warning():
    e = editor()
    e.lift(0.1)
    (hint,) = hints(e.sketch)
    assert not hint.is_refusal and hint.waypoint is None and "no waypoint turns by 5 degrees" in hint.text


def test_a_small_turn_over_the_limit_counts():
    e = editor()
    e.lift(0.1)
    e.turn(-1, "z", np.radians(6))
    assert hints(e.sketch) == []


def test_a_still_sketch_is_a_warning():
    e = editor()
    e.add((0.0, 0.0, 0.002))
    assert any("no keypoint moves by 5 mm" in h.text for h in hints(e.sketch))


@pytest.mark.parametrize(
    "shift, text",
    [
        ((0.0, 0.9, 0.1), r"y = 0.92 m is outside the workspace, -0.55 to 0.55 m"),
        ((0.0, 0.0, -0.05), "30 mm below the table"),
    ],
)
def test_outside_the_box_or_below_the_table_is_refused(shift, text):
    e = editor()
    e.add(shift)
    assert any(h.is_refusal and h.waypoint == 1 and text in h.text for h in hints(e.sketch))


def test_an_upside_down_grasp_is_out_of_reach():
    e = editor()
    e.lift(0.15)
    e.turn(-1, "x", np.pi)
    found = hints(e.sketch)
    assert found and not any(h.is_refusal for h in found)
    assert any(h.waypoint == 1 and ("reach" in h.text or "table" in h.text) for h in found)


def test_pinned_keypoints_do_not_count():
    e = editor()
    e.lift(0.1)
    e.pin([0, 1, 2])
    assert any("no motion" in h.text for h in hints(e.sketch))
