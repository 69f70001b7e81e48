"""The robot node as a process, with std_msgs instead of franka_msgs, which is not on PyPI, and a recoverable arm.

Its topic of states has the type std_msgs/String: "reflex" stops the arm, any other text is a sign of life.
"""

from __future__ import annotations

import sys
from functools import partial
from types import ModuleType, SimpleNamespace

import fake_franka_ros
from fake_franka_ros import Arm, Errors
from rclpy.serialization import deserialize_message
from std_msgs.msg import String

from uma_ros.drivers.franka.ros_recovery import FrankaSteps
from uma_ros.nodes import robot
from uma_ros.runtime.node import run_node

ARM = Arm()


def state(data: bytes, kind: type) -> SimpleNamespace:
    """Return a FrankaRobotState with the fields that the node uses."""
    if deserialize_message(data, kind).data == "reflex" and not ARM.in_reflex:
        ARM.reflex()
    errors = Errors(cartesian_reflex=ARM.in_reflex)
    return SimpleNamespace(
        robot_mode=4 if ARM.in_reflex else 2,
        control_command_success_rate=1.0,
        current_errors=errors,
        last_motion_errors=Errors(),
    )


class FakeRobotNode(robot.RobotNode):
    def create_client(self, kind, name, **options):
        known = getattr(kind, "__name__", "") in fake_franka_ros.SERVICES
        return ARM.create_client(kind, name) if known else super().create_client(kind, name, **options)


if __name__ == "__main__":
    fake_franka_ros.install(SimpleNamespace(setitem=lambda where, key, value: where.__setitem__(key, value)))
    sys.modules["franka_msgs.msg"] = ModuleType("franka_msgs.msg")
    sys.modules["franka_msgs.msg"].FrankaRobotState = String
    robot.deserialize_message, robot.FrankaSteps = state, partial(FrankaSteps, action_client=ARM.action_client)
    sys.exit(run_node(FakeRobotNode))
