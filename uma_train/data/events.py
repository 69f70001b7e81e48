"""Which windows show what is rare: how to turn a thing, as most of an episode's time the hand only moves, and how to go
on from where another led the expert."""

from __future__ import annotations

import numpy as np

from uma.geometry import se3
from uma.types import HORIZON
from uma_train.data.store import Store

TURN_RAD = 0.25
"""A chunk that turns the hand further than this is an event."""

WAY_BACK = HORIZON
"""Control steps after an intervention within which a window is an event."""


def is_key_window(store: Store, episode: int) -> np.ndarray:
    """``(F,)`` bool: whether the chunk that begins at each frame turns the hand by more than `TURN_RAD`, or the frame
    comes within `WAY_BACK` after a policy or a wandering hand took the expert elsewhere.

    False everywhere in episodes without actions. It is a rule about what is commanded, not about what the chunk
    achieves. That the gripper moves is none: a model that saw those windows more often than they occur was wrong about
    the gripper in 10 % of the steps of all windows rather than in 6.5 %.
    """
    now = store.rows("frame_step", episode)
    if not store.has_actions[episode]:
        return np.zeros(len(now), bool)
    pose, target = (store.rows(name, episode)[:, :3, :3].astype(np.float64) for name in ("pose", "target_pose"))
    turns = se3.rotation_angle(pose[now], target[np.minimum(now + HORIZON - 1, len(pose) - 1)]) > TURN_RAD
    since = [(now >= end) & (now < end + WAY_BACK) for _, end in store.metas[episode].get("interventions", [])]
    return np.logical_or.reduce([turns, *since])
