"""What a controller gives after each control period."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from uma.control.session import State, Transition


@dataclass(frozen=True)
class Status:
    """How a controller stands.

    Attributes:
        state, reason: of its session.
        transition: the change of state that led there; None if there was none.
        observation_age_ms: since the image behind the last chunk that was accepted; NaN before the first one.
        achieved_rate_hz: control periods with a target, a second.
        num_held, num_limited: control periods in which the filter held or changed the target.
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
    """What one control period asks of the robot.

    Attributes:
        target: ``(4, 4)`` pose of the frame ``robot_ee_frame`` in the base frame; None = nothing is sent.
        close_gripper: True to close, False to open; None = no new goal.
        held: why the filter did not pass the target that was due; empty if it did, or none was due.
        unwatched: why the joint limits are not looked at; empty if they are.
        status: after this period.
    """

    target: np.ndarray | None
    close_gripper: bool | None
    hold_reason: str
    unwatched: str
    status: Status
