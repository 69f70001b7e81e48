"""DexYCB: what its reader gives equals the truth of the clip, and damaged or contradictory files are refused."""

import shutil
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
import yaml
from dexycb_files import GRASPED, IDS, SERIAL, write_dexycb, write_labels
from human_clip import Clip, clip, is_on_box, true_tracks

from uma.types import InputError
from uma_train.data.sources.dexycb import read, recordings

NAME = f"20200709-subject-01_20200709_141754_{SERIAL}"
OPTIONS = SimpleNamespace(accept_licence="NC", text="")


@pytest.fixture(scope="module")
def still() -> Clip:
    return clip(640, 480, 13, fx=620.0)


@pytest.fixture(scope="module")
def written(tmp_path_factory, still):
    root = tmp_path_factory.mktemp("dexycb")
    write_dexycb(root, still)
    return root


@pytest.fixture
def folder(written, tmp_path):
    """A copy of the camera's folder that a test may damage."""
    shutil.copytree(written, tmp_path / "copy")
    return recordings(tmp_path / "copy")[NAME]


def refused(folder, words: str) -> None:
    with pytest.raises(InputError, match=words):
        list(read(folder, OPTIONS).observations())


def test_every_second_frame_equals_the_clip(written, still):
    assert list(recordings(written)) == [NAME]
    d = read(recordings(written)[NAME], OPTIONS)
    assert (d.name, d.text, d.licence, d.robot) == (NAME, "grasp and lift: mug", "CC BY-NC 4.0", None)
    steps = list(range(0, 13, 2))
    np.testing.assert_allclose(d.stamps, np.arange(7) / 15.0)
    for (step, o), frame in zip(d.observations(), steps, strict=True):
        np.testing.assert_allclose(o.depth, still.depth[frame] / 1000.0, atol=1e-6)
        assert np.abs(o.rgb.astype(int) - still.rgb[frame]).mean() < 4
        assert step == frame // 2 and o.camera.fy == still.camera.fy
    start = d.tracks.positions[0]
    assert start.shape == (16, 3) and is_on_box(still, start).all()
    np.testing.assert_allclose(d.tracks.positions, true_tracks(still, start, steps), atol=1e-5)
    assert d.tracks.is_visible.mean() > 0.7


def test_an_absent_object_is_not_visible(tmp_path, still):
    d = read(write_dexycb(tmp_path, still, absent=(0, 6)), OPTIONS)
    assert d.tracks.is_visible.any(1).tolist() == [False, True, True, False, True, True, True]


def test_an_object_that_never_appears_is_refused(tmp_path, still):
    refused(write_dexycb(tmp_path, still, absent=tuple(range(13))), "object pose: 0 of 7 steps")


def test_the_licence_has_to_be_accepted(folder):
    with pytest.raises(InputError, match="accept_licence: '', must be NC: DexYCB"):
        read(folder, SimpleNamespace(accept_licence="", text=""))


@pytest.mark.parametrize("name", ["color_000004.jpg", "aligned_depth_to_color_000004.png", "labels_000004.npz"])
def test_a_cut_file_is_refused(folder, name):
    data = (folder / name).read_bytes()
    (folder / name).write_bytes(data[: len(data) // 2])
    refused(folder, f"{name}: ([0-9]+ bytes, the end is missing|no labels)")


@pytest.mark.parametrize("name", ["color_000004.jpg", "aligned_depth_to_color_000004.png", "labels_000004.npz"])
def test_a_missing_file_is_refused(folder, name):
    (folder / name).unlink()
    refused(folder, "frame counts: [0-9]+ colour, [0-9]+ depth and [0-9]+ label files, must be equal")


def test_depth_of_8_bit_is_refused(folder, still):
    for i, depth in enumerate(still.depth):
        cv2.imwrite(str(folder / f"aligned_depth_to_color_{i:06d}.png"), (depth // 8).astype(np.uint8))
    refused(folder, "uint8 .*, must be uint16")
    for i, depth in enumerate(still.depth):
        cv2.imwrite(str(folder / f"aligned_depth_to_color_{i:06d}.png"), depth // 8)
    refused(folder, "depth reaches [0-9]+ mm, must exceed 255")


def test_labels_are_checked(folder, still):
    file = folder / "labels_000004.npz"
    write_labels(file, still, 4, pose_y=np.full((len(IDS), 3, 4), np.nan, np.float32))
    refused(folder, r"pose_y\[1\]: holds a value that is not finite")
    write_labels(file, still, 4, pose_y=np.ones((1, 3, 4), np.float32))
    refused(folder, r"pose_y is float32 \(1, 3, 4\), must be \(3, 3, 4\)")
    write_labels(file, still, 4, pose_y=np.array([{}], dtype=object))
    refused(folder, "labels_000004.npz: no labels: .*allow_pickle")


def test_another_objects_pose_is_refused(folder):
    meta = yaml.safe_load((folder.parent / "meta.yml").read_text())
    (folder.parent / "meta.yml").write_text(yaml.safe_dump(meta | {"ycb_grasp_ind": 0}))
    refused(folder, "tracks: at most 0 points seen on the object, must be at least 4")


def test_inverted_poses_are_refused(folder, still):
    for i in range(0, 13, 2):
        pose = np.zeros((len(IDS), 3, 4), np.float32)
        pose[GRASPED] = np.linalg.inv(still.T_cam_box[i])[:3]
        write_labels(folder / f"labels_{i:06d}.npz", still, i, pose_y=pose)
    refused(folder, "object pose: [0-9]+% of the carried points agree with depth and .* at least 20%")


@pytest.mark.parametrize(
    "text, words",
    [
        ("!!python/object/apply:os.abort []", "meta.yml: no YAML"),
        ("[1, 2]", "meta.yml: list, must be a mapping"),
        ("ycb_ids: [2]\nycb_grasp_ind: 1", r"ycb_grasp_ind 1 of ycb_ids \[2\]"),
        ("ycb_ids: [99]\nycb_grasp_ind: 0", r"ycb_ids \[99\], must be numbers from 1 to 21"),
    ],
)
def test_malformed_meta_is_refused(folder, text, words):
    (folder.parent / "meta.yml").write_text(text)
    refused(folder, words)


def test_intrinsics_are_checked(folder):
    file = folder.parents[2] / "calibration" / "intrinsics" / f"{SERIAL}_640x480.yml"
    file.write_text("color: {fx: 600, fy: 600, ppx: 0, ppy: 0}")
    refused(folder, "ppx 0, ppy 0, must lie in the image of 640 x 480")
    file.write_text("color: {fx: 600}")
    refused(folder, "must have the numbers fx, fy, ppx and ppy")
    file.unlink()
    refused(folder, f"no calibration/intrinsics/{SERIAL}_640x480.yml in a folder above")


def test_a_folder_without_recordings_is_refused(tmp_path):
    with pytest.raises(InputError, match="0 cameras with meta.yml"):
        recordings(tmp_path)
