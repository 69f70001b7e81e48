"""Key windows, which training oversamples: large rotations of the hand, or recoveries from an intervention."""

from __future__ import annotations

import numpy as np

from uma.geometry import se3
from uma.types import HORIZON
from uma_train.data.store import Store

TURN_RAD = 0.25
"""A chunk that rotates the hand by more than this is a key window, rad."""

WAY_BACK = HORIZON
"""Control steps after an intervention in which a window is a key window."""


def is_key_window(store: Store, episode: int) -> np.ndarray:
    """Return ``(F,)`` bool: the chunk at each frame rotates the hand beyond `TURN_RAD`, or starts within `WAY_BACK` of
    an intervention.

    It is False in episodes without actions. The rule uses commanded actions, not their outcome. Motion of the gripper
    is no criterion, because oversampling it biases the gripper predictions.
    """
    now = store.rows("frame_step", episode)
    if not store.has_actions[episode]:
        return np.zeros(len(now), bool)
    pose, target = (store.rows(name, episode)[:, :3, :3].astype(np.float64) for name in ("pose", "target_pose"))
    turns = se3.rotation_angle(pose[now], target[np.minimum(now + HORIZON - 1, len(pose) - 1)]) > TURN_RAD
    since = [(now >= end) & (now < end + WAY_BACK) for _, end in store.metas[episode].get("interventions", [])]
    return np.logical_or.reduce([turns, *since])
