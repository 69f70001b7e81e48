"""A checkpoint at the simulated station: what the benchmark and the demonstrations that a policy disturbs have in
common."""

from __future__ import annotations

from dataclasses import replace
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np

from uma.types import RATE_HZ

if TYPE_CHECKING:
    from uma.policy import Policy
    from uma.policy.sampling import SamplerConfig
    from uma.types import ActionChunk


@lru_cache(maxsize=1)
def policy_of(checkpoint: str, sampler: SamplerConfig | None = None, policy_frame: str = "") -> Policy:
    """The policy of a bundle on one thread, loaded once a process.

    Args:
        sampler: how answers are drawn; None = its defaults.
        policy_frame: kind of the frame to run it in, in place of its own: "camera" is what a bundle without a frame
            would do.
    """
    import torch

    from uma.checkpoint.bundle import load_bundle
    from uma.model.frame import PolicyFrame
    from uma.policy import Policy

    torch.set_num_threads(1)
    bundle = load_bundle(checkpoint)
    if policy_frame and policy_frame != bundle.contract.policy_frame.kind:
        bundle = replace(bundle, contract=replace(bundle.contract, policy_frame=PolicyFrame(policy_frame)))
    return Policy(bundle, sampler=sampler)


def station_actions(chunk: ActionChunk, T_base_cam: np.ndarray) -> list[tuple[np.ndarray, float]]:
    """What `Station.act` takes for each action of a chunk in the camera frame: ``(4, 4)`` T_base_ee and gripper, 0 or
    1."""
    return [(T_base_cam @ T, float(g > 0.5)) for T, g in zip(chunk.poses, chunk.gripper, strict=True)]


class DelayedExecutor:
    """Which actions are executed where a chunk takes ``delay`` control steps to compute: until it is there the one
    before goes on, and it is joined at its time.

    Args:
        delay, execute: control steps, the delay not more than what is executed between two observations, both together
            within a chunk.
    """

    def __init__(self, delay: int, execute: int) -> None:
        self._delay, self._execute = delay, execute
        self._running: list[tuple[np.ndarray, float]] = []
        self._asked = -np.inf

    def next(
        self, plan: list[tuple[np.ndarray, float]], here: tuple[np.ndarray, float], time: float
    ) -> list[tuple[np.ndarray, float]]:
        """The ``execute`` actions from an observation on.

        Args:
            plan: the actions of the chunk that answers it, as `station_actions` gives them.
            here: the pose and gripper that are held where no chunk is running: at the beginning, and after something
                else acted.
            time: of the observation, simulated seconds.
        """
        follows = time - self._asked < (self._execute + 0.5) / RATE_HZ
        before = self._running if follows else [here] * self._delay
        self._running, self._asked = plan[self._execute : self._execute + self._delay], time
        return before + plan[self._delay : self._execute]
