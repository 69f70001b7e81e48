"""`uma export`: a LeRobot data set of format 3.0 with the episodes' own values."""

import json
import os
import subprocess
from dataclasses import replace

import numpy as np
import pyarrow.parquet as pq
import pytest
from episodes import episode
from scipy.spatial.transform import Rotation

from uma.geometry import se3
from uma.types import InputError
from uma_train.data.episode import load_episode, save_episode
from uma_train.data.exports import exporting
from uma_train.data.exports.columns import ACTION, KEYPOINTS, STATE, VALID, flat
from uma_train.data.exports.lerobot import IMAGE
from uma_train.data.exports.statistics import Statistics
from uma_train.data.sources import video
from uma_train.data.sources.lerobot_layout import columns, places, root_of

TEXTS = ("lift it", "put it down", "lift it")


def filmed(e, seed):
    """The episode with an image at every frame: smooth, so that coding keeps it."""
    ramp = np.linspace(40, 200, 32, dtype=np.uint8)
    images = np.stack([np.stack([np.tile(ramp, (16, 1)), np.full((16, 32), 30 + 12 * i + seed, np.uint8),
                                 np.tile(ramp[::-1], (16, 1))], -1) for i in range(len(e.xyz))])  # fmt: skip
    return replace(e, images=images, image_frame=np.arange(len(images), dtype=np.int32))


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    folder = tmp_path_factory.mktemp("episodes")
    for i, text in enumerate(TEXTS):
        e = filmed(episode(i, S=20 + 2 * i), i)
        valid = np.ones(e.tracks.shape[:2], bool)
        valid[3:, i] = False
        joints = np.full((len(e.pose), 7), 0.1 * i, np.float32)
        e = replace(e, track_valid=valid, joints=joints, tracks=e.tracks, meta={**e.meta, "text": text})
        save_episode(folder / f"{i}.npz", replace(e, tracks=e.tracks[:, : 16 - i], track_valid=valid[:, : 16 - i],
                                                  track_moving=None, plan=None))  # fmt: skip
    return folder


@pytest.fixture(scope="module")
def data(source, tmp_path_factory):
    out = tmp_path_factory.mktemp("out") / "set"
    assert exporting.main([str(source), "--out", str(out), "--per-file", "2"]) == 0
    return out


def own(source, i):
    return load_episode(source / f"{i}.npz")


def test_our_reader_finds_the_episodes_and_their_values(source, data):
    found = places(root_of(data))
    assert [p.length for p in found] == [20, 22, 24] and [p.first for p in found] == [0, 20, 42]
    assert found[0].data == found[1].data != found[2].data
    for i, place in enumerate(found):
        e, rows = own(source, i), columns(place, [STATE, ACTION, KEYPOINTS, VALID, "timestamp", "task_index"])
        S, K = e.tracks.shape[:2]
        for name, pose, grip in ((STATE, e.pose, e.gripper), (ACTION, e.target_pose, e.target_gripper)):
            T = se3.make_pose(Rotation.from_quat(rows[name][:, 3:7]).as_matrix(), rows[name][:, :3])
            np.testing.assert_allclose(T, pose, atol=1e-6)
            np.testing.assert_array_equal(rows[name][:, 7], grip)
        np.testing.assert_array_equal(rows[STATE][:, 8:], e.joints)
        points, valid = rows[KEYPOINTS].reshape(S, 16, 3), rows[VALID].astype(bool)
        np.testing.assert_array_equal(points[:, :K], e.tracks)
        np.testing.assert_array_equal(valid[:, :K], e.track_valid)
        assert not valid[:, K:].any() and not points[:, K:].any()
        np.testing.assert_allclose(rows["timestamp"], np.arange(S) / 15.0, atol=1e-6)
        assert set(rows["task_index"]) == {i % 2}


def test_the_video_holds_each_image_until_the_next(source, data):
    for i, place in enumerate(places(root_of(data))):
        e, (path, begin) = own(source, i), place.videos[IMAGE]
        frames = list(video.frames(path, place.length, begin))
        truth = e.images[np.repeat(np.arange(len(e.images)), 2)]
        assert np.abs(np.stack(frames).astype(int) - truth).mean() < 3.0


def test_metadata_is_that_of_format_3(source, data):
    info = json.loads((data / "meta" / "info.json").read_text())
    assert (info["codebase_version"], info["fps"], info["total_episodes"], info["total_frames"]) == ("v3.0", 15, 3, 66)
    features = info["features"]
    assert features[STATE]["shape"] == [15] and features[ACTION]["names"][-1] == "gripper"
    assert features[IMAGE]["shape"] == [16, 32, 3]
    assert features["index"] == {
        "dtype": "int64",
        "shape": [1],
        "names": None,
    }
    tasks = pq.read_table(data / "meta" / "tasks.parquet")
    assert tasks.to_pydict() == {"task_index": [0, 1], "task": list(TEXTS[:2])}
    assert json.loads(tasks.schema.metadata[b"pandas"])["index_columns"] == ["task"]
    rows = pq.read_table(data / "meta" / "episodes" / "chunk-000" / "file-000.parquet").to_pydict()
    assert rows["tasks"] == [[t] for t in TEXTS] and rows[f"videos/{IMAGE}/file_index"] == [0, 0, 1]
    assert rows[f"videos/{IMAGE}/from_timestamp"] == pytest.approx([0.0, 20 / 15, 0.0])
    about = [json.loads(line) for line in (data / "meta" / "uma_episodes.jsonl").read_text().splitlines()]
    assert [a["file"] for a in about] == ["0.npz", "1.npz", "2.npz"] and about[1]["text"] == TEXTS[1]


