"""Common properties of every task: scenes, experts, references and recorded demonstrations."""

import numpy as np
import pytest

pytest.importorskip("mujoco")
pytest.importorskip("franky_sim")

from uma.geometry import se3
from uma_sim import experts, tasks
from uma_sim.experts.base import STEP_M, STEP_RAD
from uma_sim.rollout import run_demonstration
from uma_sim.tasks import make_station

NAMES = ("insertion", "sweeping", "folding")
ALL = tuple(tasks.MODULES)
CLOTH = ("folding", "primitives/cloth")  # takes its time


@pytest.mark.parametrize("name", ALL)
def test_a_seed_gives_one_scene_and_one_course_of_events(name):
    runs = []
    for _ in range(2):
        station = make_station(3, name, render=False)
        expert = experts.expert(station.task.name)
        for _ in range(8):
            station.act(*expert.act(station))
        runs.append((station.joint_positions(), station.object_points(), station.T_base_cam))
    for a, b in zip(*runs, strict=True):
        np.testing.assert_array_equal(a, b)
    assert not np.allclose(tasks.load(name).sample(4).room.T_base_cam, runs[0][2])


@pytest.mark.parametrize("name", ALL)
def test_only_the_reference_holds_the_goal(name):
    count, slack = (50, 0.15) if name.startswith("intents/") else (200, 0.10)
    goals = [tasks.load(name).sample(seed).goal for seed in range(count)]
    assert abs(np.mean(goals) - 0.5) < slack and set(goals) == {0, 1}


@pytest.mark.parametrize("name", ALL)
def test_nothing_is_done_before_the_robot_moves(name):
    for seed in range(3):
        station = make_station(seed, name, render=False)
        assert station.task.outcome(station)[0] == "in_progress"
        assert station.object_points().shape == (16, 3) and station.object_points()[:, 2].min() > -0.003
        assert station.object_speed() < 0.02 and not station.grasped() and not station.task.taken(station)


@pytest.mark.slow
@pytest.mark.parametrize("name", ALL)
def test_every_demonstrator_succeeds_in_small_steps(name):
    for seed in (1,) if name in CLOTH else (0, 1):
        episode = run_demonstration(seed, 0.5, disturbance_probability=0.0, task=name)
        assert episode["success"] and episode["verdict"] == "success" and episode["task"] == name and episode["text"]
        T, goal = episode["pose"], episode["label_pose"]
        assert np.linalg.norm(goal[:, :3, 3] - T[:, :3, 3], axis=1).max() < STEP_M + 1e-6
        assert se3.rotation_angle(T[:, :3, :3], goal[:, :3, :3]).max() < STEP_RAD + 1e-6
        assert set(np.unique(episode["label_gripper"])) <= {0.0, 1.0}


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_the_demonstrator_recovers_from_mishaps(name):
    runs = [
        run_demonstration(seed, 1.0, disturbance_probability=1.0, task=name)
        for seed in range(2 if name == "folding" else 4)
    ]  # cloth takes its time
    assert "none" not in {run["disturbance"] for run in runs} and sum(run["success"] for run in runs) >= len(runs) - 1


@pytest.mark.slow
@pytest.mark.parametrize("name", ALL)
def test_the_demonstrator_keeps_no_state(name):
    station = make_station(2, name, render=False)
    old = experts.expert(station.task.name)
    for _ in range(45):
        T, grip = old.act(station)
        fresh_T, fresh_grip = experts.expert(station.task.name).act(station)
        np.testing.assert_array_equal(T, fresh_T)
        assert grip == fresh_grip
        station.act(T, grip)


@pytest.mark.slow
@pytest.mark.parametrize("name", ALL)
def test_the_distractor_counts_as_wrong_and_reads_otherwise(name):
    goal = tasks.load(name).sample(1).goal
    other = run_demonstration(1, 0.0, disturbance_probability=0.0, task=name, goal=1 - goal)
    assert other["verdict"] == "wrong_goal" and other["success"]
    station = make_station(1, name, render=False)
    assert other["text"] == station.task.instruction(station, 1 - goal) != station.task.instruction(station, goal)


@pytest.mark.parametrize("name", ALL)
@pytest.mark.parametrize(("keypoints", "waypoints", "pinned"), [(6, 4, 0), (2, 2, 2), (9, 6, 3), (4, 3, 0)])
def test_reference_runs_from_object_to_goal(name, keypoints, waypoints, pinned):
    station = make_station(4, name, render=False)
    if name.startswith("intents/"):  # the object may be alone
        pinned = min(pinned, len(station.task.static_points(station)))
    plans = [
        station.task.plan_reference(station, np.random.default_rng(0), keypoints, waypoints, goal, pinned)
        for goal in (0, 1)
    ]
    for plan in plans:
        assert [len(w) for w in plan.waypoints] == [waypoints] * keypoints + [
            1
        ] * pinned and plan.frame == station.camera.frame
        start = se3.apply(station.T_base_cam, np.stack([w[0] for w in plan.waypoints[:keypoints]]))
        assert np.linalg.norm(start[:, None] - station.object_points()[None], axis=-1).min(1).max() < 1e-9
        ends = se3.apply(station.T_base_cam, np.stack([w[-1] for w in plan.waypoints]))
        assert ends[:, 2].min() > -0.005  # nothing under the table
        if pinned:
            candidates = np.concatenate(
                [station.task.static_points(station), station.object_points()]
            )  # cloth is pinned by its resting edge
            still = np.linalg.norm(ends[keypoints:, None] - candidates[None], axis=-1)
            assert still.min(1).max() < 1e-9
    last = [np.stack([w[-1] for w in plan.waypoints[:keypoints]]) for plan in plans]
    assert np.linalg.norm(last[0] - last[1], axis=-1).max() > 0.05  # the two goals differ


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_where_the_expert_ends_is_where_the_reference_ends(name):
    station = make_station(0, name, render=False)
    plan = station.task.plan_reference(station, None, 16, 2)
    ends = se3.apply(station.T_base_cam, np.stack([w[-1] for w in plan.waypoints]))
    run = run_demonstration(0, 0.0, disturbance_probability=0.0, task=name)
    nearest = np.linalg.norm(run["object_points"] - ends[None], axis=-1).mean(1).min()
    assert nearest < 0.035  # at some step, all of the object is near the end of the plan


@pytest.mark.parametrize("name", NAMES)
def test_every_task_can_be_seen(name):
    station = make_station(0, name)
    observation = station.observe()
    points = se3.apply(se3.invert(station.T_base_cam), station.object_points())
    camera = observation.camera
    u, v = (
        (camera.fx * points[:, 0] / points[:, 2] + camera.cx).round().astype(int),
        (camera.fy * points[:, 1] / points[:, 2] + camera.cy).round().astype(int),
    )
    assert (u > 4).all() and (u < camera.width - 5).all() and (v > 4).all() and (v < camera.height - 5).all()
    depth = observation.depth[v, u]
    assert (np.abs(depth - points[:, 2]) < 0.02).sum() >= 6  # the rest are on faces turned away
    station.close()


def test_an_unknown_task_is_refused_by_name():
    with pytest.raises(ValueError, match="'juggling'.*insertion.*sweeping"):
        make_station(0, "juggling", render=False)
