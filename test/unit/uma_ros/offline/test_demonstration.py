"""Demonstrations in bags as episodes: equal to the simulator's own, and bad twins refused with the reason."""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
from demonstration_bags import TOPICS, write_bag
from demonstration_clips import clip

from uma.geometry import se3
from uma.model.config import PRESETS
from uma.model.inputs import point_set
from uma.types import InputError
from uma_ros.offline.actions import from_motion
from uma_ros.offline.demonstration import grid, read, recordings
from uma_train.data.episode import METRE, load_episode
from uma_train.data.sources import importing
from uma_train.data.sources.convert import to_episode
from uma_train.data.sources.gates import Gates, Refused

POINTS = PRESETS["tiny"]().points


@pytest.fixture(scope="module")
def demo():
    return clip(3)


def options(**changes):
    plain = {"topic": (), "namespace": "", "calibration": "", "camera": "", "actions": "auto", "text": ""}
    return SimpleNamespace(**plain | changes)


@pytest.fixture(scope="module")
def bag(tmp_path_factory, demo):
    return write_bag(tmp_path_factory.mktemp("bag") / "clip", demo)


def episode_of(path, **changes):
    return to_episode(read(path, options(**changes)), POINTS, Gates())


@pytest.fixture(scope="module")
def episode(bag):
    return episode_of(bag, text="put it in")


def test_robot_and_actions_are_the_simulators(episode, demo):
    T_cam_base = se3.invert(demo.T_base_cam)
    np.testing.assert_allclose(episode.pose, T_cam_base @ np.stack(demo.pose), atol=1e-6)
    np.testing.assert_allclose(episode.gripper, demo.gripper, atol=1e-6)
    np.testing.assert_allclose(episode.target_pose, T_cam_base @ np.stack(demo.target_pose), atol=1e-6)
    told, measured = np.array(demo.target_gripper), episode.target_gripper
    assert set(measured) <= {0.0, 1.0}
    assert (told != measured).sum() <= 6, "the gripper moves a few steps after its command"
    assert (
        episode.meta["actions"] == {"pose": "commanded", "gripper": "measured"} and episode.meta["text"] == "put it in"
    )


def test_clouds_are_the_simulators(episode, demo):
    own = point_set(demo.observations[0], POINTS)
    np.testing.assert_allclose(episode.xyz[0] * METRE, own.xyz, atol=1e-4)
    assert (
        list(episode.frame_step) == list(range(0, len(demo.pose), 2)) and episode.camera == demo.observations[0].camera
    )


def test_grasped_points_move_as_the_object_while_it_is_held(episode, demo):
    assert episode.meta["tracks"] == "hand"
    tracks = se3.apply(demo.T_base_cam, episode.tracks.astype(float))
    truth = np.stack(demo.points)
    held = np.flatnonzero(np.array(demo.gripper) > 0.7)[2:-2]
    nearest = np.linalg.norm(tracks[0][:, None] - truth[0][None], axis=-1).argmin(1)
    apart = np.linalg.norm(tracks - truth[:, nearest], axis=-1)
    assert np.abs(apart[held] - apart[0]).max() < 0.03, "the object turns a little in the hand"
    assert np.linalg.norm(tracks[held[-1]] - tracks[0], axis=-1).min() > 0.2


def test_a_bag_of_another_recorder_needs_only_its_topics_named(tmp_path, demo, episode):
    names = {
        "rgb": "/camera/color/image_rect",
        "depth": "/camera/depth/image_rect",
        "camera_info": "/camera/color/camera_info",
        "robot_pose": "/ee",
        "joint_states": "/joints",
        "target_pose": "/teleop/target",
    }
    other = type(TOPICS)(**names).in_namespace()
    path = write_bag(tmp_path / "other", demo, topics=other, stamp=1.7e9)
    with pytest.raises(InputError, match="no message on .*--topic"):
        read(path, options())
    found = episode_of(path, topic=tuple(f"{k}={v}" for k, v in names.items()))
    np.testing.assert_array_equal(found.xyz, episode.xyz)
    np.testing.assert_allclose(found.target_pose, episode.target_pose, atol=1e-5)


