"""The acceleration of one control period, bounded in acceleration and jerk: of the end effector and of the joints."""

from __future__ import annotations

from collections.abc import Callable
from typing import overload

import numpy as np

Bound = Callable[[np.ndarray, float | np.ndarray], np.ndarray]
"""``(x, limit) -> x`` shortened to the limit: `shorten` by its norm, `clip` each entry by itself."""


def shorten(x: np.ndarray, limit: float | np.ndarray) -> np.ndarray:
    """``x`` at most ``limit`` long."""
    length = float(np.linalg.norm(x))
    return x * (limit / length) if length > limit else x


def clip(x: np.ndarray, limit: float | np.ndarray) -> np.ndarray:
    """Each entry of ``x`` at most ``limit`` in size."""
    return np.clip(x, -limit, limit)


@overload
def stopping_speed(room: float, acceleration: float, dt: float) -> float: ...
@overload
def stopping_speed(room: np.ndarray, acceleration: float | np.ndarray, dt: float) -> np.ndarray: ...
def stopping_speed(room: float | np.ndarray, acceleration: float | np.ndarray, dt: float) -> float | np.ndarray:
    """Fastest that something may move and still stop within ``room`` (m or rad) at ``acceleration``, in periods of
    ``dt`` seconds."""
    return acceleration * (np.sqrt(0.25 * dt * dt + 2 * room / acceleration) - 0.5 * dt)


def accelerate(
    change: np.ndarray, before: np.ndarray, dt: float, acceleration: float, jerk: float, bound: Bound
) -> np.ndarray:
    """The acceleration of the next period toward a velocity that differs by ``change``.

    It is small enough to fade out by the time the velocity is reached: the size c of a change leaves room for
    ``jerk dt (sqrt(1/4 + 2 c / (jerk dt^2)) - 1/2)``.

    Args:
        change: ``(n,)`` wanted velocity less the present one.
        before: ``(n,)`` acceleration of the last period.
        dt: s.
        acceleration, jerk: largest, in the units of ``change`` per s and per s^2.
        bound: how a vector is shortened to a limit.
    """
    size = np.abs(change) if bound is clip else float(np.linalg.norm(change))
    fading = jerk * dt * (np.sqrt(0.25 + 2 * size / (jerk * dt * dt)) - 0.5)
    wanted = bound(change / dt, np.minimum(acceleration, fading))
    return bound(before + bound(wanted - before, jerk * dt), acceleration)
