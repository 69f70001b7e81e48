"""Where the gripper last closed."""

import numpy as np

from uma.control.grasp import CLOSES, OPENS, GraspWatch, grasp_steps


def pose(x: float) -> np.ndarray:
    T = np.eye(4)
    T[0, 3] = x
    return T


def watched(gripper) -> GraspWatch:
    """A watch that saw one measurement a second, each a metre further along x."""
    watch = GraspWatch()
    for step, g in enumerate(gripper):
        watch.add(pose(step), g, float(step))
    return watch


GRIPPER = [0.0, 0.1, 0.2, 0.6, 0.6, 0.14, 0.12, 0.05, 0.12, 0.3, 0.3]
"""Closes at 2, stays closed while it flickers above `OPENS`, opens at 7 and closes again at 9."""


def test_a_grasp_lasts_from_closing_to_opening():
    watch = watched(GRIPPER)
    assert watch.at(1.5) is None and watch.at(7.0) is None and watch.at(8.9) is None
    for time in (2.0, 5.0, 6.9):
        found = watch.at(time)
        assert found is not None and found[0][0, 3] == 2.0 and found[1] == 2.0
    assert watch.at()[1] == 9.0


def test_steps_of_a_recording_are_those_of_the_watch():
    assert grasp_steps(np.array(GRIPPER)).tolist() == [-1, -1, 2, 2, 2, 2, 2, -1, -1, 9, 9]


def test_a_value_between_the_thresholds_changes_nothing():
    between = (OPENS + CLOSES) / 2
    assert watched([0.0, between]).at() is None
    assert watched([1.0, between]).at()[1] == 0.0


def test_the_pose_of_a_grasp_is_its_own():
    T, watch = np.eye(4), GraspWatch()
    watch.add(T, 1.0, 0.0)
    T[0, 3] = 5.0
    assert watch.at()[0][0, 3] == 0.0
