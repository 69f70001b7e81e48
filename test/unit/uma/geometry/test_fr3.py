"""The FR3's kinematics against the simulated arm, and joint commands within their limits for any target."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from uma.control.joints import JointFollower, JointLimits
from uma.geometry import fr3
from uma.geometry.se3 import make_pose, rotation_angle
from uma.types import InputError

seeds = st.integers(0, 2**32 - 1)


def random_q(rng, inset=0.1):
    return rng.uniform(fr3.LOWER + inset, fr3.UPPER - inset)


def test_forward_agrees_with_the_simulated_arm():
    mujoco = pytest.importorskip("mujoco")
    model = pytest.importorskip("uma_sim.robot.arm").arm_spec().compile()
    data, rng = mujoco.MjData(model), np.random.default_rng(0)
    for _ in range(200):
        q = random_q(rng, 0.0)
        data.qpos[:7] = q
        mujoco.mj_kinematics(model, data)
        site, T = data.site("flange"), fr3.forward(q)
        assert np.allclose(T[:3, 3], site.xpos, atol=1e-6)
        assert np.allclose(T[:3, :3], site.xmat.reshape(3, 3), atol=1e-6)


@settings(max_examples=60, deadline=None)
@given(seeds)
def test_the_jacobian_is_the_derivative_of_forward(seed):
    q, h = random_q(np.random.default_rng(seed)), 1e-6
    T, J = fr3.jacobian(q)
    assert np.allclose(T, fr3.forward(q))
    for i in range(7):
        moved = q + h * np.eye(7)[i]
        assert np.allclose(fr3.pose_error(T, fr3.forward(moved)) / h, J[:, i], atol=1e-4)


@settings(max_examples=60, deadline=None)
@given(seeds, st.floats(0.0, np.pi))
def test_the_pose_error_is_the_way_also_for_half_a_turn(seed, angle):
    rng = np.random.default_rng(seed)
    axis = rng.normal(size=3)
    turn = angle * axis / np.linalg.norm(axis)
    T = make_pose(Rotation.random(random_state=rng).as_matrix(), rng.normal(size=3))
    target = make_pose(Rotation.from_rotvec(turn).as_matrix() @ T[:3, :3], T[:3, 3] + 1.0)
    error = fr3.pose_error(T, target)
    assert np.allclose(error[:3], 1.0)
    assert rotation_angle(Rotation.from_rotvec(error[3:]).as_matrix() @ T[:3, :3], target[:3, :3]) < 1e-5


@settings(max_examples=40, deadline=None)
@given(seeds)
def test_ik_solves_near_poses_within_the_joint_limits(seed):
    rng = np.random.default_rng(seed)
    q0 = fr3.REST + rng.uniform(-0.3, 0.3, 7)
    target = fr3.forward(q0 + rng.uniform(-0.3, 0.3, 7))
    q, metres, radians = fr3.solve(target, q0)
    assert metres < 1e-4 and radians < 1e-3
    assert (q >= fr3.LOWER + 0.05 - 1e-12).all() and (q <= fr3.UPPER - 0.05 + 1e-12).all()


def test_a_pose_out_of_reach_leaves_a_distance_and_no_nonsense():
    target = fr3.forward(fr3.REST)
    target[0, 3] += 2.0
    q, metres, _ = fr3.solve(target, fr3.REST)
    assert metres > 0.5 and np.isfinite(q).all() and (q >= fr3.LOWER).all() and (q <= fr3.UPPER).all()


def wild_targets(rng, n):
    """Targets that jump, drift, stand and go missing, also far outside the joint limits; with speeds that need not fit
    them."""
    q = random_q(rng)
    for _ in range(n):
        kind = rng.integers(0, 40)
        if kind == 0:
            q = rng.uniform(-5.0, 5.0, 7)
        elif kind < 20:
            q = q + rng.normal(size=7) * 0.003
        yield None if kind == 39 else q, rng.normal(size=7) * rng.choice([0.0, 0.5, 10.0])


@settings(max_examples=30, deadline=None)
@given(seeds)
def test_commands_keep_all_joint_limits(seed):
    rng = np.random.default_rng(seed)
    limits = JointLimits()
    follower = JointFollower(limits, random_q(rng, 0.2))
    q_last, v_last, a_last, h = follower.q.copy(), np.zeros(7), np.zeros(7), 1e-3
    for target, speed in wild_targets(rng, 1500):
        q = follower.step(target, speed, h).copy()
        v = (q - q_last) / h
        a = (v - v_last) / h
        assert np.isfinite(q).all() and (q > fr3.LOWER).all() and (q < fr3.UPPER).all()
        assert (np.abs(v) <= limits.max_speed).all(), np.abs(v)
        assert (np.abs(a) <= limits.max_acceleration).all(), np.abs(a)
        assert (np.abs(a - a_last) <= limits.max_jerk * h).all(), np.abs(a - a_last) / h
        q_last, v_last, a_last = q, v, a


def test_a_late_cycle_is_as_many_milliseconds():
    one, many = (JointFollower(JointLimits(), fr3.REST) for _ in range(2))
    for i in range(200):
        target, speed = fr3.REST + 0.01 * i, np.full(7, 0.1)
        one.step(target, speed, 0.005)
        for _ in range(5):
            many.step(target, speed, 0.001)
    assert np.array_equal(one.q, many.q)


def test_slow_target_is_followed_without_lag():
    follower = JointFollower(JointLimits(), fr3.REST)
    worst = 0.0
    for i in range(3000):
        t = i * 1e-3
        target, speed = fr3.REST + 0.2 * (1 - np.cos(2 * t)), 0.4 * np.sin(2 * t) * np.ones(7)
        q = follower.step(target, speed, 1e-3)
        worst = max(worst, float(np.abs(q - target).max())) if t > 0.2 else worst
    assert worst < 1e-3
    for _ in range(1500):
        q = follower.step(fr3.REST, np.zeros(7), 1e-3)
    assert np.abs(q - fr3.REST).max() < 1e-4 and follower.is_at_rest


def test_without_a_target_it_brakes_and_holds():
    follower = JointFollower(JointLimits(), fr3.REST)
    for _ in range(300):
        follower.step(fr3.REST + 1.0, np.zeros(7), 1e-3)
    assert not follower.is_at_rest
    for _ in range(500):
        follower.step(None, np.zeros(7), 1e-3)
    assert follower.is_at_rest
    q = follower.q.copy()
    for _ in range(1000):
        follower.step(None, np.zeros(7), 1e-3)
    assert np.abs(follower.q - q).max() < 1e-4


@pytest.mark.parametrize(
    "changes, words",
    [
        ({"max_speed": [1.0] * 6}, "7 values"),
        ({"max_speed": [3.0] * 7}, "where the FR3 stops"),
        ({"max_jerk": 9000.0}, "max_jerk: 9000"),
    ],
)
def test_limits_beyond_the_arms_own_are_refused(changes, words):
    with pytest.raises(InputError, match=words):
        JointLimits(**changes)
