"""Controller node: chunks in the base frame in, one stream of safe Cartesian targets out. It alone decides whether the
robot moves."""

from __future__ import annotations

import time
from dataclasses import dataclass, field

import numpy as np
from geometry_msgs.msg import PoseStamped
from sensor_msgs.msg import JointState
from std_msgs.msg import Header
from std_srvs.srv import Trigger
from tf2_msgs.msg import TFMessage

from uma.control.cadence import Cadence
from uma.control.departure import departure
from uma.control.gate import MODES, Gate
from uma.control.hysteresis import Hysteresis
from uma.control.reach import Arm
from uma.control.safety import SafetyFilter, SafetySettings
from uma.control.schedule import Schedule
from uma.control.session import Session, State
from uma.control.watchdog import Watchdog
from uma.geometry.se3 import invert
from uma.settings import setting
from uma.types import RATE_HZ, InputError, ReferenceMotion
from uma_ros.drivers.gripper.client import ACTIONS, GripperClient
from uma_ros.messages.convert import (
    arm_joints_from,
    chunk_from,
    gripper_from,
    motion_from,
    nanoseconds,
    pose_to,
    reference_from,
)
from uma_ros.messages.frame_buffer import check_age, check_state_pose
from uma_ros.messages.static_frames import StaticFrames
from uma_ros.msg import ActionChunk, MotionPrediction
from uma_ros.msg import ReferenceMotion as ReferenceMsg
from uma_ros.runtime.lifecycle import INACTIVE
from uma_ros.runtime.node import UmaNode, leave, run_node
from uma_ros.runtime.status import StatusSpeaker
from uma_ros.runtime.topics import COMMAND, GRIPPER_JOINT, LATCHED, SENSOR_IN, STATUS, Topics

MAX_JUMP = 0.15
"""Metres between two robot states in a row beyond which the robot's state is not believed."""
CLOCK_SET = 1.0
"""Seconds between two periods beyond which the clock was set, rather than the controller kept waiting: nothing moves on
for that time."""


@dataclass(frozen=True)
class ControllerSettings:
    """Rates, gates and limits between a chunk and the robot."""

    rate: float = setting(125.0, "Hz; targets sent to the robot", 20.0, 1000.0)
    autostart: bool = setting(False, "move as soon as there is a chunk; else only after /uma/start")
    dry_run: bool = setting(False, "do everything but send targets and gripper commands")
    base_frame: str = setting("fr3_link0", "base frame of the robot; chunks must be in it")
    robot_ee_frame: str = setting("fr3_link8", "the frame that the robot's Cartesian controller places")
    blend_s: float = setting(
        0.2, "s; time over which a new chunk takes over; with ensemble, gains its weight", 0.0, 2.0
    )
    ensemble: float = setting(
        0.0,
        "decay of the weight by chunk of age, where all chunks of a task that have an action now are averaged; 0 = only the newest one counts",
        0.0,
        10.0,
    )
    max_chunk_age: float = setting(1.0, "s; a chunk from an older observation is refused", 0.05, 10.0, live=True)
    max_state_age: float = setting(
        0.3, "s; older robot state is refused, longer silence is a HOLD", 0.005, 10.0, live=True
    )
    hold_limit: float = setting(
        5.0, "s; after a HOLD this long a new start is needed (with autostart: a new chunk)", 0.1, 3600.0, live=True
    )
    gripper_close_above: float = setting(0.6, "0 to 1; the gripper closes when an action is above", 0.0, 1.0)
    gripper_open_below: float = setting(0.4, "0 to 1; the gripper opens when an action is below", 0.0, 1.0)
    gripper_effort: float = setting(40.0, "N; effort asked of the gripper", 0.0, 235.0, live=True)
    gripper_action: str = setting(
        "GripperCommand", "the action of control_msgs that the gripper's driver serves", choices=ACTIONS
    )
    confirm: str = setting(
        "off",
        "what waits for /uma/confirm before it moves: nothing, every new task, or every chunk (a single step)",
        choices=MODES,
    )
    heartbeat_s: float = setting(
        0.0,
        "s; longest silence of a remote operator's heartbeat before the arm is held; 0 = none is asked for",
        0.0,
        60.0,
    )
    max_departure: float = setting(
        0.0, "m; the arm is held while the predicted motion leaves the reference's path by more; 0 = never", 0.0, 2.0
    )
    safety: SafetySettings = field(default_factory=SafetySettings)
    topics: Topics = field(default_factory=Topics)


