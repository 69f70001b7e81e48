"""Gripper actions: client of the controller, and conversion of goals and results.

Two actions of control_msgs are supported: GripperCommand (ros2_control up to Jazzy) and ParallelGripperCommand (from
Jazzy on, the only one from Kilted on). Both contain the angle of the knuckle joint. This module converts it to the
gripper position, 0 open to 1 closed, and back.
"""

from __future__ import annotations

import importlib
import math
import time
from dataclasses import dataclass
from typing import Any

from rclpy.action import ActionClient
from rclpy.node import Node
from sensor_msgs.msg import JointState

from uma.control.controller_settings import GRIPPER_ACTIONS
from uma.types import InputError
from uma_ros.runtime.robot import robot

ACTIONS = GRIPPER_ACTIONS
PATIENCE = 2.0
"""Longest wait for the acceptance of a goal, s. Then the arm holds: it must not lift an object without a grasp."""


@dataclass(frozen=True)
class GripperGoal:
    """Goal of the gripper.

    Attributes:
        opening: 0 open to 1 closed.
        speed: strokes per second; 0 = unspecified.
        force: N; 0 = unspecified.
    """

    opening: float
    speed: float = 0.0
    force: float = 0.0


def action_type(name: str) -> Any:
    """Return the action's class. Raises `InputError` if the installed control_msgs lacks it."""
    found = getattr(importlib.import_module("control_msgs.action"), name, None) if name in ACTIONS else None
    if found is None:
        raise InputError(
            f"gripper action {name!r}: not in the installed control_msgs, must be one of {', '.join(ACTIONS)}"
        )
    return found


def goal_to(name: str, wanted: GripperGoal) -> Any:
    """Return a goal message of action ``name``."""
    goal = action_type(name).Goal()
    angle = wanted.opening * robot().gripper_closed
    if name == "GripperCommand":
        goal.command.position, goal.command.max_effort = angle, wanted.force
        return goal
    goal.command = JointState(name=[robot().gripper_joint], position=[angle])
    goal.command.velocity = [wanted.speed * robot().gripper_closed] if wanted.speed else []
    goal.command.effort = [wanted.force] if wanted.force else []
    return goal


def goal_from(name: str, goal: Any) -> GripperGoal:
    """Return the goal in a message of action ``name``.

    Raises:
        InputError: with the field, its value and the limit.
    """
    if name == "GripperCommand":
        angle, speed, force, field = goal.command.position, 0.0, goal.command.max_effort, "command.position"
    else:
        c = goal.command
        if (
            list(c.name) not in ([], [robot().gripper_joint])
            or len(c.position) != 1
            or len(c.velocity) > 1
            or len(c.effort) > 1
        ):
            raise InputError(
                f"command: joints {str(list(c.name)[:3])[:200]}, {len(c.position)} positions, must be "
                f"{robot().gripper_joint} alone"
            )
        angle, speed, force = c.position[0], *(list(v)[0] if len(v) else 0.0 for v in (c.velocity, c.effort))
        field = "command.position[0]"
    if not 0.0 <= angle <= robot().gripper_closed:
        raise InputError(f"{field}: {angle}, must lie in [0, {robot().gripper_closed}]")
    for what, value in (("velocity", speed), ("effort", force)):
        if not (math.isfinite(value) and value >= 0.0):
            raise InputError(f"command {what}: {value}, must be finite and at least 0")
    return GripperGoal(angle / robot().gripper_closed, speed / robot().gripper_closed, force)


def result_to(name: str, opening: float, stalled: bool, reached: bool) -> Any:
    """Return a result message of action ``name``."""
    kind, angle = action_type(name).Result, opening * robot().gripper_closed
    if name == "GripperCommand":
        return kind(position=angle, stalled=stalled, reached_goal=reached)
    return kind(state=JointState(name=[robot().gripper_joint], position=[angle]), stalled=stalled, reached_goal=reached)


class GripperClient:
    """Sends goals to the gripper's action server, without blocking.

    Args:
        topic: name of the action.
        action: type of the action, one of `ACTIONS`.
        max_effort: force of every goal, N.
    """

    def __init__(self, node: Node, topic: str, max_effort: float, action: str = "GripperCommand") -> None:
        self._client = ActionClient(node, action_type(action), topic)
        self._action, self.max_effort = action, max_effort
        self.trouble = ""
        self._goal = GripperGoal(0.0, force=max_effort)
        self._sent_at: float | None = None  # time of the last transmission of an unanswered goal
        self._first_sent_at: float | None = None  # time of its first transmission

    def send(self, closed: bool) -> bool:
        """Send a goal, closed or open. Return False if there is no server; the caller then repeats it."""
        if not self._client.server_is_ready():
            self.trouble = "no gripper action server"
            return False
        self.trouble = ""
        self._goal = GripperGoal(1.0 if closed else 0.0, force=self.max_effort)
        self._first_sent_at = None
        self._send()
        return True

    def _send(self) -> None:
        self._sent_at = time.monotonic()
        self._first_sent_at = self._first_sent_at or self._sent_at
        self._client.send_goal_async(goal_to(self._action, self._goal)).add_done_callback(self._on_answer)

    def overdue(self, now: float) -> str:
        """Return an error text if the server has not accepted or rejected the last goal within `PATIENCE`, else "".

        The goal is repeated every `PATIENCE`, because a restarted server has lost it. The repetition does no harm on a
        slow server.
        """
        if self._sent_at is None or now - self._first_sent_at <= PATIENCE:
            return ""
        if now - self._sent_at > PATIENCE and self._client.server_is_ready():
            self._send()
        self.trouble = f"the gripper has not answered for {now - self._first_sent_at:.1f} s, limit {PATIENCE:g} s"
        return self.trouble

    def _on_answer(self, future) -> None:
        self._sent_at = self._first_sent_at = None
        self.trouble = "" if future.result().accepted else "the gripper rejected the goal"
