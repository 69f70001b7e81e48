"""Which windows hold what decides over success: most of an episode's time the hand neither turns nor opens or closes."""

from __future__ import annotations

import numpy as np

from uma.geometry import se3
from uma.types import HORIZON
from uma_train.data.store import Store

TURN_RAD = 0.25
"""A chunk that turns the hand further than this is an event."""


def is_eventful(store: Store, episode: int) -> np.ndarray:
    """``(F,)`` bool: whether the chunk that begins at each frame turns the hand by more than `TURN_RAD`, or opens or closes the gripper.

    False everywhere in episodes without actions. It is a rule about what is commanded, not about what the chunk achieves.
    """
    now = store.rows("frame_step", episode)
    if not store.has_actions[episode]:
        return np.zeros(len(now), bool)
    pose, target = (store.rows(name, episode)[:, :3, :3].astype(np.float64) for name in ("pose", "target_pose"))
    closed = store.rows("target_gripper", episode) > 0.5
    last = len(pose) - 1
    turned = se3.rotation_angle(pose[now], target[np.minimum(now + HORIZON - 1, last)]) > TURN_RAD
    chunk = closed[np.minimum(now[:, None] + np.arange(HORIZON), last)]
    return turned | (chunk != closed[np.maximum(now - 1, 0)][:, None]).any(1)
