"""The output of a controller in each control period."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from uma.control.session import State, Transition


@dataclass(frozen=True)
class Status:
    """The state of a controller.

    Attributes:
        state, reason: of the session.
        transition: the last change of state; None if the state did not change.
        observation_age_ms: age of the image behind the last accepted chunk; NaN before the first chunk.
        achieved_rate_hz: control periods with a target, per second.
        num_held, num_limited: control periods in which the safety filter held or changed the target.
    """

    state: State
    reason: str
    transition: Transition | None = None
    observation_age_ms: float = float("nan")
    achieved_rate_hz: float = 0.0
    num_held: int = 0
    num_limited: int = 0


@dataclass(frozen=True)
class Command:
    """The output of one control period.

    Attributes:
        target: ``(4, 4)`` pose of the frame ``robot_ee_frame`` in the base frame; None = no target.
        close_gripper: True to close, False to open; None = no new goal.
        hold_reason: why the safety filter held the due target; empty if it passed, or none was due.
        unwatched: why the joint limits are not checked; empty if they are.
        status: after this period.
    """

    target: np.ndarray | None
    close_gripper: bool | None
    hold_reason: str
    unwatched: str
    status: Status
