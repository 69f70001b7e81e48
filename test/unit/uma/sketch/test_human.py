"""The noise of human sketches: what stays, what is bounded, and what each habit does."""

import dataclasses

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from uma.geometry import se3
from uma.sketch.human import CUT, STYLES, HumanNoise, human
from uma.types import InputError, ReferenceMotion

T_BASE_CAM = se3.make_pose(Rotation.from_euler("xyz", [-2.2, 0.1, 0.2]).as_matrix(), np.array([0.5, -0.5, 0.5]))
STILL = STYLES["exact"]
UP = T_BASE_CAM[2, :3]


def reference(keypoints: int = 6, waypoints: int = 4, seed: int = 0, pinned: int = 1) -> ReferenceMotion:
    """A rigid body that rises, moves aside and turns, before a camera, with pinned points after it."""
    rng = np.random.default_rng(seed)
    body = rng.uniform(-0.05, 0.05, (keypoints, 3))
    rows = []
    for s in np.linspace(0, 1, waypoints):
        R = Rotation.from_rotvec(1.2 * s * UP).as_matrix()
        rows.append(body @ R.T + np.array([0.05, 0.02, 0.7]) + s * np.array([0.12, -0.08, 0.03]))
    return ReferenceMotion((*np.stack(rows, 1), *rng.uniform(0.4, 0.6, (pinned, 1, 3))), object_label="mug")


def drawn(style, seed: int = 0, **size) -> tuple[ReferenceMotion, ReferenceMotion]:
    intended = reference(**size)
    return intended, human(intended, T_BASE_CAM, np.random.default_rng(seed), style)


def moving(motion: ReferenceMotion) -> np.ndarray:
    return np.stack([w for w in motion.waypoints if len(w) > 1], 1)


def spans(points: np.ndarray) -> np.ndarray:
    return np.linalg.norm(points[..., :, None, :] - points[..., None, :, :], axis=-1)


@given(st.integers(1, 8), st.integers(2, 6), st.integers(0, 10**6))
def test_an_exact_sketch_is_the_intended_motion(keypoints, waypoints, seed):
    intended, sketch = drawn("exact", seed, keypoints=keypoints, waypoints=waypoints)
    for a, b in zip(intended.waypoints, sketch.waypoints, strict=True):
        np.testing.assert_allclose(a, b, atol=1e-12)
    assert all(np.array_equal(a, b) for a, b in zip(intended.phase, sketch.phase, strict=True))
    assert (sketch.frame, sketch.object_label) == (intended.frame, intended.object_label)


def test_an_end_that_hovers_is_5_cm_too_high():
    intended, sketch = drawn(dataclasses.replace(STYLES["hover"], waypoint_m=0, bias_m=0, moved=0, doubled=0))
    high = (moving(sketch)[-1] - moving(intended)[-1]).mean(0) @ UP
    others = (moving(sketch)[1:-1] - moving(intended)[1:-1]).mean(1) @ UP
    assert abs(high - 0.05) < 0.01 and np.abs(others).max() < 0.01


def test_ends_alone_are_two_waypoints():
    intended, sketch = drawn(dataclasses.replace(STYLES["ends"], doubled=0), waypoints=5)
    assert len(moving(intended)) == 5 and len(moving(sketch)) == 2


@pytest.mark.parametrize("style", ["careful", "sloppy", "translate"])
@settings(max_examples=40)
@given(st.integers(3, 8), st.integers(2, 6), st.integers(0, 10**6))
def test_the_sketched_object_keeps_its_shape(style, keypoints, waypoints, seed):
    intended, sketch = drawn(style, seed, keypoints=keypoints, waypoints=waypoints)
    assert len(sketch.waypoints) == len(intended.waypoints)
    distances = spans(moving(sketch))
    np.testing.assert_allclose(distances, np.broadcast_to(distances[:1], distances.shape), atol=1e-9)


@pytest.mark.parametrize("style", sorted(STYLES))
@settings(max_examples=40)
@given(st.integers(0, 10**6))
def test_errors_are_bounded(style, seed):
    noise = dataclasses.replace(STYLES[style], ends_only=0, doubled=0, translate_only=0)
    intended, sketch = drawn(noise, seed)
    place = np.sqrt(3) * CUT * (noise.waypoint_m * noise.sight + noise.bias_m)
    key = max(np.sqrt(3) * CUT * noise.keypoint_m, noise.outlier_m * (noise.outliers > 0))
    reach = 0.1 * np.sqrt(3)  # of the body about its centroid
    turned = 2 * reach * np.sin(CUT * noise.rotation_rad / 2)
    off = np.linalg.norm(moving(sketch) - moving(intended), axis=-1)
    assert off[0].max() <= key + noise.moved_m * (noise.moved > 0) + 1e-12
    assert off[1:].max() <= place + key + turned + noise.hover_m * (noise.hovers > 0) + 1e-12
    assert np.linalg.norm(sketch.waypoints[-1] - intended.waypoints[-1]) <= key + 1e-12


