"""`uma inspect` of episodes: it detects a wrong camera, and reports everything stored."""

import dataclasses
import re

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from uma.cli import kind_of, main
from uma.geometry import se3
from uma.geometry.camera import project
from uma.types import CameraModel, InputError
from uma_train.data.episode import METRE, Episode, placeholders, save_episode
from uma_train.data.episode_overlay import draw_overlay, image_camera
from uma_train.data.episode_report import check_frames, episode_report, folder_report
from uma_train.data.shards import pack

CAMERA = CameraModel(128, 72, 80.0, 80.0, 63.5, 35.5, "cam")
S, N = 12, 200


def scene(robot: bool = True) -> Episode:
    """A wall with a smooth pattern of colours 0.8 m before the camera, drawn into images of half the camera's
    resolution, and points that lie on it."""
    rng = np.random.default_rng(0)

    def color(xy):
        return np.stack(
            [
                127 + 120 * np.sin(9 * xy[..., 0]),
                127 + 120 * np.sin(11 * xy[..., 1]),
                127 + 120 * np.cos(7 * xy.sum(-1)),
            ],
            -1,
        )

    pixel = np.stack(
        np.meshgrid(np.arange(64) * 2 + 0.5, np.arange(36) * 2 + 0.5), -1
    )  # centres of the half-size pixels, in the camera's
    image = color((pixel - [CAMERA.cx, CAMERA.cy]) / CAMERA.fx * 0.8).astype(np.uint8)
    uv = rng.uniform([2, 2], [125, 69], (3, N, 2))
    xyz = np.concatenate([(uv - [CAMERA.cx, CAMERA.cy]) / CAMERA.fx * 0.8, np.full((3, N, 1), 0.8)], -1)
    pose = se3.make_pose(np.tile(np.eye(3), (S, 1, 1)), np.linspace([-0.1, 0, 0.8], [0.1, 0, 0.8], S)).astype(
        np.float32
    )
    grip = np.zeros(S, np.float32)
    tracks = (pose[:, None, :3, 3] + rng.normal(0, [0.02, 0.02, 0], (1, 4, 3))).astype(np.float32)
    tracks[:, 3] = tracks[0, 3]
    return Episode(
        xyz=np.round(xyz / METRE).astype(np.int16),
        rgb=color(xyz[..., :2]).astype(np.uint8),
        height=np.zeros((3, N), np.int16),
        frame_step=np.array([0, 5, 10], np.int32),
        **({"pose": pose, "gripper": grip, "target_pose": pose, "target_gripper": grip} if robot else placeholders(S)),
        tracks=tracks,
        static=np.zeros((0, 3), np.float32),
        meta={
            "source": "test",
            "text": "move it",
            "camera": dataclasses.asdict(CAMERA),
            "has_robot": robot,
            "has_actions": robot,
        },
        images=np.stack([image, image]),
        image_frame=np.array([0, 2], np.int32),
    )


def corrupt(e: Episode, turn_deg=(0, 0, 0), shift=(0, 0, 0)) -> Episode:
    """The episode as another camera pose would have it, with the images of the old one."""
    R = Rotation.from_rotvec(np.radians(turn_deg)).as_matrix()
    return dataclasses.replace(e, xyz=np.round((e.xyz * METRE @ R.T + np.array(shift)) / METRE).astype(np.int16))


def test_right_frames_pass():
    check = check_frames(scene())
    assert check.failure == "" and check.inside == 1.0 and check.tracks_inside == 1.0 and check.images == 2
    assert check.color < 5 < check.shuffled and check.depth_m < 1e-3 and check.end_effector_m < 0.05


@pytest.mark.parametrize(
    "wrong, said",
    [
        (lambda e: corrupt(e, turn_deg=(0, 8, 0)), "colour|inside"),
        (lambda e: corrupt(e, turn_deg=(0, 0, 30)), "colour|inside"),
        (lambda e: corrupt(e, turn_deg=(0, 4, 0)), "colour"),
        (lambda e: corrupt(e, shift=(0.12, 0, 0)), "colour|inside"),
        (lambda e: corrupt(e, turn_deg=(0, 180, 0)), "0.0 % of the points fall inside"),  # behind the camera
        (
            lambda e: dataclasses.replace(e, meta=e.meta | {"camera": e.meta["camera"] | {"fx": 50.0, "fy": 50.0}}),
            "colour",
        ),
        (lambda e: dataclasses.replace(e, images=e.images[:, :, ::-1]), "colour"),  # mirrored
        (lambda e: dataclasses.replace(e, images=e.images[..., ::-1]), "colour"),  # BGR
    ],
)
def test_a_wrong_camera_fails_loudly(tmp_path, capsys, wrong, said):
    e = wrong(scene())
    check = check_frames(e)
    assert re.search(said, check.failure), check
    save_episode(tmp_path / "e.npz", e)
    assert main(["inspect", str(tmp_path / "e.npz")]) == 1
    assert "WRONG" in capsys.readouterr().out
    assert main(["inspect", str(tmp_path)]) == 1
    assert "WRONG in 1 of 1" in capsys.readouterr().out


def test_a_scene_of_one_colour_proves_nothing():
    e = scene()
    flat = dataclasses.replace(e, rgb=np.full_like(e.rgb, 90), images=np.full_like(e.images, 92))
    assert "colour" in check_frames(flat).failure


