"""DROID's raw release as episodes: equal to the simulator's own, and bad twins refused with the reason."""

import json
import shutil
import sys
from types import SimpleNamespace

import h5py
import numpy as np
import pytest
from demonstration_clips import clip, truth
from droid_files import (
    BEFORE,
    EXT1,
    EXT2,
    NAME,
    TEXTS,
    WRIST,
    other_camera,
    six,
    write_annotations,
    write_depth,
    write_droid,
    write_video,
)

from uma.geometry import se3
from uma.model.config import PRESETS
from uma.types import InputError
from uma_train.data.sources.convert import to_episode
from uma_train.data.sources.droid import read, recordings
from uma_train.data.sources.gates import Gates, Refused

POINTS = PRESETS["tiny"]().points
MP4 = f"recordings/MP4/{EXT1}.mp4"


@pytest.fixture(scope="module")
def demo():
    return clip(3)


@pytest.fixture(scope="module")
def files(tmp_path_factory, demo):
    root = tmp_path_factory.mktemp("droid")
    folder = write_droid(root / "raw", demo)
    write_depth(root / "depth", demo)
    write_annotations(root / "json", demo)
    return SimpleNamespace(root=root, folder=folder, depth=str(root / "depth"), annotations=str(root / "json"))


def options(files, **changes):
    plain = {"camera": "", "depth": files.depth, "annotations": files.annotations, "actions": "auto", "text": ""}
    return SimpleNamespace(**plain | changes)


def episode_of(folder, chosen):
    return to_episode(read(folder, chosen), POINTS, Gates())


@pytest.fixture(scope="module")
def episode(files):
    return episode_of(files.folder, options(files))


@pytest.fixture(scope="module")
def own(demo):
    return to_episode(truth(demo, TEXTS[0]), POINTS, Gates())


def test_the_episode_is_the_simulators(episode, own):
    for name in ("pose", "gripper", "target_pose", "target_gripper", "joints", "tracks"):
        np.testing.assert_allclose(getattr(episode, name), getattr(own, name), atol=1e-5, err_msg=name)
    for name in ("xyz", "height", "frame_step", "track_valid"):
        np.testing.assert_array_equal(getattr(episode, name), getattr(own, name), err_msg=name)
    apart = np.abs(episode.rgb.astype(int) - own.rgb.astype(int))
    assert apart.mean() < 4.0 and episode.camera == own.camera
    assert episode.meta["text"] == TEXTS[0] and episode.meta["actions"] == {"pose": "commanded", "gripper": "commanded"}


def test_meta_says_where_calibration_and_depth_are_from(files, episode):
    notes = {"episode": NAME, "camera": EXT1, "extrinsics": "cam2base_extrinsics.json", "intrinsics": "published"}
    assert episode.meta["notes"] == {**notes, "depth": "published"} and "non-commercial" in episode.meta["licence"]
    plain = read(files.folder, options(files, annotations="", camera="ext1"))
    assert plain.notes["extrinsics"] == "trajectory.h5" and plain.notes["intrinsics"] == "nominal"
    assert plain.text == "Move object into or out of container"
    observation = next(iter(plain.observations()))[1]
    assert observation.camera.fx == pytest.approx(531.7 / 4) and observation.camera.cx == pytest.approx(159.5)


def test_recordings_are_the_episodes_below_a_folder(files):
    assert recordings(files.root) == {NAME: files.folder} == recordings(files.folder)
    with pytest.raises(InputError, match="no trajectory.h5 in it"):
        recordings(files.depth)


def test_depth_of_a_late_clock_is_paired_by_number(files, demo, tmp_path):
    write_depth(tmp_path, demo, late_ms=41)
    late = read(files.folder, options(files, depth=str(tmp_path)))
    for (_, a), (_, b) in zip(late.observations(), read(files.folder, options(files)).observations()):
        np.testing.assert_array_equal(a.depth, b.depth)


