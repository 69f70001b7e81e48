"""HOI4D: what its reader gives equals the truth of the clip, and damaged or contradictory files are refused."""

import json
import shutil
from types import SimpleNamespace

import numpy as np
import pytest
from hoi4d_files import PLACE, box_of, write_hand, write_hoi4d, write_log, write_masks, write_poses, write_video
from human_clip import Clip, clip, is_on_box, true_tracks

from uma.geometry.camera import project
from uma.model.config import tiny
from uma.types import InputError
from uma_train.data.sources import importing
from uma_train.data.sources.convert import to_episode
from uma_train.data.sources.gates import Gates
from uma_train.data.sources.hoi4d import read, recordings

NAME = PLACE.replace("/", "_")
OPTIONS = SimpleNamespace(accept_licence="NC", text="")


@pytest.fixture(scope="module")
def moving() -> Clip:
    return clip(is_moving=True)


@pytest.fixture(scope="module")
def written(tmp_path_factory, moving):
    root = tmp_path_factory.mktemp("hoi4d")
    write_hoi4d(root, moving)
    return root


@pytest.fixture
def folder(written, tmp_path):
    """A copy of the sequence that a test may damage."""
    shutil.copytree(written, tmp_path / "copy")
    return tmp_path / "copy" / PLACE


def refused(folder, words: str) -> None:
    with pytest.raises(InputError, match=words):
        demonstration = read(folder, OPTIONS)
        list(demonstration.observations())


def test_images_equal_the_clip(written, moving):
    assert list(recordings(written)) == [NAME]
    d = read(recordings(written)[NAME], OPTIONS)
    assert (d.name, d.source, d.text, d.licence) == (NAME, "hoi4d", "mug: pick and place", "CC BY-NC 4.0")
    seen = list(d.observations())
    assert [step for step, _ in seen] == list(range(len(moving))) and d.num_pairs == len(moving)
    np.testing.assert_allclose(d.stamps, np.arange(len(moving)) / 15.0)
    for step, o in seen:
        expected = np.where(moving.depth[step] > 0, moving.depth[step] / 1000.0, np.nan)
        np.testing.assert_allclose(o.depth, expected, atol=1e-6)
        assert np.abs(o.rgb.astype(int) - moving.rgb[step]).mean() < 4
        assert (o.camera.fx, o.camera.cy) == (moving.camera.fx, moving.camera.cy)


@pytest.mark.parametrize("is_inverse", [False, True])
def test_tracks_and_camera_equal_the_truth(tmp_path, moving, is_inverse):
    """The trajectory's direction is found from the background."""
    d = read(write_hoi4d(tmp_path, moving, is_inverse), OPTIONS)
    np.testing.assert_allclose(d.T_first_cam, moving.T_first_cam, atol=1e-6)
    start = d.tracks.positions[0]
    assert d.tracks.source == "pose" and start.shape == (16, 3) and is_on_box(moving, start).mean() > 0.8
    np.testing.assert_allclose(d.tracks.positions, true_tracks(moving, start, range(len(moving))), atol=1e-6)
    assert d.tracks.is_visible.mean() > 0.7


def test_an_episode_has_no_robot_and_keeps_the_licence(written):
    episode = to_episode(read(written / PLACE, OPTIONS), tiny().points, Gates())
    meta = episode.meta
    assert not meta["has_robot"] and meta["tracks"] == "pose" and meta["licence"] == "CC BY-NC 4.0"
    assert episode.track_moving.all() and episode.images.shape == (1, 90, 160, 3)


def test_the_import_prints_the_licence_and_keeps_it(written, tmp_path, capsys):
    words = ["hoi4d", str(written), "--out", str(tmp_path), "--preset", "tiny"]
    with pytest.raises(InputError, match="accept_licence: '', must be NC"):
        importing.main(words)
    assert importing.main([*words, "--accept-licence", "NC"]) == 0
    card = json.loads((tmp_path / "card.json").read_text())
    assert card["licences"] == {"CC BY-NC 4.0": 1} and card["tracks"] == {"pose": 1}
    assert "hoi4d: CC BY-NC 4.0" in capsys.readouterr().out


@pytest.mark.parametrize("name, key, place", [("{}", "objects", "objpose"), ("{:04d}", "dataList", "objpose_refined")])
def test_other_names_of_poses_are_read(folder, moving, name, key, place):
    shutil.rmtree(folder / "objpose")
    write_poses(folder / place, moving.T_cam_box, name, key)
    assert read(folder, OPTIONS).tracks.is_visible.mean() > 0.7


def test_points_come_from_the_objects_mask(folder, moving):
    write_masks(folder / "2Dseg" / "mask", moving.mask)
    start = read(folder, OPTIONS).tracks.positions[0]
    middle = np.median(np.flatnonzero(moving.mask[0].any(0)))
    assert len(start) == 16 and (project(start, moving.camera)[:, 0] > middle - 1).all()


def test_points_under_the_hand_are_left_out(folder, moving):
    box = project(moving.T_cam_box[0][:3, 3], moving.camera)
    hand = box + np.random.default_rng(0).uniform(-8, 8, (21, 2))
    write_hand(folder / "handpose" / "0.pickle", hand)
    start = read(folder, OPTIONS).tracks.positions[0]
    apart = np.linalg.norm(project(start, moving.camera)[:, None] - hand[None], axis=2).min(1)
    assert len(start) == 16 and (apart * start[:, 2] / moving.camera.fx > 0.0199).all()