def test_statistics_are_those_of_all_rows(data):
    stats = json.loads((data / "meta" / "stats.json").read_text())
    files = sorted((data / "data").rglob("*.parquet"))
    rows = np.array([row for path in files for row in pq.read_table(path)[STATE].to_pylist()])
    for kind, value in (("min", rows.min(0)), ("max", rows.max(0)), ("mean", rows.mean(0)), ("std", rows.std(0))):
        np.testing.assert_allclose(stats[STATE][kind], value, atol=1e-9)
    assert stats[STATE]["count"] == [66] and np.shape(stats[IMAGE]["mean"]) == (3, 1, 1)


def test_statistics_in_parts_are_those_of_the_whole():
    values = np.random.default_rng(0).normal(3.0, 2.0, (50, 2))
    whole, parts = Statistics(), Statistics()
    whole.add("a", values)
    for part in np.split(values, [10, 11]):
        parts.add("a", part)
    for kind, value in whole.result()["a"].items():
        np.testing.assert_allclose(parts.result()["a"][kind], value)


def test_quaternions_do_not_change_their_sign():
    angles = np.linspace(0, 4 * np.pi, 60)
    poses = se3.make_pose(Rotation.from_euler("x", angles[:, None]).as_matrix(), np.zeros((60, 3)))
    q = flat(poses)[:, 3:]
    assert np.linalg.norm(np.diff(q, axis=0), axis=1).max() < 0.2 and q[0, 3] > 0


def test_without_an_image_at_every_frame_there_is_no_video(tmp_path):
    (tmp_path / "a").mkdir()
    save_episode(tmp_path / "a" / "0.npz", episode(0))
    exporting.main([str(tmp_path / "a"), "--out", str(tmp_path / "out")])
    info = json.loads((tmp_path / "out" / "meta" / "info.json").read_text())
    assert info["video_path"] is None and IMAGE not in info["features"] and not (tmp_path / "out" / "videos").exists()
    assert info["features"][STATE]["shape"] == [8], "joints are unknown"


def test_episodes_without_actions_are_left_out(source, tmp_path, capsys):
    folder = tmp_path / "a"
    folder.mkdir()
    for i, has in enumerate((True, False)):
        e = episode(i)
        save_episode(folder / f"{i}.npz", replace(e, meta={**e.meta, "has_actions": has}))
    exporting.main([str(folder), "--out", str(tmp_path / "out")])
    assert "1 episodes without actions left out" in capsys.readouterr().out
    (folder / "0.npz").unlink()
    with pytest.raises(InputError, match="source: 0 of 1 episodes have actions, must be at least 1"):
        exporting.main([str(folder), "--out", str(tmp_path / "none")])
    assert not (tmp_path / "none").exists()


def test_an_existing_folder_and_a_damaged_episode_are_refused(source, tmp_path):
    with pytest.raises(InputError, match="out: .* exists, must be a new folder"):
        exporting.main([str(source), "--out", str(tmp_path)])
    (tmp_path / "bad").mkdir()
    (tmp_path / "bad" / "0.npz").write_bytes(b"PK")
    with pytest.raises(InputError, match="0.npz: "):
        exporting.main([str(tmp_path / "bad"), "--out", str(tmp_path / "out")])
    assert [p.name for p in tmp_path.iterdir()] == ["bad"]


def test_the_folder_of_a_killed_export_is_removed(tmp_path):
    (tmp_path / "a").mkdir()
    save_episode(tmp_path / "a" / "0.npz", episode(0))
    ended = subprocess.Popen(["true"])
    ended.wait()
    killed, running = (tmp_path / f"set{exporting.PART}{number}" for number in (ended.pid, os.getppid()))
    for folder in (killed, running):
        (folder / "data").mkdir(parents=True)
    exporting.main([str(tmp_path / "a"), "--out", str(tmp_path / "set")])
    assert (tmp_path / "set" / "meta" / "info.json").exists()
    assert not killed.exists() and running.exists()


def test_of_two_exports_the_first_to_end_stays(tmp_path, monkeypatch):
    (tmp_path / "a").mkdir()
    save_episode(tmp_path / "a" / "0.npz", episode(0))
    out = tmp_path / "set"

    def load(path):
        out.mkdir(exist_ok=True)
        (out / "other").write_text("of the other export")
        return load_episode(path)

    monkeypatch.setattr(exporting, "load_episode", load)
    with pytest.raises(InputError, match="out: .* exists, must be a new folder"):
        exporting.main([str(tmp_path / "a"), "--out", str(out)])
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a", "set"] and (out / "other").exists()
