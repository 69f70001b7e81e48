"""The camera: metric depth, blind spots, and agreement of projection and rendering."""

import numpy as np
import pytest

pytest.importorskip("mujoco")
pytest.importorskip("franky_sim")

from uma.geometry import se3
from uma.geometry.camera import project, unproject
from uma_sim.robot import camera as cameras
from uma_sim.tasks import make_station


@pytest.fixture(scope="module")
def clean():
    station = make_station(5, noise=False)
    yield station, station.observe()
    station.close()


def test_depth_of_the_table_is_its_distance_in_metres(clean):
    station, observation = clean
    points = se3.apply(station.T_base_cam, unproject(observation.depth, observation.camera).reshape(-1, 3)).reshape(
        *observation.depth.shape, 3
    )
    near_table = (
        np.isfinite(points[..., 2])
        & (np.abs(points[..., 2]) < 0.004)
        & (np.abs(points[..., 0] - 0.45) < 0.3)
        & (points[..., 1] < -0.05)
    )
    assert near_table.sum() > 3000
    assert np.abs(points[..., 2][near_table]).mean() < 5e-4


def test_invalid_depth_is_nan_and_the_rest_within_range(clean):
    _, observation = clean
    is_valid = np.isfinite(observation.depth)
    assert observation.depth.dtype == np.float32
    assert 0.5 < is_valid.mean() < 0.99
    assert (
        observation.depth[is_valid].min() >= cameras.RANGE[0] and observation.depth[is_valid].max() <= cameras.RANGE[1]
    )


def test_foreground_hides_a_strip_from_the_right_lens():
    camera = cameras.camera_model(320, 180)
    depth = np.full((180, 320), 2.0, np.float32)
    depth[60:120, 150:200] = 0.8
    seen = cameras.is_seen_by_both(depth, camera)
    shift = camera.fx * cameras.BASELINE * (1 / 0.8 - 1 / 2.0)
    hidden = np.flatnonzero(~seen[90, 30:300]) + 30
    assert abs(len(hidden) - shift) <= 2  # as wide as the difference of the disparities
    assert hidden.max() == 149  # and left of the object
    assert seen[90, 150:200].all()
    assert not seen[20, :5].any()  # outside of the right image


def test_keypoints_project_onto_the_utensil(clean):
    station, observation = clean
    points = se3.apply(se3.invert(station.T_base_cam), station.object_points())
    u, v = project(points, observation.camera).round().astype(int).T
    depth = observation.depth[v, u]
    is_front = np.isfinite(depth) & (np.abs(depth - points[:, 2]) < 0.02)
    assert is_front.sum() >= 10
    rgb = observation.rgb[v, u].astype(int)[is_front]
    assert (rgb.max(1) - rgb.min(1) > 60).mean() > 0.6  # the utensil is coloured, the table is not


def test_enough_points_lie_on_the_utensil(clean):
    station, observation = clean
    points = unproject(observation.depth, observation.camera).reshape(-1, 3)
    local = se3.apply(se3.invert(station.object_pose()) @ station.T_base_cam, points[np.isfinite(points[:, 2])])
    utensil = station.scene.utensil
    on_it = (np.abs(local) < [utensil.half_length + 0.003, 0.02, 0.012]).all(1) & (
        se3.apply(station.object_pose(), local)[:, 2] > 0.004
    )
    assert on_it.sum() >= 30


def test_noise_is_small_and_repeats_with_the_seed(clean):
    _, quiet = clean
    station = make_station(5)
    first = station.observe()
    station.close()
    again = make_station(5)
    second = again.observe()
    again.close()
    np.testing.assert_array_equal(first.depth, second.depth)
    np.testing.assert_array_equal(first.rgb, second.rgb)
    difference = (first.depth - quiet.depth)[np.isfinite(first.depth) & np.isfinite(quiet.depth) & (quiet.depth < 1.0)]
    assert 2e-4 < difference.std() < 2e-3


def test_two_stations_in_one_process_see_their_own_scene(clean):
    station, before = clean
    other = make_station(6, noise=False)
    assert not np.array_equal(other.observe().rgb, before.rgb)
    np.testing.assert_array_equal(station.observe().rgb, before.rgb)
    other.close()


def test_station_without_camera_is_an_error():
    with pytest.raises(RuntimeError, match="render: False, must be True"):
        make_station(0, render=False).observe()
