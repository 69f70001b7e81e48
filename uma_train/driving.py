"""A checkpoint at the simulated station: what the benchmark and the demonstrations that a policy disturbs have in common."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from uma.policy import Policy
    from uma.types import ActionChunk


@lru_cache(maxsize=1)
def policy_of(checkpoint: str, num_steps: int = 8, num_samples: int = 8, agreeing: float = 0.5) -> Policy:
    """The policy of a bundle on one thread, loaded once a process."""
    from uma.policy import Policy

    return Policy.load(checkpoint, num_steps=num_steps, num_samples=num_samples, agreeing=agreeing, threads=1)


def station_actions(chunk: ActionChunk, T_base_cam: np.ndarray) -> list[tuple[np.ndarray, float]]:
    """What `Station.act` takes for each action of a chunk in the camera frame: ``(4, 4)`` T_base_ee and gripper, 0 or 1."""
    return [(T_base_cam @ T, float(g > 0.5)) for T, g in zip(chunk.poses, chunk.gripper, strict=True)]
