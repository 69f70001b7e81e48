"""The gripper's side of the controller: a binary command with hysteresis, sent as an action goal when it changes.

Two actions of control_msgs are spoken: GripperCommand (ros2_control up to Jazzy) and ParallelGripperCommand (from Jazzy
on, alone from Kilted on). Both carry the knuckle joint's angle; here alone it becomes our opening, 0 open to 1 closed,
and back.
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
"""s; a server that has not said for longer whether it takes a goal is not there: the arm must not lift what was never
grasped."""


@dataclass(frozen=True)
class GripperGoal:
    """What a goal asks for.

    Attributes:
        opening: 0 open to 1 closed.
        speed: share of the whole stroke in a second; 0 = not said.
        force: N; 0 = not said.
    """

    opening: float
    speed: float = 0.0
    force: float = 0.0


def action_type(name: str) -> Any:
    """The action's class. Raises `InputError` if this control_msgs does not have it."""
    found = getattr(importlib.import_module("control_msgs.action"), name, None) if name in ACTIONS else None
    if found is None:
        raise InputError(
            f"gripper action {name!r}: not in this installation of control_msgs; known are {', '.join(ACTIONS)}"
        )
    return found


def goal_to(name: str, wish: GripperGoal) -> Any:
    """A goal message of action ``name``."""
    goal = action_type(name).Goal()
    angle = wish.opening * robot().gripper_closed
    if name == "GripperCommand":
        goal.command.position, goal.command.max_effort = angle, wish.force
        return goal
    goal.command = JointState(name=[robot().gripper_joint], position=[angle])
    goal.command.velocity = [wish.speed * robot().gripper_closed] if wish.speed else []
    goal.command.effort = [wish.force] if wish.force else []
    return goal


def goal_from(name: str, goal: Any) -> GripperGoal:
    """What a goal message of action ``name`` asks for.

    Raises:
        InputError: naming the field, its value and the limit.
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
    """A result message of action ``name``."""
    kind, angle = action_type(name).Result, opening * robot().gripper_closed
    if name == "GripperCommand":
        return kind(position=angle, stalled=stalled, reached_goal=reached)
    return kind(state=JointState(name=[robot().gripper_joint], position=[angle]), stalled=stalled, reached_goal=reached)


class GripperClient:
    """Sends goals to the gripper's action server without waiting for it.

    Args:
        topic, action: where the server is, and which of `ACTIONS` it speaks.
        max_effort: N, asked for with every goal.
    """

    def __init__(self, node: Node, topic: str, max_effort: float, action: str = "GripperCommand") -> None:
        self._client = ActionClient(node, action_type(action), topic)
        self._action, self.max_effort = action, max_effort
        self.trouble = ""
        self._wish = GripperGoal(0.0, force=max_effort)
        self._asked: float | None = None  # when the goal went out that is not answered yet
        self._since: float | None = None  # and the first of those that were sent again

    def send(self, closed: bool) -> bool:
        """Ask for open or closed; False if no server is there (to be tried again)."""
        if not self._client.server_is_ready():
            self.trouble = "no gripper action server"
            return False
        self.trouble = ""
        self._wish = GripperGoal(1.0 if closed else 0.0, force=self.max_effort)
        self._since = None
        self._ask()
        return True

    def _ask(self) -> None:
        self._asked = time.monotonic()
        self._since = self._since or self._asked
        self._client.send_goal_async(goal_to(self._action, self._wish)).add_done_callback(self._on_answer)

    def overdue(self, now: float) -> str:
        """What is wrong if the server has taken longer than `PATIENCE` to say whether it takes the last goal; empty if
        nothing.

        The goal is sent again every so often: a server that was restarted knows nothing of it, and to one that was only
        slow it is the same goal.
        """
        if self._asked is None or now - self._since <= PATIENCE:
            return ""
        if now - self._asked > PATIENCE and self._client.server_is_ready():
            self._ask()
        self.trouble = f"the gripper has not answered for {now - self._since:.1f} s, limit {PATIENCE:g} s"
        return self.trouble

    def _on_answer(self, future) -> None:
        self._asked = self._since = None
        self.trouble = "" if future.result().accepted else "the gripper rejected the goal"
