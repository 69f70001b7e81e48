"""Chunks are followed by their time stamps, joined without a jump."""

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from uma.control.schedule import Schedule
from uma.geometry.se3 import make_pose, rotation_angle
from uma.types import ActionChunk

DOWN = np.diag([1.0, -1.0, -1.0])
START = make_pose(DOWN, np.array([0.4, 0.0, 0.3]))


def chunk(stamp=0.0, offset=0.0, step=0.02, turn=0.05, sequence=0, gripper=None, n=16):
    poses = np.stack(
        [
            make_pose(
                DOWN @ Rotation.from_rotvec([0, 0, turn * (i + 1)]).as_matrix(), [0.4, offset + step * (i + 1), 0.3]
            )
            for i in range(n)
        ]
    )
    return ActionChunk(poses, np.zeros(n) if gripper is None else gripper, stamp, "fr3_link0", "tcp", 15.0, sequence)


def test_nothing_is_due_before_the_first_chunk():
    schedule = Schedule()
    assert schedule.target(0.0) is None and schedule.last_due is None


@pytest.mark.parametrize("stamp", [0.0, 1.7e9])
def test_every_action_is_reached_when_it_is_due(stamp):
    schedule, c = Schedule(blend_s=0.0), chunk(stamp)
    schedule.add(c, stamp, START)
    for i, due in enumerate(c.due()):
        point = schedule.target(due)
        assert np.allclose(point.pose, c.poses[i], atol=1e-6), f"action {i}"


def test_late_actions_are_skipped_and_no_others():
    schedule, c = Schedule(blend_s=0.0), chunk()
    skipped = schedule.add(c, 3.4 / 15, START)
    assert skipped == 3
    assert np.allclose(schedule.target(4 / 15).pose, c.poses[3], atol=1e-9)


def test_pose_is_interpolated_without_a_jump_in_speed():
    schedule, c = Schedule(blend_s=0.0), chunk()
    schedule.add(c, 0.0, START)
    t = np.arange(0.0, c.due()[-1], 0.002)
    y = np.array([schedule.target(x).pose[1, 3] for x in t])
    v = np.diff(y) / 0.002
    assert (v > -1e-6).all() and np.abs(np.diff(v)).max() < 0.05, (
        "a straight line at constant steps must not stop and go"
    )


def test_the_last_pose_is_kept_after_the_end():
    schedule, c = Schedule(), chunk()
    schedule.add(c, 0.0, START)
    point = schedule.target(99.0)
    assert point.is_over and np.allclose(point.pose, c.poses[-1]) and schedule.last_due == pytest.approx(16 / 15)


def test_join_is_smooth_and_arrives_at_the_new_plan():
    schedule = Schedule(blend_s=0.2)
    schedule.add(chunk(), 0.0, START)
    before = schedule.target(0.6).pose
    new = chunk(stamp=0.5, offset=0.25, sequence=1)
    schedule.add(new, 0.6, before)
    after = schedule.target(0.6).pose
    assert np.linalg.norm(after[:3, 3] - before[:3, 3]) < 1e-9 and rotation_angle(after[:3, :3], before[:3, :3]) < 1e-6
    t = np.arange(0.6, 0.9, 0.002)
    y = np.array([schedule.target(x).pose[1, 3] for x in t])
    assert np.abs(np.diff(y)).max() < 0.004, "the new plan is 11 cm away; a jump would be"
    i = 7
    assert np.allclose(schedule.target(new.due()[i]).pose, new.poses[i], atol=1e-6), (
        "after the blend only the new plan counts"
    )


def test_a_second_join_within_the_blend_does_not_jump_either():
    schedule = Schedule(blend_s=0.3)
    schedule.add(chunk(), 0.0, START)
    schedule.add(chunk(stamp=0.4, offset=0.2, sequence=1), 0.5, START)
    before = schedule.target(0.6).pose
    schedule.add(chunk(stamp=0.55, offset=-0.1, sequence=2), 0.6, before)
    assert np.linalg.norm(schedule.target(0.6).pose[:3, 3] - before[:3, 3]) < 1e-9


def test_rotations_stay_rotations_in_a_blend_across_half_a_turn():
    schedule = Schedule(blend_s=0.2)
    schedule.add(chunk(turn=0.0), 0.0, START)
    flipped = chunk(stamp=0.1, sequence=1, turn=0.0)
    flipped = ActionChunk(
        flipped.poses @ make_pose(Rotation.from_rotvec([0, 0, 3.0]).as_matrix(), np.zeros(3)),
        flipped.gripper,
        0.1,
        "fr3_link0",
        "tcp",
    )
    schedule.add(flipped, 0.2, schedule.target(0.2).pose)
    for t in np.arange(0.2, 0.5, 0.01):
        R = schedule.target(t).pose[:3, :3]
        assert np.allclose(R @ R.T, np.eye(3), atol=1e-9) and np.linalg.det(R) > 0


def test_the_gripper_is_never_blended():
    closed = np.r_[np.zeros(5), np.ones(11)]
    schedule = Schedule(blend_s=0.3)
    schedule.add(chunk(gripper=closed), 0.0, START)
    schedule.add(chunk(stamp=0.4, sequence=1, gripper=np.ones(16)), 0.45, START)
    values = {schedule.target(t).gripper for t in np.arange(0.0, 1.6, 0.005)}
    assert values <= {0.0, 1.0}


@pytest.mark.parametrize(
    "stamp, now, words", [(0.0, 2.0, "last action was due"), (-0.2, 0.1, "before the active chunk")]
)
def test_a_chunk_that_is_over_or_older_is_refused(stamp, now, words):
    schedule = Schedule()
    if "before" in words:
        schedule.add(chunk(), 0.0, START)
    with pytest.raises(ValueError, match=words):
        schedule.add(chunk(stamp=stamp, sequence=1), now, START)


def test_pace_is_that_of_the_neighbouring_actions():
    schedule = Schedule(blend_s=0.2)
    schedule.add(chunk(step=0.02, turn=0.05), 0.0, START)
    assert schedule.target(0.3).nominal_speed == pytest.approx((0.3, 0.75))
    schedule.add(chunk(stamp=0.4, offset=0.1, step=0.01, turn=0.08, sequence=1), 0.5, START)
    assert schedule.target(0.55).nominal_speed == pytest.approx((0.3, 1.2)), "the faster of both in every respect"
    assert schedule.target(0.75).nominal_speed == pytest.approx((0.15, 1.2)), "after the blend only the new one counts"


def test_a_late_chunk_is_no_faster_for_being_late():
    schedule = Schedule()
    schedule.add(chunk(step=0.015, turn=0.0), 0.9, START)
    assert schedule.target(0.95).nominal_speed == pytest.approx((0.225, 0.0), abs=1e-9), (
        "the skipped first actions do not count as speed"
    )
