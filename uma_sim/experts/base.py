"""Scripted experts on the true state.

They are Markov: every action follows from the current state alone, without timers or phase counters. So a label matches
the visible state after any noise or intervention. Targets form "funnels": their height decreases with the lateral
error. So an approach, a lift over a rim or an insertion is one smooth rule.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

import numpy as np

if TYPE_CHECKING:
    from uma_sim.station import Station

STEP_M, STEP_RAD = 0.04, 0.11
"""Largest step of a label from the measured pose in one 15 Hz period."""


class Demonstrator(Protocol):
    """An expert for one task, built by `uma_sim.experts.expert`."""

    def act(self, station: Station) -> tuple[np.ndarray, float]:
        """Return the next target ``(4, 4)`` T_base_ee, at most one label step away, and gripper 0 or 1."""
        ...

    def phase(self, station: Station) -> str:
        """Name of the active rule, for display."""
        ...


def ramp(x: float, low: float, high: float) -> float:
    """Rise linearly from 0 at ``low`` to 1 at ``high``."""
    return float(np.clip((x - low) / (high - low), 0.0, 1.0))
