"""The arm and the gripper: reach, limits, stroke, parallel pads."""

import numpy as np
import pytest

mujoco = pytest.importorskip("mujoco")
pytest.importorskip("franky_sim")

from uma.geometry import fr3, se3  # noqa: E402
from uma_sim.planning.grasping import top_down  # noqa: E402
from uma_sim.robot import arm as robot  # noqa: E402
from uma_sim.robot import gripper  # noqa: E402
from uma_sim.robot.ik import Kinematics  # noqa: E402


@pytest.fixture(scope="module")
def kinematics():
    return Kinematics(gripper.T_LINK8_TCP)


def test_home_points_the_gripper_down_in_front_of_the_base(kinematics):
    T = kinematics.forward(fr3.REST)
    np.testing.assert_allclose(T[:3, 2], [0, 0, -1], atol=1e-6)
    assert 0.35 < T[0, 3] < 0.6 and abs(T[1, 3]) < 1e-6 and 0.2 < T[2, 3] < 0.4


def test_inverse_kinematics_reaches_the_table_within_limits(kinematics):
    rng = np.random.default_rng(0)
    for _ in range(20):
        target = top_down(
            rng.uniform(-1.4, 1.4), np.array([rng.uniform(0.4, 0.6), rng.uniform(-0.25, 0.25), rng.uniform(0.02, 0.3)])
        )
        q, metres, radians = kinematics.solve(target, fr3.REST, iterations=100)
        assert metres < 1e-3 and radians < 5e-3, target
        assert (q >= fr3.LOWER).all() and (q <= fr3.UPPER).all()


def test_an_unreachable_target_never_breaks_the_limits(kinematics):
    q, metres, _ = kinematics.solve(top_down(3.0, np.array([1.5, 0.8, -0.5])), fr3.REST)
    assert metres > 0.1
    assert np.isfinite(q).all() and (q >= fr3.LOWER).all() and (q <= fr3.UPPER).all()


def test_step_is_within_its_limit(kinematics):
    limit = robot.VELOCITY_LIMIT * 0.01
    q = kinematics.step(fr3.REST, top_down(1.0, np.array([0.6, 0.3, 0.1])), limit)
    assert (np.abs(q - fr3.REST) <= limit + 1e-9).all()


def test_gripper_closes_from_85_mm_to_nothing_with_parallel_pads():
    spec = robot.arm_spec()
    gripper.attach(spec)
    model = spec.compile()
    data = mujoco.MjData(model)
    data.qpos[:7] = data.ctrl[:7] = fr3.REST
    state = gripper.GripperState(model)
    openings = []
    for command in (0.0, 0.25, 0.5, 0.75, 1.0):
        data.ctrl[7] = command
        mujoco.mj_step(model, data, 500)
        assert abs(state.position(data) - command) < 0.03
        assert np.degrees(state.tilt(data)) < 1.0
        openings.append(state.opening(data))
    assert openings[0] == pytest.approx(gripper.STROKE, abs=1e-3)
    assert abs(openings[-1]) < 1.5e-3
    assert (np.diff(openings) < 0).all()


def test_tcp_of_the_kinematics_is_the_pinch_site_of_the_model(kinematics):
    spec = robot.arm_spec()
    gripper.attach(spec)
    model = spec.compile()
    data = mujoco.MjData(model)
    data.qpos[:7] = fr3.REST
    mujoco.mj_forward(model, data)
    site = data.site("gripper/tcp")
    expected = se3.make_pose(site.xmat.reshape(3, 3), site.xpos)
    np.testing.assert_allclose(kinematics.forward(fr3.REST), expected, atol=1e-9)
