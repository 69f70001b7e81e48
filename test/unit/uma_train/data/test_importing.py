"""`uma import`: what is kept and refused, the card, resumption, and changed recordings."""

import json
import re
from dataclasses import replace
from io import StringIO
from types import SimpleNamespace

import numpy as np
import pytest
from fake_reader import STEPS, demonstration
from here_pool import HerePool
from rich.console import Console
from scenes import CAMERA, scene
from scipy.spatial.transform import Rotation

from uma.geometry import se3
from uma.model.cloud import point_set
from uma.model.config import tiny
from uma.policy.demonstration import Tracks
from uma.settings import from_words
from uma.types import InputError, Observation
from uma_train.data.episode import load_episode
from uma_train.data.sources import import_options, importing
from uma_train.data.sources.convert import in_first_frame, to_episode
from uma_train.data.sources.gates import Gates, check_layout, check_sights, overlay, sight
from uma_train.data.sources.import_options import ImportOptions
from uma_train.data.sources.tracks import filled, holds, spread, with_hand
from uma_train.jobs import mapping
from uma_train.jobs.local import LocalPool

LOOSE = ("--max-overlay-m", "10")
"""The hand of the drawn scene is in mid-air."""


@pytest.fixture
def source(tmp_path, monkeypatch):
    """A folder of recordings for `fake_reader`, which the process of the test reads, see `workers`."""
    folder = tmp_path / "recordings"
    folder.mkdir()
    monkeypatch.setitem(import_options.READERS, "bag", "fake_reader")
    monkeypatch.setattr(mapping, "LocalPool", HerePool)
    for name, words in {"a": "success", "b": "failure", "c": "damaged", "d": ""}.items():
        (folder / name).write_text(words)
    return SimpleNamespace(folder=folder, calls=tmp_path / "calls", out=tmp_path / "data")


@pytest.fixture
def workers(source, monkeypatch):
    """Processes read the recordings, as in the command."""
    monkeypatch.setattr(mapping, "LocalPool", LocalPool)


def run(source, *words, code=0):
    words = ["bag", str(source.folder), "--out", str(source.out), "--preset", "tiny", *LOOSE, *words]
    assert importing.main(words) == code
    return json.loads((source.out / "card.json").read_text())


def calls(source):
    """The recordings that were read since the last look."""
    found = source.calls.read_text().split("\n")[:-1] if source.calls.exists() else []
    source.calls.unlink(missing_ok=True)
    return sorted(found)


def receipt(source, name):
    return json.loads((source.out / f"{name}.json").read_text())


def test_kept_and_refused_are_counted_with_their_reasons(source, workers, capsys):
    card = run(source)
    assert (card["tried"], card["kept"], card["steps"]) == (4, 2, 2 * STEPS)
    assert card["refused"] == {"outcome": 1, "unreadable": 1} and card["config"]["format"] == "bag"
    assert card["reasons"]["b"] == "outcome: failure, must be success" and "damaged" in card["reasons"]["c"]
    assert card["actions"] == {"commanded pose, measured gripper": 2} and card["tracks"] == {"policy": 2}
    assert card["texts"] == {"present": 2, "absent": 0} and card["licences"] == {"": 2}
    assert card["counts"]["ok"] == card["counts"]["refused"] == 2 and not card["stopped"]
    assert "2 of 4 recordings kept" in capsys.readouterr().out
    assert receipt(source, "a")["notes"]["steps"] == STEPS and receipt(source, "b")["notes"]["gate"] == "outcome"
    assert receipt(source, "b")["item"]["source"] == str(source.folder / "b")
    episode = load_episode(source.out / "a.npz")
    assert (
        episode.meta["recording"] == "a"
        and episode.meta["tracks"] == "policy"
        and episode.images.shape == (1, 90, 160, 3)
    )


def test_the_same_command_takes_only_what_is_new_or_changed(source):
    run(source)
    (source.folder / "c").write_text("success")  # mended
    (source.folder / "e").write_text("success")
    (source.out / "a.npz").unlink()
    (source.out / "d.json").write_text("{")  # damaged
    calls(source)
    assert run(source)["kept"] == 4 and calls(source) == ["a", "c", "d", "e"]
    assert run(source)["kept"] == 4 and not calls(source)
    assert run(source, "--retry-failed")["kept"] == 4 and calls(source) == ["b"]


def test_a_killed_worker_costs_one_recording(source, workers):
    (source.folder / "a").write_text("kill")
    (source.folder / "b").write_text("full")
    card = run(source, code=1)  # more than a fifth died or failed
    assert card["kept"] == 1 and card["refused"] == {"died": 1, "failed": 1, "unreadable": 1}
    assert card["reasons"]["a"] == "the worker ended with code -9" and "no space left" in card["reasons"]["b"]
    calls(source)
    (source.folder / "a").write_text("success")
    assert run(source, code=1)["kept"] == 2 and calls(source) == ["a"]


