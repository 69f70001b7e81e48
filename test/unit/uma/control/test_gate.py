"""The operator's consent, the coarse collision model, the ramp after a start, and how far a prediction may leave its
reference."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from uma.control.collision import TOOL, CollisionSettings, collision
from uma.control.departure import departure
from uma.control.gate import Gate
from uma.control.safety import SLOW, SafetyFilter, SafetySettings
from uma.control.session import Session, State
from uma.geometry import polyline
from uma.geometry.se3 import make_pose
from uma.types import MotionPrediction, ReferenceMotion

DOWN = np.diag([1.0, -1.0, -1.0])


def test_without_a_gate_everything_passes():
    gate = Gate("off")
    gate.close()
    assert gate.accepts and not gate.waiting and not gate.confirm()


def test_a_task_is_confirmed_once_and_the_next_one_anew():
    gate = Gate("task")
    assert not gate.accepts and "/uma/confirm" in gate.waiting
    assert gate.confirm() and gate.accepts and not gate.waiting
    for _ in range(3):
        gate.took()
        gate.finished()
        assert gate.accepts
    assert not gate.confirm(), "nothing waits"
    gate.close()
    assert not gate.accepts and gate.waiting


def test_one_confirmation_lets_one_chunk_through():
    gate = Gate("chunk")
    assert gate.confirm() and gate.accepts
    gate.took()
    assert not gate.accepts and not gate.waiting, "the next chunk does not replace it while it runs"
    gate.finished()
    assert not gate.accepts and gate.waiting
    assert gate.confirm() and gate.accepts


def test_another_mode_is_refused():
    with pytest.raises(ValueError, match="confirm: 'maybe', must be one of off, task, chunk"):
        Gate("maybe")


def test_waiting_for_the_operator_is_ready_and_no_hold():
    s = Session(autostart=True, hold_limit=1.0)
    s.update(0.0, [], True, gate="/uma/confirm")
    assert (
        s.update(1.0, [], True, gate="/uma/confirm") is None and s.state is State.READY and "/uma/confirm" in s.reason
    )
    assert s.update(100.0, [], True).new is State.RUNNING
    assert s.update(101.0, [], True, gate="/uma/confirm").new is State.READY
    assert s.update(102.0, ["camera: silent"], True, gate="/uma/confirm").new is State.IDLE


def ball_over_table(T, settings):
    """Return the smallest clearance of any sphere over the table, computed independently."""
    return min(float((T @ np.array([*c, 1.0]))[2]) - r - settings.table_height for _, c, r in TOOL)


@given(st.floats(0.2, 0.8), st.floats(-0.5, 0.5), st.floats(-0.05, 0.4), st.floats(-2.5, 2.5), st.floats(-3, 3))
def test_no_pose_with_the_tool_in_the_table_passes(x, y, z, tilt, turn):
    T = make_pose(DOWN @ Rotation.from_euler("xz", [tilt, turn]).as_matrix(), np.array([x, y, z]))
    settings = CollisionSettings()
    if ball_over_table(T, settings) < settings.clearance - 1e-9:
        assert collision(T, settings)  # of the table, or of the column if that is as near
    if np.hypot(x, y) > 0.5:  # far from the column
        assert ("table" in collision(T, settings)) is (ball_over_table(T, settings) < settings.clearance)


def test_base_column_is_kept_clear_and_the_table_reachable():
    settings = CollisionSettings()
    assert collision(make_pose(DOWN, np.array([0.45, 0.1, 0.012])), settings) == ""
    lying = make_pose(
        Rotation.from_euler("y", np.pi / 2).as_matrix(), np.array([0.45, 0.0, 0.3])
    )  # the wrist points back at the base
    assert "the wrist would come to" in collision(make_pose(lying[:3, :3], np.array([0.35, 0.0, 0.3])), settings)
    assert collision(make_pose(lying[:3, :3], np.array([0.55, 0.0, 0.3])), settings) == ""
    assert collision(make_pose(DOWN, np.array([0.0, 0.0, 0.7])), settings) != ""
    assert collision(make_pose(DOWN, np.array([0.0, 0.0, 0.95])), settings) == "", "above the column"
    assert collision(make_pose(DOWN, np.array([0.0, 0.0, 0.3])), CollisionSettings(is_checked=False)) == ""


def test_the_filter_holds_before_the_gripper_lies_on_the_table():
    f = SafetyFilter(SafetySettings(ramp_s=0.0))
    f.reset(make_pose(DOWN, np.array([0.5, 0.0, 0.2])))
    flat = make_pose(DOWN @ Rotation.from_euler("x", np.pi / 2).as_matrix(), np.array([0.5, 0.0, 0.03]))
    verdict = f.step(flat, f.pose, 0.01)
    assert verdict.hold_reason.startswith("collision: the gripper") and f.counts["held: collision"] == 1


def travelled(ramp_s: float, seconds: float) -> float:
    f = SafetyFilter(SafetySettings(ramp_s=ramp_s))
    start = make_pose(DOWN, np.array([0.45, -0.4, 0.3]))
    f.reset(start)
    goal = make_pose(DOWN, np.array([0.45, 0.4, 0.3]))
    for _ in range(round(seconds / 0.01)):
        f.step(goal, f.pose, 0.01)
    return float(np.linalg.norm(f.pose[:3, 3] - start[:3, 3]))


def test_it_sets_off_gently_and_gently_again_after_it_stood():
    at_once, gently = travelled(0.0, 0.2), travelled(2.0, 0.2)
    assert gently < 0.5 * at_once
    f = SafetyFilter(SafetySettings(ramp_s=2.0, max_lead_m=0.5))
    f.reset(make_pose(DOWN, np.array([0.45, -0.4, 0.3])))
    goal, top, speeds = make_pose(DOWN, np.array([0.45, 0.4, 0.3])), f.settings.max_speed, []
    for i in range(60):
        before = f.pose
        f.step(goal, before, 0.01)
        speeds.append(np.linalg.norm(f.pose[:3, 3] - before[:3, 3]) / 0.01)
        assert speeds[-1] <= top * (SLOW + (1 - SLOW) * (i + 1) * 0.01 / 2.0) + 1e-9
    assert max(speeds) > 0.2
    for _ in range(100):
        f.step(None, f.pose, 0.01)
    before = f.pose
    f.step(goal, before, 0.01)
    again = []
    for _ in range(10):
        before = f.pose
        f.step(goal, before, 0.01)
        again.append(np.linalg.norm(f.pose[:3, 3] - before[:3, 3]) / 0.01)
    assert max(again) <= top * (SLOW + (1 - SLOW) * 0.11 / 2.0) + 1e-9 < max(speeds)


def test_distance_to_a_path():
    path = np.array([[0.0, 0, 0], [1.0, 0, 0], [1.0, 1.0, 0]])
    points = np.array([[0.5, 0.2, 0], [-0.3, 0.4, 0], [1.1, 0.5, 0], [1.0, 1.0, 0.5]])
    assert np.allclose(polyline.distance(points, path), [0.2, 0.5, 0.1, 0.5])
    assert np.allclose(polyline.distance(points, path[:1]), np.linalg.norm(points, axis=1))
    assert np.allclose(polyline.distance(points, np.repeat(path[:1], 3, 0)), np.linalg.norm(points, axis=1)), (
        "a pinned point with three equal waypoints"
    )


def test_departure_is_the_worst_step_of_the_mean_over_keypoints():
    reference = ReferenceMotion(
        (np.array([[0.0, 0, 1], [0.2, 0, 1]]), np.array([[0.0, 0.1, 1], [0.2, 0.1, 1]])), frame="cam"
    )
    along = np.stack([np.linspace(0, 0.2, 16)] * 2, 1)
    points = np.stack([along, np.tile([0.0, 0.1], (16, 1)), np.ones((16, 2))], -1)
    assert departure(MotionPrediction(points, 0.0, "cam"), reference) < 1e-9
    points[7, 0, 2] += 0.3
    assert departure(MotionPrediction(points, 0.0, "cam"), reference) == pytest.approx(0.15)
    with pytest.raises(ValueError, match="'base': the reference has 2 in 'cam'"):
        departure(MotionPrediction(points, 0.0, "base"), reference)
