"""The schedule of actions: joins chunks by their time stamps without a jump.

Action i of a chunk is due at ``stamp + (i + 1) / rate_hz``. The pose follows a cubic through the actions, so its speed
is continuous. A new chunk takes over by a blend on SE(3) from the active plan, or joins an ensemble mean. The gripper
action always comes from the newest chunk, without blending or averaging.
"""

from __future__ import annotations

import numpy as np

from uma.control.chunk_path import ChunkPath, Setpoint
from uma.control.ensemble import Ensemble, ramp
from uma.geometry.se3 import interpolate
from uma.types import ActionChunk


class Schedule:
    """The active plan and, during a blend, its predecessor.

    Args:
        blend_s: seconds over which a new chunk takes over.
        ensemble: decay of the weights; above 0, a new chunk joins the active chunks of its task, see `Ensemble`. Then
            ``blend_s`` is its fade-in time. Without active chunks of its task (start, gap, new task) the new chunk is
            still blended in.
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
        """Start a task with the observation at time ``stamp``: chunks of earlier tasks leave the ensemble."""
        self._task_since = stamp
        if self._plan is None or self._plan.stamp < stamp:
            return  # every active chunk belongs to the old task; the next chunk is blended in
        anchor = self._pose(now)
        if self._active.leave(stamp):
            self._previous, self._joined = _Frozen(anchor), now

    def add(self, chunk: ActionChunk, now: float, current: np.ndarray) -> int:
        """Add ``chunk`` at time ``now``; ``current`` is the commanded pose. Return the number of late actions that are
        skipped.

        Raises:
            ValueError: every action of the chunk is late, or the chunk ends before the active one.
        """
        due = chunk.due()
        if due[-1] <= now:
            raise ValueError(f"chunk {chunk.sequence}: its last action was due {now - due[-1]:.3f} s ago")
        if self._plan is not None and due[-1] <= self._plan.last_due:
            raise ValueError(
                f"chunk {chunk.sequence}: ends {self._plan.last_due - due[-1]:.3f} s before the active chunk"
            )
        # A second chunk within the blend starts from the blended pose.
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
        """Whether the active plans belong to the same task and are not over."""
        if not self.ensemble or self._plan is None or self._plan.last_due <= t:
            return False
        return (self._plan.stamp >= self._task_since) == (chunk.stamp >= self._task_since)

    def target(self, now: float) -> Setpoint | None:
        """Return the setpoint at ``now``; None before the first chunk."""
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
        """Time of the active plan's last action, seconds; None without a plan."""
        return None if self._plan is None else self._plan.last_due

    @property
    def _active(self) -> Ensemble:
        """The active plans, once there is one."""
        assert self._running is not None
        return self._running

    def _weight(self, t: float) -> float:
        return ramp(t - self._joined, self.blend_s)

    def _pose(self, t: float) -> np.ndarray:
        pose, w = self._active.pose(t), self._weight(t)
        return pose if self._previous is None or w >= 1.0 else interpolate(self._previous.pose(t), pose, w)


class _Frozen:
    """A constant pose as the start of a blend."""

    def __init__(self, pose: np.ndarray) -> None:
        self._pose = pose

    def pose(self, t: float) -> np.ndarray:
        return self._pose

    def nominal_speed(self, t: float) -> tuple[float, float]:
        return 0.0, 0.0
