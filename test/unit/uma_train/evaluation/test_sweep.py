"""Changes of the closed-loop sweep: each one really affects the simulation or the policy's input."""

import json
from dataclasses import asdict, replace

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from uma.geometry.camera import unproject
from uma.geometry.se3 import apply, make_pose, rotation_angle
from uma.types import ActionChunk, Prediction
from uma_sim.planning.sketches import of_scene
from uma_sim.scene import CAMERA_POSITION, CAMERAS, camera_at
from uma_sim.station import Station
from uma_sim.tasks import make_station
from uma_train.evaluation import closed_loop as benchmarks
from uma_train.evaluation import sweep as sweeps
from uma_train.evaluation.benchmark_config import BenchmarkConfig
from uma_train.evaluation.outcomes import EpisodeResult
from uma_train.evaluation.sweep import SweepConfig, points, sweep


def test_every_point_changes_one_thing_on_the_same_scenes():
    found = points(SweepConfig(out="x"))
    start = found[0].config
    assert found[0].what == "starting point" and len({p.config.out for p in found}) == len(found)
    for point in found[1:]:
        changed = {k for k, v in asdict(point.config).items() if v != getattr(start, k)} - {"out"}
        assert len(changed) == 1 or changed == {"delay", "prefix"}, point
        assert (point.config.first_seed, point.config.episodes, point.config.policies) == (
            start.first_seed,
            start.episodes,
            ("uma",),
        )
    delays = [p.config for p in found if p.config.delay]
    assert [(c.delay, c.prefix) for c in delays] == [(d, x) for d in (1, 2, 3, 4) for x in (0, d)]
    assert [p.value for p in found if p.what == "delay"] == ["67 ms", "133 ms", "200 ms", "267 ms"]


def test_what_is_the_starting_point_already_is_not_run_twice():
    found = points(
        SweepConfig(
            delays=(0,),
            keypoints=(6,),
            waypoints=(4, 2),
            pinned=(0,),
            depth_noise=(1.0,),
            camera_shift_mm=(0.0,),
            camera_turn_deg=(),
            flow_steps=(2,),
        )
    )
    assert [p.what for p in found] == ["starting point", "waypoints"]


@pytest.mark.parametrize(
    "changes, words",
    [
        ({"delay": 5}, "delay 5"),
        ({"prefix": 13}, "prefix: 13, must be 0 to 12"),
        ({"camera_shift_mm": -1.0}, "camera_shift_mm: -1.0"),
        ({"depth_noise": float("nan")}, "depth_noise"),
        ({"pinned": 5}, "pinned: 5, must be 0 to 4"),
        ({"keypoints": 14, "pinned": 3}, "keypoints 14, pinned 3: must be at most 16 together"),
    ],
)
def test_values_out_of_range_are_refused(changes, words):
    with pytest.raises(ValueError, match=words):
        BenchmarkConfig(**changes)


def test_sweep_writes_and_compares_each_point(tmp_path, monkeypatch, capsys):
    """With outcomes that are known: what the sweep makes of them."""
    asked = []

    def fake(config, console=None):
        asked.append(config)
        folder = tmp_path / config.out.rsplit("/", 1)[-1]
        folder.mkdir(exist_ok=True)
        won = {10, 11} if config.delay == 0 else {11, 12, 13}
        results = [EpisodeResult("uma", s, "success" if s in won else "lost", True, 4.0, "") for s in range(10, 14)]
        (folder / "episodes.jsonl").write_text("\n".join(json.dumps(asdict(r)) for r in results))
        return benchmarks.summarize(results)

    monkeypatch.setattr(sweeps, "benchmark", fake)
    only = SweepConfig(
        delays=(2,),
        keypoints=(),
        waypoints=(),
        pinned=(),
        depth_noise=(),
        camera_shift_mm=(),
        camera_turn_deg=(),
        flow_steps=(),
        episodes=4,
        first_seed=10,
        out=str(tmp_path),
    )
    rows = sweep(only)
    assert [(r["success"], r["better"], r["worse"], r["sign_test"]) for r in rows] == [
        (2, 0, 0, 1.0),
        (3, 2, 1, 1.0),
        (3, 2, 1, 1.0),
    ]
    stored = json.loads((tmp_path / "sweep.json").read_text())
    assert [r["value"] for r in stored["rows"]] == ["", "133 ms", "133 ms"] and stored["rows"][2]["config"][
        "prefix"
    ] == 2
    assert "3/4 = 75 %" in capsys.readouterr().out