def test_slices_share_a_folder_and_its_card(source):
    assert run(source, "--executor", "slice", "--slice", "0/2")["tried"] == 2 and calls(source) == ["a", "c"]
    card = run(source, "--executor", "slice", "--slice", "1/2", "--workers", "2")
    assert (card["tried"], card["kept"]) == (4, 2) and calls(source) == ["b", "d"]


def test_another_source_adds_to_the_card(source, tmp_path):
    run(source)
    source.folder = tmp_path / "more"
    source.folder.mkdir()
    (source.folder / "my lift.1").write_text("success")
    (source.folder / "card").write_text("failure")
    card = run(source)
    assert (card["tried"], card["kept"]) == (6, 3)
    assert {"b", "c"} < set(card["reasons"]) and len(list(source.out.glob("my_lift-*.npz"))) == 1


def test_a_folder_of_an_earlier_version_is_refused(source):
    source.out.mkdir()
    (source.out / importing.LOG).write_text('{"name": "a", "result": "kept"}\n')
    with pytest.raises(InputError, match="data: its recordings.jsonl is of an earlier version.*choose another --out"):
        run(source)


def test_a_folder_of_other_settings_is_refused(source):
    run(source)
    with pytest.raises(InputError, match="imported with outcome 'success', now 'all'; choose another --out"):
        run(source, "--outcome", "all")


def test_recordings_of_another_folder_replace_nothing(source, tmp_path):
    run(source)
    source.folder.rename(tmp_path / "elsewhere")
    source.folder = tmp_path / "elsewhere"
    with pytest.raises(InputError, match="a was imported from .*recordings/a, now .*elsewhere/a; choose another"):
        run(source)


def test_a_malformed_recording_does_not_end_the_run(source):
    (source.folder / "b").write_text("malformed")
    card = run(source)
    assert card["kept"] == 2 and "b: TypeError: a list where" in card["reasons"]["b"]


def test_parts_of_one_file_are_recordings_of_their_own(source, tmp_path):
    parts = tmp_path / "parts.json"
    parts.write_text("[0, 100, 200]")
    assert run(source)["kept"] == 3 and calls(source) == ["record 0@0", "record 1@100", "record 2@200"]
    (source.out / "a1.npz").unlink()
    parts.write_text("[0, 100, 250]")
    assert run(source)["kept"] == 3 and calls(source) == ["record 1@100", "record 2@250"]
    with pytest.raises(InputError, match="imported with camera '', now 'ext2'; choose another --out"):
        run(source, "--camera", "ext2")


def test_the_step_of_a_recording_is_in_the_progress(source, workers):
    shown = StringIO()
    options = from_words(ImportOptions, ["bag", str(source.folder), "--out", str(source.out), *LOOSE], "test")
    importing.import_all(options, Console(file=shown, force_terminal=True, width=120, legacy_windows=False))
    assert re.search(r"[ad]: step \d+ of 24", shown.getvalue())


def test_a_source_that_is_absent_is_named_before_its_licence(tmp_path):
    words = ["dexycb", str(tmp_path / "nowhere"), "--out", str(tmp_path / "data")]
    with pytest.raises(InputError, match=r"source: .*nowhere, must be an existing file or folder"):
        importing.main(words)
    assert not (tmp_path / "data").exists()


def test_nothing_kept_is_an_error(source):
    for path in source.folder.iterdir():
        path.write_text("failure")
    assert run(source, code=1)["kept"] == 0


@pytest.mark.parametrize(
    "changes, words",
    [
        ({"stamps": np.arange(8.0)}, "length: 8 steps of 15 Hz, must be at least 16"),
        ({"num_pairs": 10}, "frame counts: 10 pairs of 24 colour and 24 depth images for 24 steps"),
        ({"T_base_cam": np.eye(4)}, "extrinsics: camera at"),
    ],
)
def test_layouts_that_are_refused(changes, words):
    check_layout(demonstration(), Gates())
    with pytest.raises(InputError, match=words):
        check_layout(demonstration(**changes), Gates())


def test_a_recording_without_a_robot_has_no_actions():
    d = demonstration(
        tracks=Tracks(np.full((STEPS, 4, 3), 0.5), np.ones((STEPS, 4), bool), source="pose"), licence="MIT"
    )
    episode = to_episode(replace(d, robot=None), tiny().points, Gates())
    assert not episode.meta["has_robot"] and not episode.meta["has_actions"] and episode.meta["tracks"] == "pose"
    assert (episode.pose == np.eye(4)).all() and episode.meta["licence"] == "MIT"
    with pytest.raises(InputError, match="tracks: neither keypoints nor a robot"):
        to_episode(replace(d, robot=None, tracks=None), tiny().points, Gates())


