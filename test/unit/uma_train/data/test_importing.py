"""`uma import`: what is kept and refused, the card, resumption, and changed recordings."""

import json
from dataclasses import fields, replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from scenes import scene
from scipy.spatial.transform import Rotation

from uma.geometry.se3 import make_pose
from uma.model.cloud import point_set
from uma.model.config import tiny
from uma.policy.demonstration import Demonstration, Robot, Tracks
from uma.types import InputError
from uma_train.data.episode import load_episode
from uma_train.data.sources import importing
from uma_train.data.sources.convert import in_first_frame, to_episode
from uma_train.data.sources.gates import Gates, check_layout, check_sights, sight
from uma_train.data.sources.parts import Part
from uma_train.data.sources.tracks import filled, holds, spread, with_hand

T_BASE_CAM = make_pose(np.array([[0.0, -0.6, 0.8], [-1.0, 0.0, 0.0], [0.0, -0.8, -0.6]]), np.array([0.2, 0.1, 0.8]))
S = 24
LOOSE = ("--max-overlay-m", "10")
"""The hand of the drawn scene is in mid-air."""


def demonstration(name="a", outcome="success", **changes) -> Demonstration:
    o = scene()
    pose = np.tile(T_BASE_CAM @ o.T_cam_ee, (S, 1, 1))
    pose[:, 0, 3] += np.linspace(0, 0.1, S)
    values = {
        "name": name,
        "source": "fake",
        "text": "lift it",
        "outcome": outcome,
        "camera_frame": o.camera.frame,
        "stamps": np.arange(S) / 15.0,
        "robot": Robot(T_BASE_CAM, pose, np.full(S, 0.5), pose, np.ones(S), ("commanded", "measured")),
        "observations": lambda: ((i, o) for i in range(0, S, 2)),
        "num_colour": S,
        "num_depth": S,
        "num_pairs": S,
        "tracks": Tracks(np.full((S, 4, 3), 0.5), np.ones((S, 4), bool)),
    }
    robot = {f.name: changes.pop(f.name) for f in fields(Robot) if f.name in changes}
    return Demonstration(**values | {"robot": replace(values["robot"], **robot)} | changes)


@pytest.fixture
def source(tmp_path, monkeypatch):
    """A folder whose files are recordings: what they contain is read by `read`, which counts its calls."""
    folder, calls = tmp_path / "recordings", []
    folder.mkdir()

    def read(path, options):
        calls.append(path.stem)
        words = path.read_text()
        if words == "malformed":
            raise TypeError("a list where a number belongs")
        if words == "damaged":
            raise InputError(f"{path}: damaged")
        return demonstration(path.stem, words)

    reader = SimpleNamespace(recordings=lambda s: {p.stem: p for p in sorted(Path(s).iterdir())}, read=read)
    monkeypatch.setattr(importing.importlib, "import_module", lambda name: reader)
    for name, words in {"a": "success", "b": "failure", "c": "damaged", "d": ""}.items():
        (folder / name).write_text(words)
    return SimpleNamespace(folder=folder, calls=calls, out=tmp_path / "data")


def run(source, *words, code=0):
    assert (
        importing.main(["bag", str(source.folder), "--out", str(source.out), "--preset", "tiny", *LOOSE, *words])
        == code
    )
    return json.loads((source.out / "card.json").read_text())


def test_kept_and_refused_are_counted_with_their_reasons(source, capsys):
    card = run(source)
    assert (card["tried"], card["kept"], card["steps"]) == (4, 2, 2 * S)
    assert card["refused"] == {"outcome": 1, "unreadable": 1}
    assert card["reasons"]["b"] == "outcome: failure, must be success" and "damaged" in card["reasons"]["c"]
    assert card["actions"] == {"commanded pose, measured gripper": 2} and card["tracks"] == {"policy": 2}
    assert card["texts"] == {"present": 2, "absent": 0} and "2 of 4 recordings kept" in capsys.readouterr().out
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
    with open(source.out / importing.LOG, "a") as log:
        log.write('{"name": "d", "res')  # cut by a kill
    source.calls.clear()
    assert run(source)["kept"] == 4 and source.calls == ["a", "c", "e"]
    source.calls.clear()
    assert run(source)["kept"] == 4 and not source.calls


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


def test_parts_of_one_file_are_recordings_of_their_own(source, monkeypatch):
    path, read = source.folder / "a", []
    parts = {f"a{i}": Part(path, f"record {i}", 100 * i) for i in range(3)}

    def take(part, options):
        read.append(part.at)
        return demonstration(part.name)

    reader = SimpleNamespace(recordings=lambda s: parts, read=take, SAME=("camera",))
    monkeypatch.setattr(importing.importlib, "import_module", lambda name: reader)
    assert run(source)["kept"] == 3 and read == [0, 100, 200]
    (source.out / "a1.npz").unlink()
    parts["a2"] = Part(path, "record 2", 250)
    assert run(source)["kept"] == 3 and read[3:] == [100, 250]
    with pytest.raises(InputError, match="imported with camera '', now 'ext2'; choose another --out"):
        run(source, "--camera", "ext2")


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
    d = demonstration(tracks=Tracks(np.full((S, 4, 3), 0.5), np.ones((S, 4), bool), source="pose"), licence="MIT")
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
    with pytest.raises(InputError, match="calibration: .* away in depth, limit 0.08 m"):
        check_sights([sight(wrong)], Gates())


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
