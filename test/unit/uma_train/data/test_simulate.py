"""Stored data of `uma simulate`, on one short demonstration."""

import dataclasses
import json
import types

import numpy as np
import pytest

pytest.importorskip("mujoco")

from rigid_episodes import same_array

from uma.geometry import fr3, se3
from uma.robot import DROID
from uma.types import CameraModel
from uma_sim.scene import camera_around, look_at
from uma_train.data.convert import PLANNED, planned
from uma_train.data.draws import depth_kind, has_actions
from uma_train.data.episode import DTYPES, load_episode
from uma_train.data.episode_report import check_frames
from uma_train.data.seen import shrink, visible
from uma_train.data.simulate import _job, simulate
from uma_train.data.simulate_config import SimulateConfig


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """The same scene with all images, with the first alone and no actions, and once more: (episode, again) and
    (bare)."""
    out = {}
    for name, changes in {
        "all": {"images": "all"},
        "again": {"images": "all"},
        "bare": {"without_actions": 1.0, "image_width": 80, "image_height": 45},
        "calm": {"noise": 0.0, "disturbances": 0.0},
        "hand": {"embodiment": "hand"},
    }.items():
        folder = tmp_path_factory.mktemp(name)
        told = _job((SimulateConfig(out=str(folder), preset="tiny", **changes), 0))
        assert (told["seed"], told["result"], told["task"], told["driver"]) == (0, "kept", "insertion", "expert")
        out[name] = load_episode(folder / "0000000.npz")
    return out


@pytest.mark.slow
def test_the_same_seed_makes_the_same_episode(made):
    a, b = made["all"], made["again"]
    assert a.meta == b.meta and all(same_array(getattr(a, n), getattr(b, n)) for n in DTYPES)


def test_frames_of_a_simulated_episode_are_right(made):
    e = made["all"]
    assert e.images.shape == (len(e.xyz), 90, 160, 3) and e.image_frame.tolist() == list(range(len(e.xyz)))
    check = check_frames(e)
    assert check.failure == "" and check.color < 12
    assert e.meta["has_actions"] and e.meta["has_robot"] and e.camera.width == 320 and e.track_moving.all()


