"""One chunk as a continuous path in time."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from uma.geometry.se3 import exp, log, make_pose, rotation_angle
from uma.types import ActionChunk


@dataclass(frozen=True)
class Setpoint:
    """The target pose and gripper at one instant.

    Attributes:
        pose: ``(4, 4)`` target in the chunk's frame.
        gripper: 0 open to 1 closed.
        sequence, index: the chunk and its next action (the last action once the plan is over).
        is_over: every action is in the past; the pose is the last one.
        nominal_speed: m/s and rad/s of the fastest step of the active chunks. The target may move faster while a late
            chunk takes over.
    """

    pose: np.ndarray
    gripper: float
    sequence: int
    index: int
    is_over: bool
    nominal_speed: tuple[float, float]


class ChunkPath:
    """A cubic path through the actions of one chunk, from an anchor pose."""

    def __init__(self, chunk: ActionChunk, anchor: np.ndarray, anchor_time: float) -> None:
        due = chunk.due()
        first = int(np.searchsorted(due, anchor_time, side="right"))
        # A chunk joined midway starts at its previous action, so that the path does not bend. Otherwise it starts at
        # the anchor.
        keep = max(first - 1, 0)
        left_times = [] if first else [anchor_time]
        self.times = np.concatenate([left_times, due[keep:]])
        self.poses = np.concatenate([anchor[None] if not first else np.zeros((0, 4, 4)), chunk.poses[keep:]])
        self.gripper = np.concatenate([chunk.gripper[:1] if not first else [], chunk.gripper[keep:]])
        self.offset = keep - len(left_times)
        self.skipped = first
        self.sequence, self.stamp, self.last_due = chunk.sequence, chunk.stamp, float(due[-1])
        steps, turns = (
            np.diff(chunk.poses[:, :3, 3], axis=0),
            rotation_angle(chunk.poses[:-1, :3, :3], chunk.poses[1:, :3, :3]),
        )
        speed, turn_speed = (float(x.max(initial=0.0)) * chunk.rate_hz for x in (np.linalg.norm(steps, axis=-1), turns))
        self.nominal_speed = speed, turn_speed
        self._velocity, self._spin = self._slopes()

    def _slopes(self) -> tuple[np.ndarray, np.ndarray]:
        """Linear and body-angular velocity at each pose by central differences.

        Both ends have velocity zero, except the start of a chunk that is joined midway.
        """
        n = len(self.times)
        v, w = np.zeros((n, 3)), np.zeros((n, 3))
        for i in range(1, n - 1):
            dt = self.times[i + 1] - self.times[i - 1]
            v[i] = (self.poses[i + 1, :3, 3] - self.poses[i - 1, :3, 3]) / dt
            w[i] = log(self.poses[i - 1, :3, :3].T @ self.poses[i + 1, :3, :3]) / dt
        if self.skipped and n > 1:
            dt = self.times[1] - self.times[0]
            v[0], w[0] = (
                (self.poses[1, :3, 3] - self.poses[0, :3, 3]) / dt,
                log(self.poses[0, :3, :3].T @ self.poses[1, :3, :3]) / dt,
            )
        return v, w

    def at(self, t: float) -> Setpoint:
        n = len(self.times)
        if t >= self.times[-1] or n == 1:
            return Setpoint(
                self.poses[-1],
                float(self.gripper[-1]),
                self.sequence,
                n - 1 + self.offset,
                t >= self.times[-1],
                self.nominal_speed,
            )
        i = max(int(np.searchsorted(self.times, t, side="right")) - 1, 0)
        h = self.times[i + 1] - self.times[i]
        s = float(np.clip((t - self.times[i]) / h, 0.0, 1.0))
        h10, h01, h11 = s * (1 - s) ** 2, s * s * (3 - 2 * s), s * s * (s - 1)
        p0, p1 = self.poses[i, :3, 3], self.poses[i + 1, :3, 3]
        p = p0 + h01 * (p1 - p0) + h * (h10 * self._velocity[i] + h11 * self._velocity[i + 1])
        R0 = self.poses[i, :3, :3]
        r = h01 * log(R0.T @ self.poses[i + 1, :3, :3]) + h * (h10 * self._spin[i] + h11 * self._spin[i + 1])
        pose = make_pose(R0 @ exp(r), p)
        return Setpoint(pose, float(self.gripper[i + 1]), self.sequence, i + 1 + self.offset, False, self.nominal_speed)
