"""Scenes, the demonstrator, recorded demonstrations and reference motions of the insertion task."""

import dataclasses

import numpy as np
import pytest

pytest.importorskip("mujoco")
pytest.importorskip("franky_sim")

from uma.geometry import se3
from uma.geometry.camera import unproject
from uma.types import RATE_HZ, CameraModel
from uma_sim.experts.base import STEP_M, STEP_RAD
from uma_sim.experts.insertion import Inserter
from uma_sim.objects import utensils
from uma_sim.rollout import run_demonstration
from uma_sim.station import MAX_STEP_M
from uma_sim.tasks import insertion, make_station


def test_a_seed_gives_one_scene_and_one_course_of_events():
    runs = []
    for _ in range(2):
        station = make_station(3, render=False)
        expert = Inserter()
        for _ in range(12):
            station.act(*expert.act(station))
        runs.append((station.joint_positions(), station.object_points(), station.T_base_cam))
    for a, b in zip(*runs, strict=True):
        np.testing.assert_array_equal(a, b)
    assert not np.allclose(insertion.sample(4).room.T_base_cam, runs[0][2])


def test_scenes_are_fair():
    scenes = [insertion.sample(seed) for seed in range(200)]
    assert 0.4 < np.mean([s.goal for s in scenes]) < 0.6
    assert {s.utensil.shape for s in scenes} == set(utensils.SHAPES)
    for s in scenes:
        a, b = s.holders
        assert (a.half_opening, a.height, a.sides) == (
            b.half_opening,
            b.height,
            b.sides,
        )  # only the place tells them apart
        assert np.hypot(*(np.array(a.center) - b.center)) > 2 * a.half_opening + 0.02
        assert 0.075 <= 2 * a.half_opening <= 0.09 and 0.14 <= s.utensil.length <= 0.185
        assert s.is_deep and 0.010 <= a.height - s.utensil.length <= 0.028


def test_shallow_holders_change_their_height_alone():
    for seed in range(20):
        deep, shallow = insertion.sample(seed), insertion.sample(seed, holders="shallow")
        assert 0.08 <= shallow.holders[0].height <= 0.11 and not shallow.is_deep
        pair = tuple(dataclasses.replace(h, height=shallow.holders[0].height) for h in deep.holders)
        same = dataclasses.replace(deep, holders=pair, is_deep=False)
        assert repr(same) == repr(shallow)
    with pytest.raises(ValueError, match="holders 'flat': must be one of deep, shallow"):
        insertion.sample(0, holders="flat")


def test_the_camera_sees_into_deep_holders():
    for seed in range(3):
        station = make_station(seed, noise=False)
        observation = station.observe()
        points = unproject(observation.depth, observation.camera).reshape(-1, 3)
        points = se3.apply(station.T_base_cam, points[np.isfinite(points).all(1)])
        for holder in station.scene.holders:
            inset = holder.half_opening - ((points[:, :2] - holder.center) @ holder.normals().T).max(1)
            depth = holder.height - points[inset > -0.001, 2]
            assert (depth > 0.01).sum() >= 10 and depth.max() > 0.02  # metres below the rim
        station.close()


def test_an_unknown_shape_is_refused_by_name():
    with pytest.raises(ValueError, match="'ladle'.*spoon"):
        make_station(0, render=False, shape="ladle")


@pytest.mark.parametrize("shape", sorted(utensils.SHAPES))
def test_every_shape_rests_on_the_table(shape):
    station = make_station(0, render=False, shape=shape)
    points = station.object_points()
    assert points.shape == (16, 3)
    assert -0.003 < points[:, 2].min() and points[:, 2].max() < 0.04
    assert station.object_speed() < 0.02
    assert insertion.outcome(station) == ("in_progress", "lies on the table")


def test_time_and_steps_keep_to_the_rate():
    station = make_station(0, render=False)
    for _ in range(15):
        station.act(station.ee_pose(), 0.0)
    assert station.time == pytest.approx(15 / RATE_HZ, abs=0.0021)


def test_a_far_target_is_approached_by_bounded_steps():
    station = make_station(0, render=False)
    far = station.ee_pose()
    far[0, 3] += 0.5
    before = station.ee_pose()
    station.act(far, 0.0)
    assert 0.005 < station.ee_pose()[0, 3] - before[0, 3] < MAX_STEP_M + 0.01


