"""Joint commands at 1 kHz from targets at about 100 Hz, with bounds on speed, acceleration and jerk."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from uma.control.follower import accelerate, clip, stopping_speed
from uma.geometry import fr3
from uma.settings import check_settings, setting
from uma.types import InputError

STEP = 1e-3
"""Control period of the FR3, s."""


@dataclass(frozen=True)
class JointLimits:
    """Limits of the joint commands. Each lies below the FR3's own stop limit."""

    max_speed: list[float] = setting(
        [2.0, 1.6, 2.0, 2.0, 3.5, 2.8, 3.5], "rad/s; speed limit of each joint's command", 0.05, 5.2
    )
    max_acceleration: float = setting(7.0, "rad/s^2; the FR3 stops at 10", 0.1, 9.9)
    max_jerk: float = setting(2500.0, "rad/s^3; the FR3 stops at 5000", 10.0, 4990.0)
    margin: float = setting(0.05, "rad; margin to the joint limits", 0.01, 0.5)

    def __post_init__(self) -> None:
        check_settings(self)
        if len(self.max_speed) != 7 or not (np.asarray(self.max_speed) < fr3.SPEED).all():
            raise InputError(
                f"max_speed: {self.max_speed}, must be 7 values below {fr3.SPEED.tolist()}, where the FR3 stops"
            )


class JointFollower:
    """Tracks joint targets from a position at rest. Every step keeps the limits for any target."""

    def __init__(self, limits: JointLimits, q: np.ndarray) -> None:
        self.limits = limits
        # A small reserve against rounding.
        self._v_max, self._a_max, self._j_max = (
            0.999 * np.asarray(limits.max_speed),
            0.999 * limits.max_acceleration,
            0.999 * limits.max_jerk,
        )
        self._low, self._high = fr3.LOWER + limits.margin, fr3.UPPER - limits.margin
        self.q = np.array(q, dtype=np.float64)
        self.v, self.a = np.zeros(7), np.zeros(7)

    @property
    def is_at_rest(self) -> bool:
        return bool(np.abs(self.v).max() < 1e-4 and np.abs(self.a).max() < 0.1)

    def step(self, target: np.ndarray | None, speed: np.ndarray, dt: float) -> np.ndarray:
        """Return the next command, ``(7,)`` rad.

        Args:
            target: ``(7,)`` rad; None brakes and holds.
            speed: ``(7,)`` rad/s of the target itself.
            dt: s since the last step; rounded to milliseconds, the robot's own clock.
        """
        for _ in range(min(max(round(dt / STEP), 1), 20)):
            self._millisecond(target, speed)
        return self.q

    def _millisecond(self, target: np.ndarray | None, speed: np.ndarray) -> None:
        # The step is constant, because the fade-out of the acceleration depends on its length.
        dt, brake = STEP, self._brake
        if target is None:
            wanted = np.zeros(7)
        else:
            inside = np.clip(target, self._low, self._high)
            error = inside - self.q
            distance = np.abs(error)
            wanted = np.where(inside == target, speed, 0.0) + np.sign(error) * np.minimum(
                brake(distance), distance / dt
            )
            wanted = np.clip(
                wanted, -brake(np.maximum(self.q - self._low, 0.0)), brake(np.maximum(self._high - self.q, 0.0))
            )
            wanted = np.clip(wanted, -self._v_max, self._v_max)
        self.a = accelerate(wanted - self.v, self.a, dt, self._a_max, self._j_max, clip)
        self.v = self.v + self.a * dt
        self.q = self.q + self.v * dt

    def _brake(self, room: np.ndarray) -> np.ndarray:
        """Highest speed that stops within ``room`` rad at half the acceleration limit."""
        return stopping_speed(room, 0.5 * self._a_max, STEP)
