"""Franka node: drives an FR3 through libfranka, without ros2_control.

It publishes the flange pose and the joint states. It solves the inverse kinematics of Cartesian targets itself.
"""

from __future__ import annotations

import time
from collections import Counter
from dataclasses import dataclass, field

import numpy as np
from geometry_msgs.msg import PoseStamped
from rclpy.task import Future
from sensor_msgs.msg import JointState
from std_srvs.srv import Trigger

from uma.control.joints import JointLimits
from uma.geometry import fr3
from uma.settings import setting
from uma.types import InputError
from uma_ros.drivers.franka.exchange import ArmState, FciSettings, Phase, Target
from uma_ros.drivers.franka.link import FciLink
from uma_ros.messages.convert import nanoseconds, pose_to, stamp_from
from uma_ros.messages.frame_buffer import check_age, check_state_pose
from uma_ros.runtime.lifecycle import INACTIVE
from uma_ros.runtime.node import UmaNode, leave, run_node
from uma_ros.runtime.robot import robot
from uma_ros.runtime.status import StatusPublisher
from uma_ros.runtime.topics import COMMAND, STATE_OUT, Topics


@dataclass(frozen=True)
class FrankaSettings:
    """Settings of the Franka node: publishing rate, target checks, arm and joint limits."""

    rate: float = setting(200.0, "Hz; publishing rate of poses and joint states", 20.0, 1000.0)
    base_frame: str = setting(
        "",
        "base frame of the robot; targets are poses of the flange fr3_link8 in it; empty: as in the robot file",
    )
    max_target_age: float = setting(0.2, "s; largest age of a target", 0.01, 2.0)
    max_miss_m: float = setting(0.02, "m; largest position error of the inverse kinematics for a target", 0.001, 0.2)
    max_miss_rad: float = setting(0.1, "rad; largest orientation error of the same", 0.001, 1.0)
    fci: FciSettings = field(default_factory=FciSettings)
    limits: JointLimits = field(default_factory=JointLimits)
    topics: Topics = field(default_factory=Topics)


class TargetMaker:
    """Converts flange poses to joint targets. The previous solution starts the next one."""

    def __init__(self, settings: FrankaSettings) -> None:
        self._settings = settings
        self._last: Target | None = None

    def make(self, pose: np.ndarray, now: float, stamp: float, measured: np.ndarray) -> Target:
        """Return the joint target for a flange pose.

        Args:
            pose: ``(4, 4)`` flange in the base frame.
            now: s, monotonic clock.
            stamp: s, the sender's clock.
            measured: ``(7,)`` measured joint positions, rad; start of the first solution.

        Raises:
            InputError: the inverse kinematics misses the pose by more than the limits.
        """
        s, last = self._settings, self._last
        continues = last is not None and now - last.time < s.fci.hold_after
        q, metres, radians = fr3.solve(
            pose, last.q if continues else measured, iterations=2 if continues else 30, margin=s.limits.margin
        )
        if metres > s.max_miss_m or radians > s.max_miss_rad:
            raise InputError(
                f"pose: the joints come no nearer than {metres * 1e3:.0f} mm and {radians:.2f} rad, limit "
                f"{s.max_miss_m * 1e3:g} mm and {s.max_miss_rad:g} rad"
            )
        gap = stamp - self._stamp if continues else 0.0
        speed = (q - last.q) / gap if 0.001 < gap < s.fci.hold_after else np.zeros(7)
        self._last, self._stamp = Target(now, q, np.clip(speed, -fr3.SPEED, fr3.SPEED)), stamp
        return self._last


