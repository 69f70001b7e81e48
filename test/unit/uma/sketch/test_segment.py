"""One click on a drawn table: what is found, what is split, and what is refused."""

import numpy as np
import pytest
from tables import BLUE, CAMERA, RED, box, draw, middle

from uma.sketch.segment import LEAST_POINTS, analyse, select
from uma.types import InputError


def seen(boxes, **options):
    rgb, depth, label = draw(boxes, **options)
    return analyse(rgb, depth, CAMERA), label


def scores(found, truth):
    both = np.count_nonzero(found & truth)
    return both / max(np.count_nonzero(found), 1), both / np.count_nonzero(truth)


@pytest.mark.parametrize("checker", [0.0, 0.12, 0.25])
@pytest.mark.parametrize("k", [1, 2])
def test_a_click_finds_a_box_on_plain_and_chequered_tables(checker, k):
    scene, label = seen([box(0.45, 0.0), box(0.6, 0.05, colour=BLUE)], checker=checker)
    precision, recall = scores(select(scene, middle(label, k)), label == k)
    assert precision > 0.95 and recall > 0.9


def test_a_flat_thing_is_found_by_its_colour():
    scene, label = seen([box(0.5, 0.0, (0.12, 0.10, 0.002))])
    precision, recall = scores(select(scene, middle(label)), label == 1)
    assert precision > 0.95 and recall > 0.9


def test_a_shadow_is_no_object():
    rgb, depth, _ = draw()
    rgb[100:140, 140:200] = rgb[100:140, 140:200] * 0.5
    scene = analyse(rgb, depth, CAMERA)
    assert scene.is_foreground[100:140, 140:200].mean() < 0.01
    with pytest.raises(InputError, match="on the table"):
        select(scene, (170, 120))


def test_a_table_of_many_colours_is_judged_by_height_alone():
    rgb, depth, label = draw([box(0.5, 0.0, (0.08, 0.08, 0.06))])
    noise = np.random.default_rng(0).integers(0, 255, rgb.shape, dtype=np.uint8)
    scene = analyse(np.where((label == 0)[..., None], noise, rgb), depth, CAMERA)
    precision, recall = scores(select(scene, middle(label)), label == 1)
    assert precision > 0.95 and recall > 0.8


def test_a_thing_on_a_tray_comes_apart_by_object_and_by_colour():
    scene, label = seen([box(0.5, 0.0, (0.2, 0.2, 0.012), BLUE), box(0.5, 0.0, (0.04, 0.04, 0.08), RED, 0.012)])
    at = np.argwhere(label == 1)
    v, u = at[len(at) * 4 // 5]  # before the thing
    for k, pixel in ((1, (int(u), int(v))), (2, middle(label, 2))):
        for by in ("object", "colour"):
            precision, recall = scores(select(scene, pixel, by=by), label == k)
            assert precision > 0.9 and recall > 0.8, (k, by)
    assert scores(select(scene, middle(label, 2), by="pile"), label > 0)[1] > 0.9


def test_two_colours_on_one_smooth_body_stay_together():
    scene, label = seen([box(0.46, 0.0, (0.08, 0.04, 0.03)), box(0.54, 0.0, (0.08, 0.04, 0.03), BLUE)])
    assert scores(select(scene, middle(label, 1)), label > 0)[1] > 0.9
    precision, recall = scores(select(scene, middle(label, 1), by="colour"), label == 1)
    assert precision > 0.9 and recall > 0.8


def test_not_this_divides_touching_boxes_of_one_colour():
    scene, label = seen([box(0.46, 0.0, (0.08, 0.04, 0.03)), box(0.54, 0.0, (0.08, 0.04, 0.05))])
    assert scores(select(scene, middle(label, 1)), label == 1)[0] < 0.9
    precision, recall = scores(select(scene, middle(label, 1), not_this=[middle(label, 2)]), label == 1)
    assert precision > 0.85 and recall > 0.85


def test_also_joins_separate_parts():
    scene, label = seen([box(0.42, 0.0), box(0.6, 0.0, colour=BLUE)])
    precision, recall = scores(select(scene, middle(label, 1), also=[middle(label, 2)]), label > 0)
    assert precision > 0.95 and recall > 0.9


def test_a_click_beside_an_object_snaps_to_it():
    scene, label = seen([box(0.5, 0.0)])
    v, u = np.argwhere(label == 1)[np.argwhere(label == 1)[:, 1].argmin()]
    assert scores(select(scene, (int(u) - 2, int(v))), label == 1)[1] > 0.9


@pytest.mark.parametrize(
    "pixel, text",
    [
        ((-1, 5), "must lie in the image, 0 to 319 and 0 to 179"),
        ((320, 5), "must lie in the image"),
        ((float("nan"), 5), "must lie in the image"),
        ((60, 160), "is on the table"),
        ((5, 5), "has no depth"),
    ],
)
def test_a_click_on_nothing_is_refused_with_its_reason(pixel, text):
    rgb, depth, _ = draw([box(0.5, 0.0)])
    depth[:10, :10] = np.nan
    with pytest.raises(InputError, match="pixel: .*" + text):
        select(analyse(rgb, depth, CAMERA), pixel)


def test_a_neighbours_bad_click_is_named():
    scene, label = seen([box(0.5, 0.0)])
    at = middle(label)
    with pytest.raises(InputError, match=r"not_this\[0\]: .* on the table"):
        select(scene, at, not_this=[(60, 160)])
    with pytest.raises(InputError, match=r"also\[1\]: "):
        select(scene, at, also=[at, (60, 160)])
    with pytest.raises(InputError, match="not_this: .* also a click on the object"):
        select(scene, at, not_this=[at])
    with pytest.raises(InputError, match="by: 'shape', must be one of object, colour, pile"):
        select(scene, at, by="shape")


def test_too_few_points_are_refused():
    rgb, depth, _ = draw()
    rgb[120:123, 150:153] = (220, 20, 20)
    with pytest.raises(InputError, match=f"is on 9 points, at least {LEAST_POINTS} required"):
        select(analyse(rgb, depth, CAMERA), (151, 121))


def test_the_robots_pixels_are_no_object():
    rgb, depth, label = draw([box(0.5, 0.0)])
    scene = analyse(rgb, depth, CAMERA, label == 1)
    assert not (scene.is_foreground & (label == 1)).any()
    with pytest.raises(InputError, match="is on the robot"):
        select(scene, middle(label))


def test_bad_frames_are_refused():
    rgb, depth, _ = draw()
    with pytest.raises(InputError, match="rgb: float64"):
        analyse(rgb.astype(float), depth, CAMERA)
    with pytest.raises(InputError, match="depth: shape"):
        analyse(rgb, depth[:-1], CAMERA)
    with pytest.raises(InputError, match="is_robot: shape"):
        analyse(rgb, depth, CAMERA, np.zeros((2, 2), bool))
    with pytest.raises(InputError, match="depth: plane: 0 valid points, at least 50"):
        analyse(rgb, np.full_like(depth, np.nan), CAMERA)
