"""The editor: undo over everything, rigid and partial motion, templates, and refusals that change nothing."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tables import T_BASE_CAM

from uma.geometry import se3
from uma.sketch.editor import Editor
from uma.sketch.sketch import from_reference
from uma.types import InputError, ReferenceMotion

BASE = np.array([[0.45, 0.0, 0.02], [0.51, 0.0, 0.02], [0.45, 0.05, 0.02], [0.51, 0.05, 0.04]])
CAMERA_POINTS = se3.apply(se3.invert(T_BASE_CAM), BASE)


def editor() -> Editor:
    e = Editor()
    e.choose(CAMERA_POINTS, T_BASE_CAM, "cam", "mug")
    return e


def spans(points):
    return np.linalg.norm(points[:, None] - points[None], axis=-1)


metres = st.floats(-0.4, 0.4)
vectors = st.tuples(metres, metres, metres)
index = st.integers(-5, 8)
keys = st.lists(st.integers(-1, 5), max_size=4)
angle = st.floats(-7, 7)
axis = st.sampled_from(["x", "y", "z", "w", (0, 0, 0), (1, 1, 0)])
EDITS = st.one_of(
    st.tuples(st.just("add"), vectors),
    st.tuples(st.just("duplicate"), index),
    st.tuples(st.just("insert"), index),
    st.tuples(st.just("delete"), index),
    st.tuples(st.just("move"), index, vectors),
    st.tuples(st.just("turn"), index, axis, angle),
    st.tuples(st.just("turn"), index, axis, angle, vectors),
    st.tuples(st.just("pick"), keys),
    st.tuples(st.just("pin"), keys),
    st.tuples(st.just("name"), st.text(max_size=5)),
    st.tuples(st.just("lift"), metres),
    st.tuples(st.just("carry_to"), vectors),
    st.tuples(st.just("push_along"), vectors),
    st.tuples(st.just("arc"), axis, angle),
    st.tuples(st.just("snap"), st.just(np.zeros((0, 3)))),
    st.tuples(st.just("clear")),
    st.tuples(st.just("choose"), st.just(CAMERA_POINTS), st.just(T_BASE_CAM)),
    st.tuples(st.just("undo")),
    st.tuples(st.just("redo")),
)


@settings(max_examples=40, deadline=None)
@given(st.lists(EDITS, max_size=15))
def test_any_edits_undone_return_the_first_state_exactly(edits):
    e = Editor()
    e.choose(CAMERA_POINTS, T_BASE_CAM)
    first = e.sketch
    bytes_before = first.waypoints.tobytes()
    for name, *arguments in edits:
        before = e.sketch
        try:
            getattr(e, name)(*arguments)
        except InputError as error:
            assert ": " in str(error) and e.sketch is before
        try:
            assert isinstance(e.reference(), ReferenceMotion)
        except InputError as error:
            assert e.sketch is None and "object: none chosen" in str(error)
    while e.redo():
        pass
    states = [e.sketch]
    while e.undo():
        states.append(e.sketch)
    assert states[-1] is None and (len(states) < 2 or states[-2] is first)
    assert first.waypoints.tobytes() == bytes_before
    for state in states[-2::-1]:
        assert e.redo() and e.sketch is state
    assert not e.can_redo


def test_a_new_edit_forgets_what_was_undone():
    e = editor()
    e.lift(0.1)
    e.undo()
    e.add((0.1, 0.0, 0.0))
    assert not e.can_redo and not e.redo()


def test_moves_and_turns_are_rigid_and_in_the_base_frame():
    e = editor()
    e.lift(0.2)
    e.turn(-1, "z", np.pi / 2)
    e.move(-1, (0.0, 0.1, 0.0))
    last = e.sketch.waypoints[-1]
    np.testing.assert_allclose(spans(last), spans(BASE), atol=1e-12)
    np.testing.assert_allclose(last.mean(0) - BASE.mean(0), [0.0, 0.1, 0.2], atol=1e-12)
    np.testing.assert_allclose(last[1] - last[0], [0.0, 0.06, 0.0], atol=1e-12)
    motion = e.reference()
    assert (motion.frame, motion.object_label) == ("cam", "mug")
    np.testing.assert_allclose(se3.apply(T_BASE_CAM, motion.waypoints[2][-1]), last[2], atol=1e-12)


def test_picked_keypoints_turn_about_a_line_and_others_stay():
    e = editor()
    e.pick([1, 3])
    e.arc("y", -np.pi, (0.48, 0.0, 0.02))  # folds one half over the other
    way = e.sketch.waypoints
    assert len(way) == 5
    np.testing.assert_allclose(way[:, [0, 2]], np.broadcast_to(BASE[[0, 2]], (5, 2, 3)), atol=1e-12)
    np.testing.assert_allclose(way[-1, 1], BASE[0], atol=1e-12)
    assert way[2, 1, 2] > 0.04  # over the table on its way


def test_pinned_keypoints_stay_and_have_one_waypoint():
    e = editor()
    e.lift(0.1)
    e.pin([0])
    e.add((0.1, 0.0, 0.0))
    motion = e.reference()
    assert [len(w) for w in motion.waypoints] == [1, 3, 3, 3]
    np.testing.assert_allclose(e.sketch.waypoints[:, 0], np.broadcast_to(BASE[0], (3, 3)), atol=1e-12)
    e.pin(range(4))
    with pytest.raises(InputError, match="all picked ones are pinned"):
        e.add()


def test_an_inserted_waypoint_is_halfway_and_rigid():
    e = editor()
    e.lift(0.2)
    e.turn(-1, "z", 2.0)
    e.insert(1)
    half = e.sketch.waypoints[1]
    np.testing.assert_allclose(spans(half), spans(BASE), atol=1e-9)
    np.testing.assert_allclose(half.mean(0), BASE.mean(0) + [0, 0, 0.1], atol=1e-9)
    turned = se3.fit_rigid(BASE, half)[:3, :3]
    np.testing.assert_allclose(se3.rotation_angle(np.eye(3), turned), 1.0, atol=1e-6)


def test_templates_end_where_they_should():
    e = editor()
    e.carry_to((0.6, 0.2, 0.1), 0.15)
    assert len(e.sketch.waypoints) == 4
    np.testing.assert_allclose(e.sketch.waypoints[-1].mean(0), [0.6, 0.2, 0.1], atol=1e-12)
    np.testing.assert_allclose(e.sketch.waypoints[1:3].mean(1)[:, 2], 0.25, atol=1e-12)
    e.push_along((0.1, 0.0))
    np.testing.assert_allclose(e.sketch.waypoints[-1].mean(0), [0.7, 0.2, 0.1], atol=1e-12)
    e.arc("z", np.pi / 2)
    assert len(e.sketch.waypoints) == 8


def test_snap_rests_the_object_on_what_is_below():
    e = editor()
    e.add((0.2, 0.0, 0.3))
    e.snap(np.zeros((0, 3)))
    np.testing.assert_allclose(e.sketch.waypoints[-1, :, 2], BASE[:, 2], atol=1e-12)
    x, y = np.meshgrid(np.linspace(0.6, 0.8, 30), np.linspace(-0.1, 0.15, 30))
    shelf = np.stack([x.ravel(), y.ravel(), np.full(x.size, 0.12)], 1)
    e.move(-1, (0.0, 0.0, 0.3))
    e.snap(shelf)
    np.testing.assert_allclose(e.sketch.waypoints[-1, :, 2], BASE[:, 2] + 0.12, atol=1e-12)
    above = shelf + [0.0, 0.0, 0.8]  # nothing over the object counts
    e.snap(np.concatenate([shelf, above]))
    np.testing.assert_allclose(e.sketch.waypoints[-1, :, 2], BASE[:, 2] + 0.12, atol=1e-12)


@pytest.mark.parametrize(
    "name, arguments, text",
    [
        ("move", (0, (0, 0, 0.1)), "waypoint: 0 of 2, must be 1 to 1"),
        ("delete", (2,), "waypoint: 2 of 2"),
        ("move", (1, (0, float("nan"), 0)), "shift: .*must be 3 numbers"),
        ("move", (1, (0, 0)), "shift: .*must be 3 numbers"),
        ("turn", (1, "w", 1.0), "axis: 'w', must be one of x, y, z"),
        ("turn", (1, (0, 0, 0), 1.0), "axis: .*longer than"),
        ("turn", (1, "z", float("inf")), "radians: inf, must be"),
        ("pick", ([4],), "picked: 4, must be 0 to 3"),
        ("pin", ([-1],), "pinned: -1, must be 0 to 3"),
        ("lift", (-0.1,), "height: -0.1, must be 0 to 5"),
        ("push_along", ((6.0, 0.0),), "shift: 6.0, must be 0 to 5"),
        ("push_along", ((0.1, float("nan")),), "shift: .*must be 2 or 3 finite numbers"),
        ("push_along", ((0.1,),), "shift: .*must be 2 or 3 finite numbers"),
        ("choose", (np.zeros((17, 3)), T_BASE_CAM), "keypoints: 17 given, must be 1 to 16"),
        ("choose", (np.zeros((0, 3)), T_BASE_CAM), "keypoints: 0 given, must be 1 to 16"),
        ("choose", (np.full((3, 3), np.nan), T_BASE_CAM), "not finite"),
        ("add", ((4.9, 4.9, 4.9),), "over 5.0 m from the origin"),
    ],
)
def test_a_refused_edit_names_the_limit_and_changes_nothing(name, arguments, text):
    e = editor()
    e.lift(0.1)
    before = e.sketch
    with pytest.raises(InputError, match=text):
        getattr(e, name)(*arguments)
    assert e.sketch is before and not e.can_redo


def test_waypoints_have_a_limit():
    e = editor()
    for _ in range(ReferenceMotion.MAX_WAYPOINTS - 1):
        e.add()
    with pytest.raises(InputError, match="waypoints: 65 given, must be 1 to 64"):
        e.add()
    assert len(e.sketch.waypoints) == 64


def test_a_reference_returns_from_its_sketch():
    e = editor()
    e.lift(0.2)
    e.pin([2])
    motion = e.reference()
    again = Editor()
    again.load(motion, T_BASE_CAM)
    assert again.sketch.pinned == {2}
    for a, b in zip(motion.waypoints, again.reference().waypoints, strict=True):
        np.testing.assert_allclose(a, b, atol=1e-12)


def test_references_that_the_editor_cannot_show_are_refused():
    w = np.zeros((2, 3)) + [0, 0, 1.0]
    with pytest.raises(InputError, match="waypoints: 2 and 3, must be equal"):
        from_reference(ReferenceMotion((w, np.zeros((3, 3)))), T_BASE_CAM)
    with pytest.raises(InputError, match=r"keypoints\[0\].is_valid"):
        from_reference(ReferenceMotion((w,), is_valid=(np.array([True, False]),)), T_BASE_CAM)
    with pytest.raises(InputError, match=r"keypoints\[0\].phase"):
        from_reference(ReferenceMotion((np.zeros((3, 3)),), phase=(np.array([0, 0.1, 1.0]),)), T_BASE_CAM)
