"""What a Franka arm says of itself, whichever way it is reached, and how it is brought back after a reflex. No ROS and
no libfranka here."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import Protocol

from uma_ros.drivers.device import DeviceError


class RobotMode(IntEnum):
    """The robot's mode; numbers as in libfranka and franka_msgs/FrankaRobotState."""

    OTHER = 0
    IDLE = 1
    MOVE = 2
    GUIDING = 3
    REFLEX = 4
    USER_STOPPED = 5
    AUTOMATIC_ERROR_RECOVERY = 6


WHAT_TO_DO = {
    RobotMode.OTHER: "see Desk: is FCI active, are the brakes open?",
    RobotMode.GUIDING: "it is guided by hand: let go of the button at its wrist",
    RobotMode.REFLEX: "make the space around it safe, then call the recovery",
    RobotMode.USER_STOPPED: "release the external activation device",
    RobotMode.AUTOMATIC_ERROR_RECOVERY: "it is recovering",
}
"""Mode in which the robot obeys nobody -> what a person does about it."""


@dataclass(frozen=True)
class Health:
    """How the arm is.

    Attributes:
        mode: the robot's mode.
        success_rate: share of the last 100 commands that came in time, 0 to 1; NaN while nothing commands it.
        errors: names of libfranka's error flags that are set now.
        last_errors: those that ended the last motion.
    """

    mode: RobotMode
    success_rate: float = float("nan")
    errors: tuple[str, ...] = ()
    last_errors: tuple[str, ...] = ()

    @property
    def blocked(self) -> str:
        """Why the arm obeys nobody, and what to do; empty if it does."""
        if self.mode not in WHAT_TO_DO and not self.errors:
            return ""
        why = ", ".join(self.errors or self.last_errors)
        advice = WHAT_TO_DO.get(self.mode, "make the space around it safe, then call the recovery")
        return f"robot mode {self.mode.name}{f' ({why})' if why else ''}: {advice}"


class RecoverySteps(Protocol):
    """What a recovery asks of franka_ros2 and of ros2_control. Every call raises `DeviceError` or `LinkError` if it is
    refused or not answered."""

    async def controllers(self) -> dict[str, str]:
        """Name -> state of every loaded controller."""

    async def switch(self, activate: Sequence[str], deactivate: Sequence[str]) -> None: ...
    async def recover_errors(self) -> None: ...
    async def activate_hardware(self, name: str) -> None: ...


async def recover(steps: RecoverySteps, controllers: Sequence[str], hardware: str) -> list[str]:
    """Bring the arm back after a reflex, in the order that franka_ros2 documents. The controllers are activated last:
    they latch the present pose.

    Args:
        controllers: those that must be active at the end.
        hardware: name of the hardware component.

    Returns:
        What was done, step by step.

    Raises:
        DeviceError: a step was refused, or a controller is not active at the end.
    """
    done = []
    states = await steps.controllers()
    unknown = [name for name in controllers if name not in states]
    if unknown:
        raise DeviceError(
            f"controllers {', '.join(unknown)}: not loaded; loaded are {', '.join(sorted(states)) or 'none'}"
        )
    active = [name for name in controllers if states[name] == "active"]
    if active:
        await steps.switch([], active)
        done.append(f"deactivated {', '.join(active)}")
    await steps.recover_errors()
    done.append("cleared the errors")
    await steps.activate_hardware(hardware)
    done.append(f"activated {hardware}")
    await steps.switch(controllers, [])
    states = await steps.controllers()
    idle = [name for name in controllers if states.get(name) != "active"]
    if idle:
        raise DeviceError(
            f"after the recovery {', '.join(f'{name} is {states.get(name)}' for name in idle)}, must be active"
        )
    done.append(f"activated {', '.join(controllers)}")
    return done
