"""The hand's motion since the grasp: the same in training and at deployment."""

import dataclasses

import numpy as np
import pytest
import torch
from episodes import episode
from scipy.spatial.transform import Rotation

from uma.control.grasp import GraspWatch
from uma.geometry import se3
from uma.model.inputs import Normalization
from uma.model.percept import Percept
from uma.policy.modes import MODES
from uma.policy.query import Query, Task
from uma.types import Grasp
from uma_train.data.rigid import moved
from uma_train.data.windows import Windows

CLOSES, OPENS = 8, 18


@pytest.fixture
def recorded():
    """An episode whose hand turns and moves all the time, closed from `CLOSES` until `OPENS`."""
    e = episode(S=24)
    S = len(e.pose)
    turn = Rotation.from_rotvec(np.linspace([0, 0, 0], [0.3, -0.5, 1.0], S)).as_matrix()
    way = np.linspace([0, 0, 0.6], [0.2, -0.1, 0.5], S)
    gripper = np.where((np.arange(S) >= CLOSES) & (np.arange(S) < OPENS), 0.7, 0.0).astype(np.float32)
    return dataclasses.replace(e, pose=se3.make_pose(turn, way).astype(np.float32), gripper=gripper)


def drawn(e, first_is_initial=1.0):
    """Return every window of an episode with its step, and the batch."""
    windows = Windows([e], first_is_initial=first_is_initial)
    frames = np.arange(len(windows))[:, None]
    batch = windows.draw(len(frames), 2, Normalization(), np.random.default_rng(0), frames=frames)
    return e.frame_step[frames[:, 0]], batch


def deployed(e, now: int, start: int = 0) -> np.ndarray | None:
    """The motion that the policy computes from the same measurements."""
    watch = GraspWatch()
    for step in range(now + 1):
        watch.add(e.pose[step], float(e.gripper[step]), float(step))
    found = watch.at()
    grasp = None if found is None else Grasp(found[0].astype(np.float64), found[1])
    pose = e.pose[now].astype(np.float64)
    percept = Percept(None, np.eye(4), pose, float(e.gripper[now]), "camera", grasp=grasp)
    begun = Grasp(e.pose[start].astype(np.float64), float(start))
    task = Task(torch.zeros(1, 1), np.zeros((0, 3)), np.zeros((0, 3)), begun)
    return Query(percept, task, MODES["control"]).carried


def test_training_and_deployment_have_the_same_motion(recorded):
    steps, batch = drawn(recorded)
    for step, carried, holds in zip(steps, batch.ee.carried.numpy(), batch.ee.holds.numpy(), strict=True):
        wanted = deployed(recorded, int(step))
        assert holds == (wanted is not None) == (CLOSES <= step < OPENS)
        np.testing.assert_allclose(carried, np.eye(4) if wanted is None else wanted, atol=1e-5)


def test_a_task_that_begins_with_a_held_object_counts_thence(recorded):
    later = deployed(recorded, 14, start=11)
    np.testing.assert_allclose(later, recorded.pose[14] @ se3.invert(recorded.pose[11].astype(float)), atol=1e-6)
    windows = Windows([recorded])
    motion, holds = windows._carried(np.zeros(1, int), np.array([11]), np.array([14]))
    assert holds[0]
    np.testing.assert_allclose(motion[0], later, atol=1e-5)


def test_the_motion_moves_points_as_the_hand_does_anywhere(recorded):
    steps, batch = drawn(recorded)
    T = se3.make_pose(Rotation.from_rotvec([0.2, 0.4, -0.3]).as_matrix(), np.array([0.3, -0.2, 0.1]))
    n = len(batch.reference.position)
    other = moved(batch, np.repeat(T[None, :3, :3], n, 0), np.repeat(T[None, :3, 3], n, 0), Normalization())
    point = np.array([0.1, 0.05, 0.55])
    for before, after in zip(batch.ee.carried.numpy(), other.ee.carried.numpy(), strict=True):
        np.testing.assert_allclose(
            se3.apply(T, se3.apply(before, point)), se3.apply(after, se3.apply(T, point)), atol=1e-5
        )


def test_without_a_robot_nothing_is_held(recorded):
    e = dataclasses.replace(recorded, meta={**recorded.meta, "has_robot": False, "has_actions": False})
    assert not drawn(e)[1].ee.holds.any()
