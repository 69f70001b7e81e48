"""Clips, the interchange file, the command, and results of other models as files."""

import errno
import json
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
from curated import Square, path, scene

from uma.geometry import se3
from uma.model.config import PRESETS
from uma.policy.demonstration import Robot
from uma.types import InputError
from uma_train.curation import command
from uma_train.curation.clip import Clip, clip_of, demonstration_of
from uma_train.curation.command import CurateOptions, curate
from uma_train.curation.episodes import episode_of
from uma_train.curation.interchange import load_clip, save_clip
from uma_train.curation.keypoints import Spread
from uma_train.data.episode import load_episode
from uma_train.data.sources.gates import Gates

T = 16


@pytest.fixture(scope="module")
def clip() -> Clip:
    return scene([Square(path(T, (-0.08, 0.0, 0.04, 0.0), (0.10, 0.05, 0.08, 0.3)))], T)


def robot(T_base_cam) -> Robot:
    pose = np.tile(np.eye(4), (T, 1, 1))
    pose[:, 0, 3] = np.linspace(0.4, 0.5, T)
    grip = np.linspace(0, 1, T)
    return Robot(T_base_cam, pose, grip, pose, grip, ("commanded", "measured"), np.zeros((T, 7)))


def test_a_clip_survives_its_file(tmp_path, clip):
    base = se3.make_pose(np.diag([1.0, -1.0, -1.0]), np.array([0.5, 0, 0.8]))
    given = replace(clip, robot=robot(base), extrinsics=np.tile(se3.invert(base), (T, 1, 1)), is_metric=False)
    given = Spread()(replace(given, is_object=np.eye(180, 240, dtype=bool)))
    save_clip(tmp_path / "a.npz", given)
    back = load_clip(tmp_path / "a.npz")
    assert [p.name for p in tmp_path.iterdir()] == ["a.npz"]
    for name in ("video", "depths", "intrinsics", "extrinsics", "query", "on_object", "is_object", "stamps"):
        np.testing.assert_array_equal(getattr(back, name), getattr(given, name))
    np.testing.assert_array_equal(back.robot.target_pose, given.robot.target_pose)
    assert (back.robot.actions, back.text, back.is_metric) == (("commanded", "measured"), given.text, False)


def test_a_bare_file_of_tapip3d_is_read(tmp_path, clip):
    depths = clip.depths.copy()
    depths[:, :5] = 0
    one = {"video": clip.video, "depths": depths, "intrinsics": clip.intrinsics[0], "extrinsics": clip.extrinsics[0]}
    tracks = {"query": np.zeros((3, 4), np.float32), "coords": np.ones((T, 3, 3)), "visibs": np.ones((T, 3), bool)}
    np.savez(tmp_path / "b.npz", **one, **tracks)
    back = load_clip(tmp_path / "b.npz")
    assert np.isnan(back.depths[:, :5]).all() and np.isfinite(back.depths[:, 5:]).all()
    assert back.intrinsics.shape == (T, 3, 3) and back.coords.dtype == np.float32


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"video": None}, "video: absent"),
        ({"depths": np.zeros((2, 3, 4), np.float32)}, r"depths: shape \(2, 3, 4\), must be \(16, 180, 240\)"),
        ({"depths": np.zeros((T, 180, 240), int)}, "depths: int64, must be a float"),
        ({"extrinsics": np.tile(2 * np.eye(4), (T, 1, 1))}, "rotation is off orthonormal by 3, limit 0.001"),
        ({"intrinsics": np.zeros((T, 3, 3))}, "focal length 0, must be over 0"),
        ({"query": np.array([[99.0, 0, 0, 0]])}, "query: image 99 to 99, must be whole, 0 to 15"),
        ({"video": np.array([{}], object)}, "not a readable .npz file"),
        ({"meta": np.frombuffer(b"[1", np.uint8)}, "meta: .* must be UTF-8 JSON"),
        ({"robot_pose": np.zeros((T, 4, 4))}, "robot_T_base_cam: absent"),
    ],
)
def test_a_bad_file_names_field_and_limit(tmp_path, clip, change, text):
    good = {name: getattr(clip, name) for name in ("video", "depths", "intrinsics", "extrinsics")}
    arrays = {name: value for name, value in (good | change).items() if value is not None}
    np.savez(tmp_path / "bad.npz", **arrays)
    with pytest.raises(InputError, match=r"bad\.npz: .*" + text):
        load_clip(tmp_path / "bad.npz")


