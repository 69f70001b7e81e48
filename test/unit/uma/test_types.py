"""The stack's types refuse what is malformed, naming field, value and limit."""

import numpy as np
import pytest

from uma.types import ActionChunk, CameraModel, InputError, Observation, ReferenceMotion

W = np.zeros((2, 3))


@pytest.mark.parametrize(
    ("kwargs", "message"),
    [
        ({"waypoints": ()}, "keypoints: 0 given, must be 1 to 16"),
        ({"waypoints": (W,) * 17}, "keypoints: 17 given, must be 1 to 16"),
        ({"waypoints": (np.zeros((0, 3)),)}, r"keypoints\[0\].waypoints: 0 given"),
        ({"waypoints": (np.zeros((65, 3)),)}, r"keypoints\[0\].waypoints: 65 given, must be 1 to 64"),
        ({"waypoints": (W, np.full((2, 3), np.nan))}, r"keypoints\[1\].waypoints\[0\].*not finite"),
        ({"waypoints": (np.full((2, 3), 9.0),)}, r"over 5.0 m"),
        ({"waypoints": (W,), "phase": (np.array([0.0]),)}, "phase: 1 values for 2 waypoints"),
        ({"waypoints": (W,), "phase": (np.array([0.6, 0.2]),)}, "must not decrease"),
        ({"waypoints": (W,), "phase": (np.array([0.0, 1.5]),)}, r"must lie in \[0, 1\]"),
        ({"waypoints": (W,), "is_valid": (np.array([True]),)}, "is_valid: 1 values for 2"),
        ({"waypoints": (W,), "is_valid": (np.array([False, False]),)}, "no valid waypoint"),
    ],
)
def test_references_are_checked(kwargs, message):
    with pytest.raises(InputError, match=message):
        ReferenceMotion(**kwargs)


def test_an_invalid_waypoint_may_hold_anything():
    motion = ReferenceMotion((np.array([[0, 0, 1.0], [np.nan, 0, 0]]),), is_valid=(np.array([True, False]),))
    assert motion.phase[0].tolist() == [0.0, 1.0]


def test_chunks_are_checked_and_keep_time():
    poses = np.repeat(np.eye(4)[None], 16, 0)
    chunk = ActionChunk(poses, np.zeros(16), 2.0, "cam", "tcp")
    assert chunk.due()[0] == pytest.approx(2.0 + 1 / 15) and chunk.due()[-1] == pytest.approx(2.0 + 16 / 15)
    with pytest.raises(InputError, match="gripper: 15 values for 16 poses"):
        ActionChunk(poses, np.zeros(15), 0.0, "cam", "tcp")
    with pytest.raises(InputError, match=r"gripper.*must lie in \[0, 1\]"):
        ActionChunk(poses, np.full(16, 1.5), 0.0, "cam", "tcp")
    poses[3, :3, :3] *= 2
    with pytest.raises(InputError, match=r"poses\[3\]: rotation"):
        ActionChunk(poses, np.zeros(16), 0.0, "cam", "tcp")


def test_observations_are_checked():
    camera = CameraModel(4, 3, 2.0, 2.0, 1.5, 1.0)
    rgb, depth = np.zeros((3, 4, 3), np.uint8), np.ones((3, 4), np.float32)
    Observation(rgb, depth, camera, np.eye(4), 0.5)
    with pytest.raises(InputError, match="depth: float64"):
        Observation(rgb, depth.astype(np.float64), camera, np.eye(4), 0.5)
    with pytest.raises(InputError, match="gripper: 1.2"):
        Observation(rgb, depth, camera, np.eye(4), 1.2)
    with pytest.raises(InputError, match="camera size"):
        CameraModel(0, 3, 2.0, 2.0, 0, 0)
