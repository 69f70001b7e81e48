"""A checkpoint at the simulated station, shared by the benchmark and by DAgger recording."""

from __future__ import annotations

from dataclasses import replace
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np

from uma.types import RATE_HZ

if TYPE_CHECKING:
    from uma.policy.sampling import SamplerConfig
    from uma.policy.systems import System
    from uma.types import ActionChunk


@lru_cache(maxsize=1)
def policy_of(checkpoint: str, sampler: SamplerConfig | None = None, policy_frame: str = "") -> System:
    """Load the checkpoint of any system on one thread, once per process.

    Args:
        sampler: configuration of the sampler; None = its defaults.
        policy_frame: kind of the policy frame, overriding the bundle's. "camera" is the default of bundles without a
            frame.
    """
    from uma.model.frame import PolicyFrame
    from uma.policy.systems import load_system

    policy = load_system(checkpoint, threads=1, sampler=sampler)
    if policy_frame and policy_frame != policy.contract.policy_frame.kind:
        policy.contract = replace(policy.contract, policy_frame=PolicyFrame(policy_frame))
    return policy


def station_actions(chunk: ActionChunk, T_base_cam: np.ndarray) -> list[tuple[np.ndarray, float]]:
    """Convert a camera-frame chunk to `Station.act` arguments: ``(4, 4)`` T_base_ee and gripper, 0 or 1, per action."""
    return [(T_base_cam @ T, float(g > 0.5)) for T, g in zip(chunk.poses, chunk.gripper, strict=True)]


class DelayedExecutor:
    """Executes chunks with a latency of ``delay`` control steps. Meanwhile the previous chunk continues.

    Args:
        delay, execute: control steps. The delay is at most ``execute``, and both together are at most a chunk.
    """

    def __init__(self, delay: int, execute: int) -> None:
        self._delay, self._execute = delay, execute
        self._running: list[tuple[np.ndarray, float]] = []
        self._requested = -np.inf

    def next(
        self, plan: list[tuple[np.ndarray, float]], here: tuple[np.ndarray, float], time: float
    ) -> list[tuple[np.ndarray, float]]:
        """Return the ``execute`` actions after an observation.

        Args:
            plan: the actions of the new chunk, see `station_actions`.
            here: pose and gripper to hold without a running chunk: at the start, and after other control.
            time: of the observation, simulated seconds.
        """
        follows = time - self._requested < (self._execute + 0.5) / RATE_HZ
        before = self._running if follows else [here] * self._delay
        self._running, self._requested = plan[self._execute : self._execute + self._delay], time
        return before + plan[self._delay : self._execute]