def test_only_the_same_configuration_is_resumed(tmp_path, monkeypatch):
    config = BenchmarkConfig(policies=("hold_still",), episodes=1, out=str(tmp_path))
    (tmp_path / "config.json").write_text(json.dumps(asdict(config)))
    done = EpisodeResult("hold_still", 1_000_000, "no_grasp", False, float("nan"), "")
    (tmp_path / "episodes.jsonl").write_text(json.dumps(asdict(done)) + "\n")
    monkeypatch.setattr(benchmarks.multiprocessing, "get_context", lambda kind: NoPool())
    assert benchmarks.benchmark(config)[0]["no_grasp"] == 1
    for change in ({"depth_noise": 2.0}, {"streamed_ms": 0.0}):
        with pytest.raises(ValueError, match="another configuration"):
            benchmarks.benchmark(replace(config, **change))


class NoPool:
    """Stands in for processes, which a complete run does not need."""

    def Pool(self, workers):
        return self

    def __enter__(self):
        return self

    def __exit__(self, *_):
        return None

    def imap_unordered(self, function, jobs):
        assert not list(jobs), "everything was there"
        return []


def displacement(monkeypatch, seed: int) -> np.ndarray:
    """Where an episode of the scene moves its camera."""
    moved = []
    with monkeypatch.context() as patch:
        patch.setattr(Station, "displace_camera", lambda self, T: moved.append(T))
        config = BenchmarkConfig(camera_shift_mm=30.0, camera_turn_deg=3.0, max_steps=1)
        benchmarks.run_episode(config, "demonstrator", seed)
    (T,) = moved
    return T


def test_displacement_has_its_size_and_a_direction_of_the_scene(monkeypatch):
    one, again, other = (displacement(monkeypatch, seed) for seed in (1_000_000, 1_000_000, 1_000_001))
    assert np.linalg.norm(one[:3, 3]) == pytest.approx(0.03)
    assert np.degrees(rotation_angle(np.eye(3), one[:3, :3])) == pytest.approx(3.0)
    assert np.array_equal(one, again) and not np.allclose(one, other)


def test_displaced_camera_leaves_the_calibration_alone():
    station = make_station(1_000_000, noise=False)
    calibrated, before = station.T_base_cam.copy(), station.observe()
    turn = Rotation.from_rotvec(np.radians([2.0, -1.0, 2.0])).as_matrix()
    D = make_pose(turn, np.array([0.02, 0.01, -0.02]))

    def off_the_table(T_base_cam):
        """Return the distance of the lowest visible point from the table's height, 0."""
        o = station.observe()
        points = unproject(o.depth, o.camera).reshape(-1, 3)
        z = (points[np.isfinite(points).all(1)] @ T_base_cam[:3, :3].T + T_base_cam[:3, 3])[:, 2]
        near = z[np.abs(z) < 0.1]
        return float(np.abs(near - np.median(near)).mean() + abs(np.median(near)))

    straight = off_the_table(calibrated)
    station.displace_camera(D)
    assert np.array_equal(station.T_base_cam, calibrated)
    assert np.allclose(station.observe().T_cam_ee, before.T_cam_ee)
    assert off_the_table(calibrated @ D) < straight + 1e-3 < off_the_table(calibrated)
    station.displace_camera(np.eye(4))
    assert np.nanmedian(np.abs(station.observe().depth - before.depth)) < 1e-5
    station.close()


