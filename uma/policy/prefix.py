"""Committed prefix of a new chunk: the actions that will be executed before the new chunk is ready."""

from __future__ import annotations

import numpy as np

from uma.geometry.se3 import interpolate, rotation_angle
from uma.types import ActionChunk, Observation

MAX_LAG_M, MAX_LAG_RAD = 0.12, 0.4
"""Largest distance of the end effector from the active chunk's pose: the controller's largest lead.

An arm beyond it does not follow that chunk, so the chunk's actions are not committed.
"""

ALIGNED = 1e-3
"""Fraction of a period within which two times count as equal; Unix stamps in float seconds resolve about 1e-7 s."""


def committed(running: ActionChunk | None, observation: Observation, count: int) -> ActionChunk | None:
    """Return the actions of ``running`` in the ``count`` periods after ``observation``, as prefix of the next chunk.

    If the stamps are not a whole number of periods apart, poses are interpolated on SE(3). The gripper value is
    the nearest action's.

    Args:
        running: the previous chunk of the same task; None = none.
        observation: o_t of the new chunk.
        count: number of actions, 0 = none.

    Returns:
        A chunk of ``count`` actions in the observation's camera frame; action i is due at ``observation.stamp + (i + 1)
        / rate_hz``. None if ``running`` has another camera, is not older than the observation, is too short, or is not
        followed by the arm (`MAX_LAG_M`, `MAX_LAG_RAD`).
    """
    if running is None or count < 1 or running.frame != observation.camera.frame or observation.stamp <= running.stamp:
        return None
    now = (observation.stamp - running.stamp) * running.rate_hz - 1.0  # in actions: 0 at the first one's due time
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
    """Return the chunk's pose ``step`` actions after its first one."""
    i = int(np.floor(step + ALIGNED))
    part = step - i
    return chunk.poses[i] if abs(part) <= ALIGNED else interpolate(chunk.poses[i], chunk.poses[i + 1], part)
