"""Which actions of the running chunk a new one begins with: those that will have been executed by the time it is
ready."""

from __future__ import annotations

import numpy as np

from uma.geometry.se3 import interpolate, rotation_angle
from uma.types import ActionChunk, Observation

MAX_LAG_M, MAX_LAG_RAD = 0.12, 0.4
"""Furthest that the end effector may be from where the running chunk has it: as far as the controller lets its target
run ahead. An arm that is further away does not execute that chunk, whose actions then are no promise."""

ALIGNED = 1e-3
"""Share of a period within which two times are one: stamps in seconds since 1970 are exact to some 1e-7 s."""


def committed(running: ActionChunk | None, observation: Observation, count: int) -> ActionChunk | None:
    """The actions of ``running`` that are due in the ``count`` periods after ``observation``, as the prefix of the
    chunk that answers it.

    Where the stamps are not a whole number of periods apart, poses are interpolated on SE(3); the gripper is that of
    the nearest action.

    Args:
        running: the chunk before, of the same task; None = there is none.
        observation: o_t of the new chunk.
        count: actions, 0 = none.

    Returns:
        A chunk of ``count`` actions in the observation's camera frame, action i due at ``observation.stamp + (i + 1) /
        rate_hz``. None if ``running`` is of another
        camera, not older than the observation, does not reach that far, or is not what the arm does (`MAX_LAG_M`,
        `MAX_LAG_RAD`).
    """
    if running is None or count < 1 or running.frame != observation.camera.frame or observation.stamp <= running.stamp:
        return None
    now = (observation.stamp - running.stamp) * running.rate_hz - 1.0  # in actions: 0 where the first one is due
    steps = now + np.arange(1, count + 1)
    if steps[-1] > len(running.poses) - 1 + ALIGNED:
        return None
    here = _pose(running, max(now, 0.0))
    lag = float(np.linalg.norm(here[:3, 3] - observation.T_cam_ee[:3, 3]))
    if lag > MAX_LAG_M or rotation_angle(here[:3, :3], observation.T_cam_ee[:3, :3]) > MAX_LAG_RAD:
        return None
    steps = np.maximum(steps, 0.0)
    poses = np.stack([_pose(running, s) for s in steps])
    gripper = running.gripper[np.floor(steps + 0.5).astype(int)]
    return ActionChunk(
        poses, gripper, observation.stamp, running.frame, running.ee_frame, running.rate_hz, running.sequence, count
    )


def _pose(chunk: ActionChunk, step: float) -> np.ndarray:
    """Where the chunk is, ``step`` actions after its first one."""
    i = int(np.floor(step + ALIGNED))
    part = step - i
    return chunk.poses[i] if abs(part) <= ALIGNED else interpolate(chunk.poses[i], chunk.poses[i + 1], part)