def test_noise_factor_scales_the_depth_noise_alone():
    def seen(factor):
        station = make_station(1_000_000, noise=True)
        station.depth_noise = factor
        o = station.observe()
        station.close()
        return o

    none, one, four = seen(0.0), seen(1.0), seen(4.0)
    noise = np.nanstd(one.depth - none.depth)
    assert noise > 5e-4 and np.nanstd(four.depth - none.depth) == pytest.approx(4 * noise, rel=0.05)
    assert np.array_equal(none.rgb, one.rgb) and np.array_equal(one.rgb, four.rgb)


def test_pinned_points_come_on_top_of_the_keypoints_and_stay():
    station = make_station(1_000_000, noise=False)
    plain, pinned = (of_scene(station, 3, 4, n, 5).waypoints for n in (0, 2))
    assert len(plain) == 3 and all(np.array_equal(a, b) for a, b in zip(plain, pinned[:3], strict=True))
    assert [len(w) for w in pinned] == [4, 4, 4, 1, 1]
    rim = station.scene.holders[station.scene.goal].rim_points()[:2]
    assert np.allclose(apply(station.T_base_cam, np.concatenate(pinned[3:])), rim, atol=1e-6)
    station.close()


@pytest.mark.parametrize("prefix", [0, 2])
def test_actions_of_the_delay_are_the_prefix(monkeypatch, prefix):
    """Chunks rise by 1 mm an action, so that the height of a prefix shows which actions it has."""
    tasks, given, chunks = [], [], []

    class Rising:
        def encode_task(self, observation, reference):
            tasks.append([len(w) for w in reference.waypoints])

        def predict(self, observation, task, *, sequence, with_motion, prefix):
            given.append(prefix)
            poses = np.repeat(observation.T_cam_ee[None], 16, 0)
            poses[:, 2, 3] += 1e-3 * np.arange(16)
            chunks.append(
                ActionChunk(poses, np.zeros(16), observation.stamp, observation.camera.frame, "tcp", 15.0, sequence)
            )
            return Prediction(chunks[-1])

    monkeypatch.setattr("uma_train.execution.driving.policy_of", lambda *args: Rising())
    config = BenchmarkConfig(streamed_ms=0.0, delay=2, prefix=prefix, keypoints=3, waypoints=2, max_steps=8)
    benchmarks.run_episode(config, "uma", 1_000_000)
    assert tasks == [[2, 2, 2]] and len(given) == 2 and given[0] is None and (given[1] is None) is (prefix == 0)
    if prefix:
        assert np.allclose(given[1].poses, chunks[0].poses[4:6], atol=1e-4), "what runs during the delay"


def test_a_camera_sweep_has_every_place_in_every_frame():
    found = points(SweepConfig(camera=True, episodes=3, out="runs/x"))
    assert [(p.config.policy_frame, p.config.camera) for p in found] == [
        (f, c) for f in ("camera_nominal", "camera") for c in CAMERAS
    ]
    assert len({p.config.out for p in found}) == 14 and found[0].value == "nominal"
    with pytest.raises(ValueError, match="camera: 'roof', must be one of"):
        BenchmarkConfig(camera="roof")
    with pytest.raises(ValueError, match="policy_frame: 'floor', must be"):
        BenchmarkConfig(policy_frame="floor")


def test_cameras_stand_where_their_names_place_them():
    nominal = CAMERA_POSITION
    for seed in range(20):
        places = {name: camera_at(name, seed)[:3, 3] for name in CAMERAS}
        assert np.linalg.norm(places["nominal"] - nominal) < 0.03
        for name, away in (("10cm", 0.10), ("25cm", 0.25)):
            assert abs(np.linalg.norm(places[name] - nominal) - away) < 0.03
        assert places["other_side"][1] > 0.48 and places["front"][0] > 1.15
        assert places["higher"][2] > 0.7 and places["lower"][2] < 0.4
        assert np.array_equal(camera_at("25cm", seed), camera_at("25cm", seed))
    with pytest.raises(ValueError, match="camera: 'roof'"):
        camera_at("roof", 0)
