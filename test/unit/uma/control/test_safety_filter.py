"""The safety filter passes a target within limits or holds; it never passes a bad one."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from uma.control.safety import SafetyFilter, SafetySettings
from uma.control.schedule import Schedule
from uma.geometry.fr3 import CARTESIAN
from uma.geometry.se3 import make_pose, rotation_angle
from uma.types import ActionChunk, InputError

DOWN = np.diag([1.0, -1.0, -1.0])
HOME = make_pose(DOWN, np.array([0.45, 0.0, 0.3]))
DT = 0.01


def at(x, y, z, turn=(0.0, 0.0, 0.0)):
    return make_pose(DOWN @ Rotation.from_rotvec(turn).as_matrix(), np.array([x, y, z]))


def motion(filter_, targets, measured=None):
    """Passed poses for a list of targets; the arm is where it was sent unless ``measured`` is given."""
    return [filter_.step(T, filter_.pose if measured is None else measured, DT) for T in targets]


def rates(poses, dt=DT):
    p = np.stack([T[:3, 3] for T in poses])
    v = np.diff(p, axis=0) / dt
    w = np.stack([Rotation.from_matrix(a[:3, :3].T @ b[:3, :3]).as_rotvec() for a, b in zip(poses, poses[1:])]) / dt
    norm = lambda x: np.linalg.norm(x, axis=1)  # noqa: E731
    return norm(v), norm(np.diff(v, axis=0)) / dt, norm(w), norm(np.diff(w, axis=0)) / dt


def fresh(**changes):
    f = SafetyFilter(SafetySettings(**changes))
    f.reset(HOME)
    return f


@settings(max_examples=150, deadline=None)
@given(
    st.lists(
        st.tuples(
            st.floats(0.15, 0.85), st.floats(-0.6, 0.6), st.floats(-0.05, 0.8), st.floats(-3, 3), st.floats(-1, 1)
        ),
        min_size=2,
        max_size=6,
    ),
    st.integers(1, 25),
)
def test_whatever_the_targets_every_limit_holds(points, hold):
    f = fresh()
    targets = [at(x, y, z, (tilt, 0.0, turn)) for x, y, z, turn, tilt in points for _ in range(hold)]
    passed = [HOME, *(v.pose for v in motion(f, targets))]
    v, a, w, alpha = rates(passed)
    s = f.settings
    assert (
        v.max() <= s.max_speed + 1e-6 < CARTESIAN["speed"]
        and w.max() <= s.max_turn_speed + 1e-6 < CARTESIAN["turn_speed"]
    )
    if len(a):
        assert a.max() <= s.max_acceleration + 1e-3 < CARTESIAN["acceleration"]
        assert alpha.max() <= s.max_turn_acceleration * 1.05 < CARTESIAN["turn_acceleration"] * 1.05
    for T in passed:
        assert np.allclose(T[:3, :3] @ T[:3, :3].T, np.eye(3), atol=1e-9)
        assert (T[:3, 3] >= np.array(s.workspace_min) - 0.004).all() and (
            T[:3, 3] <= np.array(s.workspace_max) + 0.004
        ).all()


def test_jerk_stays_below_the_limit_where_it_binds():
    f = fresh(max_jerk=50.0, max_turn_jerk=100.0)
    passed = [HOME, *(v.pose for v in motion(f, [at(0.45, 0.1, 0.3)] * 120))]
    v = np.diff(np.stack([T[:3, 3] for T in passed]), axis=0) / DT
    jerk = np.linalg.norm(np.diff(v, n=2, axis=0), axis=1) / DT**2
    assert jerk.max() <= 50.0 * 1.1


@pytest.mark.parametrize("seed", range(4))
def test_the_demonstrators_motion_passes_undistorted(seed):
    """Steps of up to 4 cm and 0.11 rad at 15 Hz, as the expert makes them, speeding up over a few steps."""
    rng = np.random.default_rng(seed)
    direction, axis = rng.normal(size=3) * [1, 1, 0.3], rng.normal(size=3)
    direction, axis = direction / np.linalg.norm(direction), axis / np.linalg.norm(axis)
    speed = np.minimum(np.arange(1, 17) / 5, 1.0) * np.where(
        np.arange(16) > 11, np.linspace(1, -0.5, 16)[np.arange(16)].clip(0.1), 1.0
    )
    way = np.cumsum(speed * 0.04)[:, None] * direction * 0.5
    poses = np.stack(
        [at(*(HOME[:3, 3] + p), turn) for p, turn in zip(way, np.cumsum(speed * 0.11)[:, None] * axis * 0.5)]
    )
    schedule, f = Schedule(), fresh()
    c = ActionChunk(poses, np.zeros(16), 0.0, "fr3_link0", "tcp")
    schedule.add(c, 0.0, HOME)
    worst = 0.0
    for n in range(1, 130):
        wanted = schedule.target(n * DT).pose
        verdict = f.step(wanted, f.pose, DT)
        assert not verdict.hold_reason
        worst = max(worst, float(np.linalg.norm(verdict.pose[:3, 3] - wanted[:3, 3])))
    assert worst < 0.006, f"{worst * 1e3:.1f} mm off the schedule"
    assert np.linalg.norm(f.pose[:3, 3] - poses[-1, :3, 3]) < 1e-3


def test_a_far_target_is_reached_without_overshoot():
    f = fresh(max_lead_m=0.5)
    y = np.array([v.pose[1, 3] for v in motion(f, [at(0.45, 0.2, 0.3)] * 150)])
    assert y.max() < 0.2 + 1e-3 and abs(y[-1] - 0.2) < 1e-3


@pytest.mark.parametrize("value", [np.nan, np.inf])
@pytest.mark.parametrize("index", [(0, 3), (1, 1), (3, 3)])
def test_a_target_that_is_not_finite_is_never_passed(value, index):
    f, bad = fresh(), HOME.copy()
    bad[index] = value
    for verdict in motion(f, [bad] * 20):
        assert (
            verdict.hold_reason.startswith("pose")
            and np.isfinite(verdict.pose).all()
            and np.allclose(verdict.pose, HOME)
        )


def test_a_target_that_is_no_rotation_is_never_passed():
    f, bad = fresh(), HOME.copy()
    bad[:3, :3] *= 1.1
    assert motion(f, [bad])[0].hold_reason and np.allclose(f.pose, HOME)


def test_a_bad_target_in_motion_brakes_within_the_limits():
    f = fresh()
    motion(f, [at(0.45, 0.3, 0.3)] * 15)
    bad = HOME.copy()
    bad[0, 3] = np.nan
    passed = [v.pose for v in motion(f, [bad] * 40)]
    v, a, _, _ = rates(passed)
    assert v[-1] < 1e-6 and a.max() <= f.settings.max_acceleration + 1e-3


@pytest.mark.parametrize("low, y", [(0.0, -0.05), (-0.1, -0.15)])
def test_zero_is_a_value_of_the_workspace_and_not_off(low, y):
    f = fresh(workspace_min=[0.2, low, 0.0])
    passed = motion(f, [at(0.45, y, 0.3)] * 100)[-1]
    assert passed.pose[1, 3] >= low - 1e-3 and "workspace" in passed.limited


def test_far_outside_the_workspace_holds_and_names_the_axis():
    f = fresh()
    verdict = motion(f, [at(0.45, 0.0, -0.3)])[0]
    assert "workspace: target z = -0.300" in verdict.hold_reason and np.allclose(verdict.pose, HOME)
    assert f.counts["held: workspace"] == 1


def test_a_stuck_arm_is_not_run_away_from():
    f = fresh()
    verdict = motion(f, [at(0.45, 0.4, 0.3)] * 200, measured=HOME)[-1]
    assert (
        np.linalg.norm(verdict.pose[:3, 3] - HOME[:3, 3]) < f.settings.max_lead_m + 0.01 and "lead" in verdict.limited
    )


def test_tilt_limit_is_optional():
    assert not motion(fresh(), [at(0.45, 0, 0.3, (0.6, 0, 0))])[0].hold_reason
    assert motion(fresh(max_tilt=0.5), [at(0.45, 0, 0.3, (0.6, 0, 0))])[0].hold_reason.startswith("tilt")


def test_no_target_brakes_and_then_stands():
    f = fresh()
    motion(f, [at(0.45, 0.3, 0.3)] * 15)
    passed = [v.pose for v in motion(f, [None] * 40)]
    assert np.allclose(passed[-1], passed[-2])


def test_a_measured_pose_that_is_none_is_an_error():
    f, bad = fresh(), HOME.copy()
    bad[0, 0] = np.nan
    with pytest.raises(InputError, match="measured"):
        f.step(HOME, bad, DT)


@pytest.mark.parametrize(
    "changes, words",
    [
        ({"max_acceleration": 12.0}, "max_acceleration: 12.0, must be 0.1 to 8.9"),
        ({"max_step_m": 0.3}, "max_step_m"),
        ({"workspace_min": [0.9, 0, 0]}, "must be below workspace_max"),
        ({"workspace_min": [0.0, 0.0]}, "must be 3 values"),
        ({"max_jerk": float("nan")}, "max_jerk"),
    ],
)
def test_settings_beyond_the_robot_are_refused(changes, words):
    with pytest.raises(InputError, match=words):
        SafetySettings(**changes)


def test_angle_helper_agrees_with_the_limit():
    assert rotation_angle(HOME[:3, :3], at(0, 0, 0, (0, 0, 0.2))[:3, :3]) == pytest.approx(0.2)


def test_after_a_late_period_it_catches_up_without_a_burst():
    """The controller was not let run for 0.25 s; its periods are cut to 32 ms, but the plan has moved on by 5 cm."""
    f = fresh(ramp_s=0.0)
    speeds, t, late = [], 0.0, False
    while t < 2.0:
        dt = 0.25 if t > 0.8 and not late else 0.008
        late |= dt > 0.1
        t += dt
        before = f.pose
        f.step(at(0.45, 0.2 * min(t, 1.4), 0.3), before, min(dt, 0.032), dt)
        speeds.append(np.linalg.norm(f.pose[:3, 3] - before[:3, 3]) / min(dt, 0.032))
    assert max(speeds) < 0.2 + f.settings.catch_up * f.settings.max_speed + 0.01
    assert np.linalg.norm(f.pose[:3, 3] - at(0.45, 0.28, 0.3)[:3, 3]) < 1e-3


@pytest.mark.parametrize("nominal_speed", [(0.1, 0.2), (0.0, 0.0)])
def test_far_target_is_followed_at_the_plans_speed(nominal_speed):
    """A late chunk far away is followed at the plan's nominal speed plus the catch-up."""
    s = SafetySettings(ramp_s=0.0, max_lead_m=0.5, max_lead_rad=1.5)
    fastest = []
    for told in (nominal_speed, None):
        f = SafetyFilter(s)
        f.reset(HOME)
        passed = [
            HOME,
            *(f.step(at(0.45, 0.05 + 0.02 * n, 0.3), f.pose, DT, nominal_speed=told).pose for n in range(20)),
        ]
        fastest.append(float(np.linalg.norm(np.diff(np.stack([T[:3, 3] for T in passed]), axis=0), axis=1).max()) / DT)
    assert (
        nominal_speed[0] + 0.9 * s.catch_up * s.max_speed
        < fastest[0]
        <= nominal_speed[0] + s.catch_up * s.max_speed + 1e-6
        < fastest[1]
    )


def test_a_chunk_that_slows_down_is_come_down_to_by_braking():
    f = fresh(max_lead_m=0.5, ramp_s=0.0)
    for n in range(40):
        f.step(at(0.45, 0.006 * n, 0.3), f.pose, DT, nominal_speed=(0.75, 0.1))
    before = np.linalg.norm(f._v)
    passed = [f.pose, *(f.step(at(0.45, 0.5, 0.3), f.pose, DT, nominal_speed=(0.0, 0.0)).pose for n in range(40))]
    v = np.linalg.norm(np.diff(np.stack([T[:3, 3] for T in passed]), axis=0), axis=1) / DT
    assert before > 0.6 and v[-1] <= f.settings.catch_up * f.settings.max_speed + 1e-6
    assert np.abs(np.diff(v)).max() / DT <= f.settings.max_acceleration + 1e-3