def test_a_cut_file_is_refused(tmp_path, clip):
    save_clip(tmp_path / "a.npz", clip)
    data = (tmp_path / "a.npz").read_bytes()
    (tmp_path / "a.npz").write_bytes(data[: len(data) // 2])
    with pytest.raises(InputError, match=r"a\.npz: not a readable"):
        load_clip(tmp_path / "a.npz")


def test_a_demonstration_becomes_the_same_clip(clip):
    base = se3.make_pose(np.diag([1.0, -1.0, -1.0]), np.array([0.5, 0, 0.8]))
    seen = np.arange(T) != 3
    depths = clip.depths.copy()
    depths[3] = np.nan
    video = clip.video.copy()
    video[3] = video[2]
    given = replace(clip, robot=robot(base), extrinsics=np.tile(se3.invert(base), (T, 1, 1)), has_image=seen)
    given = replace(given, video=video, depths=depths)
    back = clip_of(demonstration_of(given))
    np.testing.assert_array_equal(back.video, given.video)
    np.testing.assert_array_equal(back.has_image, seen)
    np.testing.assert_allclose(back.extrinsics, given.extrinsics, atol=1e-9)
    np.testing.assert_array_equal(np.isfinite(back.depths), np.isfinite(given.depths))


def test_the_command_keeps_refuses_and_resumes(tmp_path, clip):
    (tmp_path / "in").mkdir()
    save_clip(tmp_path / "in" / "moves.npz", clip)
    save_clip(tmp_path / "in" / "rests.npz", scene([Square(path(T))], T))
    options = CurateOptions(source=str(tmp_path / "in"), out=str(tmp_path / "out"))
    card = curate(options)
    assert (card["tried"], card["kept"], card["trackers"]) == (2, 1, {"rigid": 1})
    assert "must be 10%" in card["reasons"]["rests"]
    made = tmp_path / "out" / "clips" / "moves.npz"
    before = made.stat().st_mtime_ns
    assert curate(options) == card
    assert made.stat().st_mtime_ns == before
    made.unlink()
    curate(options)
    assert load_clip(made).visibs.mean() > 0.8
    assert json.loads((tmp_path / "out" / "card.json").read_text()) == card


def test_a_changed_clip_is_curated_again(tmp_path, clip):
    source = tmp_path / "in" / "moves.npz"
    source.parent.mkdir()
    save_clip(source, clip)
    options = CurateOptions(source=str(source.parent), out=str(tmp_path / "out"))
    assert curate(options)["kept"] == 1
    save_clip(source, scene([Square(path(T))], T))
    card = curate(options)
    assert card["kept"] == 0 and "must be 10%" in card["reasons"]["moves"]
    assert not (tmp_path / "out" / "clips" / "moves.npz").exists()


def test_two_runs_on_one_folder_do_a_clip_once(tmp_path, clip):
    (tmp_path / "in").mkdir()
    save_clip(tmp_path / "in" / "moves.npz", clip)
    receipts = tmp_path / "out" / "receipts"
    receipts.mkdir(parents=True)
    other = (
        "import sys, time; from pathlib import Path; from uma_train.jobs.receipts import locked\n"
        "with locked(Path(sys.argv[1]), 'moves') as mine: print(mine, flush=True); time.sleep(600)"
    )
    words = [sys.executable, "-c", other, str(receipts)]
    options = CurateOptions(source=str(tmp_path / "in"), out=str(tmp_path / "out"))
    with subprocess.Popen(words, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout.readline() == "True\n"
            card = curate(options)
        finally:
            process.kill()
    assert (card["tried"], card["reasons"]) == (0, {"moves": "another run is at it"})
    assert curate(options)["kept"] == 1


def test_a_full_disk_is_no_refusal(tmp_path, clip, monkeypatch):
    save_clip(tmp_path / "moves.npz", clip)
    options = CurateOptions(source=str(tmp_path / "moves.npz"), out=str(tmp_path / "out"))

    def full(file, **arrays):
        file.write(b"PK")
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as changed:
        changed.setattr(np, "savez", full)
        with pytest.raises(OSError, match="No space left"):
            curate(options)
    assert not [p for p in (tmp_path / "out").rglob("*") if p.suffix in (".npz", ".part", ".json")]
    assert curate(options)["kept"] == 1


def test_a_malformed_clip_does_not_end_the_run(tmp_path, clip, monkeypatch):
    (tmp_path / "in").mkdir()
    for name in "ab":
        save_clip(tmp_path / "in" / f"{name}.npz", clip)

    def read(path):
        if path.stem == "a":
            raise IndexError("index 9 is out of bounds")
        return load_clip(path)

    monkeypatch.setattr(command, "load_clip", read)
    card = curate(CurateOptions(source=str(tmp_path / "in"), out=str(tmp_path / "out")))
    assert card["kept"] == 1 and card["reasons"] == {"a": "a: IndexError: index 9 is out of bounds"}


def test_a_source_for_non_commercial_use_must_be_accepted(tmp_path):
    options = CurateOptions(source=str(tmp_path), format="dexycb", out=str(tmp_path / "out"))
    with pytest.raises(InputError, match=r"accept_licence: '', must be NC: dexycb is CC BY-NC 4.0"):
        curate(options)
    with pytest.raises(InputError, match="source: .*, must be at least 1"):
        curate(replace(options, accept_licence="NC"))
    assert not (tmp_path / "out").exists()


@pytest.mark.slow
def test_the_command_writes_episodes(tmp_path, clip):
    save_clip(tmp_path / "moves.npz", clip)
    curate(CurateOptions(source=str(tmp_path / "moves.npz"), out=str(tmp_path / "out"), episodes=True))
    episode = load_episode(tmp_path / "out" / "episodes" / "moves.npz")
    assert episode.tracks.shape == (T, 16, 3) and episode.meta["tracks"] == "curated"
    assert not episode.meta["has_robot"] and episode.track_moving.all()


def test_an_episode_needs_tracks(clip):
    with pytest.raises(InputError, match="coords are unknown"):
        episode_of(clip, PRESETS["small"]().points, Gates())


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"source": "nowhere"}, "source: nowhere"),
        ({"source": "simulation", "seeds": "4:2"}, "seeds: '4:2', must be FIRST:END"),
        ({"source": "simulation", "depth": "."}, "model: required"),
        ({"source": "simulation", "depth": "nowhere", "model": "own"}, "depth: nowhere, must be a folder"),
        ({"source": "simulation", "tracks": ".", "model": "cotracker3"}, "must be NC: cotracker3 is CC BY-NC 4.0"),
        ({"source": "simulation", "hands": ".", "hand_model": "hamer"}, "must be NC: hamer is MIT; with MANO"),
        ({"source": "x", "format": "film"}, "format: 'film', must be one of interchange, bag"),
        ({"source": "x", "format": "droid"}, "format: 'droid', holds no depth, must be one of interchange, bag"),
    ],
)
def test_wrong_options_are_refused(tmp_path, change, text):
    with pytest.raises(InputError, match=text):
        curate(CurateOptions(out=str(tmp_path / "out"), **change))
    assert not (tmp_path / "out").exists()
