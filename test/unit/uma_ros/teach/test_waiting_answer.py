"""A second answer is shown before it counts: the object in force stays until it is kept, and undo covers it."""

import numpy as np
import pytest
from tables import BLUE, CAMERA, RED, T_BASE_CAM, box, draw, middle

from uma.types import InputError
from uma_ros.teach.clicks import IN_FORCE, WAITING, around, picture
from uma_ros.teach.lesson import Lesson
from uma_ros.teach.scene import View


def seen(*boxes, stamp=1.0):
    """A frame, and the number of each pixel's box."""
    rgb, depth, label = draw(boxes, seed=int(stamp))
    return View(rgb, depth, CAMERA, T_BASE_CAM, None, 0.0, stamp), label


def share(mask, truth) -> float:
    """Overlap of two masks over their union."""
    return np.count_nonzero(mask & truth) / np.count_nonzero(mask | truth)


SMOOTH = (box(0.44, 0.0, (0.12, 0.05, 0.05)), box(0.56, 0.0, (0.12, 0.05, 0.05), BLUE))
"""Two colours on one smooth body: the object is both, its colour one."""


@pytest.fixture
def body():
    """A lesson with that body as its object, lifted by 0.1 m, and the truth."""
    lesson, (view, label) = Lesson(), seen(*SMOOTH)
    lesson.click(view, middle(label, 1))
    lesson.move((0.0, 0.0, 0.1))
    return lesson, label


def test_the_first_answer_counts_at_once(body):
    lesson, label = body
    assert lesson.waiting is None and share(lesson.clicks.mask, label > 0) > 0.8


def test_an_answer_by_colour_waits_and_changes_nothing(body):
    lesson, label = body
    before = lesson.editor.sketch
    lesson.answer_by("colour")
    assert share(lesson.waiting.mask, label == 1) > 0.8
    assert lesson.editor.sketch is before and lesson.clicks.by == "object"
    assert share(lesson.clicks.mask, label > 0) > 0.8
    lesson.move((0.0, 0.05, 0.0))  # edits go on
    assert lesson.waiting is not None and len(lesson.editor.sketch.waypoints) == 2


def test_a_kept_answer_is_one_edit_that_undo_takes_back(body):
    lesson, label = body
    before, clicks = lesson.editor.sketch, lesson.clicks
    lesson.answer_by("colour")
    lesson.keep()
    assert lesson.waiting is None and lesson.clicks.by == lesson.by == "colour" and lesson.current == 1
    assert share(lesson.editor.sketch.is_object, label == 1) > 0.8
    assert np.array_equal(lesson.editor.sketch.waypoints[0], lesson.editor.sketch.waypoints[1])
    assert lesson.undo()
    assert lesson.editor.sketch is before and lesson.clicks is clicks
    assert lesson.redo() and lesson.clicks.by == "colour"


@pytest.mark.parametrize("way", [Lesson.drop, Lesson.undo])
def test_a_dropped_answer_leaves_no_trace(body, way):
    lesson, _ = body
    before = lesson.editor.sketch
    lesson.answer_by("colour")
    way(lesson)
    assert lesson.waiting is None and lesson.editor.sketch is before and lesson.by == "object"
    assert lesson.undo() and lesson.clicks is not None  # the lift, and nothing of the answer


def test_seeds_extend_the_answer_that_waits():
    lesson = Lesson()
    view, label = seen(box(0.42, 0.0), box(0.54, 0.0, colour=BLUE), box(0.62, 0.1, colour=(40, 160, 60)))
    lesson.click(view, middle(label, 1))
    lesson.click_more(middle(label, 2), is_object=True)
    lesson.click_more(middle(label, 3), is_object=True)
    assert lesson.waiting.also == (middle(label, 2), middle(label, 3))
    assert share(lesson.waiting.mask, label > 0) > 0.8 and share(lesson.clicks.mask, label == 1) > 0.8
    lesson.keep()
    assert share(lesson.clicks.mask, label > 0) > 0.8


