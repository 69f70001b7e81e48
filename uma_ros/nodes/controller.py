"""Controller node: receives chunks in the base frame and publishes one stream of safe Cartesian targets.

The node converts messages. Every decision is in `uma.control.controller`.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from geometry_msgs.msg import PoseStamped
from sensor_msgs.msg import JointState
from std_msgs.msg import Header
from std_srvs.srv import Trigger
from tf2_msgs.msg import TFMessage

from uma.control.command import Status
from uma.control.controller import Controller
from uma.control.controller_settings import ControllerSettings
from uma.control.services import SERVICES, Services
from uma.geometry import fr3
from uma.settings import setting
from uma.types import InputError
from uma_ros.drivers.gripper.client import GripperClient
from uma_ros.messages import convert
from uma_ros.messages.frame_buffer import check_state_pose
from uma_ros.messages.joint_names import JointNames
from uma_ros.messages.static_frames import StaticFrames
from uma_ros.msg import ActionChunk, MotionPrediction
from uma_ros.msg import ReferenceMotion as ReferenceMsg
from uma_ros.runtime.health import Severity
from uma_ros.runtime.lifecycle import INACTIVE
from uma_ros.runtime.node import UmaNode, attempted, leave, run_node
from uma_ros.runtime.robot import robot
from uma_ros.runtime.status import StatusPublisher
from uma_ros.runtime.topics import COMMAND, LATCHED, SENSOR_IN, STATIC_TF_IN, STATUS, Topics


@dataclass(frozen=True)
class ControllerNodeSettings(ControllerSettings):
    """Settings of the controller, and the names of its topics."""

    base_frame: str = setting("", "base frame of the robot; chunks must be in it; empty: as in the robot file")
    robot_ee_frame: str = setting(
        "", "the end-effector frame of the robot's Cartesian controller; empty: as in the robot file"
    )
    topics: Topics = field(default_factory=Topics)


class ControllerNode(UmaNode):
    def __init__(self) -> None:
        super().__init__("controller", ControllerNodeSettings())

    def configure(self) -> None:
        s, topics = self.settings, self.settings.topics
        self.frames = StaticFrames()
        self.controller = Controller(
            s,
            self.frames.lookup,
            self._report,
            INACTIVE,
            self.topics.joint_states,
            self.topics.origins(),
            Services(*(self.service_name(name) for name in SERVICES)),
            robot().kinematics,
        )
        self._joint_names = JointNames(robot(), self.topics.joint_states)
        self.gripper = GripperClient(self, topics.gripper, s.gripper_effort, s.gripper_action)
        self.status = StatusPublisher(self)
        self.status.message.dry_run = s.dry_run
        self._out = self.make_publisher(PoseStamped, topics.target_pose, COMMAND)
        self.make_subscription(ActionChunk, topics.action_chunk_base, self._on_chunk, COMMAND)
        self.make_subscription(PoseStamped, topics.robot_pose, self._on_pose, SENSOR_IN)
        self.make_subscription(JointState, topics.joint_states, self._on_joints, SENSOR_IN)
        self.make_subscription(TFMessage, topics.tf_static, self._on_tf, STATIC_TF_IN)
        if s.needs_task:
            self.make_subscription(ReferenceMsg, topics.active_reference, self._on_task, LATCHED)
        if s.max_departure:
            self.make_subscription(MotionPrediction, topics.predicted_motion, self._on_motion, COMMAND)
        if s.heartbeat_s:
            self.make_subscription(Header, topics.heartbeat, lambda _: self._receive("operator"), STATUS)
        for name, action in zip(SERVICES, (self._start, self._stop, self._confirm, self._recover, self._home)):
            self.create_service(Trigger, f"uma/{name}", action)
        self.publish_configuration()
        if not s.dry_run:
            self.create_steady_timer(0.05, self._count_publishers)
        self.create_steady_timer(s.period, self._tick)
        self.create_steady_timer(0.2, self.status.publish)
        self.create_steady_timer(0.5, self._check_joint_names)

    def on_settings_changed(self) -> None:
        self.controller.change_settings(self.settings)
        self.gripper.max_effort = self.settings.gripper_effort

    def activate(self) -> None:
        self.controller.activate()

    def deactivate(self) -> None:
        self.controller.deactivate(INACTIVE, *self._clocks())

    def _clocks(self) -> tuple[float, float]:
        """Return the time on the monotonic clock and on the ROS clock, seconds."""
        return time.monotonic(), self.ros_time()

    def _receive(self, source: str) -> None:
        self.controller.receive(source, time.monotonic())

    # -- inputs --------------------------------------------------------------------------------------------------------

    def _on_tf(self, msg: TFMessage) -> None:
        with self.status.refusing(self.topics.tf_static):
            self.frames.add_message(msg)
            self._receive("calibration")

    def _on_pose(self, msg: PoseStamped) -> None:
        if not self.clock_runs():
            return
        with self.status.refusing(self.topics.robot_pose):
            pose = check_state_pose(msg, self.settings.base_frame)
            self.controller.receive_pose(pose, convert.seconds(msg.header.stamp), *self._clocks())

    def _on_joints(self, msg: JointState) -> None:
        """Receive the joints of the arm and of the gripper, in one message or in two."""
        self._joint_names.add(msg.name, time.monotonic())
        with self.status.refusing(self.topics.joint_states):
            joints = convert.arm_joints_from(msg)
            if joints is not None:
                self.controller.receive_joints(joints, time.monotonic())
            if robot().gripper_joint in msg.name:
                convert.gripper_from(msg)
                self._receive("gripper")

    def _on_chunk(self, msg: ActionChunk) -> None:
        with self.status.refusing(self.topics.action_chunk_base):
            self.controller.receive_chunk(convert.chunk_from(msg), *self._clocks())
            self.status.message.sequence = msg.sequence

    def _on_task(self, msg: ReferenceMsg) -> None:
        reference = None
        with self.status.refusing(self.topics.active_reference):
            reference = convert.reference_from(msg) if msg.keypoints else None
        self.controller.receive_task(convert.seconds(msg.header.stamp), reference, *self._clocks())

    def _on_motion(self, msg: MotionPrediction) -> None:
        if self.controller.reference is None:
            return
        with self.status.refusing(self.topics.predicted_motion):
            self.controller.receive_motion(convert.motion_from(msg))

    def _count_publishers(self) -> None:
        topic = self.topics.target_pose
        self.controller.count_publishers(topic, self.count_publishers(topic))

    def _check_joint_names(self) -> None:
        why = self._joint_names.problem(time.monotonic())
        self.problem("joint names", why, is_error=True)
        self.controller.obstruct("joint names", why)

    # -- services ------------------------------------------------------------------------------------------------------

    def _start(self, _: Trigger.Request, response: Trigger.Response) -> Trigger.Response:
        answer = attempted(lambda: self.controller.start(time.monotonic()), "", response)
        self.log(Severity.OK if answer.success else Severity.WARN, f"{self.service_name('start')}: {answer.message}")
        return answer

    def _stop(self, _: Trigger.Request, response: Trigger.Response) -> Trigger.Response:
        self.controller.stop(*self._clocks())
        response.success, response.message = True, "stopped: the pose is held"
        return response

    def _recover(self, _: Trigger.Request, response: Trigger.Response) -> Trigger.Response:
        done = f"recovered; call {self.service_name('start')} to go on"
        return attempted(lambda: self.controller.recover(*self._clocks()), done, response)

    def _confirm(self, _: Trigger.Request, response: Trigger.Response) -> Trigger.Response:
        answer = attempted(self.controller.confirm, "confirmed", response)
        self.log(Severity.OK if answer.success else Severity.WARN, f"{self.service_name('confirm')}: {answer.message}")
        return answer

    def _home(self, _: Trigger.Request, response: Trigger.Response) -> Trigger.Response:
        answer = attempted(self._go_home, "", response)
        self.log(Severity.OK if answer.success else Severity.WARN, f"{self.service_name('home')}: {answer.message}")
        return answer

    def _go_home(self) -> str:
        s = self.settings
        if (s.base_frame, s.robot_ee_frame) != robot().kinematics:
            base, ee = robot().kinematics
            raise RuntimeError(f"home is known from {base!r} to {ee!r}, the controller's frames differ")
        goal = fr3.forward(np.array(robot().home))
        try:
            seconds = self.controller.home(goal, robot().ee_frame, *self._clocks())
        except InputError as error:
            raise RuntimeError(str(error)) from None
        return f"on the way home, {seconds:.0f} s: up, across, down; {self.service_name('stop')} ends it"

    # -- outputs -------------------------------------------------------------------------------------------------------

    def _tick(self) -> None:
        now, t = self._clocks()
        command = self.controller.step(now, t, self.gripper.overdue(now))
        self._copy(command.status)
        self.problem("joint limits", command.unwatched)
        if command.close_gripper is not None:
            if not self.gripper.send(command.close_gripper):
                self.controller.repeat_gripper()
            self.problem("gripper", self.gripper.trouble)
        if command.target is not None:
            msg = PoseStamped(pose=convert.pose_to(command.target))
            msg.header.frame_id, msg.header.stamp = self.settings.base_frame, self.get_clock().now().to_msg()
            self._out.publish(msg)

    def _report(self, status: Status) -> None:
        self._copy(status)
        self.status.transition(status.transition, status.reason)

    def _copy(self, status: Status) -> None:
        for name in ("observation_age_ms", "achieved_rate_hz", "num_held", "num_limited"):
            setattr(self.status.message, name, getattr(status, name))

    def waits(self) -> tuple[list[str], str]:
        return self.controller.waits(time.monotonic())

    def diagnose(self) -> dict[str, Any]:
        self.problem("gripper", self.gripper.trouble)
        return {**self.controller.diagnose(), "refused": self.status.message.num_refused}


def main() -> int:
    return run_node(ControllerNode)


if __name__ == "__main__":
    leave(main())
