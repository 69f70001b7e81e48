"""The honest thin path: demonstrations -> episodes -> windows -> a bundle -> closed loop, on a few small episodes."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from uma.checkpoint.bundle import load_bundle
from uma.model.config import small
from uma.model.inputs import decode_actions, point_set
from uma_sim.tasks import make_station
from uma_train import cli
from uma_train.data.episode import METRE, list_episodes, load_episode
from uma_train.data.normalization import measure_normalization
from uma_train.data.windows import Windows
from uma_train.evaluation.outcomes import CLASSES


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """Made by the command itself, whose worker processes import it again."""
    folder = tmp_path_factory.mktemp("data")
    words = [Path(sys.executable).parent / "uma", "simulate", "--out", folder, "--episodes", "3", "--workers", "2"]
    done = subprocess.run([str(w) for w in words], capture_output=True, text=True, timeout=200)
    assert done.returncode == 0, done.stderr[-2000:]
    return folder


def test_simulate_keeps_successes_resumes_and_counts(data, capsys):
    card = json.loads((data / "card.json").read_text())
    assert card["tried"] == 3 and card["kept"] == len(list_episodes(data)) >= 2
    assert sum(card["by_driver"]["expert"].values()) == 3
    before = {p: p.stat().st_mtime_ns for p in list_episodes(data)}
    assert cli.simulate(["--out", str(data), "--episodes", "3", "--workers", "1"]) == 0
    assert json.loads((data / "card.json").read_text())["by_driver"] == card["by_driver"]
    assert {p: p.stat().st_mtime_ns for p in list_episodes(data)} == before  # nothing was made again
    assert cli.simulate(["--out", str(data), "--episodes", "2000000"]) == 2
    assert "1,000,000" in capsys.readouterr().err


def test_training_sees_what_deployment_would_compute(data):
    path = list_episodes(data)[0]
    episode = load_episode(path)
    station = make_station(episode.meta["seed"])
    if episode.meta["disturbance"] == "closed":
        station.set_target(station.ee_pose(), 1.0)
        station.advance(0.8)
    observation = station.observe()
    live = point_set(observation, small().points)
    assert np.abs(episode.xyz[0] * METRE - live.xyz).max() <= METRE
    assert np.array_equal(episode.rgb[0], live.rgb)
    assert np.allclose(episode.pose[0], observation.T_cam_ee, atol=1e-6) and episode.gripper[0] == pytest.approx(
        observation.gripper, abs=1e-6
    )
    # An action of the window, decoded as the policy decodes, is the demonstrator's target in the base frame.
    episodes = [load_episode(p) for p in list_episodes(data)]
    norm = measure_normalization(episodes)
    batch = Windows(episodes).draw(1, 2, norm, np.random.default_rng(0), np.array([0]))
    poses, _ = decode_actions(batch.grid.action[0, 1:].numpy(), batch.T_cam_ee[0], norm)
    T = np.array(episode.meta["T_base_cam"])
    assert np.allclose(T @ poses[0], T @ episode.target_pose[0], atol=1e-4)
    moved = np.linalg.norm(T @ poses[0] - station.ee_pose(), axis=0)[3]
    assert moved <= 0.0405


def test_tracks_project_onto_the_object(data):
    episode = load_episode(list_episodes(data)[0])
    low = episode.height[0] * METRE < 0.035
    cloud = episode.xyz[0][low] * METRE
    distance = np.linalg.norm(episode.tracks[0][:, None] - cloud[None], axis=-1).min(1)
    assert np.median(distance) < 0.02  # the tracks start on a visible object on the table
    path = np.linalg.norm(np.diff(episode.tracks, axis=0), axis=-1).sum(0)
    assert path.min() > 0.15  # and it was carried


def test_train_and_benchmark_end_to_end(data, tmp_path):
    run = tmp_path / "run"
    arguments = [
        "--data",
        str(data),
        "--out",
        str(run),
        "--preset",
        "tiny",
        "--steps",
        "4",
        "--batch-size",
        "4",
        "--validation-episodes",
        "1",
    ]
    assert cli.train([*arguments, "--threads", "1", "--validate-every", "4", "--save-every", "2"]) == 0
    bundle = load_bundle(run / "bundle")
    assert bundle.training["step"] == 4 and bundle.training["episodes"] >= 1
    out = tmp_path / "bench"
    ask = [
        "--checkpoint",
        str(run / "bundle"),
        "--episodes",
        "1",
        "--max-steps",
        "16",
        "--workers",
        "1",
        "--out",
        str(out),
    ]
    assert (
        cli.benchmark([*ask, "--policies", "uma", "uma_zeroed", "uma_other_task", "hold_still", "grasp_and_follow"])
        == 0
    )
    rows = json.loads((out / "result.json").read_text())["rows"]
    assert [r["policy"] for r in rows] == ["uma", "uma_zeroed", "uma_other_task", "hold_still", "grasp_and_follow"]
    assert all(r["episodes"] == 1 and r["success"] + sum(r[k] for k in CLASSES) == 1 for r in rows)