@pytest.mark.slow
def test_demonstrator_succeeds_in_small_steps():
    successes = 0
    for seed in range(5):
        episode = run_demonstration(seed, 0.0, disturbance_probability=0.0)
        successes += episode["success"]
        T, goal = episode["pose"], episode["label_pose"]
        assert np.linalg.norm(goal[:, :3, 3] - T[:, :3, 3], axis=1).max() < STEP_M + 1e-6
        assert se3.rotation_angle(T[:, :3, :3], goal[:, :3, :3]).max() < STEP_RAD + 1e-6
        assert set(np.unique(episode["label_gripper"])) <= {0.0, 1.0}
    assert successes >= 4


@pytest.mark.slow
def test_the_demonstrator_recovers_from_noise_and_mishaps():
    assert sum(run_demonstration(seed, 1.0, disturbance_probability=1.0)["success"] for seed in range(5)) >= 4


def test_the_demonstrator_keeps_no_state():
    station, old = make_station(2, render=False), Inserter()
    for _ in range(40):
        T, grip = old.act(station)
        fresh_T, fresh_grip = Inserter().act(station)
        np.testing.assert_array_equal(T, fresh_T)
        assert grip == fresh_grip
        station.act(T, grip)


def test_the_other_holder_counts_as_wrong():
    episode = run_demonstration(1, 0.0, disturbance_probability=0.0, goal=1 - make_station(1, render=False).scene.goal)
    assert episode["verdict"] == "wrong_goal" and episode["success"]


def test_a_recorded_episode_is_complete():
    episode = run_demonstration(0, 0.5, on_observation=lambda o: o.depth[::8, ::8].astype(np.float16))
    n = len(episode["stamp"])
    assert episode["label_pose"].shape == episode["pose"].shape == (n, 4, 4)
    assert episode["object_points"].shape == (n, 16, 3) and episode["static_points"].shape == (8, 3)
    np.testing.assert_allclose(np.diff(episode["stamp"]), 1 / RATE_HZ, atol=0.0021)
    assert len(episode["observations"]) == len(episode["observation_step"]) == (n + 1) // 2
    assert isinstance(episode["camera"], CameraModel) and episode["T_base_cam"].shape == (4, 4)


@pytest.mark.parametrize("seed", range(6))
def test_reference_runs_from_utensil_to_its_holder(seed):
    station = make_station(seed, render=False)
    for reference, index in (
        (insertion.plan_reference(station), station.scene.goal),
        (insertion.plan_reference(station, goal=1 - station.scene.goal), 1 - station.scene.goal),
    ):
        waypoints = se3.apply(station.T_base_cam, np.stack(reference.waypoints))
        assert waypoints.shape == (6, 4, 3) and reference.frame == station.camera.frame
        start = station.object_points()
        assert np.linalg.norm(waypoints[:, 0, None] - start[None], axis=-1).min(1).max() < 1e-9
        holder = station.scene.holders[index]
        below_rim = waypoints[:, -1][waypoints[:, -1, 2] < holder.height]
        assert len(below_rim) and all(holder.inset(p[:2]) > -0.004 for p in below_rim)
        assert below_rim[:, 2].min() < insertion.DEPTH
        assert waypoints[:, -1, 2].max() < holder.height  # all of it is inside
        assert waypoints[:, 2, 2].min() > holder.height  # passes above the rim


@pytest.mark.parametrize(("keypoints", "waypoints"), [(2, 2), (9, 4), (4, 3), (3, 7)])
def test_a_reference_can_be_sparse_or_dense(keypoints, waypoints):
    station = make_station(0, render=False)
    reference = insertion.plan_reference(station, np.random.default_rng(0), keypoints, waypoints)
    assert len(reference.waypoints) == keypoints and all(len(w) == waypoints for w in reference.waypoints)
    # The utensil is rigid: distances between keypoints stay.
    w = np.stack(reference.waypoints)
    spread = np.linalg.norm(w[0] - w[1], axis=-1)
    np.testing.assert_allclose(spread, spread[0], atol=1e-9)


def test_a_reference_with_no_keypoint_is_refused():
    with pytest.raises(ValueError, match="num_keypoints=0"):
        insertion.plan_reference(make_station(0, render=False), num_keypoints=0)


def test_scenes_of_the_benchmark_stay_the_same():
    """The shipped checkpoints were judged on these; to the centimetre, for another platform rounds differently."""
    drawn = [insertion.sample(seed) for seed in range(1_000_000, 1_000_004)]
    found = [(d.utensil.shape, d.goal, *np.round(100 * d.utensil_position[:2]).astype(int).tolist()) for d in drawn]
    assert found == [("spoon", 0, 49, -18), ("knife", 1, 50, -15), ("spoon", 0, 49, -7), ("brush", 0, 60, -22)]
