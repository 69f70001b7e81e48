"""End of a task: still chunks after motion, for long enough, with one gripper command."""

from dataclasses import replace

import numpy as np
import pytest
from scenes import CAMERA, scene
from scipy.spatial.transform import Rotation

from uma.geometry.se3 import make_pose
from uma.policy.finished import FinishDetector, end_distance
from uma.types import ActionChunk, KeypointState

SCENE = scene()
PERIOD = 4 / 15


def seen(x: float, t: float):
    T = SCENE.T_cam_ee.copy()
    T[0, 3] += x
    return replace(SCENE, T_cam_ee=T, stamp=t)


def chunk(observation, way: float = 0.0, turn: float = 0.0, grip: float = 1.0, last_grip: float | None = None):
    """A chunk whose last pose is ``way`` metres and ``turn`` radians from the measured one."""
    poses = [
        observation.T_cam_ee @ make_pose(Rotation.from_rotvec([0, 0, turn * s]).as_matrix(), [way * s, 0, 0])
        for s in np.linspace(0, 1, 16)
    ]
    gripper = np.full(16, grip)
    gripper[-1] = grip if last_grip is None else last_grip
    return ActionChunk(np.array(poses), gripper, observation.stamp, CAMERA.frame, "tcp")


def run(detector: FinishDetector, chunks: list[dict], x: float = 0.0, t: float = 100.0) -> list[bool]:
    """Give one chunk per replan period. A chunk's ``x`` is where the arm is, from then on."""
    results = []
    for i, given in enumerate(chunks):
        kwargs = dict(given)
        x = kwargs.pop("x", x)
        o = seen(x, t + i * PERIOD)
        results.append(detector.update(o, chunk(o, **kwargs)))
    return results


MOVED = [{"way": 0.1}, {"way": 0.1, "x": 0.05}]


def still(count: int, **changes) -> list[dict]:
    return [dict(changes) for _ in range(count)]


def test_still_chunks_after_motion_finish_the_task():
    results = run(FinishDetector(1.5), [*MOVED, *still(10)])
    first = results.index(True)
    assert (first - len(MOVED)) * PERIOD >= 1.5 > (first - 1 - len(MOVED)) * PERIOD
    assert all(results[first:])


def test_an_arm_that_never_moved_has_not_finished():
    assert not any(run(FinishDetector(1.5), still(30)))


def test_zero_seconds_mean_never():
    assert not any(run(FinishDetector(0.0), [*MOVED, *still(30)]))


@pytest.mark.parametrize("change", [{"way": 0.04}, {"turn": 0.2}, {"grip": 0.0}, {"last_grip": 0.0}])
def test_motion_or_a_gripper_command_starts_the_wait_again(change):
    chunks = [*MOVED, *still(4), dict(change), *still(5)]
    assert not any(run(FinishDetector(1.5), chunks))
    assert run(FinishDetector(1.5), [*MOVED, *still(4), dict(change), *still(8)])[-1]


def test_a_pause_in_the_chunks_starts_the_wait_again():
    detector = FinishDetector(1.5)
    assert not any(run(detector, [*MOVED, *still(4)]))
    assert not any(run(detector, still(5), x=0.05, t=110.0))
    assert any(run(detector, still(10), x=0.05, t=110.0 + 5 * PERIOD))


def test_a_clock_set_back_starts_the_wait_again():
    detector = FinishDetector(1.5)
    assert not any(run(detector, [*MOVED, *still(5)]))
    assert not any(run(detector, still(5), x=0.05, t=20.0))


def test_a_new_task_needs_motion_of_its_own():
    detector = FinishDetector(1.5)
    assert any(run(detector, [*MOVED, *still(10)]))
    detector.reset()
    assert not any(run(detector, still(20), x=0.05, t=110.0))


def test_the_wait_may_change_meanwhile():
    detector = FinishDetector(60.0)
    assert not any(run(detector, [*MOVED, *still(10)]))
    detector.after_s = 1.0
    assert all(run(detector, still(1), x=0.05, t=100.0 + 12 * PERIOD))


def test_distance_to_the_end_counts_visible_keypoints():
    goals = np.array([[0.0, 0, 1], [1, 1, 1]])
    state = KeypointState(np.array([[0.0, 0.03, 1], [9, 9, 9]]), np.array([True, False]))
    assert end_distance(state, goals) == pytest.approx(0.03)
    assert np.isnan(end_distance(None, goals))
    assert np.isnan(end_distance(replace(state, is_visible=np.zeros(2, bool)), goals))
