"""One control period of motion with bounded acceleration and jerk, for the end effector and for joints."""

from __future__ import annotations

from collections.abc import Callable
from typing import overload

import numpy as np

Bound = Callable[[np.ndarray, float | np.ndarray], np.ndarray]
"""``(x, limit) -> x`` bounded by the limit: `shorten` bounds the norm, `clip` bounds each entry."""


def shorten(x: np.ndarray, limit: float | np.ndarray) -> np.ndarray:
    """Scale ``x`` to a norm of at most ``limit``."""
    length = float(np.linalg.norm(x))
    return x * (limit / length) if length > limit else x


def clip(x: np.ndarray, limit: float | np.ndarray) -> np.ndarray:
    """Bound each entry of ``x`` to [-limit, limit]."""
    return np.clip(x, -limit, limit)


@overload
def stopping_speed(room: float, acceleration: float, dt: float) -> float: ...
@overload
def stopping_speed(room: np.ndarray, acceleration: float | np.ndarray, dt: float) -> np.ndarray: ...
def stopping_speed(room: float | np.ndarray, acceleration: float | np.ndarray, dt: float) -> float | np.ndarray:
    """Return the highest speed that stops within ``room`` (m or rad) at ``acceleration``, in periods of ``dt``
    seconds."""
    return acceleration * (np.sqrt(0.25 * dt * dt + 2 * room / acceleration) - 0.5 * dt)


def accelerate(
    change: np.ndarray, before: np.ndarray, dt: float, acceleration: float, jerk: float, bound: Bound
) -> np.ndarray:
    """Return the acceleration of the next period toward a velocity that differs by ``change``.

    The jerk limit lets it fade out by the time the velocity is reached. So a change of size c permits an acceleration
    of at most ``jerk dt (sqrt(1/4 + 2 c / (jerk dt^2)) - 1/2)``.

    Args:
        change: ``(n,)`` desired velocity minus the current one.
        before: ``(n,)`` acceleration of the last period.
        dt: s.
        acceleration, jerk: limits, in the units of ``change`` per s and per s^2.
        bound: `shorten` or `clip`.
    """
    size = np.abs(change) if bound is clip else float(np.linalg.norm(change))
    fading = jerk * dt * (np.sqrt(0.25 + 2 * size / (jerk * dt * dt)) - 0.5)
    wanted = bound(change / dt, np.minimum(acceleration, fading))
    return bound(before + bound(wanted - before, jerk * dt), acceleration)
