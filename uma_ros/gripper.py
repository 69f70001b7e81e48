"""The gripper's side of the controller: a binary command with hysteresis, sent as an action goal when it changes."""

from __future__ import annotations

from control_msgs.action import GripperCommand
from rclpy.action import ActionClient
from rclpy.node import Node

from uma_ros.names import GRIPPER_CLOSED


class Hysteresis:
    """Closes above one threshold and opens below a lower one; between them it stays as it is."""

    def __init__(self, close_above: float, open_below: float) -> None:
        self.close_above, self.open_below = close_above, open_below
        self.closed: bool | None = None

    def update(self, value: float) -> bool | None:
        """The new command, True to close, if it changes; None if not."""
        wanted = True if value > self.close_above else False if value < self.open_below else self.closed
        if wanted is None or wanted == self.closed:
            return None
        self.closed = wanted
        return wanted


class GripperClient:
    """Sends goals to the gripper's action server without waiting for it."""

    def __init__(self, node: Node, action: str, max_effort: float) -> None:
        self._client = ActionClient(node, GripperCommand, action)
        self._max_effort = max_effort
        self.trouble = ""

    def send(self, closed: bool) -> bool:
        """Ask for open or closed; False if no server is there (to be tried again)."""
        if not self._client.server_is_ready():
            self.trouble = "no gripper action server"
            return False
        self.trouble = ""
        goal = GripperCommand.Goal()
        goal.command.position, goal.command.max_effort = GRIPPER_CLOSED if closed else 0.0, self._max_effort
        self._client.send_goal_async(goal).add_done_callback(self._on_answer)
        return True

    def _on_answer(self, future) -> None:
        self.trouble = "" if future.result().accepted else "the gripper rejected the goal"
