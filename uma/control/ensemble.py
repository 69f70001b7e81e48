"""Temporal ensembling: the weighted mean of all chunks with an action at one instant."""

from __future__ import annotations

import numpy as np

from uma.control.chunk_path import ChunkPath
from uma.geometry.se3 import mean_pose


def ramp(x: float, length: float) -> float:
    """Rise smoothly from 0 to 1 while ``x`` goes from 0 to ``length``, with zero slope at both ends."""
    s = 1.0 if length <= 0 else float(np.clip(x / length, 0.0, 1.0))
    return s * s * (3 - 2 * s)


class Ensemble:
    """Plans of one task. The pose at an instant is the weighted SE(3) mean of all plans with an action then.

    A plan weighs exp(-decay x age), with the age counted in newer chunks. The newest plan weighs most, because it has
    the newest image; in ACT, the oldest one does. A plan fades in over ``fade_s`` after it joins and fades out over
    ``fade_s`` before its last action, so that the mean does not jump.

    Args:
        decay: above 0; larger values discount older plans more.
        fade_s: seconds.
    """

    def __init__(self, plan: ChunkPath, decay: float, fade_s: float) -> None:
        self.decay, self.fade_s = decay, fade_s
        self._members = [(plan, float("-inf"))]

    def join(self, plan: ChunkPath, t: float) -> None:
        """Add a newer plan at time ``t``, and drop plans that are over."""
        self._members = [(p, joined) for p, joined in self._members if p.last_due > t] + [(plan, t)]

    def leave(self, stamp: float) -> bool:
        """Drop plans of observations before ``stamp``, except the newest. Return whether any was dropped."""
        kept = [(p, joined) for p, joined in self._members[:-1] if p.stamp >= stamp] + self._members[-1:]
        dropped = len(kept) < len(self._members)
        self._members = kept
        return dropped

    def pose(self, t: float) -> np.ndarray:
        """Return the mean pose ``(4, 4)`` at time ``t``."""
        alive = [
            (age, plan, joined)
            for age, (plan, joined) in enumerate(reversed(self._members))
            if not age or plan.last_due > t
        ]
        weights = np.array(
            [np.exp(-self.decay * age) * self._fade(plan, joined, t, age) for age, plan, joined in alive]
        )
        if len(alive) == 1 or weights.sum() < 1e-9:
            return alive[0][1].at(t).pose
        return mean_pose(np.stack([plan.at(t).pose for _, plan, _ in alive]), weights)

    def nominal_speed(self, t: float) -> tuple[float, float]:
        """Return m/s and rad/s of the fastest plan with an action at time ``t``."""
        speeds = [
            plan.nominal_speed for age, (plan, _) in enumerate(reversed(self._members)) if not age or plan.last_due > t
        ]
        return max(p[0] for p in speeds), max(p[1] for p in speeds)

    def _fade(self, plan: ChunkPath, joined: float, t: float, age: int) -> float:
        return ramp(t - joined, self.fade_s) * (ramp(plan.last_due - t, self.fade_s) if age else 1.0)