def test_not_this_waits_too():
    lesson = Lesson()
    view, label = seen(box(0.45, 0.0), box(0.51, 0.0))  # they touch, in one colour
    lesson.click(view, middle(label, 1))
    assert share(lesson.clicks.mask, label > 0) > 0.8
    lesson.click_more(middle(label, 2), is_object=False)
    assert share(lesson.waiting.mask, label == 1) > 0.7 and share(lesson.clicks.mask, label > 0) > 0.8


def test_a_click_on_another_object_waits(body):
    lesson, _ = body
    before = lesson.editor.sketch
    view, label = seen(*SMOOTH, box(0.4, 0.15, colour=(40, 160, 60)), stamp=2.0)
    lesson.click(view, middle(label, 3))
    assert lesson.editor.sketch is before and share(lesson.waiting.mask, label == 3) > 0.8
    lesson.keep()
    assert lesson.clicks.view is view
    lesson.undo()
    assert lesson.clicks.view is not view, "the clicks belong to the object in force"


def test_the_same_pixels_need_no_decision(body):
    lesson, _ = body
    lesson.answer_by("pile")
    assert lesson.waiting is None and lesson.by == "pile"


def test_a_refused_answer_leaves_the_one_that_waits(body):
    lesson, label = body
    lesson.answer_by("colour")
    waiting = lesson.waiting
    with pytest.raises(InputError, match="on the table"):
        lesson.click_more((160, 170), is_object=True)
    assert lesson.waiting is waiting


def test_without_an_answer_there_is_nothing_to_keep(body):
    lesson, _ = body
    for way in (lesson.keep, lesson.drop):
        with pytest.raises(InputError, match="no answer waits"):
            way()


def test_the_picture_tints_both_selections_and_the_rest_stays(body):
    lesson, label = body
    lesson.answer_by("colour")
    view, image = lesson.clicks.view, picture(lesson.clicks, lesson.waiting)
    rows, columns = around(lesson.clicks.mask)
    rgb = view.rgb[rows, columns]
    times = image.shape[0] // rgb.shape[0]
    assert times >= 1 and image.shape == (rgb.shape[0] * times, rgb.shape[1] * times, 3) and image.dtype == np.uint8
    image = image[::times, ::times]
    is_object, is_waiting = lesson.clicks.mask[rows, columns], lesson.waiting.mask[rows, columns]
    assert np.count_nonzero(is_object) == np.count_nonzero(lesson.clicks.mask)
    assert np.array_equal(image[~is_object], rgb[~is_object])
    for mask, color in ((is_waiting, WAITING), (is_object & ~is_waiting, IN_FORCE)):
        tinted = (0.5 * rgb[mask] + 0.5 * np.array(color)).round()
        is_outline = (image[mask] == color).all(1)
        assert (is_outline | (np.abs(image[mask] - tinted) <= 1).all(1)).all() and 0.05 < is_outline.mean() < 0.9
    assert picture(None, None) is None


@pytest.mark.parametrize("corner", [(0, 0), (170, 310), (80, 150)])
def test_the_cut_is_about_the_selection_and_in_the_image(corner):
    mask = np.zeros((180, 320), bool)
    mask[corner[0] : corner[0] + 10, corner[1] : corner[1] + 10] = True
    rows, columns = around(mask)
    assert np.count_nonzero(mask[rows, columns]) == np.count_nonzero(mask) > 0
    assert (rows.stop - rows.start, columns.stop - columns.start) == (60, 107)
    mask[:] = True
    assert around(mask) == (slice(0, 180), slice(0, 320))


def test_undo_of_many_objects_keeps_few_frames():
    lesson = Lesson()
    for i in range(20):
        view, label = seen(box(0.40 + 0.01 * i, 0.0, colour=RED), stamp=float(i))
        lesson.click(view, middle(label, 1))
        if lesson.waiting is not None:
            lesson.keep()
    frames = set()
    while lesson.undo():
        frames.add(lesson.clicks.view.stamp)
    assert len(frames) == 8 and max(frames) == 18.0