@pytest.mark.parametrize("style", sorted(STYLES))
def test_a_seed_gives_one_sketch_and_styles_differ(style):
    (_, a), (_, b), (_, c) = drawn(style, 3), drawn(style, 3), drawn(style, 4)
    assert all(np.array_equal(x, y) for x, y in zip(a.waypoints, b.waypoints, strict=True))
    is_same = all(x.shape == y.shape and np.allclose(x, y) for x, y in zip(a.waypoints, c.waypoints, strict=True))
    assert is_same == (style == "exact")


def spread(style: str) -> np.ndarray:
    """(sketches, 3) errors of the last waypoint's centroid: along the line of sight, and across it."""
    out = []
    for seed in range(300):
        noise = dataclasses.replace(STYLES[style], bias_m=0, hovers=0, outliers=0, keypoint_m=0)
        intended, sketch = drawn(noise, seed)
        middle = moving(intended)[-1].mean(0)
        off, sight = moving(sketch)[-1].mean(0) - middle, middle / np.linalg.norm(middle)
        out.append([off @ sight, np.linalg.norm(off - (off @ sight) * sight) / np.sqrt(2)])
    return np.sqrt(np.mean(np.square(out), axis=0))


def test_a_person_errs_more_along_the_line_of_sight():
    along, across = spread("careful")
    assert along == pytest.approx(1.5 * 0.008, rel=0.15) and across == pytest.approx(0.008, rel=0.15)
    assert spread("sloppy")[0] == pytest.approx(2 * 0.02, rel=0.15)


def test_a_translated_sketch_never_turns_and_ends_in_its_place():
    intended, sketch = drawn(dataclasses.replace(STILL, translate_only=1))
    a, b = moving(intended), moving(sketch)
    np.testing.assert_allclose(b - b.mean(1, keepdims=True), np.broadcast_to(a[:1] - a[0].mean(0), b.shape), atol=1e-12)
    np.testing.assert_allclose(b.mean(1), a.mean(1), atol=1e-12)
    assert np.abs(a - b).max() > 0.01


def test_a_hovering_sketch_ends_above_its_place():
    intended, sketch = drawn(dataclasses.replace(STILL, hovers=1, hover_m=0.05))
    off = moving(sketch) - moving(intended)
    np.testing.assert_allclose(off[-1], np.broadcast_to(0.05 * UP, off[-1].shape), atol=1e-12)
    assert np.abs(off[:-1]).max() < 1e-12


@pytest.mark.parametrize(("habit", "count"), [("ends_only", 2), ("doubled", 6)])
def test_habits_change_the_number_of_waypoints(habit, count):
    intended, sketch = drawn(dataclasses.replace(STILL, **{habit: 1}), waypoints=5)
    a, b = moving(intended), moving(sketch)
    assert len(b) == count and [len(w) for w in sketch.waypoints][-1] == 1
    np.testing.assert_allclose([b[0], b[-1]], [a[0], a[-1]], atol=1e-12)
    assert (np.linalg.norm(b[:, None] - a[None], axis=-1).max(2).min(1) < 1e-12).all()
    np.testing.assert_allclose(sketch.phase[0], np.linspace(0, 1, count))


def test_an_object_that_moved_is_sketched_where_it_was():
    intended, sketch = drawn(dataclasses.replace(STILL, moved=1, moved_m=0.02), seed=1)
    off = moving(sketch) - moving(intended)
    assert 1e-4 < np.linalg.norm(off[0, 0]) <= 0.02 and abs(off[0, 0] @ UP) < 1e-12
    np.testing.assert_allclose(off[0], np.broadcast_to(off[0, 0], off[0].shape), atol=1e-12)
    assert np.abs(off[1:]).max() < 1e-12


def test_phases_and_hidden_waypoints_stay_with_their_waypoints():
    intended = reference(pinned=0, waypoints=4)
    phase, seen = np.array([0.0, 0.1, 0.5, 1.0]), np.array([False, True, True, False])
    intended = ReferenceMotion(intended.waypoints, (phase,) * 6, (seen,) * 6)
    sketch = human(intended, T_BASE_CAM, np.random.default_rng(0), dataclasses.replace(STILL, doubled=1))
    assert set(sketch.phase[0]) <= set(phase) and len(sketch.phase[0]) == 5
    ends = human(intended, T_BASE_CAM, np.random.default_rng(0), dataclasses.replace(STILL, ends_only=1))
    np.testing.assert_array_equal(ends.phase[0], [0.0, 1.0])
    assert ends.is_valid[0].tolist() == [True, False]


def test_what_is_no_sketch_is_refused():
    rng = np.random.default_rng(0)
    with pytest.raises(InputError, match="style: 'hasty', must be one of exact, careful"):
        human(reference(), T_BASE_CAM, rng, "hasty")
    with pytest.raises(InputError, match="human.rotation_rad: 2, must be 0 to 1"):
        HumanNoise(rotation_rad=2)
    uneven = ReferenceMotion((np.ones((2, 3)), np.ones((3, 3))))
    with pytest.raises(InputError, match="waypoints: 2 and 3, must be equal"):
        human(uneven, T_BASE_CAM, rng)
