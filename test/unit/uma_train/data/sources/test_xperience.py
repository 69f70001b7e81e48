"""Xperience: what its reader gives equals the truth of the clip, and damaged or contradictory files are refused."""

import json
import shutil
from dataclasses import replace
from types import SimpleNamespace

import h5py
import numpy as np
import pytest
from human_clip import Clip, clip
from xperience_files import caption, write_xperience

from uma.geometry import se3
from uma.model.config import tiny
from uma.policy.demonstration import Tracks
from uma.types import InputError
from uma_train.data.sources.convert import to_episode
from uma_train.data.sources.gates import Gates
from uma_train.data.sources.xperience import read, recordings

OPTIONS = SimpleNamespace(accept_licence="NC", text="make coffee")
FRAMES = 24


@pytest.fixture(scope="module")
def moving() -> Clip:
    c = clip(512, 512, FRAMES, is_moving=True, fx=400.0)
    return replace(c, camera=replace(c.camera, fy=400.0))


@pytest.fixture(scope="module")
def written(tmp_path_factory, moving):
    root = tmp_path_factory.mktemp("xperience")
    write_xperience(root, moving)
    return root


@pytest.fixture
def root(written, tmp_path):
    """A copy of the episode that a test may damage."""
    shutil.copytree(written, tmp_path / "copy")
    return tmp_path / "copy"


def change(root, name: str, value) -> None:
    with h5py.File(root / "session_7" / "ep1" / "annotation.hdf5", "a") as f:
        del f[name]
        if value is not None:
            f[name] = value


def refused(root, words: str) -> None:
    with pytest.raises(InputError, match=words):
        list(read(next(iter(recordings(root).values())), OPTIONS).observations())


def test_a_recording_is_a_sub_task(written, moving):
    found = recordings(written)
    assert list(found) == ["session_7_ep1_000", "session_7_ep1_001"]
    first, second = (read(part, OPTIONS) for part in found.values())
    assert (first.text, second.text, first.licence) == ("Pick up the kettle", "make coffee", "CC BY-NC 4.0")
    assert len(first.stamps) == len(second.stamps) == 9 and first.name == "session_7_ep1_000"
    np.testing.assert_allclose(second.stamps[0] - first.stamps[0], 12 * 0.05, atol=1e-6)


def test_steps_of_15_hz_equal_the_nearest_frames(written, moving):
    d = read(recordings(written)["session_7_ep1_000"], OPTIONS)
    nearest = [round(s / 15.0 / 0.05) for s in range(9)]
    np.testing.assert_allclose(np.diff(d.stamps), 1 / 15.0, atol=1e-6)
    for (step, o), frame in zip(d.observations(), nearest, strict=True):
        np.testing.assert_allclose(o.depth, moving.depth[frame, ::2, ::2] / 1000.0, atol=1e-6)
        assert np.abs(o.rgb.astype(int) - moving.rgb[frame, ::2, ::2]).mean() < 8
        assert (o.camera.width, o.camera.fx, o.camera.cx) == (256, 200.0, 127.75)
        T = se3.invert(moving.T_world_cam[0]) @ moving.T_world_cam[frame]
        np.testing.assert_allclose(d.T_first_cam[step], T, atol=1e-6)


def test_without_tracks_the_import_refuses_it(written):
    d = read(recordings(written)["session_7_ep1_000"], OPTIONS)
    gates = Gates(min_steps=8)
    with pytest.raises(InputError, match="tracks: neither keypoints nor a robot"):
        to_episode(d, tiny().points, gates)
    tracks = Tracks(np.ones((9, 4, 3)), np.ones((9, 4), bool))
    assert to_episode(replace(d, tracks=tracks), tiny().points, gates).meta["text"] == "Pick up the kettle"


def test_an_inverted_trajectory_is_refused(tmp_path, moving):
    write_xperience(tmp_path, moving, is_inverse=True)
    refused(tmp_path, "camera: the background moves by .* of its depth, limit 5%")


def test_the_licence_has_to_be_accepted(written):
    with pytest.raises(InputError, match="accept_licence: '', must be NC: Xperience"):
        read(recordings(written)["session_7_ep1_000"], SimpleNamespace(accept_licence="", text=""))


@pytest.mark.parametrize(
    "name, value, words",
    [
        ("slam/quat_wxyz", None, "slam/quat_wxyz is missing"),
        ("slam/quat_wxyz", np.zeros((FRAMES, 4)), "slam pose 0: .*norm 0, must be 1"),
        ("slam/trans_xyz", np.full((FRAMES, 3), np.nan), "slam pose 0: .* not finite"),
        ("slam/frame_names", np.array(["1.jpg"], "S18"), "camera: frame 0 has no pose in slam/frame_names"),
        ("calibration/cam01/T_c0_b", np.zeros((4, 4)), "T_c0_b: rotation is off orthonormal"),
        ("calibration/cam01/K", np.array([200.0, 200.0, 0.0, 0.0]), "must be fx, fy, cx, cy of 512 pixels"),
        ("depth/depth", np.ones((FRAMES - 4, 256, 256), np.float32), "frame counts: 20 depth images of 24 frames"),
        ("depth/scale", 0.25, "depth of .*256.* pixels with scale 0.25"),
        ("video/device_timestamp", np.array(["7"] * FRAMES, "S14"), "device_timestamp of 24 frames, must increase"),
        ("video/device_timestamp", np.array(["x"] * FRAMES, "S14"), "times or caption: ValueError"),
        ("caption", "{", "times or caption"),
    ],
)
def test_malformed_annotations_are_refused(root, name, value, words):
    change(root, name, value)
    refused(root, words)


def test_a_sub_task_without_a_start_is_refused(root):
    values = caption(FRAMES)
    values["segments"][0]["start_frame"] = "frame_1"
    change(root, "caption", json.dumps(values))
    refused(root, "start_frame 'frame_1', must be a time in ns")


@pytest.mark.parametrize("name", ["annotation.hdf5", "stereo_left.mp4"])
def test_a_cut_file_is_refused(root, name):
    file = root / "session_7" / "ep1" / name
    data = file.read_bytes()
    file.write_bytes(data[: len(data) // 2])
    refused(root, "no HDF5 file|no readable video|damaged video")


def test_a_damaged_episode_does_not_hide_the_others(root):
    shutil.copytree(root / "session_7" / "ep1", root / "session_7" / "ep2")
    (root / "session_7" / "ep1" / "annotation.hdf5").write_bytes(b"")
    assert list(recordings(root)) == ["session_7_ep1_000", "session_7_ep2_000", "session_7_ep2_001"]
    refused(root, "ep1/annotation.hdf5: no HDF5 file")


def test_a_folder_without_recordings_is_refused(tmp_path):
    with pytest.raises(InputError, match="0 sub tasks in files annotation.hdf5"):
        recordings(tmp_path)