class FrankaNode(UmaNode):
    def __init__(self) -> None:
        super().__init__("franka", FrankaSettings())

    def configure(self) -> None:
        s, topics = self.settings, self.settings.topics
        self.status = StatusPublisher(self)
        self.maker = TargetMaker(s)
        self.link = FciLink(s.fci, s.limits)
        self.state: ArmState | None = None
        self.trouble, self._trouble_at = "not connected yet", 0.0
        self.counts: Counter[str] = Counter(lost=0, blocked=0, targets=0)
        self._published_at = 0.0
        self._waiting: list[Future] = []
        self._stop = self.create_client(Trigger, "uma/stop")
        self._pose = self.make_publisher(PoseStamped, topics.robot_pose, STATE_OUT)
        self._joints = self.make_publisher(JointState, topics.joint_states, STATE_OUT)
        self.make_subscription(PoseStamped, topics.target_pose, self._on_target, COMMAND)
        self.create_service(Trigger, "uma/recover_robot", self._recover, callback_group=self.create_group())
        self.publish_configuration()
        self.create_steady_timer(1.0 / s.rate, self._tick)
        self.create_steady_timer(0.05, self._read_events)

    def _tick(self) -> None:
        state = self.link.state()
        if (
            state is None or state.time <= self._published_at
        ):  # no new state: nothing is published, so that watchdogs expire
            return
        self.state, self._published_at = state, state.time
        stamp = stamp_from(self.ros_time() - (time.monotonic() - state.time))
        if state.phase is not Phase.BLOCKED:
            # A blocked arm publishes no pose. The controller then drops its commanded pose and restarts at the
            # measured one.
            pose = PoseStamped(pose=pose_to(fr3.forward(state.q)))
            pose.header.frame_id, pose.header.stamp = self.settings.base_frame, stamp
            self._pose.publish(pose)
        joints = JointState(name=list(robot().arm_joints), position=state.q.tolist(), velocity=state.dq.tolist())
        joints.header.stamp = stamp
        self._joints.publish(joints)

    def _on_target(self, msg: PoseStamped) -> None:
        now, s = time.monotonic(), self.settings
        if not self.is_active:
            return  # the arm's process holds the pose when targets cease
        try:
            pose = check_state_pose(msg, s.base_frame)
            check_age(nanoseconds(msg.header.stamp), self.get_clock().now().nanoseconds, s.max_target_age)
            if self.state is None or now - self.state.time > s.fci.hold_after:
                raise InputError("the arm is not connected")
            if self.counts["publishers"] > 1:
                raise InputError(f"{self.counts['publishers']} nodes publish targets, must be one")
            self.link.follow(self.maker.make(pose, now, nanoseconds(msg.header.stamp) * 1e-9, self.state.q))
            self.counts["targets"] += 1
        except InputError as error:
            self.status.refuse(self.topics.target_pose, error)

    def _read_events(self) -> None:
        self.counts["publishers"] = self.count_publishers(self.topics.target_pose)
        for kind, text in self.link.events():
            if kind in ("log", "recovered"):
                self.get_logger().info(text)
            else:
                self.get_logger().error(text)
            if kind in ("lost", "blocked"):
                if not self.trouble and self._stop.service_is_ready():
                    self._stop.call_async(Trigger.Request())  # a person restarts the session
                self.counts[kind] += 1
                self.trouble, self._trouble_at = (
                    f"{text}: make the space around the arm safe, then call {self.service_name('recover_robot')}",
                    time.monotonic(),
                )
                self._answer(False, text)
            elif kind == "unreached":
                self.trouble, self._trouble_at = text, time.monotonic()
            elif kind in ("recovered", "failed"):
                self._answer(kind == "recovered", text)
            elif kind == "fatal":
                raise InputError(text)
        if (
            self.state is not None
            and self.state.phase in (Phase.WATCHING, Phase.MOVING)
            and self.state.time > self._trouble_at
        ):
            self.trouble = ""
        if not self.link.is_alive:
            raise InputError("the process that drives the arm has died and the arm holds: restart the node")

    def _answer(self, success: bool, text: str) -> None:
        """Resolve every pending recovery request."""
        for future in self._waiting:
            future.set_result((success, text))
        self._waiting.clear()

    async def _recover(self, _: Trigger.Request, response: Trigger.Response) -> Trigger.Response:
        if not self.is_active:
            response.success, response.message = False, INACTIVE
            return response
        if self.state is None or time.monotonic() - self.state.time > 1.0:
            response.success, response.message = False, f"the arm is not connected: {self.trouble}"
            return response
        future = Future()
        self._waiting.append(future)
        self.link.recover()
        response.success, response.message = await future
        if response.success:
            response.message += f"; call {self.service_name('start')} to go on"
        return response

    def waits(self) -> tuple[list[str], str]:
        is_there = self.state is not None and time.monotonic() - self.state.time <= 1.0
        return [] if is_there else [f"the arm: {self.trouble or 'no state received'}"], ""

    def diagnose(self) -> dict:
        state = self.state
        self.problem("arm", self.trouble, is_error=state is not None and state.phase is Phase.BLOCKED)
        many = self.counts["publishers"]
        self.problem("targets", f"{many} nodes publish targets, must be one: none is followed" if many > 1 else "")
        if state is None:
            return {"phase": Phase.UNREACHED.name, **self.counts}
        silent = time.monotonic() - state.time
        low = state.phase is Phase.MOVING and self.settings.fci.variant == "loop" and state.success_rate < 0.95
        self.problem(
            "network",
            f"{state.success_rate:.0%} of the commands reach the arm in time, limit 95 %" if low else "",
        )
        error = float(np.abs(state.q - state.q_command).max())
        timing = {
            "cycles": state.cycles,
            "late": state.late,
            "compute_p99_ms": round(state.compute_p99_ms, 3),
            "interval_p99_ms": round(state.interval_p99_ms, 3),
        }
        phase = Phase.UNREACHED if silent > 1.0 else state.phase
        return {
            "phase": phase.name,
            "mode": state.mode.name,
            "control_command_success_rate": state.success_rate,
            "tracking_error_rad": round(error, 5),
            **timing,
            **self.counts,
        }

    def close(self) -> None:
        self.link.close()


def main() -> int:
    return run_node(FrankaNode)


if __name__ == "__main__":
    leave(main())