def test_depth_of_another_length_is_paired_in_time(files, demo, tmp_path):
    path = write_depth(tmp_path, demo)
    with h5py.File(path, "r+") as f:
        group = f[f"{EXT1}+ext"]
        depth, stamps = group["depth"][10:], group["timestamps"][10:]
        del group["depth"], group["timestamps"]
        group["depth"], group["timestamps"] = depth, stamps
    found = read(files.folder, options(files, depth=str(tmp_path)))
    seen = dict(found.observations())
    assert min(seen) == 10 - BEFORE and found.num_pairs == len(demo.pose) - 10 + BEFORE
    whole = dict(read(files.folder, options(files)).observations())
    np.testing.assert_array_equal(seen[30].depth, whole[30].depth)


def test_measured_actions_are_the_next_poses(files, demo):
    robot = read(files.folder, options(files, actions="measured")).robot
    np.testing.assert_array_equal(robot.target_pose[:-1], robot.pose[1:])
    assert robot.actions == ("measured", "measured")


def test_slow_rows_become_steps_of_15_hz_by_time(files, tmp_path):
    folder = shutil.copytree(files.folder, tmp_path / files.folder.name)
    with h5py.File(folder / "trajectory.h5", "r+") as f:
        stamps = f[f"observation/timestamp/cameras/{EXT1}_estimated_capture"]
        stamps[:] = stamps[0] + np.round(np.arange(len(stamps)) * 1000 / 14.2).astype(np.int64)
        rows = len(stamps)
    found = read(folder, options(files))
    period = np.diff(found.stamps)
    assert len(found.stamps) > (rows - 9) * 15 / 14.2 - 1.5 and np.abs(period - 1 / 15).max() < 0.036
    steps = np.linalg.norm(np.diff(found.robot.pose[:, :3, 3], axis=0), axis=1)
    assert steps.max() < 0.05, "no step stands still and leaps"


def edited(key, change):
    """Returns a function that changes a dataset of the trajectory."""

    def edit(folder):
        with h5py.File(folder / "trajectory.h5", "r+") as f:
            value = f[key][()]
            del f[key]
            value = change(value)
            if value is not None:
                f[key] = value

    return edit


def with_nan(value):
    value[20] = np.nan
    return value


def halved(path):
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def dated(folder):
    for path in folder.glob("metadata*"):
        path.write_text(json.dumps({**json.loads(path.read_text()), "uuid": NAME.replace("2023", "2199")}))


