"""Which pose is due now: chunks scheduled by time stamps, joined without a jump.

Action i of a chunk is due at ``stamp + (i + 1) / rate_hz``. Between actions the pose follows a cubic through them, so that speed is
continuous; where a new chunk takes over, the pose moves from the old plan to the new one along SE(3). The gripper is never blended.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.spatial.transform import Rotation

from uma.geometry.se3 import interpolate, make_pose
from uma.types import ActionChunk


@dataclass(frozen=True)
class Setpoint:
    """What the arm should do at one instant.

    Attributes:
        pose: ``(4, 4)`` target in the chunk's frame.
        gripper: 0 open to 1 closed.
        sequence, index: the chunk and the action that is being approached (the last one when the plan is over).
        is_over: every action is past its time; the pose is the last one.
    """

    pose: np.ndarray
    gripper: float
    sequence: int
    index: int
    is_over: bool


def _log(R: np.ndarray) -> np.ndarray:
    return Rotation.from_matrix(R).as_rotvec()


class Plan:
    """One chunk with the pose from which it is approached."""

    def __init__(self, chunk: ActionChunk, anchor: np.ndarray, anchor_time: float) -> None:
        due = chunk.due()
        first = int(np.searchsorted(due, anchor_time, side="right"))
        # With the action before it as the left end, joining in mid-chunk does not bend the path; before the first one it is the anchor.
        keep = max(first - 1, 0)
        left_times = [] if first else [anchor_time]
        self.times = np.concatenate([left_times, due[keep:]])
        self.poses = np.concatenate([anchor[None] if not first else np.zeros((0, 4, 4)), chunk.poses[keep:]])
        self.gripper = np.concatenate([chunk.gripper[:1] if not first else [], chunk.gripper[keep:]])
        self.offset = keep - len(left_times)
        self.skipped = first
        self.sequence, self.last_due = chunk.sequence, float(due[-1])
        self._velocity, self._spin = self._slopes()

    def _slopes(self) -> tuple[np.ndarray, np.ndarray]:
        """Linear and body-angular velocity at each pose by central differences; zero at both ends, but not where a plan is joined midway."""
        n = len(self.times)
        v, w = np.zeros((n, 3)), np.zeros((n, 3))
        for i in range(1, n - 1):
            dt = self.times[i + 1] - self.times[i - 1]
            v[i] = (self.poses[i + 1, :3, 3] - self.poses[i - 1, :3, 3]) / dt
            w[i] = _log(self.poses[i - 1, :3, :3].T @ self.poses[i + 1, :3, :3]) / dt
        if self.skipped and n > 1:
            dt = self.times[1] - self.times[0]
            v[0], w[0] = (self.poses[1, :3, 3] - self.poses[0, :3, 3]) / dt, _log(self.poses[0, :3, :3].T @ self.poses[1, :3, :3]) / dt
        return v, w

    def at(self, t: float) -> Setpoint:
        n = len(self.times)
        if t >= self.times[-1] or n == 1:
            return Setpoint(self.poses[-1], float(self.gripper[-1]), self.sequence, n - 1 + self.offset, t >= self.times[-1])
        i = max(int(np.searchsorted(self.times, t, side="right")) - 1, 0)
        h = self.times[i + 1] - self.times[i]
        s = float(np.clip((t - self.times[i]) / h, 0.0, 1.0))
        h10, h01, h11 = s * (1 - s) ** 2, s * s * (3 - 2 * s), s * s * (s - 1)
        p0, p1 = self.poses[i, :3, 3], self.poses[i + 1, :3, 3]
        p = p0 + h01 * (p1 - p0) + h * (h10 * self._velocity[i] + h11 * self._velocity[i + 1])
        R0 = self.poses[i, :3, :3]
        r = h01 * _log(R0.T @ self.poses[i + 1, :3, :3]) + h * (h10 * self._spin[i] + h11 * self._spin[i + 1])
        pose = make_pose(R0 @ Rotation.from_rotvec(r).as_matrix(), p)
        return Setpoint(pose, float(self.gripper[i + 1]), self.sequence, i + 1 + self.offset, False)


class Schedule:
    """The running plan and, for a moment after a join, the one before it.

    Args:
        blend_s: seconds over which a new chunk takes over from the running one.
        lead_s: how far ahead of its due time an action is commanded, for an arm that follows its target with a lag.
    """

    def __init__(self, blend_s: float = 0.2, lead_s: float = 0.0) -> None:
        self.blend_s, self.lead_s = blend_s, lead_s
        self.clear()

    def clear(self) -> None:
        self._plan: Plan | None = None
        self._previous: Plan | None = None
        self._joined = 0.0

    def add(self, chunk: ActionChunk, now: float, current: np.ndarray) -> int:
        """Take over ``chunk`` at time ``now``; ``current`` is the pose commanded at present. Returns how many late actions are skipped.

        Raises:
            ValueError: every action of the chunk is late, or the chunk is older than the running one.
        """
        t = now + self.lead_s
        due = chunk.due()
        if due[-1] <= t:
            raise ValueError(f"chunk {chunk.sequence}: its last action was due {t - due[-1]:.3f} s ago")
        if self._plan is not None and due[-1] <= self._plan.last_due:
            raise ValueError(f"chunk {chunk.sequence}: ends {self._plan.last_due - due[-1]:.3f} s before the chunk that is running")
        # A second join within the blend starts from where the first one has come to.
        anchor = current if self._plan is None else self._pose(t)
        plan = Plan(chunk, anchor, t)
        self._previous = None if self._plan is None else self._plan if self._weight(t) >= 1.0 else _Frozen(anchor)
        if self._plan is None:
            self._previous = _Frozen(current)
        self._plan, self._joined = plan, t
        return plan.skipped

    def target(self, now: float) -> Setpoint | None:
        """What is due at ``now``; None if no chunk was ever given."""
        if self._plan is None:
            return None
        t = now + self.lead_s
        point = self._plan.at(t)
        return Setpoint(self._pose(t), point.gripper, point.sequence, point.index, point.is_over)

    @property
    def last_due(self) -> float | None:
        """When the last action of the running plan is due, seconds."""
        return None if self._plan is None else self._plan.last_due

    def _weight(self, t: float) -> float:
        s = 1.0 if self.blend_s <= 0 else float(np.clip((t - self._joined) / self.blend_s, 0.0, 1.0))
        return s * s * (3 - 2 * s)

    def _pose(self, t: float) -> np.ndarray:
        pose = self._plan.at(t).pose
        w = self._weight(t)
        return pose if self._previous is None or w >= 1.0 else interpolate(self._previous.at(t).pose, pose, w)


class _Frozen:
    """A pose in the place of a plan: what a blend starts from."""

    def __init__(self, pose: np.ndarray) -> None:
        self._pose = pose

    def at(self, t: float) -> Setpoint:
        return Setpoint(self._pose, 0.0, -1, 0, False)
