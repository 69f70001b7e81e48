"""Temporal ensembling: what all chunks say of one instant, averaged."""

from __future__ import annotations

import numpy as np

from uma.control.chunk_path import ChunkPath
from uma.geometry.se3 import mean_pose


def ramp(x: float, length: float) -> float:
    """From 0 to 1 while ``x`` goes from 0 to ``length``, without a kink at either end."""
    s = 1.0 if length <= 0 else float(np.clip(x / length, 0.0, 1.0))
    return s * s * (3 - 2 * s)


class Ensemble:
    """Plans of one task. The pose at an instant is the mean on SE(3) of all that have an action then; with one plan it
    is that plan's.

    A plan weighs exp(-decay x age), its age counted in chunks that came after it. In ACT the oldest one weighs most;
    here the newest does: it has seen the newest image, and what moved since then is in no older one. A plan gains its
    weight over ``fade_s`` once it has joined, and loses it over ``fade_s`` before its last action, so that the mean
    does not jump where one comes or ends.

    Args:
        decay: above 0; the larger it is, the less older plans count.
        fade_s: seconds.
    """

    def __init__(self, plan: ChunkPath, decay: float, fade_s: float) -> None:
        self.decay, self.fade_s = decay, fade_s
        self._members = [(plan, float("-inf"))]

    def join(self, plan: ChunkPath, t: float) -> None:
        """Take in a newer plan at time ``t``, and forget those that are over."""
        self._members = [(p, joined) for p, joined in self._members if p.last_due > t] + [(plan, t)]

    def leave(self, stamp: float) -> bool:
        """Drop the plans of observations before ``stamp``, but never the newest; whether there were any."""
        kept = [(p, joined) for p, joined in self._members[:-1] if p.stamp >= stamp] + self._members[-1:]
        dropped = len(kept) < len(self._members)
        self._members = kept
        return dropped

    def pose(self, t: float) -> np.ndarray:
        """``(4, 4)`` at time ``t``."""
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
        """m/s and rad/s of the fastest plan that has an action at time ``t``."""
        speeds = [
            plan.nominal_speed for age, (plan, _) in enumerate(reversed(self._members)) if not age or plan.last_due > t
        ]
        return max(p[0] for p in speeds), max(p[1] for p in speeds)

    def _fade(self, plan: ChunkPath, joined: float, t: float, age: int) -> float:
        return ramp(t - joined, self.fade_s) * (ramp(plan.last_due - t, self.fade_s) if age else 1.0)
