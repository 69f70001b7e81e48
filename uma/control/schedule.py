"""Which pose is due now: chunks scheduled by time stamps, joined without a jump.

Action i of a chunk is due at ``stamp + (i + 1) / rate_hz``. Between actions the pose follows a cubic through them, so
that speed is continuous; where a new chunk takes over, the pose moves from the old plan to the new one along SE(3), or,
with an ensemble, to the mean of both. The gripper is never blended and never averaged: it is the newest chunk's.
"""

from __future__ import annotations

import numpy as np

from uma.control.chunk_path import ChunkPath, Setpoint
from uma.control.ensemble import Ensemble, ramp
from uma.geometry.se3 import interpolate
from uma.types import ActionChunk


class Schedule:
    """The running plan and, for a moment after a join, the one before it.

    Args:
        blend_s: seconds over which a new chunk takes over from the running one.
        ensemble: above 0, a new chunk does not take over but joins those of the same task that still run, see
            `Ensemble`: this is the decay of their weights, and ``blend_s`` the time over which it gains its own. The
            blend from plan to plan remains where there is nothing to average: at the start, after a gap, and from one
            task to another.
    """

    def __init__(self, blend_s: float = 0.2, ensemble: float = 0.0) -> None:
        self.blend_s, self.ensemble = blend_s, ensemble
        self._task_since = float("-inf")
        self.clear()

    def clear(self) -> None:
        self._plan: ChunkPath | None = None  # the newest
        self._running: Ensemble | None = None
        self._previous: Ensemble | _Frozen | None = None
        self._joined = 0.0

    def new_task(self, stamp: float, now: float) -> None:
        """The task changed with the observation of time ``stamp``: chunks of earlier ones are not averaged with later
        ones."""
        self._task_since = stamp
        if self._plan is None or self._plan.stamp < stamp:
            return  # what runs is the old task's, all of it; the next chunk is blended in
        anchor = self._pose(now)
        if self._active.leave(stamp):
            self._previous, self._joined = _Frozen(anchor), now

    def add(self, chunk: ActionChunk, now: float, current: np.ndarray) -> int:
        """Take over ``chunk`` at time ``now``; ``current`` is the pose commanded at present. Returns how many late
        actions are skipped.

        Raises:
            ValueError: every action of the chunk is late, or the chunk is older than the running one.
        """
        due = chunk.due()
        if due[-1] <= now:
            raise ValueError(f"chunk {chunk.sequence}: its last action was due {now - due[-1]:.3f} s ago")
        if self._plan is not None and due[-1] <= self._plan.last_due:
            raise ValueError(
                f"chunk {chunk.sequence}: ends {self._plan.last_due - due[-1]:.3f} s before the chunk that is running"
            )
        # A second join within the blend starts from where the first one has come to.
        anchor = current if self._plan is None else self._pose(now)
        plan = ChunkPath(chunk, anchor, now)
        if self._is_averaged_with(chunk, now):
            self._active.join(plan, now)
        else:
            self._previous = _Frozen(anchor) if self._running is None or self._weight(now) < 1.0 else self._running
            self._running, self._joined = Ensemble(plan, self.ensemble, self.blend_s), now
        self._plan = plan
        return plan.skipped

    def _is_averaged_with(self, chunk: ActionChunk, t: float) -> bool:
        """Whether what runs is of the same task and not over."""
        if not self.ensemble or self._plan is None or self._plan.last_due <= t:
            return False
        return (self._plan.stamp >= self._task_since) == (chunk.stamp >= self._task_since)

    def target(self, now: float) -> Setpoint | None:
        """What is due at ``now``; None if no chunk was ever given."""
        if self._plan is None:
            return None
        point = self._plan.at(now)
        nominal_speed = self._active.nominal_speed(now)
        if self._previous is not None and self._weight(now) < 1.0:
            before = self._previous.nominal_speed(now)
            nominal_speed = max(nominal_speed[0], before[0]), max(nominal_speed[1], before[1])
        return Setpoint(self._pose(now), point.gripper, point.sequence, point.index, point.is_over, nominal_speed)

    @property
    def last_due(self) -> float | None:
        """When the last action of the running plan is due, seconds."""
        return None if self._plan is None else self._plan.last_due

    @property
    def _active(self) -> Ensemble:
        """What runs, where there is a plan."""
        assert self._running is not None
        return self._running

    def _weight(self, t: float) -> float:
        return ramp(t - self._joined, self.blend_s)

    def _pose(self, t: float) -> np.ndarray:
        pose, w = self._active.pose(t), self._weight(t)
        return pose if self._previous is None or w >= 1.0 else interpolate(self._previous.pose(t), pose, w)


class _Frozen:
    """A pose in the place of a plan: what a blend starts from."""

    def __init__(self, pose: np.ndarray) -> None:
        self._pose = pose

    def pose(self, t: float) -> np.ndarray:
        return self._pose

    def nominal_speed(self, t: float) -> tuple[float, float]:
        return 0.0, 0.0
