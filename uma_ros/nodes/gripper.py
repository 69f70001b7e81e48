"""Gripper node: drives a Robotiq 2F-85 on a serial port, under the names of ros2_robotiq_gripper.

The serial exchanges run in their own thread, because a reply may be slow.
"""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass, field

from rclpy.action import ActionServer, CancelResponse, GoalResponse
from rclpy.action.server import ServerGoalHandle
from rclpy.task import Future
from sensor_msgs.msg import JointState
from std_srvs.srv import Trigger

from uma.control.cadence import Cadence
from uma.settings import setting
from uma.types import InputError
from uma_ros.drivers.device import DeviceError
from uma_ros.drivers.gripper.client import ACTIONS, action_type, goal_from, result_to
from uma_ros.drivers.gripper.robotiq import STROKE, GripperSession, Outcome, Robotiq, RobotiqSettings
from uma_ros.messages.convert import stamp_from
from uma_ros.runtime.lifecycle import INACTIVE
from uma_ros.runtime.node import UmaNode, leave, run_node
from uma_ros.runtime.robot import robot
from uma_ros.runtime.status import StatusPublisher
from uma_ros.runtime.topics import STATE_OUT, Topics


@dataclass(frozen=True)
class GripperSettings:
    """Settings of the gripper node: serial link, exchange rate, served action."""

    rate: float = setting(30.0, "Hz; exchanges with the gripper; each yields a joint state", 5.0, 100.0)
    action: str = setting("GripperCommand", "served action of control_msgs", choices=ACTIONS)
    reactivate: str = setting(
        "robotiq_activation_controller/reactivate_gripper",
        "service that reactivates the gripper (std_srvs/Trigger); the fingers release the object",
    )
    robotiq: RobotiqSettings = field(default_factory=RobotiqSettings)
    topics: Topics = field(default_factory=Topics)


class GripperNode(UmaNode):
    def __init__(self) -> None:
        super().__init__("gripper", GripperSettings())

    def configure(self) -> None:
        s, topics = self.settings, self.settings.topics
        try:
            self.session = GripperSession(Robotiq(s.robotiq))
        except DeviceError as error:
            raise InputError(str(error)) from None
        self.status = StatusPublisher(self)
        self.exchanges = Cadence("exchanges", 1.0 / s.rate)
        self._published_at = float("-inf")
        self._goal: tuple[int, ServerGoalHandle, Future] | None = None
        self._number = 0
        self._joints = self.make_publisher(JointState, topics.joint_states, STATE_OUT)
        self._server = ActionServer(
            self,
            action_type(s.action),
            topics.gripper,
            self._run,
            goal_callback=self._on_goal,
            cancel_callback=lambda _: CancelResponse.ACCEPT,
        )
        self.create_service(Trigger, s.reactivate, self._reactivate)
        self.publish_configuration()
        self._ended = threading.Event()
        self._wire = threading.Thread(target=self._exchange, name="wire")
        self._wire.start()
        self.create_steady_timer(0.5 / s.rate, self._tick)

    # -- serial thread -------------------------------------------------------------------------------------------------

    def _exchange(self) -> None:
        period = 1.0 / self.settings.rate
        while not self._ended.is_set():
            began = time.monotonic()
            self.session.cycle(began)
            self.exchanges.beat(began)
            self._ended.wait(max(period - (time.monotonic() - began), 0.001))

    # -- ROS -----------------------------------------------------------------------------------------------------------

    def _tick(self) -> None:
        received_at = self.session.status_at
        if received_at > self._published_at:  # a gripper that does not answer publishes nothing
            self._published_at = received_at
            t = self.ros_time() - (time.monotonic() - received_at)
            msg = JointState(name=[robot().gripper_joint], position=[self.session.opening() * robot().gripper_closed])
            msg.header.stamp = stamp_from(t)
            self._joints.publish(msg)
        self.problem("gripper", self.session.trouble)
        if self._goal is not None:
            number, handle, done = self._goal
            if handle.is_cancel_requested:
                self.session.cancel(number)
            outcome = self.session.outcome(number)
            if outcome is not None:
                self._goal = None
                done.set_result(outcome)

    def _on_goal(self, goal) -> GoalResponse:
        """Accept a goal that the gripper can start at once."""
        try:
            if not self.is_active:
                raise DeviceError(INACTIVE)
            wanted = goal_from(self.settings.action, goal)
            self._number = self.session.goto(wanted.opening, wanted.speed * STROKE, wanted.force)
        except (InputError, DeviceError) as error:
            self.status.refuse(self.topics.gripper, str(error))
            return GoalResponse.REJECT
        return GoalResponse.ACCEPT

    async def _run(self, handle: ServerGoalHandle):
        if self._goal is not None:
            self._goal[2].set_result(Outcome(failed="replaced by another goal"))
        done = Future()
        self._goal = self._number, handle, done
        outcome = await done
        if not outcome.failed:
            handle.succeed()  # stalled on an object is a grasp, not a failure (allow_stalling)
        elif handle.is_cancel_requested:
            handle.canceled()
        else:
            self.get_logger().warning(f"goal failed: {outcome.failed}")
            handle.abort()
        return result_to(self.settings.action, self.session.opening() or 0.0, outcome.stalled, outcome.reached)

    def _reactivate(self, _: Trigger.Request, response: Trigger.Response) -> Trigger.Response:
        if not self.is_active:
            response.success, response.message = False, INACTIVE
            return response
        self.session.reactivate()
        response.success, response.message = True, "activation started: the fingers open and close once"
        return response

    def waits(self) -> tuple[list[str], str]:
        return [] if self.session.is_ready else [f"the gripper: {self.session.trouble or 'not ready'}"], ""

    def diagnose(self) -> dict:
        session, status = self.session, self.session.status
        state = (
            {}
            if status is None
            else {
                "fingers": status.motion.name,
                "fault": status.fault_text or "none",
                "motor_A": round(status.current, 2),
            }
        )
        replies = {f"reply_{k}_ms": round(v, 1) for k, v in session.device.replies.percentiles().items()}
        return {
            "ready": session.is_ready,
            **state,
            "rate_hz": round(self.exchanges.rate(time.monotonic()), 1),
            **replies,
            "links_lost": session.num_lost,
        }

    def close(self) -> None:
        self._ended.set()
        self._wire.join(2.0)
        self.session.device.close()  # the gripper keeps its grasp


def main() -> int:
    return run_node(GripperNode)


if __name__ == "__main__":
    leave(main())
