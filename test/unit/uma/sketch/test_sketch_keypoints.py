"""Keypoints: on the object, away from its rim, spread, and the same every time."""

import numpy as np
import pytest
from tables import CAMERA, box, draw, middle

from uma.sketch.keypoints import inside, keypoints
from uma.sketch.segment import analyse, select
from uma.types import InputError

RGB, DEPTH, LABEL = draw([box(0.5, 0.0, (0.12, 0.08, 0.05))])
SCENE = analyse(RGB, DEPTH, CAMERA)
OBJECT = select(SCENE, middle(LABEL))


@pytest.mark.parametrize("count", [1, 6, 16])
def test_keypoints_lie_on_the_object_away_from_its_rim(count):
    found = keypoints(SCENE, OBJECT, count)
    u, v = found.pixels.T
    assert found.points.shape == (count, 3) and len({*map(tuple, found.pixels)}) == count
    assert (LABEL[v, u] == 1).all() and inside(OBJECT)[v, u].all()
    np.testing.assert_allclose(found.points, SCENE.points[v, u])


def test_keypoints_are_spread_and_deterministic():
    first, again = (keypoints(SCENE, OBJECT, 6).points for _ in range(2))
    np.testing.assert_array_equal(first, again)
    gaps = np.linalg.norm(first[:, None] - first[None], axis=-1) + np.eye(6)
    assert gaps.min() > 0.025


def test_a_thin_object_keeps_its_rim():
    thin = np.zeros_like(OBJECT)
    thin[120, 140:160] = True
    assert len(keypoints(SCENE, thin, 6).points) == 6


def test_pixels_without_depth_are_not_chosen():
    is_object = OBJECT.copy()
    is_object[:10, :10] = True
    depth = DEPTH.copy()
    depth[:10, :10] = np.nan
    u, v = keypoints(analyse(RGB, depth, CAMERA), is_object, 16).pixels.T
    assert np.isfinite(depth[v, u]).all()


@pytest.mark.parametrize("count", [0, 17])
def test_counts_out_of_range_are_refused(count):
    with pytest.raises(InputError, match=f"count: {count}, must be 1 to 16"):
        keypoints(SCENE, OBJECT, count)


def test_too_small_or_foreign_masks_are_refused():
    few = np.zeros_like(OBJECT)
    few[120, 140:143] = True
    with pytest.raises(InputError, match="count: 6, must be at most 3"):
        keypoints(SCENE, few, 6)
    with pytest.raises(InputError, match="is_object: shape"):
        keypoints(SCENE, few[1:], 6)
