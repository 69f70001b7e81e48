"""Robot node: monitors a Franka that franka_ros2 and CRISP drive.

It reports the arm's state, stops the controller when the arm is blocked, and recovers the arm on request.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field

from geometry_msgs.msg import PoseStamped
from rclpy.serialization import deserialize_message
from std_srvs.srv import Trigger

from uma.control.cadence import Cadence
from uma.settings import setting
from uma.types import InputError
from uma_ros.drivers.device import DeviceError, LinkError, MissingPackage
from uma_ros.drivers.franka.health import Health, recover
from uma_ros.drivers.franka.ros_recovery import FrankaSteps, flange_pose, health_from, ros_package
from uma_ros.messages.convert import pose_to
from uma_ros.runtime.health import Severity
from uma_ros.runtime.lifecycle import INACTIVE
from uma_ros.runtime.node import UmaNode, leave, run_node
from uma_ros.runtime.topics import SENSOR_IN, STATE_OUT, Topics


@dataclass(frozen=True)
class RobotSettings:
    """Settings of the robot node: names in franka_ros2 and ros2_control, required controllers, limits."""

    state: str = setting(
        "franka_robot_state_broadcaster/robot_state", "state of the arm (franka_msgs/msg/FrankaRobotState)"
    )
    rate: float = setting(
        100.0, "Hz; largest rate at which states are decoded; franka_ros2 publishes up to 1000 Hz", 1.0, 1000.0
    )
    publish_pose: bool = setting(
        False, "publish the flange pose of that state on robot_pose; off where CRISP's pose broadcaster publishes it"
    )
    base_frame: str = setting("", "base frame of the robot, for the published pose; empty: as in the robot file")
    controllers: list[str] = setting(["cartesian_impedance_controller"], "controllers that must be active")
    hardware: str = setting("FrankaHardwareInterface", "hardware component of the arm")
    manager: str = setting("controller_manager", "name of the controller manager")
    error_recovery: str = setting(
        "action_server/error_recovery", "action that clears the arm's errors (franka_msgs/action/ErrorRecovery)"
    )
    patience: float = setting(10.0, "s; longest wait for an answer; a longer one counts as a broken link", 0.5, 60.0)
    max_silence: float = setting(0.5, "s; an older state is a problem", 0.05, 10.0)
    min_success_rate: float = setting(0.95, "smallest fraction of commands that must reach the arm in time", 0.0, 1.0)
    topics: Topics = field(default_factory=Topics)


class RobotNode(UmaNode):
    def __init__(self) -> None:
        super().__init__("robot", RobotSettings())

    def configure(self) -> None:
        s = self.settings
        self.health: Health | None = None
        self.states = Cadence("states")
        self._received_at = float("-inf")
        self._blocked = ""
        self._is_checking = self._is_recovering = False
        group = self.create_group()
        try:
            self._kind = ros_package("franka_msgs.msg").FrankaRobotState
            manager, recovery = self.resolve_service_name(s.manager), self.resolve_topic_name(s.error_recovery)
            self.steps = FrankaSteps(self, manager, recovery, s.patience, group)
        except MissingPackage as error:
            raise InputError(str(error)) from None
        self._pose = self.make_publisher(PoseStamped, s.topics.robot_pose, STATE_OUT) if s.publish_pose else None
        self._stop = self.create_client(Trigger, "uma/stop")
        # Raw messages: decoding every state at 1 kHz would cost too much.
        self.create_subscription(self._kind, s.state, self._on_state, SENSOR_IN, raw=True)
        self.create_service(Trigger, "uma/recover_robot", self._recover, callback_group=group)
        self.publish_configuration()
        self.create_steady_timer(1.0, self._check_controllers, group)

    def _on_state(self, data: bytes) -> None:
        now = time.monotonic()
        if now - self._received_at < 0.9 / self.settings.rate:
            return
        self._received_at = now
        self.states.beat(now)
        msg = deserialize_message(data, self._kind)
        self.health = health_from(msg)
        if self.health.blocked and not self._blocked:
            self.get_logger().error(self.health.blocked)
            if self._stop.service_is_ready():
                self._stop.call_async(Trigger.Request())  # a person restarts the session
        self._blocked = self.health.blocked
        if self._pose is not None:
            try:
                pose = PoseStamped(pose=pose_to(flange_pose(msg)))
            except InputError as error:
                self.problem("pose", str(error))
                return
            pose.header.frame_id, pose.header.stamp = self.settings.base_frame, msg.header.stamp
            self._pose.publish(pose)

    async def _check_controllers(self) -> None:
        if self._is_checking or self._is_recovering:
            return
        self._is_checking = True
        try:
            states = await self.steps.controllers()
            idle = [
                f"{name} is {states.get(name, 'not loaded')}"
                for name in self.settings.controllers
                if states.get(name) != "active"
            ]
            self.problem("controllers", f"{', '.join(idle)}, must be active" if idle else "")
        except (DeviceError, LinkError) as error:
            self.problem("controllers", str(error))
        finally:
            self._is_checking = False

    async def _recover(self, _: Trigger.Request, response: Trigger.Response) -> Trigger.Response:
        if not self.is_active:
            response.success, response.message = False, INACTIVE
            return response
        if self._is_recovering:
            response.success, response.message = False, "a recovery is in progress"
            return response
        self._is_recovering = True
        try:
            done = await recover(self.steps, self.settings.controllers, self.settings.hardware)
            response.success, response.message = True, "; ".join([*done, f"call {self.service_name('start')} to go on"])
        except (DeviceError, LinkError) as error:
            response.success, response.message = False, str(error)
        finally:
            self._is_recovering = False
        self.log(
            Severity.OK if response.success else Severity.WARN,
            f"{self.service_name('recover_robot')}: {response.message}",
        )
        return response

    def waits(self) -> tuple[list[str], str]:
        is_silent = time.monotonic() - self._received_at > self.settings.max_silence
        return [f"{self.resolve_topic_name(self.settings.state)}: no state received"] if is_silent else [], ""

    def diagnose(self) -> dict:
        s, silent = self.settings, time.monotonic() - self._received_at
        self.problem("state", f"silent for {silent:.1f} s, limit {s.max_silence:g} s" if silent > s.max_silence else "")
        self.problem("robot", self._blocked, is_error=True)
        if self.health is None:
            return {"mode": "unknown"}
        h = self.health
        low = h.mode.name == "MOVE" and h.success_rate < s.min_success_rate
        self.problem(
            "network",
            f"{h.success_rate:.0%} of the commands reach the arm in time, limit {s.min_success_rate:.0%}"
            if low
            else "",
        )
        return {
            "mode": h.mode.name,
            "control_command_success_rate": h.success_rate,
            "last_errors": ", ".join(h.last_errors) or "none",
            **self.states.report(),
        }


def main() -> int:
    return run_node(RobotNode)


if __name__ == "__main__":
    leave(main())
