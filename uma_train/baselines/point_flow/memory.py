"""Current places of keypoints without a tracker: the last known ones, carried by the closed hand."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from uma.model.carry import HELD
from uma.policy.query import Task
from uma.types import KeypointState, Observation
from uma_train.training.carried import carried


@dataclass(frozen=True)
class _Seen:
    stamp: float
    pose: np.ndarray
    gripper: float
    places: np.ndarray


class Places:
    """Remembers the keypoints of one task over observations in the order of time.

    A given place counts as it is. Others move rigidly with the measured hand while it is closed, and rest otherwise.
    The same observation again gives the same places. A new task or an earlier stamp starts anew at the reference's
    starts.
    """

    def __init__(self) -> None:
        self._task: Task | None = None
        self._before: _Seen | None = None
        self._now: _Seen | None = None

    def at(self, observation: Observation, task: Task, given: KeypointState | None = None) -> np.ndarray:
        """Return ``(K, 3)`` places in the camera frame, metres.

        Raises:
            InputError: ``given`` does not fit the task's keypoints.
        """
        given = None if given is None else given.checked(len(task.keypoints))
        if task is not self._task or (self._now is not None and observation.stamp < self._now.stamp):
            self._task, self._before, self._now = task, None, None
        if self._now is not None and observation.stamp > self._now.stamp:
            self._before = self._now
        places = np.array(task.keypoints, np.float64)
        if (last := self._before) is not None:
            command = np.array([float(observation.gripper > HELD)])
            places = carried(last.places, last.pose, last.gripper, observation.T_cam_ee[None], command)[0]
        if given is not None:
            places = np.where(given.is_visible[:, None], given.positions, places)
        self._now = _Seen(observation.stamp, observation.T_cam_ee, observation.gripper, places)
        return places