def test_without_commands_the_measured_poses_are_the_actions(tmp_path, demo, bag):
    found = read(write_bag(tmp_path / "quiet", demo, targets=False), options()).robot
    assert found.actions == ("measured", "measured")
    np.testing.assert_array_equal(found.target_pose[:-1], found.pose[1:])
    assert read(bag, options(actions="measured")).robot.actions == ("measured", "measured")
    with pytest.raises(InputError, match="0% of the steps have a commanded pose"):
        read(tmp_path / "quiet", options(actions="commanded"))


def shifted(T, metres):
    out = T.copy()
    out[:3, 3] += metres
    return out


BAD = {
    "zero extrinsics": (lambda T: {"T_base_cam": np.eye(4)}, "extrinsics", "rotation 0 deg"),
    "inverted extrinsics": (lambda T: {"T_base_cam": se3.invert(T)}, "calibration", "projects into 0%"),
    "camera 15 cm off": (lambda T: {"T_base_cam": shifted(T, [0.15, 0.0, 0.0])}, "calibration", "limit 0.06 m"),
    "depth in mm": (lambda T: {"depth_scale": 1000.0}, "unreadable", "depth"),
    "depth in 10 cm": (lambda T: {"depth_scale": 10.0}, None, "m"),
    "few depth images": (lambda T: {"skip_depth": 3}, "frame counts", "colour and 25 depth images for"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_twins_are_refused_with_number_and_limit(tmp_path, demo, name):
    change, gate, words = BAD[name]
    path = write_bag(tmp_path / "bad", demo, **change(demo.T_base_cam))
    with pytest.raises(InputError, match=words) as caught:
        episode_of(path)
    assert gate is None or getattr(caught.value, "gate", "unreadable") == gate


def test_a_hand_that_holds_nothing_is_refused(tmp_path, demo, bag):
    found = read(bag, options())
    found = replace(found, robot=replace(found.robot, gripper=np.zeros_like(found.robot.gripper)))
    with pytest.raises(Refused, match="gripper closes to 0.00"):
        to_episode(found, POINTS, Gates())


def test_recordings_are_the_bags_but_the_discarded(tmp_path, bag):
    assert list(recordings(bag)) == ["clip"]
    assert list(recordings(bag.parent)) == ["clip"]
    (tmp_path / "discarded").mkdir()
    with pytest.raises(InputError, match="neither a bag nor a folder of bags"):
        recordings(tmp_path)
    with pytest.raises(InputError, match="no such file"):
        recordings(tmp_path / "none")


def test_the_grid_takes_the_nearest_image_once():
    period = 1e9 / 15
    stamps, is_seen = grid(np.rint(np.arange(31) * period / 2).astype(np.int64))
    assert len(stamps) == 16 and is_seen.all(), "every second image of 30 Hz"
    sparse = np.rint(np.arange(16) * period).astype(np.int64)[[0, 1, 2, 5, 6, 15]]
    stamps, is_seen = grid(sparse)
    assert np.flatnonzero(is_seen).tolist() == [0, 1, 2, 5, 6, 15] and np.diff(stamps).min() > 0.9 * period
    slow, is_seen = grid(np.rint(np.arange(60) * 1e9 / 14.2).astype(np.int64))
    assert np.diff(slow).min() > 0 and 0.9 < is_seen.mean() < 1.0


def test_a_closing_that_an_object_stops_is_a_command_to_close():
    gripper = np.array([0, 0, 0.1, 0.3, 0.5, 0.5, 0.5, 0.4, 0.2, 0.0, 0.0])
    assert from_motion(gripper).tolist() == [0, 1, 1, 1, 1, 1, 0, 0, 0, 0, 0]


def test_workers_of_the_import_read_bags(bag, tmp_path):
    words = ["bag", str(bag.parent), "--out", str(tmp_path), "--preset", "tiny", "--text", "put it in"]
    assert importing.main(words) == 0
    episode = load_episode(tmp_path / "clip.npz")
    assert episode.meta["recording"] == "clip" and episode.meta["text"] == "put it in"
