"""Windows of episodes for PointWorld."""

import dataclasses

import numpy as np
import pytest
from rigid_episodes import episode

from uma.geometry import se3
from uma.types import InputError
from uma_train.data.episode import METRE
from uma_train.data.exports.pointworld import STEPS, STRIDE, errors, windows

T_BASE_CAM = np.array([[0.0, -0.6, 0.8, 0.2], [-1.0, 0.0, 0.0, 0.1], [0.0, -0.8, -0.6, 0.8], [0.0, 0.0, 0.0, 1.0]])


def measured(**changes):
    e = episode(1)
    joints = np.linspace(0, 1, len(e.pose) * 7, dtype=np.float32).reshape(-1, 7)
    meta = e.meta | {"T_base_cam": T_BASE_CAM.tolist()}
    return dataclasses.replace(e, joints=joints, meta=meta, **changes)


def test_a_window_has_points_joints_and_truth_of_the_same_steps():
    e = measured()
    found = windows(e, every=2)
    assert found and all(w.start in e.frame_step for w in found)
    w = found[-1]
    steps = w.start + STRIDE * np.arange(STEPS + 1)
    assert steps[-1] < len(e.pose)
    np.testing.assert_array_equal(w.joints, e.joints[steps])
    np.testing.assert_array_equal(w.gripper, e.gripper[steps])
    np.testing.assert_allclose(w.keypoints, se3.apply(T_BASE_CAM, e.tracks[steps].astype(float)), atol=1e-5)
    frame = int(np.flatnonzero(e.frame_step == w.start)[0])
    np.testing.assert_allclose(w.points, se3.apply(T_BASE_CAM, e.xyz[frame] * METRE), atol=1e-5)


def test_keypoints_that_are_hidden_once_are_left_out():
    e = measured()
    valid = np.ones_like(e.track_valid)
    valid[4, 0] = False
    hidden = dataclasses.replace(e, track_valid=valid)
    first = windows(hidden)[0]
    assert first.start <= 4 and first.keypoints.shape[1] == e.tracks.shape[1] - 1
    assert not windows(dataclasses.replace(e, track_valid=np.zeros_like(valid)))


def test_errors_are_those_of_the_steps_after_the_start():
    w = windows(measured())[0]
    assert errors(w, w.keypoints)["mse_m2"] == 0.0
    off = w.keypoints.copy()
    off[1:, :, 0] += 0.03
    found = errors(w, off)
    assert found["l2_mm"] == pytest.approx(30.0, rel=1e-4) and found["mse_m2"] == pytest.approx(0.0003, rel=1e-3)
    still = np.linalg.norm(w.keypoints[1:] - w.keypoints[:1], axis=-1).mean() * 1e3
    assert found["still_l2_mm"] == pytest.approx(still, rel=1e-5)
    with pytest.raises(InputError, match="predicted: shape"):
        errors(w, off[:5])


def test_episodes_without_joints_or_pose_are_refused():
    with pytest.raises(InputError, match="no measured joints"):
        windows(episode(1))
    e = measured()
    with pytest.raises(InputError, match="T_base_cam is unknown"):
        windows(dataclasses.replace(e, meta=e.meta | {"T_base_cam": None}))
