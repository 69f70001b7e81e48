"""Depth matched from two images: on images of a plane, on a station's scene, and as an option of the station."""

import math

import numpy as np
import pytest

pytest.importorskip("cv2")
pytest.importorskip("mujoco")
pytest.importorskip("franky_sim")

from uma_sim.robot import stereo
from uma_sim.robot.camera import BASELINE, RANGE, Renderer, camera_model, is_seen_by_both
from uma_sim.station import DEPTHS
from uma_sim.tasks import make_station

CAMERA = camera_model(640, 360)
STRENGTH = CAMERA.fx * BASELINE


def pair(left_depth: np.ndarray, right_depth: np.ndarray, noise: float = 1.0) -> list[np.ndarray]:
    """The images of grey surfaces with a texture."""
    rng = np.random.default_rng(0)
    texture = stereo.Texture(rng)
    images = []
    for depth, shift in ((left_depth, 0.0), (right_depth, BASELINE)):
        T = np.eye(4)
        T[0, 3] = shift
        grey = texture.applied(np.full(depth.shape, 150, np.float32), depth, CAMERA, T)
        images.append(np.clip(np.rint(grey + noise * rng.standard_normal(grey.shape)), 0, 255).astype(np.uint8))
    return images


def matched(images: list[np.ndarray]) -> np.ndarray:
    return stereo.refine(*images, stereo.match(*images, math.ceil(STRENGTH / RANGE[0])))


@pytest.mark.parametrize(("metres", "limit"), [(0.5, 0.001), (0.7, 0.002), (1.0, 0.004)])
def test_a_textured_plane_has_its_distance(metres, limit):
    depth = np.full((360, 640), metres, np.float32)
    disparity = stereo.reduce(matched(pair(depth, depth)))
    inside = disparity[10:-10, math.ceil(STRENGTH / metres / 2) + 12 : -10]
    found = STRENGTH / inside[np.isfinite(inside)]
    assert np.isfinite(inside).mean() > 0.98
    assert np.median(np.abs(found - metres)) < limit and abs(np.median(found) - metres) < limit / 2


def test_what_the_right_lens_does_not_see_is_nan():
    depth = np.full((360, 640), 1.5, np.float32)
    near, far = round(STRENGTH / 0.6), round(STRENGTH / 1.5)
    depth[100:260, 300:400] = STRENGTH / near
    right = np.full_like(depth, 1.5)
    right[100:260, 300 - near : 400 - near] = STRENGTH / near
    disparity = matched(pair(depth, right))
    hidden = np.isnan(disparity[130:230, 300 - (near - far) : 300])
    assert hidden.mean() > 0.6
    assert np.isfinite(disparity[130:230, 310:390]).mean() > 0.98  # the surface before it
    assert np.isfinite(disparity[130:230, 420:620]).mean() > 0.98
    assert np.isnan(disparity[:, : far // 2]).all()  # left of the right image's edge


def test_blank_images_have_no_depth():
    blank = [np.full((360, 640), 128, np.uint8)] * 2
    assert not np.isfinite(stereo.match(*blank, 100)).any()


def test_a_block_takes_one_of_its_surfaces():
    nan = np.nan
    disparity = np.array([[10, 10.5, 30, 30, nan, nan], [10.5, 30, 30, nan, nan, 7]], np.float32)
    np.testing.assert_allclose(stereo.reduce(disparity), [[31 / 3, 30, nan]], rtol=1e-6)


def test_equal_points_have_equal_brightness_in_both_images():
    depth = np.full((360, 640), STRENGTH / 40, np.float32)  # 40 pixels of disparity
    left, right = pair(depth, depth, noise=0.0)
    assert left.std() > 3
    assert np.abs(left[:, 40:].astype(int) - right[:, :-40]).max() <= 2


@pytest.fixture(scope="module")
def seen():
    """(station, observation, true depth) of one scene."""
    station = make_station(7_700_001, "intents/carry", depth="stereo")
    exact = make_station(7_700_001, "intents/carry", noise=False)
    true = exact.observe().depth
    observation = station.observe()
    yield station, observation, true
    station.close()
    exact.close()


def test_the_depth_of_a_scene_is_near_the_true_depth(seen):
    _, observation, true = seen
    assert observation.depth.shape == (180, 320) and observation.depth.dtype == np.float32
    is_near = np.isfinite(true) & (true > 0.4) & (true < 1.0)
    assert is_near.sum() > 5000
    valid = np.isfinite(observation.depth)
    assert valid[is_near].mean() > 0.95
    assert np.median(np.abs(observation.depth - true)[is_near & valid]) < 0.006
    assert observation.depth[valid].min() >= RANGE[0] and observation.depth[valid].max() <= RANGE[1]


def test_hidden_strips_of_a_scene_are_mostly_nan(seen):
    station, observation, _ = seen
    renderer = Renderer(station.model)
    depth = renderer.render(station.data, 320, 180)[1]
    renderer.close()
    is_hidden = ~is_seen_by_both(depth, station.camera) & (depth < 2.5)
    assert is_hidden.sum() > 300
    assert np.isnan(observation.depth[is_hidden]).mean() > 0.7


def test_the_seed_decides_the_matched_depth(seen):
    _, observation, _ = seen
    again = make_station(7_700_001, "intents/carry", depth="stereo")
    same = again.observe()
    np.testing.assert_array_equal(same.depth, observation.depth)
    np.testing.assert_array_equal(same.rgb, observation.rgb)
    assert not np.array_equal(again.observe().depth, same.depth, equal_nan=True)  # the noise is new in each image
    again.close()


def test_the_colour_image_does_not_depend_on_the_kind_of_depth():
    images = []
    for depth in DEPTHS:
        station = make_station(3, depth=depth, noise=False)
        images.append(station.observe().rgb)
        station.close()
    np.testing.assert_array_equal(*images)


def test_an_unknown_kind_of_depth_is_an_error():
    with pytest.raises(ValueError, match="depth: 'lidar', must be one of model, stereo"):
        make_station(0, depth="lidar", render=False)


def test_an_image_too_large_to_match_is_an_error():
    station = make_station(0, depth="stereo", width=1280, height=720)
    with pytest.raises(ValueError, match="image: 1280x720, must be at most 960x540"):
        station.observe()
    station.close()