def test_without_a_trajectory_the_camera_must_rest(tmp_path, moving):
    at_rest = clip()
    assert read(write_hoi4d(tmp_path / "a", at_rest, has_log=False), OPTIONS).T_first_cam is None
    refused(
        write_hoi4d(tmp_path / "b", moving, has_log=False), "camera: the background moves by .* of its depth, limit 5%"
    )


def test_the_licence_has_to_be_accepted(written):
    with pytest.raises(InputError, match="accept_licence: '', must be NC: HOI4D is CC BY-NC 4.0"):
        read(written / PLACE, SimpleNamespace(accept_licence="", text=""))


def test_depth_of_8_bit_is_refused(folder, moving):
    file = folder / "align_depth" / "depth_video.avi"
    write_video(file, (moving.depth / 8).astype(np.uint8), "ffv1", "gray")
    refused(folder, "pixels gray, must be gray16")
    write_video(file, moving.depth // 8, "ffv1", "gray16le")
    refused(folder, "depth reaches [0-9]+ mm, must exceed 255")


def test_depth_of_another_size_is_refused(folder, moving):
    write_video(folder / "align_depth" / "depth_video.avi", moving.depth[:, ::2, ::2], "ffv1", "gray16le")
    refused(folder, r"\(90, 160\), must be \(180, 320\) as colour")


@pytest.mark.parametrize("name", ["align_rgb/image.mp4", "align_depth/depth_video.avi"])
def test_a_cut_video_is_refused(folder, name):
    data = (folder / name).read_bytes()
    (folder / name).write_bytes(data[: len(data) // 2])
    refused(folder, "no readable video|damaged video|frames can be decoded|frame counts|camera poses")


def test_a_missing_depth_video_is_refused(folder):
    (folder / "align_depth" / "depth_video.avi").unlink()
    refused(folder, "depth_video.avi: no readable video")


@pytest.mark.parametrize(
    "text, words",
    [
        ("__import__('os').abort()", "no object pose"),
        ('{"dataList": []}', "0 objects"),
        ('{"dataList": [{"center": {"x": 1}}]}', "no object pose: KeyError"),
        (json.dumps({"dataList": [box_of(np.eye(4))]}).replace('"x": 0.0', '"x": NaN', 1), "must be finite"),
    ],
)
def test_a_malformed_pose_is_refused(folder, text, words):
    (folder / "objpose" / "00003.json").write_text(text)
    refused(folder, f"00003.json.*{words}")


def test_missing_poses_are_refused(folder, moving):
    for step in range(5):
        (folder / "objpose" / f"{step:05d}.json").unlink()
    refused(folder, "object pose: 15 for 20 steps, must be at least 80%")


def test_poses_that_do_not_fit_the_images_are_refused(folder, moving):
    backwards = moving.T_cam_box.copy()
    backwards[6:, :3, 3] = 2 * backwards[5, :3, 3] - backwards[6:, :3, 3]
    write_poses(folder / "objpose", backwards)
    refused(folder, "object pose: [0-9]+% of the carried points agree with depth")


def test_a_mask_outside_the_box_is_refused(folder, moving):
    write_masks(folder / "2Dseg" / "mask", moving.mask | np.roll(moving.mask, -90, 2))
    write_poses(folder / "objpose", moving.T_cam_box)
    shifted = np.roll(moving.mask, 40, 2) | np.roll(moving.mask, 100, 2)
    write_masks(folder / "2Dseg" / "mask", shifted)
    refused(folder, "of the masked depth lies in the object's box, must be at least 50%")


def test_a_trajectory_that_does_not_fit_is_refused(folder, moving):
    log = folder / "3Dseg" / "output.log"
    wrong = moving.T_first_cam.copy()
    wrong[1:, 2, 3] += 0.15
    write_log(log, wrong)
    refused(folder, "camera: the background moves by .* of its depth, limit 5%")
    write_log(log, moving.T_first_cam[:12])
    refused(folder, "frame counts: 12 camera poses, must be 20")
    write_log(log, np.full((20, 4, 4), np.nan))
    refused(folder, "matrix 0: holds a value that is not finite")
    log.write_text("0 0 1\n1 0 0 0\n")
    refused(folder, "7 numbers, must be a multiple of 19")


def test_intrinsics_are_checked(folder):
    root = folder.parents[6]
    file = next(root.glob("camera_params/*/intrin.npy"))
    np.save(file, np.array([{"a": 1}], dtype=object), allow_pickle=True)
    refused(folder, "intrin.npy: no array: .*allow_pickle")
    np.save(file, np.diag([1000.0, 1000.0, 1.0]))
    refused(folder, "centre 0, 0, must lie in the image of 320 x 180")
    file.unlink()
    refused(folder, "no camera_params/ZY20210800001/intrin.npy in a folder above")


def test_a_folder_without_sequences_is_refused(tmp_path):
    with pytest.raises(InputError, match="0 sequences with align_rgb/image.mp4"):
        recordings(tmp_path)