def test_clouds_of_a_moving_camera_are_given_in_its_first_frame():
    T = np.eye(4)
    T[:3, :3] = Rotation.from_euler("xyz", [0.1, -0.2, 0.3]).as_matrix()
    T[:3, 3] = 0.1, 0.2, -0.05
    cloud = point_set(scene(), tiny().points)
    moved = in_first_frame(cloud, T)
    np.testing.assert_allclose(moved.xyz, cloud.xyz @ T[:3, :3].T + T[:3, 3], atol=1e-5)
    before, after = (c.xyz @ c.plane[:3] + c.plane[3] for c in (cloud, moved))
    np.testing.assert_allclose(after, before, atol=1e-5)


def test_a_jump_of_the_hand_is_refused():
    pose = demonstration().robot.pose.copy()
    pose[10:, 1, 3] += 1.0
    with pytest.raises(InputError, match="the hand jumps 1.00 m in a step, limit 0.3 m"):
        check_layout(demonstration(pose=pose), Gates())


def test_a_hand_that_is_not_where_it_is_seen_is_refused():
    o = scene()
    T = o.T_cam_ee.copy()
    T[:3, 3] *= 0.4  # along its ray, in mid-air
    wrong = type(o)(o.rgb, o.depth, o.camera, T, o.gripper)
    with pytest.raises(InputError, match="calibration: .* away in depth, limit 0.06 m"):
        check_sights([sight(wrong)], Gates())


def between_jaws(gripper, apart_m):
    """A hand 1 m away before a wall at 2 m, of which the camera sees one finger ``apart_m`` beside the TCP."""
    depth = np.full((90, 160), 2.0, np.float32)
    u = round(CAMERA.cx + CAMERA.fx * apart_m)
    depth[int(CAMERA.cy) - 2 : int(CAMERA.cy) + 3, u : u + 2] = 1.0
    T = se3.make_pose(np.eye(3), np.array([0.0, 0.0, 1.0]))
    return Observation(np.zeros((90, 160, 3), np.uint8), depth, CAMERA, T, gripper, 0.0)


@pytest.mark.parametrize(("gripper", "apart_m", "off"), [(0.0, 0.04, 0.0), (1.0, 0.04, 1.0), (0.0, 0.09, 1.0)])
def test_open_jaws_are_seen_beside_the_tcp(gripper, apart_m, off):
    assert overlay(between_jaws(gripper, apart_m)) == pytest.approx(off)


def test_unknown_positions_are_the_last_known_ones():
    x = np.arange(4.0)[:, None, None] + np.zeros((4, 2, 3))
    known = np.array([[0, 0], [1, 0], [0, 0], [1, 0]], bool)
    tracks, valid = filled(x, known)
    assert (
        tracks[:, 0, 0].tolist() == [1, 1, 1, 3]
        and tracks.shape == (4, 1, 3)
        and valid[:, 0].tolist() == known[:, 0].tolist()
    )
    with pytest.raises(InputError, match="0 of 2 keypoints were seen"):
        filled(x, np.zeros((4, 2), bool))


def test_a_hold_is_without_closing_and_opening():
    gripper = np.array([0, 0.3, 0.6, 0.7, 0.7, 0.69, 0.4, 0.0, 0.0, 0.5, 0.5])
    assert holds(gripper) == [(3, 6), (9, 11)] and holds(np.zeros(3)) == []


def test_spread_points_are_far_apart():
    points = np.random.default_rng(0).random((200, 3))
    chosen = spread(points, 8)
    apart = np.linalg.norm(chosen[:, None] - chosen[None], axis=-1)[~np.eye(8, dtype=bool)]
    assert len(chosen) == 8 and apart.min() > 0.3 and len(spread(points[:3], 8)) == 3


def test_held_points_follow_the_hand_and_stay_after_release():
    pose = demonstration().robot.pose.copy()
    pose[:, 2, 3] = np.concatenate([np.linspace(0.5, 0.02, 8), np.linspace(0.02, 0.3, 8), np.full(8, 0.3)])
    gripper = np.concatenate([np.zeros(8), np.full(8, 0.7), np.zeros(8)])
    d = demonstration(pose=pose, gripper=gripper).robot
    near = pose[8, :3, 3] + np.random.default_rng(1).uniform(-0.02, 0.02, (30, 3))
    tracks = with_hand(d, 0, near)
    np.testing.assert_allclose(tracks[:9], np.tile(tracks[0], (9, 1, 1)))
    np.testing.assert_allclose(tracks[15] - tracks[8], np.tile(pose[15, :3, 3] - pose[8, :3, 3], (16, 1)), atol=1e-9)
    np.testing.assert_allclose(tracks[16:], np.tile(tracks[15], (8, 1, 1)))
    with pytest.raises(InputError, match="2 points within 0.06 m of the grasp, must be at least 4"):
        with_hand(d, 0, near[:2])
    with pytest.raises(InputError, match="the hand begins 0.0. m from the grasp"):
        with_hand(d, 7, near)
