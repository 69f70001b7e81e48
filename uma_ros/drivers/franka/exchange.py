"""Settings, targets and states that a node and the arm's process exchange."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum

import numpy as np

from uma.settings import check_settings, setting
from uma.types import InputError
from uma_ros.drivers.franka.health import RobotMode


@dataclass(frozen=True)
class FciSettings:
    """Settings of the link to the arm and of its control loop."""

    host: str = setting("172.16.0.1", "address of the arm's control interface")
    variant: str = setting(
        "loop",
        "loop: commands at 1 kHz; async: joint targets that the robot interpolates, for a PC without a real-time "
        "kernel",
        choices=("loop", "async"),
    )
    realtime: str = setting(
        "ignore",
        "enforce: end without real-time priority; ignore: continue without it",
        choices=("ignore", "enforce"),
    )
    async_rate: float = setting(50.0, "Hz; rate of the joint targets in the variant async", 5.0, 100.0)
    async_tolerance: float = setting(0.001, "rad; tolerance for a reached target in the variant async", 1e-4, 0.1)
    hold_after: float = setting(0.1, "s; largest age of a followed target; then the arm brakes and holds", 0.02, 1.0)
    max_start: float = setting(
        0.3, "rad; largest distance of the first target from the measured position, in any joint", 0.01, 3.0
    )
    stiffness: list[float] = setting(
        [3000.0, 3000.0, 3000.0, 2500.0, 2500.0, 2000.0, 2000.0], "Nm/rad; stiffness of the joints", 10.0, 14250.0
    )
    collision_torque: float = setting(
        40.0, "Nm; external torque at a joint above which the arm stops with a reflex", 5.0, 87.0
    )
    collision_force: float = setting(
        40.0, "N, Nm; external force or torque at the end effector above which the arm stops with a reflex", 5.0, 100.0
    )

    def __post_init__(self) -> None:
        check_settings(self)
        if len(self.stiffness) != 7:
            raise InputError(f"stiffness: {len(self.stiffness)} values, must be 7")


class Phase(IntEnum):
    """Phase of the process: without a connection, monitoring, moving, or blocked until a recovery."""

    UNREACHED = 0
    WATCHING = 1
    MOVING = 2
    BLOCKED = 3


@dataclass(frozen=True)
class Target:
    """A moving joint target.

    Attributes:
        time: time of its computation, s, monotonic clock.
        q: ``(7,)`` joint positions at that time, rad.
        speed: ``(7,)`` rad/s.
    """

    time: float
    q: np.ndarray
    speed: np.ndarray

    def row(self) -> np.ndarray:
        return np.concatenate([[self.time], self.q, self.speed])

    @staticmethod
    def from_row(row: np.ndarray | None) -> Target | None:
        return None if row is None or not np.isfinite(row).all() else Target(float(row[0]), row[1:8], row[8:15])

    def at(self, now: float) -> np.ndarray:
        """Return the ``(7,)`` target extrapolated to ``now``, by at most two periods of the controller (16 ms)."""
        return self.q + self.speed * min(max(now - self.time, 0.0), 0.016)


@dataclass(frozen=True)
class ArmState:
    """State of the arm, which the process writes once per cycle.

    Attributes:
        time: time of receipt, s, monotonic clock.
        phase: phase of the process.
        mode: mode of the robot.
        success_rate: fraction of the last 100 commands that arrived in time.
        q, dq: ``(7,)`` measured, rad and rad/s.
        q_command: ``(7,)`` commanded, rad; NaN without a command.
        cycles: number of commands since the start.
        late: number of cycles over 1.5 ms after the previous one.
        compute_p99_ms: 99th percentile of the time from state to command, last 1000 cycles.
        interval_p99_ms: 99th percentile of the time between two states, last 1000 cycles.
    """

    time: float
    phase: Phase
    mode: RobotMode
    success_rate: float
    q: np.ndarray
    dq: np.ndarray
    q_command: np.ndarray
    cycles: int
    late: int
    compute_p99_ms: float
    interval_p99_ms: float

    SIZE = 29

    def row(self) -> np.ndarray:
        head = [self.time, self.phase, self.mode, self.success_rate]
        return np.concatenate(
            [head, self.q, self.dq, self.q_command, [self.cycles, self.late, self.compute_p99_ms, self.interval_p99_ms]]
        )

    @staticmethod
    def from_row(row: np.ndarray | None) -> ArmState | None:
        if row is None:
            return None
        return ArmState(
            float(row[0]),
            Phase(int(row[1])),
            RobotMode(int(row[2])),
            float(row[3]),
            row[4:11],
            row[11:18],
            row[18:25],
            int(row[25]),
            int(row[26]),
            float(row[27]),
            float(row[28]),
        )
