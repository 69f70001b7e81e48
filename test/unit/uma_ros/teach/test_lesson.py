"""A click becomes an object with a waypoint to drag; every edit can be undone; a refused one changes nothing."""

import numpy as np
import pytest
from teaching import BOX, T_BASE_CAM, drawn, ray_to

from uma.control.safety import SafetySettings
from uma.types import InputError
from uma_ros.teach.lesson import Lesson
from uma_ros.teach.scene import Box, pick
from uma_ros.teach.task import Ask


@pytest.fixture
def lesson() -> Lesson:
    lesson, view = Lesson(), drawn()
    lesson.click(view, pick(view, *ray_to(BOX + [0, 0, 0.025]), Box()))
    return lesson


def way(lesson: Lesson) -> np.ndarray:
    assert lesson.editor.sketch is not None
    return lesson.editor.sketch.waypoints


def test_a_click_finds_six_keypoints_on_the_box(lesson):
    assert way(lesson).shape == (2, 6, 3) and lesson.current == 1
    assert (np.abs(way(lesson)[0] - BOX) < [0.04, 0.04, 0.035]).all()
    assert np.linalg.norm(lesson.centroid() - BOX) < 0.03


def test_a_refused_click_leaves_the_object(lesson):
    before = lesson.editor.sketch
    with pytest.raises(InputError, match="on the table"):
        lesson.click(drawn(), (160, 150))
    assert lesson.editor.sketch is before and lesson.current == 1


def test_a_drag_and_a_turn_are_in_the_reference(lesson):
    lesson.move((0.0, 0.1, 0.15))
    lesson.turn_by((np.cos(0.3), 0.0, 0.0, np.sin(0.3)))
    reference = lesson.editor.reference().transformed(T_BASE_CAM, "base")
    ends = np.stack([w[-1] for w in reference.waypoints])
    assert np.allclose(ends.mean(0) - way(lesson)[0].mean(0), [0.0, 0.1, 0.15], atol=1e-9)
    arm = way(lesson)[0][0] - way(lesson)[0].mean(0)
    turned = ends[0] - ends.mean(0)
    assert np.isclose(np.arctan2(np.cross(arm, turned)[2], arm[:2] @ turned[:2]), 0.6, atol=1e-6)


@pytest.mark.parametrize("wxyz", [(np.nan, 0, 0, 0), (0, 0, 0, 0), (1, 0, 0)])
def test_a_malformed_rotation_is_refused(lesson, wxyz):
    before = lesson.editor.sketch
    with pytest.raises(InputError, match="must be a quaternion"):
        lesson.turn_by(wxyz)
    assert lesson.editor.sketch is before


def test_edits_follow_the_edited_waypoint(lesson):
    lesson.move((0, 0, 0.1))
    lesson.add()
    assert lesson.current == 2
    lesson.move((0, 0.2, 0))
    lesson.insert()
    assert lesson.current == 2 and len(way(lesson)) == 4
    assert np.allclose(way(lesson)[2].mean(0) - way(lesson)[1].mean(0), [0, 0.1, 0])
    lesson.go_to(3)
    lesson.duplicate()
    assert lesson.current == 4 and np.allclose(way(lesson)[3], way(lesson)[4])
    lesson.delete()
    assert lesson.current == 3 and len(way(lesson)) == 4
    with pytest.raises(InputError, match="must be 0 to 3"):
        lesson.go_to(4)


def test_undo_takes_everything_back_and_redo_repeats_it(lesson):
    lesson.move((0, 0, 0.1))
    lesson.add()
    done = way(lesson)
    while lesson.undo():
        pass
    assert lesson.editor.sketch is None and lesson.current == 0
    while lesson.redo():
        pass
    assert np.array_equal(way(lesson), done) and 1 <= lesson.current <= 2


@pytest.mark.parametrize(
    "name, value, count, end",
    [
        ("lift", 0.15, 2, (0, 0, 0.15)),
        ("carry to", 0.2, 4, (0.2, 0, 0)),
        ("turn", 90.0, 3, (0, 0, 0)),
        ("push along", 0.1, 3, (0.1, 0, 0)),
    ],
)
def test_a_template_replaces_the_untouched_waypoint(lesson, name, value, count, end):
    lesson.template(name, value)
    assert len(way(lesson)) == count and lesson.current == count - 1
    assert np.allclose(way(lesson)[-1].mean(0) - way(lesson)[0].mean(0), end, atol=1e-9)


def test_a_template_keeps_a_dragged_waypoint(lesson):
    lesson.move((0, 0, 0.05))
    lesson.template("lift", 0.1)
    assert len(way(lesson)) == 3
    with pytest.raises(InputError, match="must be lift"):
        lesson.template("juggle", 1.0)


def test_a_fold_turns_the_free_points_about_the_pinned_ones(lesson):
    start = way(lesson)[0]
    low = np.argsort(start[:, 0])[:3]
    for k in low:
        lesson.toggle(int(k))
    lesson.pin_picked()
    lesson.arc("y", -90.0)
    assert lesson.editor.sketch.pinned == frozenset(map(int, low))
    assert np.allclose(way(lesson)[-1][low], start[low])
    assert way(lesson)[-1][~np.isin(np.arange(6), low), 2].mean() > start[:, 2].mean()
    assert len(lesson.ghost(lesson.current)) == 6  # of a fold, the keypoints alone


def test_a_click_picks_a_keypoint_and_leaves_it_out_again(lesson):
    for expected in ({2}, set()):
        lesson.toggle_nearest(*ray_to(way(lesson)[0][2]))
        assert lesson.editor.sketch.picked == expected
    with pytest.raises(InputError, match="beside the click"):
        lesson.toggle_nearest(*ray_to(BOX + [0.3, 0, 0]))


def test_snap_puts_the_last_waypoint_back_onto_the_table(lesson):
    lesson.move((0.0, 0.15, 0.12))
    lesson.snap(drawn(stamp=2.0))
    assert abs(way(lesson)[-1][:, 2].min() - way(lesson)[0][:, 2].min()) < 0.01


def test_hints_follow_the_limits_of_the_controller(lesson):
    lesson.move((0.0, 0.0, 0.9))
    assert any(h.is_refusal and "outside the workspace" in h.text for h in lesson.hints())
    lesson.limit(SafetySettings(workspace_max=(0.8, 0.55, 1.5)))
    assert not any("outside the workspace" in h.text for h in lesson.hints())


def test_equal_tasks_have_equal_keys_and_others_do_not(lesson):
    first = Ask(reference=lesson.editor.reference())
    assert first.key == Ask(reference=lesson.editor.reference()).key and first.source == "reference"
    lesson.move((0, 0, 0.001))
    keys = {first.key, Ask(reference=lesson.editor.reference()).key, Ask(instruction="lift it").key}
    keys |= {Ask(goal=drawn()).key, Ask(goal=drawn(stamp=2.0)).key, Ask(prompt="lift it").key, Ask().key}
    assert len(keys) == 7


def test_a_loaded_reference_has_the_same_waypoints(lesson):
    lesson.move((0.1, 0, 0.1))
    other = Lesson()
    other.load(lesson.editor.reference(), T_BASE_CAM)
    assert np.allclose(way(other), way(lesson)) and other.current == 1 and other.clicks is None
    assert len(other.object_points()) == 6


def test_a_wrong_kind_of_answer_is_refused(lesson):
    with pytest.raises(InputError, match="must be one of object, colour, pile"):
        lesson.answer_by("smell")
    assert lesson.by == "object"