class ControllerNode(UmaNode):
    def __init__(self) -> None:
        super().__init__("controller", ControllerSettings())

    def configure(self) -> None:
        s, topics = self.settings, self.settings.topics
        self.session = Session(s.autostart, s.hold_limit)
        self.schedule = Schedule(s.blend_s, s.ensemble)
        self.safety = SafetyFilter(s.safety)
        self.watchdog = Watchdog(self._limits())
        self.gate = Gate(s.confirm)
        self.cadence = Cadence("targets", 1.0 / s.rate)
        self.hysteresis = Hysteresis(s.gripper_close_above, s.gripper_open_below)
        self.gripper = GripperClient(self, topics.gripper, s.gripper_effort, s.gripper_action)
        self.frames = StaticFrames()
        self.status = StatusSpeaker(self)
        self.status.message.dry_run = s.dry_run
        self.measured: np.ndarray | None = None  # robot_ee_frame in the base frame
        self.T_robot_ee: np.ndarray | None = None  # of the chunk that is being followed
        self._joints: tuple[np.ndarray, float] | None = None  # the arm's, and when they were heard
        self._chunk_stamp = self._chunk_heard = float("-inf")
        self._held = self._departed = self._mute = ""
        self._reference: ReferenceMotion | None = None
        self._blocked = True
        self._last_tick: float | None = None
        self._followed = False  # the filter stands where the robot was sent to

        self._out = self.speak(PoseStamped, topics.target_pose, COMMAND)
        self.listen(ActionChunk, topics.action_chunk_base, self._on_chunk, COMMAND)
        self.listen(PoseStamped, topics.robot_pose, self._on_pose, SENSOR_IN)
        self.listen(JointState, topics.joint_states, self._on_joints, SENSOR_IN)
        self.listen(TFMessage, "/tf_static", self._on_tf, LATCHED)
        if s.confirm != "off" or s.max_departure or s.ensemble:
            self.listen(ReferenceMsg, topics.active_reference, self._on_task, LATCHED)
        if s.max_departure:
            self.listen(MotionPrediction, topics.predicted_motion, self._on_motion, COMMAND)
        if s.heartbeat_s:
            self.listen(Header, topics.heartbeat, lambda _: self.watchdog.heard("operator", time.monotonic()), STATUS)
        for name, action in (
            ("start", self._start),
            ("stop", self._stop),
            ("recover", self._recover),
            ("confirm", self._confirm),
        ):
            self.create_service(Trigger, f"/uma/{name}", action)
        self.publish_configuration()
        self._rivals = ""
        if not s.dry_run:
            self.every(0.05, self._look_for_rivals)
        self.every(1.0 / s.rate, self._tick)
        self.every(0.2, self.status.publish)

    def _limits(self) -> dict[str, float]:
        """Source -> longest silence, seconds."""
        s = self.settings
        limits = {"robot": s.max_state_age, "gripper": s.max_state_age, "calibration": float("inf")}
        return limits | ({"operator": s.heartbeat_s} if s.heartbeat_s else {})

    def take_over(self) -> None:
        s = self.settings
        self.watchdog.limits = self._limits()
        self.safety.settings = s.safety
        self.session.hold_limit, self.gripper.max_effort = s.hold_limit, s.gripper_effort

    def deactivate(self) -> None:
        """As after /uma/stop: the pose is held, and only a start after the next activation ends that."""
        self.schedule.clear()
        self.gate.close()
        self._say(self.session.stop(time.monotonic(), f"{INACTIVE}; after its activation, /uma/start"))

    # -- inputs ---------------------------------------------------------------------------------------------------------------

    def _on_tf(self, msg: TFMessage) -> None:
        try:
            self.frames.add_message(msg)
        except InputError as error:
            self.status.refuse("/tf_static", error)
            return
        self.watchdog.heard("calibration", time.monotonic())

    def _on_pose(self, msg: PoseStamped) -> None:
        if not self.clock_runs():
            return
        now = time.monotonic()
        try:
            pose = check_state_pose(msg, self.settings.base_frame)
            check_age(nanoseconds(msg.header.stamp), self.get_clock().now().nanoseconds, self.settings.max_state_age)
        except InputError as error:
            self.status.refuse(self.settings.topics.robot_pose, error)
            return
        silent = self.watchdog.silence("robot", now)
        if silent > self.settings.max_state_age:
            self._forget()  # it may have been moved, or be another one
            if 1.0 < silent < float("inf"):
                self._say(self.session.stop(now, f"the robot was silent for {silent:.1f} s, waiting for /uma/start"))
        elif np.linalg.norm(pose[:3, 3] - self.measured[:3, 3]) > MAX_JUMP:
            self._say(
                self.session.fault(
                    now,
                    f"the robot's pose jumped by {np.linalg.norm(pose[:3, 3] - self.measured[:3, 3]):.2f} m, limit {MAX_JUMP} m",
                )
            )
            self._forget()
        self.measured = pose
        self.watchdog.heard("robot", now)

    def _on_joints(self, msg: JointState) -> None:
        """Of the arm and of the gripper, in one message or in two."""
        try:
            joints = arm_joints_from(msg)
        except InputError as error:
            self.status.refuse(self.settings.topics.joint_states, error)
            return
        if joints is not None:
            self._joints = joints, time.monotonic()
        if GRIPPER_JOINT not in msg.name:
            return
        try:
            gripper_from(msg)
        except InputError as error:
            self.status.refuse(self.settings.topics.joint_states, error)
            return
        self.watchdog.heard("gripper", time.monotonic())

    def _on_chunk(self, msg: ActionChunk) -> None:
        now, t = time.monotonic(), self.ros_time()
        try:
            chunk = chunk_from(msg)
            if chunk.frame != self.settings.base_frame:
                raise InputError(f"header.frame_id: {chunk.frame!r:.80}, must be {self.settings.base_frame!r}")
            check_age(nanoseconds(msg.header.stamp), self.get_clock().now().nanoseconds, self.settings.max_chunk_age)
            try:
                T_robot_ee = self.frames.lookup(self.settings.robot_ee_frame, chunk.ee_frame)
            except InputError as error:
                raise InputError(f"ee_frame: {error}") from None
            if self.measured is None:
                raise InputError("nothing is known of the robot's pose yet")
            self._chunk_heard = now
            self._update(now, t)
            if self.gate.accepts and self.session.state in (State.RUNNING, State.HOLD):
                if self._followed and not np.allclose(T_robot_ee, self.T_robot_ee, atol=1e-6):
                    # The filter knows the end effector alone: under another one the same target would be another place
                    # of the arm, at once.
                    raise InputError(
                        f"ee_frame: {chunk.ee_frame!r} sits elsewhere than the end effector that is followed; restart the controller for another one"
                    )
                if not self._followed:
                    self.safety.reset(self.measured @ T_robot_ee)
                    self._followed = True
                self.T_robot_ee = T_robot_ee
                try:
                    self.schedule.add(chunk, t, self.safety.pose)
                except ValueError as error:
                    raise InputError(str(error)) from None
                self.gate.took()
        except InputError as error:
            self.status.refuse(self.settings.topics.action_chunk_base, error)
            return
        self._chunk_stamp = chunk.stamp
        self.status.message.sequence = chunk.sequence

    def _on_task(self, msg: ReferenceMsg) -> None:
        """The task in force changed: consent to the one before does not count for it."""
        self._departed = ""
        self.schedule.new_task(nanoseconds(msg.header.stamp) * 1e-9, self.ros_time())
        try:
            self._reference = reference_from(msg) if msg.keypoints else None
        except InputError as error:
            self._reference = None
            self.status.refuse(self.settings.topics.active_reference, error)
        if self.gate.mode != "off":
            self.gate.close()
            self.schedule.clear()
            self._update(time.monotonic(), self.ros_time())

    def _on_motion(self, msg: MotionPrediction) -> None:
        if self._reference is None:
            return
        try:
            away = departure(motion_from(msg), self._reference)
        except (InputError, ValueError) as error:
            self.status.refuse(self.settings.topics.predicted_motion, str(error))
            return
        limit = self.settings.max_departure
        self._departed = (
            f"the predicted motion leaves the reference by {away:.3f} m, limit {limit} m" if away > limit else ""
        )

    # -- services -------------------------------------------------------------------------------------------------------------

    def _start(self, _: Trigger.Request, response: Trigger.Response) -> Trigger.Response:
        if not self.is_active:
            response.success, response.message = False, INACTIVE
            return response
        try:
            self.session.start(time.monotonic())
        except RuntimeError as error:
            response.success, response.message = False, str(error)
            return response
        response.success, response.message = True, "started"
        self.get_logger().info("/uma/start")
        return response

    def _confirm(self, _: Trigger.Request, response: Trigger.Response) -> Trigger.Response:
        response.success = self.gate.confirm()
        response.message = "confirmed" if response.success else f"nothing waits for it (confirm is {self.gate.mode!r})"
        self.get_logger().info(f"/uma/confirm: {response.message}")
        return response

    def _stop(self, _: Trigger.Request, response: Trigger.Response) -> Trigger.Response:
        self.schedule.clear()
        self.gate.close()
        self._say(self.session.stop(time.monotonic(), "stopped by /uma/stop, waiting for /uma/start"))
        response.success, response.message = True, "stopped: the pose is held"
        return response

    def _recover(self, _: Trigger.Request, response: Trigger.Response) -> Trigger.Response:
        try:
            self._say(self.session.recover(time.monotonic()))
        except RuntimeError as error:
            response.success, response.message = False, str(error)
            return response
        self._forget()
        response.success, response.message = True, "recovered; call /uma/start to go on"
        return response

    def _look_for_rivals(self) -> None:
        """Two streams of targets would pull the arm to and fro: a bag that is played, or a second controller."""
        topic = self.settings.topics.target_pose
        count = self.count_publishers(topic)
        self._rivals = (
            f"{topic}: {count} publishers, this node must be the only one (a killed one counts for 20 s)"
            if count > 1
            else ""
        )

    # -- motion ---------------------------------------------------------------------------------------------------------------

    def _tick(self) -> None:
        now, t = time.monotonic(), self.ros_time()
        period = 1.0 / self.settings.rate
        dt = 0.0 if self._last_tick is None else t - self._last_tick
        if dt < 0:  # time was turned back: nothing that was planned is due any more
            self.schedule.clear()
        self._last_tick = t
        self._update(now, t)
        silent = self.watchdog.silence("robot", now) > self.settings.max_state_age
        if not self._followed or silent or self.session.state is State.FAULT:
            return  # never sent anywhere, or unknown where it is: the robot side holds
        if dt > 0:
            # A held target is tried again, so that the hold ends when it can; a plan whose outcome departs from the
            # task is not.
            follow = (
                not self._departed
                and not self._mute
                and (self.session.state is State.RUNNING or (self.session.state is State.HOLD and not self._blocked))
            )
            point = self.schedule.target(t) if follow else None
            lasted = min(dt, 4 * period) if dt < CLOCK_SET else period
            pose, pace = (None, None) if point is None else (point.pose, point.pace)
            verdict = self.safety.step(pose, self.measured @ self.T_robot_ee, lasted, dt, self._arm(now), pace)
            self._held = verdict.held
            self.status.message.num_held += bool(verdict.held)
            self.status.message.num_limited += bool(verdict.limited)
            if point is not None and not verdict.held:
                self._command_gripper(point.gripper)
            if point is not None and point.is_over:
                self.gate.finished()
                if self.gate.waiting:
                    self.schedule.clear()
        self._send(self.safety.pose @ invert(self.T_robot_ee))
        self.cadence.beat(now)

    def _arm(self, now: float) -> Arm | None:
        """For the joint limits; None where the arm's joints cannot be told."""
        s = self.settings
        why = ""
        if self._joints is None:
            why = f"no message with the joints of an FR3 on {s.topics.joint_states}"
        elif (s.base_frame, s.robot_ee_frame) != ("fr3_link0", "fr3_link8"):
            why = f"the kinematics are from 'fr3_link0' to 'fr3_link8', the poses from {s.base_frame!r} to {s.robot_ee_frame!r}"
        self.problem("joint limits", f"not looked at: {why}" if why and s.safety.joint_margin else "")
        if why:
            return None
        joints, heard = self._joints
        return Arm(invert(self.T_robot_ee), joints if now - heard <= s.max_state_age else None)

    def _update(self, now: float, t: float) -> None:
        """Feed the session."""
        blockers = [
            *self.watchdog.stale(now),
            *([self._rivals] if self._rivals else []),
            *([] if self.is_active else [INACTIVE]),
        ]
        self._blocked = bool(blockers)
        last_due = self.schedule.last_due
        self._mute = self.gripper.overdue(now)
        hold = self._held or self._departed or self._mute
        if last_due is not None and t > last_due + 2.0 / RATE_HZ:
            hold = f"no fresh chunk: the last action was due {t - last_due:.1f} s ago, the policy is silent for {now - self._chunk_heard:.1f} s"
        elif last_due is None and self.session.state in (State.RUNNING, State.HOLD) and now - self._chunk_heard > 1.0:
            hold = f"no fresh chunk: the policy is silent for {now - self._chunk_heard:.1f} s"
        recent = now - self._chunk_heard < 1.0 or self.session.state in (State.RUNNING, State.HOLD)
        if self.session.state is State.READY:
            hold = ""
        self._say(self.session.update(now, blockers, recent, hold, self.gate.waiting))

    def _say(self, transition) -> None:
        age = (self.ros_time() - self._chunk_stamp) * 1e3
        self.status.message.observation_age_ms = age if age < float("inf") else float("nan")
        self.status.message.achieved_rate_hz = self.cadence.rate(time.monotonic(), 1.0)
        self.status.transition(transition, self.session.reason)

    def _forget(self) -> None:
        """Start afresh from wherever the robot is."""
        self.schedule.clear()
        self._followed = False
        self.hysteresis.closed = None

    def _send(self, T_base_robot: np.ndarray) -> None:
        if self.settings.dry_run:
            return
        msg = PoseStamped(pose=pose_to(T_base_robot))
        msg.header.frame_id, msg.header.stamp = self.settings.base_frame, self.get_clock().now().to_msg()
        self._out.publish(msg)

    def _command_gripper(self, value: float) -> None:
        before = self.hysteresis.closed
        command = self.hysteresis.update(value)
        if command is None or self.settings.dry_run:
            return
        if not self.gripper.send(command):
            self.hysteresis.closed = before  # again at the next tick
        self.problem("gripper", self.gripper.trouble)

    def diagnose(self) -> dict:
        self.problem("gripper", self.gripper.trouble)
        counts = {k.replace(": ", "_"): v for k, v in sorted(self.safety.counts.items())}
        return {
            "state": self.session.state.name,
            **self.cadence.report(),
            **counts,
            "refused": self.status.message.num_refused,
        }


def main() -> int:
    return run_node(ControllerNode)


if __name__ == "__main__":
    leave(main())