@pytest.mark.parametrize(
    "name", ["insertion", "sweeping", "folding", "primitives/gather", "primitives/cloth", "primitives/stand"]
)
def test_plan_begins_at_its_points_and_is_a_sketch(name):
    from uma_sim.tasks import make_station

    station = make_station(5, name, render=False)
    plan = planned(station)
    assert plan.shape == (PLANNED, 16, 3) and np.isfinite(plan).all()
    now = se3.apply(se3.invert(station.T_base_cam), station.object_points())
    assert np.linalg.norm(plan[0][:, None] - now, axis=-1).min(1).max() < 0.002
    sketch = np.stack(station.task.plan_reference(station, None, 6, 4).waypoints, 1)
    assert np.linalg.norm(plan[:: (PLANNED - 1) // 3, :, None] - sketch[:, None], axis=-1).min(1).max() < 0.01
    assert np.linalg.norm(plan - plan[0], axis=-1).max() > 0.08


def test_the_plan_of_an_episode_is_stored(made):
    assert made["all"].plan.shape == (PLANNED, 16, 3)


def test_an_instruction_names_utensil_and_holder(made):
    from uma_sim.tasks import insertion

    drawn = insertion.sample(0)
    assert made["all"].meta["text"] == f"put the {drawn.utensil.shape} into the {('near', 'far')[drawn.goal]} holder"
    # The nearer holder is the one with the lower depth along the camera's axis, whatever its number.
    seen = types.SimpleNamespace(scene=drawn, T_base_cam=drawn.room.T_base_cam)
    behind = types.SimpleNamespace(
        scene=drawn, T_base_cam=look_at(np.array([0.5, 1.2, 0.5]), np.array([0.5, 0.2, 0.0]))
    )
    assert insertion.instruction(seen, 0).endswith("near holder") and insertion.instruction(seen, 1).endswith(
        "far holder"
    )
    assert insertion.instruction(behind, 0).endswith("far holder") and insertion.instruction(behind, 1).endswith(
        "near holder"
    )


def test_an_episode_without_actions_holds_none(made):
    a, e = made["all"], made["bare"]
    assert not e.meta["has_actions"] and e.meta["has_robot"]
    assert np.array_equal(e.pose, a.pose) and np.array_equal(e.tracks, a.tracks)  # the same demonstration
    assert (
        np.array_equal(e.target_pose, e.pose)
        and np.array_equal(e.target_gripper, e.gripper)
        and not np.allclose(a.target_pose, a.pose, atol=1e-3)
    )
    assert e.images.shape == (1, 45, 80, 3) and e.image_frame.tolist() == [0]


def test_an_episode_of_a_hand_has_no_robot(made):
    a, e = made["all"], made["hand"]
    assert not e.meta["has_robot"] and not e.meta["has_actions"]
    assert (e.pose == np.eye(4)).all() and np.isnan(e.joints).all()
    assert np.array_equal(e.tracks, a.tracks) and not np.array_equal(e.xyz, a.xyz)


def test_measured_joints_are_those_of_the_measured_pose(made):
    e = made["all"]
    T_cam_base = se3.invert(np.array(e.meta["T_base_cam"]))
    for joints, pose in zip(e.joints[::20], e.pose[::20]):
        expected = T_cam_base @ fr3.forward(joints.astype(float)) @ DROID.T_flange_ee.matrix()
        np.testing.assert_allclose(pose, expected, atol=1e-5)


def test_execution_noise_is_an_option(made):
    assert (
        made["calm"].meta["noise_scale"] == 0.0
        and made["calm"].meta["disturbance"] == "none"
        and 0.0 < made["all"].meta["noise_scale"] < 1.6
    )
    # Without noise the arm follows the label up to its lag.
    apart = [
        np.linalg.norm(e.pose[1:, :3, 3] - e.target_pose[:-1, :3, 3], axis=-1).mean()
        for e in (made["calm"], made["all"])
    ]
    assert apart[0] < apart[1]


def test_the_share_without_actions_is_drawn_scene_by_scene():
    config = SimulateConfig(without_actions=0.3)
    kept = [has_actions(config, s) for s in range(2000)]
    assert 0.66 < np.mean(kept) < 0.74
    assert kept == [has_actions(dataclasses.replace(config, first_seed=5, episodes=3), s) for s in range(2000)]
    assert all(has_actions(SimulateConfig(), s) for s in range(100))


def test_images_are_means_of_what_they_cover():
    rgb = np.random.default_rng(0).integers(0, 255, (180, 320, 3), dtype=np.uint8)
    small = shrink(rgb, 160, 90)
    assert np.abs(small - rgb.reshape(90, 2, 160, 2, 3).mean((1, 3))).max() <= 0.51
    assert shrink(rgb, 100, 50).shape == (50, 100, 3)


def test_sets_of_different_kinds_are_not_mixed(tmp_path):
    (tmp_path / "card.json").write_text(json.dumps({"config": dataclasses.asdict(SimulateConfig(images="all"))}))
    with pytest.raises(ValueError, match="images 'all', now 'first'; choose another --out"):
        simulate(SimulateConfig(out=str(tmp_path), episodes=0))


def test_a_folder_keeps_its_settings(tmp_path):
    (tmp_path / "card.json").write_text(json.dumps({"config": dataclasses.asdict(SimulateConfig())}))
    with pytest.raises(ValueError, match="task 'insertion', now 'sweeping'"):
        simulate(SimulateConfig(task="sweeping", out=str(tmp_path), episodes=0))
    assert simulate(SimulateConfig(out=str(tmp_path), episodes=0))["tried"] == 0


@pytest.mark.slow
def test_the_yield_alone_is_counted_without_episodes(tmp_path):
    card = simulate(SimulateConfig(task="sweeping", out=str(tmp_path), episodes=2, workers=1, record=False))
    assert card["by_task"] == {"sweeping": {"kept": 2}} and card["kept"] == 2 and not list(tmp_path.glob("*.npz"))


class Here:
    """A pool in this process; the worker ends in the scenes that are left out."""

    def __init__(self, work, ends=()):
        self.work, self.ends, self.ready, self.events = work, ends, [], []

    def start(self):
        self.events.append((len(self.ready), "ready", None))
        self.ready.append(True)
        return len(self.ready) - 1

    def submit(self, handle, item):
        is_end = item[1] in self.ends
        self.events.append(
            (handle, *(("ended", "the worker ended with code -9") if is_end else ("done", self.work(item, None))))
        )

    def wait(self, seconds):
        events, self.events = self.events, []
        return events

    def kill(self, handle): ...

    def close(self): ...


def test_a_killed_worker_costs_one_scene_that_is_repeated(tmp_path, monkeypatch, capsys):
    calls = []

    def job(args):
        calls.append(args[1])
        return {"seed": args[1], "disturbance": "none", "result": "kept", "task": "insertion", "driver": "expert"}

    monkeypatch.setattr("uma_train.data.simulate._job", job)
    monkeypatch.setattr("uma_train.data.simulate.LocalPool", lambda work: Here(work, (1,)))
    config = SimulateConfig(out=str(tmp_path), episodes=4)
    assert simulate(config)["tried"] == 3
    assert "seed 1: the worker ended with code -9; the same command repeats it" in capsys.readouterr().out
    monkeypatch.setattr("uma_train.data.simulate.LocalPool", Here)
    assert simulate(config)["tried"] == 4 and sorted(calls) == [0, 1, 2, 3]


def test_an_error_in_a_scene_ends_the_run(tmp_path, monkeypatch):
    monkeypatch.setattr("uma_train.data.simulate._job", lambda args: 1 / 0)
    monkeypatch.setattr("uma_train.data.simulate.LocalPool", Here)
    with pytest.raises(ZeroDivisionError):
        simulate(SimulateConfig(out=str(tmp_path), episodes=2))


def test_a_point_is_seen_where_the_depth_is_its_own():
    camera = CameraModel(8, 6, 4.0, 4.0, 3.5, 2.5)
    depth = np.full((6, 8), 1.0, np.float32)
    depth[2, 4], depth[3, 3] = 0.5, np.nan
    at = lambda u, v, z: [(u - 3.5) / 4 * z, (v - 2.5) / 4 * z, z]  # noqa: E731
    points = np.array(
        [at(1, 1, 1.0), at(4, 2, 1.0), at(4, 2, 0.51), at(3, 3, 1.0), at(20, 2, 1.0), at(1, 1, 1.1), [0, 0, -1.0]]
    )
    assert visible(points, depth, camera).tolist() == [True, False, True, False, False, False, False]


@pytest.mark.parametrize(
    "change, message",
    [
        ({"task": "juggling"}, "task 'juggling'.*sweeping"),
        ({"without_actions": 1.5}, "without_actions: 1.5"),
        ({"noise": -1.0}, "noise: -1.0, must be 0 to 4"),
        ({"disturbances": 2.0}, "disturbances: 2.0"),
        ({"image_width": 0}, "image_width: 0"),
    ],
)
def test_settings_out_of_range_are_refused(change, message):
    with pytest.raises(ValueError, match=message):
        SimulateConfig(**change)


def test_bad_scenes_are_failures_and_not_the_end(tmp_path, monkeypatch):
    import uma_sim.rollout as rollout
    import uma_train.data.simulate as module
    from uma.types import InputError

    def blind(*_):
        raise InputError("depth: 11 points above the table, at least 20 required")

    config = SimulateConfig(out=str(tmp_path), preset="tiny")
    with monkeypatch.context() as patched:
        patched.setattr(module, "point_set", blind)
        assert _job((config, 0))["result"].startswith("no observation: depth: 11 points")
    true = rollout.run_demonstration

    def flown(*args, **kwargs):
        run = true(*args, **kwargs)
        run["object_points"][-1, 3, 2] = -60.0
        return run

    monkeypatch.setattr(rollout, "run_demonstration", flown)
    assert _job((config, 0))["result"] == "a tracked point left the scene" and not list(tmp_path.glob("*.npz"))


def test_points_that_did_move_are_not_called_static():
    from uma_sim.rollout import run_demonstration
    from uma_sim.tasks import make_station

    station = make_station(0, "primitives/stand", render=False)
    true, calls = station.task.static_points, []

    def falling(s):
        calls.append(s)
        points = true(s)
        points[1] += [0.0, 0.0, -50.0 * (len(calls) > 1)]
        return points

    object.__setattr__(station.task, "static_points", falling)
    try:
        run = run_demonstration(0, 0.0, disturbance_probability=0.0, station=station)
    finally:
        object.__setattr__(station.task, "static_points", true)
    assert (
        run["success"]
        and len(calls) == 2
        and len(run["static_points"]) <= len(true(station)) - 1
        and np.abs(run["static_points"]).max() < 2.0
    )


def test_cameras_around_see_the_object_from_all_sides():
    rooms = [camera_around(np.random.default_rng(seed))[:3, 3] for seed in range(200)]
    azimuth = np.degrees([np.arctan2(p[0] - 0.49, -p[1]) for p in rooms])
    assert (azimuth < 30).sum() > 30 and ((azimuth > 60) & (azimuth < 120)).sum() > 30 and (azimuth > 150).sum() > 15
    heights = np.array(rooms)[:, 2]
    assert heights.min() < 0.40 and heights.max() > 0.70


def test_a_scene_out_of_view_is_left_out(tmp_path, monkeypatch):
    monkeypatch.setattr(
        "uma_sim.scene.camera_around", lambda rng: look_at(np.array([0.5, -0.5, 0.5]), np.array([0.5, -2, 0.5]))
    )
    config = SimulateConfig(task="intents/lift", out=str(tmp_path), preset="tiny", camera="around", nominal_share=0.0)
    assert _job((config, 0))["result"] == "the object is out of view"


def test_the_share_of_matched_depth_is_drawn_scene_by_scene():
    kinds = [depth_kind(SimulateConfig(stereo_share=0.3), s) for s in range(2000)]
    assert 0.26 < kinds.count("stereo") / 2000 < 0.34
    assert {depth_kind(SimulateConfig(), s) for s in range(200)} == {"model"}
    with pytest.raises(ValueError, match="stereo_share"):
        SimulateConfig(stereo_share=1.5)


@pytest.mark.slow
def test_an_episode_with_matched_depth_says_so(made, tmp_path):
    told = _job((SimulateConfig(out=str(tmp_path), preset="tiny", images="all", stereo_share=1.0), 0))
    e = load_episode(tmp_path / "0000000.npz")
    assert told["result"] == "kept" and e.meta["depth"] == "stereo" and made["all"].meta["depth"] == "model"
    assert np.array_equal(e.pose, made["all"].pose)  # the same demonstration
    assert check_frames(e).failure == "" and not np.array_equal(e.xyz, made["all"].xyz)
