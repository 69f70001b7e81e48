"""Committed actions of a new chunk: those of the running chunk that will have been executed, and no others."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scenes import CAMERA, scene
from scipy.spatial.transform import Rotation

from uma.geometry.se3 import make_pose, rotation_angle
from uma.policy.prefix import committed
from uma.types import ActionChunk

SCENE = scene()
STAMP = 1.7e9
DOWN = np.diag([1.0, -1.0, -1.0])


def pose(step: float, turn: float = 0.1) -> np.ndarray:
    """Return the pose of a motion at constant speed, ``step`` actions after the first one."""
    return make_pose(DOWN @ Rotation.from_rotvec([0.0, 0.0, turn * step]).as_matrix(), [0.0, -0.2 + 0.02 * step, 0.8])


def running(**changes) -> ActionChunk:
    gripper = np.r_[np.zeros(6), np.ones(10)]
    return replace(
        ActionChunk(np.stack([pose(i) for i in range(16)]), gripper, STAMP, CAMERA.frame, "tcp", 15.0, 7), **changes
    )


def seen(step: float, lag: float = 0.0):
    """Return the observation ``step`` actions after the first one, with the arm ``lag`` actions behind."""
    return replace(SCENE, stamp=STAMP + (step + 1.0) / 15.0, T_cam_ee=pose(step - lag))


def test_actions_at_the_same_times_are_taken_as_they_are():
    before = running()
    prefix = committed(before, seen(3.0), 4)
    assert np.array_equal(prefix.poses, before.poses[4:8]) and np.array_equal(prefix.gripper, before.gripper[4:8])
    assert (
        np.allclose(prefix.due(), before.due()[4:8], atol=1e-6)
        and prefix.num_committed == 4
        and prefix.frame == CAMERA.frame
    )


@given(st.floats(0.0, 9.9), st.integers(1, 5))
def test_prefix_interpolates_poses_and_never_the_gripper(step, count):
    prefix = committed(running(), seen(step), count)
    for i in range(count):
        wanted = pose(step + 1 + i)
        assert (
            np.linalg.norm(prefix.poses[i][:3, 3] - wanted[:3, 3]) < 1e-4
            and rotation_angle(prefix.poses[i][:3, :3], wanted[:3, :3]) < 1e-3
        )
    assert set(prefix.gripper) <= {0.0, 1.0}
    assert abs(prefix.due()[0] - prefix.stamp - 1 / 15) < 1e-6


def test_the_gripper_is_that_of_the_nearest_action():
    assert list(committed(running(), seen(3.4), 3).gripper) == [0.0, 0.0, 1.0] and list(
        committed(running(), seen(3.6), 3).gripper
    ) == [0.0, 1.0, 1.0]


def test_the_rotation_is_halfway_on_the_geodesic():
    before = running(poses=np.stack([pose(i, turn=3.0) for i in range(16)]))
    prefix = committed(
        before,
        replace(seen(2.5), T_cam_ee=make_pose(DOWN @ Rotation.from_rotvec([0, 0, 7.5]).as_matrix(), [0.0, -0.15, 0.8])),
        1,
    )
    assert (
        rotation_angle(prefix.poses[0][:3, :3], before.poses[3][:3, :3])
        == pytest.approx(1.5)
        == rotation_angle(prefix.poses[0][:3, :3], before.poses[4][:3, :3])
    )


@pytest.mark.parametrize(
    "before, observation, count",
    [
        (None, seen(3.0), 4),
        (running(), seen(3.0), 0),
        (running(), seen(11.5), 4),
        (running(), replace(seen(3.0), stamp=STAMP), 4),
        (running(), replace(seen(3.0), stamp=STAMP - 1.0), 4),
        (running(frame="another_camera"), seen(3.0), 4),
        (running(), replace(seen(8.0), T_cam_ee=pose(8.0) @ make_pose(np.eye(3), np.array([0.0, 0.0, 0.13]))), 4),
        (
            running(),
            replace(
                seen(3.0), T_cam_ee=pose(3.0) @ make_pose(Rotation.from_rotvec([0.5, 0, 0]).as_matrix(), np.zeros(3))
            ),
            4,
        ),
    ],
    ids=[
        "no chunk before",
        "none asked for",
        "does not reach that far",
        "same image",
        "time turned back",
        "another camera",
        "arm 13 cm away",
        "arm turned away",
    ],
)
def test_none_where_it_would_be_no_promise(before, observation, count):
    assert committed(before, observation, count) is None


def test_prefix_is_independent_of_an_arms_lag():
    assert committed(running(), seen(11.0), 4) is not None
    prefix = committed(running(), seen(3.0, lag=2.0), 4)
    assert np.array_equal(prefix.poses, running().poses[4:8])
