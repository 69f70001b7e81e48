"""Health of a Franka arm, and its recovery after a reflex. The module needs neither ROS nor libfranka."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import Protocol

from uma_ros.drivers.device import DeviceError


class RobotMode(IntEnum):
    """Mode of the robot, with the numbers of libfranka and franka_msgs/FrankaRobotState."""

    OTHER = 0
    IDLE = 1
    MOVE = 2
    GUIDING = 3
    REFLEX = 4
    USER_STOPPED = 5
    AUTOMATIC_ERROR_RECOVERY = 6


ADVICE = {
    RobotMode.OTHER: "check in Desk that FCI is active and the brakes are open",
    RobotMode.GUIDING: "the arm is guided by hand: release the button at its wrist",
    RobotMode.REFLEX: "make the space around the arm safe, then call the recovery",
    RobotMode.USER_STOPPED: "release the external activation device",
    RobotMode.AUTOMATIC_ERROR_RECOVERY: "the arm is recovering",
}
"""Mode in which the arm follows no commands -> advice for the operator."""


@dataclass(frozen=True)
class Health:
    """Health of the arm.

    Attributes:
        mode: the robot's mode.
        success_rate: fraction of the last 100 commands that arrived in time; NaN without commands.
        errors: names of the active libfranka error flags.
        last_errors: names of the error flags that ended the last motion.
    """

    mode: RobotMode
    success_rate: float = float("nan")
    errors: tuple[str, ...] = ()
    last_errors: tuple[str, ...] = ()

    @property
    def blocked(self) -> str:
        """Reason why the arm follows no commands, with advice for the operator; empty if it follows them."""
        if self.mode not in ADVICE and not self.errors:
            return ""
        why = ", ".join(self.errors or self.last_errors)
        advice = ADVICE.get(self.mode, "make the space around the arm safe, then call the recovery")
        return f"robot mode {self.mode.name}{f' ({why})' if why else ''}: {advice}"


class RecoverySteps(Protocol):
    """Steps of a recovery through franka_ros2 and ros2_control.

    A refused call raises `DeviceError`, an unanswered one `LinkError`.
    """

    async def controllers(self) -> dict[str, str]:
        """Return name -> state of every loaded controller."""

    async def switch(self, activate: Sequence[str], deactivate: Sequence[str]) -> None: ...
    async def recover_errors(self) -> None: ...
    async def activate_hardware(self, name: str) -> None: ...


async def recover(steps: RecoverySteps, controllers: Sequence[str], hardware: str) -> list[str]:
    """Recover the arm after a reflex, in the order that franka_ros2 documents.

    The controllers are activated last, because they latch the present pose.

    Args:
        controllers: controllers that must be active at the end.
        hardware: name of the hardware component.

    Returns:
        The completed steps, in order.

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
