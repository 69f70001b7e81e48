"""Health and recovery of a Franka through franka_ros2 and ros2_control, whose message packages are optional."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from rclpy.action import ActionClient
from rclpy.task import Future

from uma.geometry.se3 import invert
from uma_ros.drivers.device import DeviceError, LinkError, MissingPackage
from uma_ros.drivers.franka.health import Health, RobotMode
from uma_ros.messages.convert import pose_from

BEST_EFFORT = 1
STRICT = 2
"""Strictness in controller_manager_msgs/SwitchController."""
ACTIVE_STATE = 3
"""PRIMARY_STATE_ACTIVE of lifecycle_msgs/State."""
SUCCEEDED = 4
"""STATUS_SUCCEEDED of action_msgs/GoalStatus."""


def ros_package(module: str) -> Any:
    """Import a ROS interface module such as ``franka_msgs.msg``. Raises `MissingPackage` with the module's origin."""
    name = module.split(".")[0]
    origin = {"franka_msgs": "franka_ros2", "controller_manager_msgs": "ros2_control"}.get(name, name)
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        if error.name is None or error.name.split(".")[0] != name:
            raise
        raise MissingPackage(
            f"the ROS package {name} is not installed: it is part of {origin}; install it, or source the "
            "workspace that contains it"
        ) from None


def health_from(msg: Any) -> Health:
    """Return the `Health` in a franka_msgs/FrankaRobotState."""
    try:
        mode = RobotMode(msg.robot_mode)
    except ValueError:
        mode = RobotMode.OTHER
    return Health(
        mode, float(msg.control_command_success_rate), _flags(msg.current_errors), _flags(msg.last_motion_errors)
    )


def _flags(errors: Any) -> tuple[str, ...]:
    return tuple(name for name in errors.get_fields_and_field_types() if getattr(errors, name) is True)


def flange_pose(msg: Any) -> np.ndarray:
    """Return the ``(4, 4)`` flange pose in the base frame from a franka_msgs/FrankaRobotState.

    ``o_t_ee`` is the pose of the end effector set in Desk. ``f_t_ee`` is that end effector in the flange frame.

    Raises:
        InputError: one of the two is not a pose.
    """
    T_base_ee, T_flange_ee = (
        pose_from(getattr(part, "pose", part), name) for part, name in ((msg.o_t_ee, "o_t_ee"), (msg.f_t_ee, "f_t_ee"))
    )
    return T_base_ee @ invert(T_flange_ee)


class FrankaSteps:
    """`RecoverySteps` over ROS, awaited in the node's executor.

    Args:
        node: a `UmaNode`, which creates clients and timers.
        manager: name of the controller manager.
        error_recovery: name of franka_ros2's action.
        patience: longest wait for an answer, s; a longer one counts as a broken link.
        group: reentrant callback group of the clients and of the callback that awaits the steps.
        action_client: factory of the action client.
    """

    def __init__(
        self,
        node: Any,
        manager: str,
        error_recovery: str,
        patience: float,
        group: Any = None,
        action_client: Callable[..., Any] = ActionClient,
    ) -> None:
        self._node, self._patience, self._group, self._recovery_name = node, patience, group, error_recovery
        srv = self._srv = ros_package("controller_manager_msgs.srv")
        self._list = node.create_client(srv.ListControllers, f"{manager}/list_controllers", callback_group=group)
        self._switch = node.create_client(srv.SwitchController, f"{manager}/switch_controller", callback_group=group)
        self._hardware = node.create_client(
            srv.SetHardwareComponentState, f"{manager}/set_hardware_component_state", callback_group=group
        )
        action = ros_package("franka_msgs.action")
        self._goal = action.ErrorRecovery.Goal
        self._recovery = action_client(node, action.ErrorRecovery, error_recovery, callback_group=group)

    async def controllers(self) -> dict[str, str]:
        reply = await self._call(self._list, self._srv.ListControllers.Request())
        return {c.name: c.state for c in reply.controller}

    async def switch(self, activate: Sequence[str], deactivate: Sequence[str]) -> None:
        request = self._srv.SwitchController.Request(
            activate_controllers=list(activate), deactivate_controllers=list(deactivate)
        )
        # A reflex may already have deactivated the controllers; activation must succeed for all.
        request.strictness = STRICT if activate else BEST_EFFORT
        reply = await self._call(self._switch, request)
        if not reply.ok:
            reason = getattr(reply, "message", "")  # from Jazzy on
            raise DeviceError(
                f"{self._switch.srv_name}: refused to activate {list(activate)}, deactivate "
                f"{list(deactivate)}{': ' + reason if reason else ''}"
            )

    async def recover_errors(self) -> None:
        if not self._recovery.server_is_ready():
            raise LinkError(f"{self._recovery_name}: no such action; is franka_ros2 running?")
        handle = await self._answer(self._recovery.send_goal_async(self._goal()), self._recovery_name)
        if not handle.accepted:
            raise DeviceError(f"{self._recovery_name}: the goal was rejected")
        answer = await self._answer(handle.get_result_async(), self._recovery_name)
        if answer.status != SUCCEEDED:
            raise DeviceError(
                f"{self._recovery_name}: ended with status {answer.status}; is the external activation device released?"
            )

    async def activate_hardware(self, name: str) -> None:
        request = self._srv.SetHardwareComponentState.Request(name=name)
        request.target_state.id, request.target_state.label = ACTIVE_STATE, "active"
        reply = await self._call(self._hardware, request)
        if not reply.ok or reply.state.label != "active":
            raise DeviceError(f"{self._hardware.srv_name}: {name} is {reply.state.label or 'unknown'}, must be active")

    async def _call(self, client: Any, request: Any) -> Any:
        if not client.service_is_ready():
            raise LinkError(f"{client.srv_name}: no such service; is ros2_control running?")
        return await self._answer(client.call_async(request), client.srv_name)

    async def _answer(self, future: Future, name: str) -> Any:
        """Return the future's result. Raises `LinkError` after `patience`."""

        def give_up() -> None:
            if not future.done():
                future.set_exception(LinkError(f"{name}: no answer within {self._patience:g} s"))

        timer = self._node.create_steady_timer(self._patience, give_up, self._group)
        try:
            return await future
        finally:
            self._node.destroy_timer(timer)
