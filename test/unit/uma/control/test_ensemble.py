"""Overlapping chunks are averaged on SE(3) before the safety filter; the gripper is from the newest one."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from uma.control.safety import SafetyFilter, SafetySettings
from uma.control.schedule import Schedule
from uma.geometry.se3 import interpolate, make_pose, mean_pose, rotation_angle
from uma.types import ActionChunk

DOWN = np.diag([1.0, -1.0, -1.0])
START = make_pose(DOWN, np.array([0.4, 0.0, 0.3]))
PERIOD = 4 / 15


def pose(t: float, aside: float = 0.0, turned: float = 0.0) -> np.ndarray:
    """Return the pose of a motion at constant speed at time ``t``, moved ``aside`` metres and ``turned`` radians."""
    return make_pose(DOWN @ Rotation.from_rotvec([0, 0, 0.3 * t + turned]).as_matrix(), [0.4 + aside, 0.15 * t, 0.3])


def chunk(number: int, aside: float = 0.0, turned: float = 0.0, gripper: float = 0.0) -> ActionChunk:
    stamp = number * PERIOD
    poses = np.stack([pose(stamp + (i + 1) / 15, aside, turned) for i in range(16)])
    return ActionChunk(poses, np.full(16, gripper), stamp, "fr3_link0", "tcp", 15.0, number)


def follow(
    schedule: Schedule, chunks: list[ActionChunk], end: float, dt: float = 0.004, late: float = 0.05
) -> tuple[np.ndarray, list]:
    """Targets every ``dt`` seconds; each chunk is added ``late`` seconds after its stamp."""
    waiting, times, points = list(chunks), np.arange(late, end, dt), []
    current = START
    for t in times:
        while waiting and waiting[0].stamp + late <= t + 1e-9:
            schedule.add(waiting.pop(0), t, current)
        points.append(schedule.target(t))
        current = points[-1].pose
    return times, points


def largest_step(points) -> float:
    p = np.stack([point.pose[:3, 3] for point in points])
    return float(np.linalg.norm(np.diff(p, axis=0), axis=1).max())


def test_equal_chunks_change_nothing():
    chunks = [chunk(i) for i in range(5)]
    for t, point in zip(*follow(Schedule(0.1, ensemble=0.3), chunks, 1.8), strict=True):
        if t > 0.3:  # past the approach from where the arm stood
            assert np.allclose(point.pose, pose(t), atol=2e-4), t


def test_the_mean_has_the_weights_of_the_ages():
    schedule = Schedule(blend_s=0.0, ensemble=0.5)
    for i, aside in enumerate([0.0, 0.03, 0.09]):
        schedule.add(chunk(i, aside), i * PERIOD + 0.02, START)
    w = np.exp(-0.5 * np.arange(3))
    wanted = (w @ [0.09, 0.03, 0.0]) / w.sum()
    assert schedule.target(0.8).pose[0, 3] == pytest.approx(0.4 + wanted, abs=1e-6)


@pytest.mark.parametrize("blend_s", [0.0, 0.2])
def test_a_jump_between_chunks_is_smaller_than_without(blend_s):
    chunks = [chunk(0), chunk(1), chunk(2, aside=0.05, turned=0.2), chunk(3)]
    steps = [largest_step(follow(Schedule(blend_s, ensemble=k), chunks, 1.3)[1][70:]) for k in (0.0, 0.2)]
    assert steps[1] < 0.6 * steps[0], steps


def test_one_outlier_moves_the_target_less_than_it_would_alone():
    chunks = [chunk(0), chunk(1), chunk(2, aside=0.05), chunk(3)]
    away = [
        max(abs(p.pose[0, 3] - 0.4) for p in follow(Schedule(0.2, ensemble=k), chunks, 1.3)[1][70:]) for k in (0.0, 0.2)
    ]
    assert away[0] > 0.045 and away[1] < 0.025, away


def test_nothing_jumps_where_a_chunk_comes_or_ends():
    rng = np.random.default_rng(0)
    chunks = [chunk(i, *rng.uniform(-0.03, 0.03, 2)) for i in range(9)]
    _, points = follow(Schedule(0.15, ensemble=0.1), chunks, 3.0, dt=0.001)
    assert largest_step(points) < 1.2e-3, (
        "0.15 mm by the motion itself; a chunk that came or went at once would be centimetres"
    )


def test_the_gripper_is_the_newest_chunks_and_never_between():
    _, points = follow(Schedule(0.2, ensemble=0.2), [chunk(i, gripper=float(i >= 2)) for i in range(4)], 1.3)
    assert [p.gripper for p in points] == [float(p.sequence >= 2) for p in points] and {p.gripper for p in points} == {
        0.0,
        1.0,
    }


def test_chunks_of_another_task_are_blended_over():
    """The echo of a task comes before or after its first chunk, on a topic of its own."""
    for early in (True, False):
        schedule = Schedule(0.1, ensemble=0.1)
        schedule.add(chunk(0), 0.05, START)
        schedule.add(chunk(1), 0.32, START)
        if early:
            schedule.new_task(2 * PERIOD, 0.55)
        before = schedule.target(0.6).pose
        schedule.add(chunk(2, aside=0.05), 0.6, before)
        if not early:
            schedule.new_task(2 * PERIOD, 0.6)
        assert np.allclose(schedule.target(0.6).pose, before, atol=1e-9)
        assert schedule.target(0.71).pose[0, 3] == pytest.approx(0.45, abs=1e-9), (
            "after the blend the old task has no weight"
        )


def test_after_a_gap_it_begins_anew():
    schedule = Schedule(0.1, ensemble=0.1)
    schedule.add(chunk(0), 0.05, START)
    held = schedule.target(1.2).pose
    schedule.add(chunk(4, aside=0.05), 1.2, held)
    assert np.allclose(schedule.target(1.2).pose, held) and schedule.target(1.31).pose[0, 3] == pytest.approx(
        0.45, abs=1e-9
    )


@given(st.integers(0, 2**32 - 1), st.floats(0.0, 3.1), st.floats(0.01, 0.99))
def test_mean_of_two_poses_lies_on_their_geodesic(seed, angle, share):
    rng = np.random.default_rng(seed)
    axis = rng.normal(size=3)
    a = make_pose(Rotation.random(random_state=rng).as_matrix(), rng.normal(size=3))
    b = make_pose(a[:3, :3] @ Rotation.from_rotvec(angle * axis / np.linalg.norm(axis)).as_matrix(), rng.normal(size=3))
    mean = mean_pose(np.stack([a, b]), np.array([1 - share, share]))
    assert np.allclose(mean, interpolate(a, b, share), atol=1e-7)


@given(st.integers(0, 2**32 - 1))
def test_weighted_turns_cancel_about_the_mean_rotation(seed):
    """Also for rotations up to nearly half a turn apart, where the components of quaternions of either sign would
    cancel instead."""
    rng = np.random.default_rng(seed)
    centre = Rotation.random(random_state=rng)
    axes = rng.normal(size=(4, 3))
    turns = rng.uniform(0.0, 1.5, (4, 1)) * axes / np.linalg.norm(axes, axis=1, keepdims=True)
    poses = make_pose((centre * Rotation.from_rotvec(turns)).as_matrix(), np.zeros((4, 3)))
    weights = rng.uniform(0.1, 1.0, 4)
    R = mean_pose(poses, weights)[:3, :3]
    assert np.allclose(R @ R.T, np.eye(3), atol=1e-9) and np.linalg.det(R) > 0
    assert np.linalg.norm(weights @ Rotation.from_matrix(R.T @ poses[:, :3, :3]).as_rotvec()) < 1e-6


def test_mean_of_opposite_rotations_stays_near_the_heavier():
    a, b = (make_pose(Rotation.from_rotvec([0, 0, turn]).as_matrix(), np.zeros(3)) for turn in (0.0, np.pi - 1e-6))
    mean = mean_pose(np.stack([a, b]), np.array([0.7, 0.3]))
    assert rotation_angle(mean[:3, :3], a[:3, :3]) == pytest.approx(0.3 * np.pi, abs=1e-4)
    for end in (a, b):
        assert rotation_angle(mean[:3, :3], end[:3, :3]) > 0.5


def test_ambiguous_mean_is_the_one_near_the_heaviest():
    """Two that contradict each other on either side of the third: a quarter turn away there is a place where all turns
    cancel, too."""
    poses = np.stack(
        [make_pose(Rotation.from_rotvec([0, 0, turn * np.pi]).as_matrix(), np.zeros(3)) for turn in (0.9, 0.0, -0.9)]
    )
    mean = mean_pose(poses, np.array([0.25, 0.5, 0.25]))
    assert rotation_angle(mean[:3, :3], np.eye(3)) < 1e-6


def test_the_safety_filter_comes_after_it():
    """Chunks that contradict each other by half a metre and half a turn: whatever the mean is, what is sent keeps the
    limits."""
    chunks = [chunk(i, aside=0.25 * (i % 2), turned=3.0 * (i % 2)) for i in range(6)]
    safety = SafetyFilter(SafetySettings(ramp_s=0.0))
    safety.reset(START)
    dt, poses = 0.008, [START]
    for point in follow(Schedule(0.0, ensemble=0.1), chunks, 1.9, dt=dt)[1]:
        poses.append(safety.step(point.pose, safety.pose, dt).pose)
    v = np.diff(np.stack([T[:3, 3] for T in poses]), axis=0) / dt
    w = [rotation_angle(a[:3, :3], b[:3, :3]) / dt for a, b in zip(poses, poses[1:])]
    s = safety.settings
    assert np.linalg.norm(v, axis=1).max() <= s.max_speed + 1e-6 and max(w) <= s.max_turn_speed + 1e-6
    assert np.linalg.norm(np.diff(v, axis=0), axis=1).max() / dt <= s.max_acceleration + 1e-3