POSE, TIME = "observation/robot_state/cartesian_position", f"observation/timestamp/cameras/{EXT1}_estimated_capture"
LEFT = f"observation/camera_extrinsics/{EXT1}_left"
BAD = {
    "zero extrinsics": (edited(LEFT, lambda v: 0 * v), {"annotations": ""}, f"extrinsics of {EXT1}.*6 zeros, must"),
    "moving camera": (edited(LEFT, lambda v: v + np.arange(len(v))[:, None] / 99), {"annotations": ""}, "limit 0.01"),
    "no extrinsics": (edited(LEFT, lambda v: None), {"annotations": ""}, f"trajectory.h5: .*{EXT1}_left"),
    "pose of 7": (edited(POSE, lambda v: np.c_[v, v[:, :1]]), {}, r"shape \(83, 7\), must be \(N, 6"),
    "pose not finite": (edited(POSE, with_nan), {}, "cartesian_position: row 20 of 83 is not finite"),
    "time of the future": (edited(TIME, lambda v: v * 3), {}, "date: observation/.*capture: 21.*, must not be later"),
    "name of the future": (dated, {}, "date: uuid: 2199-07-07, must not be later than"),
    "time runs back": (edited(TIME, lambda v: v[::-1]), {}, "capture: row 1 is not later than the row before"),
    "coarse clock": (edited(TIME, lambda v: v[0] + (v - v[0]) // 999), {}, "not later than the row before"),
    "slow clock": (edited(TIME, lambda v: v[0] + (v - v[0]) * 9), {}, "74 rows in 43.8 s, must be about 15 a second"),
    "flags of another length": (
        edited("observation/timestamp/skip_action", lambda v: v[:-1]),
        {},
        r"skip_action: shape \(82, 1\), must be \(83, 1\)",
    ),
    "trajectory cut": (lambda f: halved(f / "trajectory.h5"), {}, "trajectory.h5: damaged or cut"),
    "video cut": (lambda f: halved(f / MP4), {}, "video: .*mp4: damaged or cut"),
    "video missing": (lambda f: (f / MP4).unlink(), {}, "video: .*mp4: no such file"),
    "no metadata": (lambda f: next(f.glob("*.json")).unlink(), {}, r"no metadata_\*.json"),
    "no depth": (lambda f: None, {"depth": ""}, "depth: the recording holds none; --depth FOLDER"),
    "right lens": (lambda f: None, {"camera": f"{EXT1}_right"}, f"camera: {EXT1}_right: a right lens"),
    "wrist camera": (lambda f: None, {"camera": WRIST}, f"camera: {WRIST}: on the wrist, must be an exterior"),
    "unknown camera": (lambda f: None, {"camera": "12"}, f"camera: 12: not in the recording, .*{EXT1}, {EXT2}"),
    "no stereo": (lambda f: None, {"depth": "stereo"}, f"{EXT1}.mp4 640x360, must be a pair of images"),
}  # fmt: skip


@pytest.mark.parametrize("name", BAD)
def test_bad_twins_are_refused_with_field_number_and_limit(name, files, tmp_path):
    edit, changes, words = BAD[name]
    folder = shutil.copytree(files.folder, tmp_path / files.folder.name)
    edit(folder)
    with pytest.raises(InputError, match=words):
        episode_of(folder, options(files, **changes))


def test_a_video_of_another_length_is_refused(files, tmp_path):
    folder = shutil.copytree(files.folder, tmp_path / files.folder.name)
    write_video(folder / MP4, [np.zeros((36, 64, 3), np.uint8)] * 60)
    with pytest.raises(Refused, match="frame counts: 60 frames for 83 rows, may differ by 6"):
        read(folder, options(files))


WRONG = {
    "inverted": (lambda c: se3.invert(c.T_base_cam), "calibration: the end effector projects into"),
    "of the other camera": (other_camera, "calibration: "),
}


@pytest.mark.parametrize("name", WRONG)
def test_wrong_extrinsics_are_refused(name, files, demo, tmp_path):
    make, words = WRONG[name]
    annotations = write_annotations(tmp_path, demo, make(demo))
    with pytest.raises(Refused, match=words):
        episode_of(files.folder, options(files, annotations=str(annotations)))


def test_a_camera_without_a_video_is_refused(files):
    folder = files.folder
    with pytest.raises(InputError, match="video: .*no such file"):
        read(folder, options(files, camera="ext2"))


def test_depth_of_8_bits_is_refused(files, demo, tmp_path):
    path = write_depth(tmp_path, demo)
    with h5py.File(path, "r+") as f:
        depth = (f[f"{EXT1}+ext/depth"][:] // 16).astype(np.uint8)
        del f[f"{EXT1}+ext/depth"]
        f[f"{EXT1}+ext/depth"] = depth
    with pytest.raises(Refused, match="depth: .*uint8 .*must be uint16"):
        read(files.folder, options(files, depth=str(tmp_path)))


def test_two_depth_files_of_one_episode_are_refused(files, demo, tmp_path):
    write_depth(tmp_path / "a", demo)
    write_depth(tmp_path / "b", demo)
    with pytest.raises(Refused, match="depth: 2 files .*, must be exactly 1"):
        read(files.folder, options(files, depth=str(tmp_path)))


def test_euler_angles_are_extrinsic(demo):
    T = demo.T_base_cam
    from uma_train.data.sources.robot_rows import pose_of

    np.testing.assert_allclose(pose_of(six(T), "T"), T, atol=1e-12)
    quarter = pose_of(np.array([0, 0, 0, np.pi / 2, 0, np.pi / 2]), "T")
    np.testing.assert_allclose(quarter[:3, :3] @ [0, 1, 0], [0, 0, 1], atol=1e-12)


def test_a_missing_package_is_named_with_its_extra(files, monkeypatch):
    monkeypatch.setitem(sys.modules, "h5py", None)
    with pytest.raises(InputError, match=r"h5py: not installed; the extra 'data' has it: pip install 'uma\[data\]'"):
        read(files.folder, options(files))
