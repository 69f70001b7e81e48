"""Past images of one camera, for systems with history. A policy is asked for chunks in the order of the images."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

import numpy as np
from torch import Tensor

from uma.types import RATE_HZ

LONGEST_GAP = 2.0
"""Seconds between two images after which the earlier ones belong to another episode."""


@dataclass(frozen=True)
class Seen:
    """One past observation: its time in seconds, the small image ``(3, h, w)``, T_cam_ee and the gripper."""

    stamp: float
    image: Tensor
    T_cam_ee: np.ndarray
    gripper: float


class Memory:
    """Keeps the last observations, and finds those nearest to earlier steps.

    Args:
        past: images wanted, the current one included.
        every: control steps between them.
    """

    def __init__(self, past: int, every: int) -> None:
        self.past, self.every = past, every
        self._seen: deque[Seen] = deque(maxlen=max(2, 4 * past * every))

    def add(self, seen: Seen) -> list[Seen]:
        """Add the current observation, and return ``past`` of them, the current one last.

        Where an earlier one is missing, the nearest stands there, as at the start of an episode in training. Time that
        goes back, or a gap, empties the memory. An observation of the same time replaces the last one.
        """
        if self._seen and self._seen[-1].stamp == seen.stamp:
            self._seen.pop()
        if self._seen and not 0 < seen.stamp - self._seen[-1].stamp <= LONGEST_GAP:
            self._seen.clear()
        self._seen.append(seen)
        stamps = np.array([s.stamp for s in self._seen])
        wanted = seen.stamp - np.arange(self.past - 1, -1, -1) * self.every / RATE_HZ
        return [self._seen[int(np.abs(stamps - w).argmin())] for w in wanted]