def test_report_lists_the_contents(tmp_path):
    valid = np.ones((S, 4), bool)
    valid[:6, 0] = False
    save_episode(tmp_path / "a.npz", dataclasses.replace(scene(), track_valid=valid))
    save_episode(tmp_path / "b.npz", scene(robot=False))
    save_episode(tmp_path / "c.npz", dataclasses.replace(scene(), images=None, image_frame=None))
    a, b, c = (episode_report(tmp_path / f"{n}.npz") for n in "abc")
    assert "12 at 15 Hz, 0.8 s; 3 frames of 200 points" in a and "2 images of 64x36" in a and "'move it'" in a
    assert "4, 3 of them moving; seen in 87.5 % of the steps" in a and "frames     right" in a
    assert "robot      none" in b and "supervises motion only" in b
    assert "not checked: no image stored" in c
    whole = folder_report(tmp_path)
    assert (
        "3 episodes (one file each) from test" in whole
        and "2 with a robot, 2 with actions, 3 with a text" in whole
        and "right in all 2 episodes" in whole
    )
    pack(tmp_path, tmp_path / "packed")
    assert folder_report(tmp_path / "packed").splitlines()[1:] == whole.splitlines()[1:]


def test_the_picture_shows_tracks_where_they_project(tmp_path, capsys):
    e = scene()
    save_episode(tmp_path / "e.npz", e)
    assert main(["inspect", str(tmp_path / "e.npz"), "--out", str(tmp_path / "p.png")]) == 0
    assert "p.png" in capsys.readouterr().out
    from PIL import Image

    picture = np.asarray(Image.open(tmp_path / "p.png"))
    assert np.array_equal(picture, draw_overlay(e)) and picture.shape == (36 * 5, 2 * 64 * 5, 3)
    camera = image_camera(e, picture[:, : 64 * 5])
    u, v = np.round(project(e.tracks[0, 0], camera)).astype(int)
    assert picture[v, u].tolist() == [40, 255, 40]  # moves
    u, v = np.round(project(e.tracks[0, 3], camera)).astype(int)
    assert picture[v, u].tolist() == [60, 120, 255]  # stays


def test_things_go_to_what_can_show_them(tmp_path, capsys):
    save_episode(tmp_path / "e.npz", scene())
    assert kind_of(str(tmp_path)) == kind_of(str(tmp_path / "e.npz")) == "episode"
    assert (
        kind_of("models/uma-small")
        == kind_of("parameters")
        == kind_of("config/reference_insertion.yaml")
        == "deployment"
    )
    (tmp_path / "bad.npz").write_bytes(b"nothing")
    assert main(["inspect", str(tmp_path / "bad.npz")]) == 2 and "bad.npz" in capsys.readouterr().err
    assert main(["inspect"]) == 2 and main(["inspect", "--help"]) == 0
    assert main(["inspect", "--out", "x.png", "e.npz"]) == 2  # the thing comes first
    assert "precedes" in capsys.readouterr().err
    with pytest.raises(InputError):
        from uma.cli import inspect

        inspect(["--out"])


def test_pack_from_the_command_line(tmp_path, capsys):
    save_episode(tmp_path / "e.npz", scene())
    assert main(["pack", str(tmp_path)]) == 0 and "1 episodes, 1 shards" in capsys.readouterr().out
    assert main(["pack", str(tmp_path)]) == 0 and "nothing to do" in capsys.readouterr().out
    assert main(["pack", str(tmp_path / "none")]) == 2 and "no episode" in capsys.readouterr().err


def test_receipts_and_a_card_beside_episodes_are_shown(tmp_path, capsys):
    save_episode(tmp_path / "a.npz", scene())
    (tmp_path / "a.json").write_text('{"id": "a", "result": "ok"}')
    (tmp_path / "card.json").write_text('{"counts": {"ok": 1, "refused": 1, "died": 0}, "reasons": {"b": "depth: no"}}')
    assert main(["inspect", str(tmp_path)]) == 0
    text = capsys.readouterr().out
    assert "1 episodes" in text and "card.json: 1 ok, 1 refused\n  b: depth: no" in text


def test_a_folder_without_episodes_is_named(tmp_path, capsys):
    out = tmp_path / "curated"
    for name in ("clips", "receipts", "episodes"):
        (out / name).mkdir(parents=True)
    video = np.zeros((3, 4, 6, 3), np.uint8)
    np.savez(out / "clips" / "c.npz", video=video, query=np.zeros((5, 4)), coords=np.zeros((3, 5, 3)))
    (out / "card.json").write_text('{"tried": 2, "kept": 1, "reasons": {"d": "no motion"}}')
    assert main(["inspect", str(out)]) == main(["inspect", str(out / "clips")]) == 0
    text = capsys.readouterr().out
    assert "1 clips of 'uma curate', no training episode" in text and "card.json: 2 tried, 1 kept" in text
    assert "c.npz: 3 images of 6x4 without depth, 5 queries, tracked" in text
    save_episode(out / "episodes" / "c.npz", scene())
    assert main(["inspect", str(out)]) == 0 and "1 episodes" in capsys.readouterr().out
    (tmp_path / "r").mkdir()
    (tmp_path / "r" / "receipts").mkdir()
    assert main(["inspect", str(tmp_path / "r")]) == 2 and "no episode (*.npz)" in capsys.readouterr().err
    (tmp_path / "r" / "receipts" / "x.json").write_text('{"result": "refused"}')
    assert main(["inspect", str(tmp_path / "r")]) == 0
    assert "1 receipts of a job, no training episode" in capsys.readouterr().out


def test_a_full_disk_leaves_no_part_of_an_episode(tmp_path, monkeypatch):
    def full(file, **arrays):
        file.write(b"PK")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(np, "savez", full)
    with pytest.raises(OSError, match="No space left"):
        save_episode(tmp_path / "a.npz", scene())
    assert not list(tmp_path.iterdir())
