"""Scripted experts on the true state.

They are Markov: every call finds out anew, from the state alone, what to do next. No timer, no phase counter, so that
whatever the noise or a policy did, its label fits what can be seen. Targets are "funnels": their height falls as the
error beside the path does, which makes an approach, a lift over a rim or an insertion one smooth rule each.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

import numpy as np

if TYPE_CHECKING:
    from uma_sim.station import Station

STEP_M, STEP_RAD = 0.04, 0.11
"""Largest step of a label from the measured pose in one 15 Hz period."""


class Demonstrator(Protocol):
    """An expert at one task, made by `uma_sim.experts.expert`."""

    def act(self, station: Station) -> tuple[np.ndarray, float]:
        """The next target: ``(4, 4)`` T_base_ee at most (`STEP_M`, `STEP_RAD`) from the measured pose, and gripper 0 or
        1."""
        ...

    def phase(self, station: Station) -> str:
        """The name of the rule in force, for people."""
        ...


def ramp(x: float, low: float, high: float) -> float:
    """0 below ``low``, 1 above ``high``, linear between."""
    return float(np.clip((x - low) / (high - low), 0.0, 1.0))
