"""Policy node: receives observations and a task, publishes action chunks. The model runs in its own thread."""

from __future__ import annotations

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")  # the other nodes need the remaining cores

import time
from collections.abc import Callable
from typing import Any

from geometry_msgs.msg import PoseStamped
from rclpy.task import Future
from sensor_msgs.msg import CameraInfo, CompressedImage, Image, JointState
from std_msgs.msg import String
from std_srvs.srv import Trigger
from tf2_msgs.msg import TFMessage

from uma.control.cadence import Cadence
from uma.control.session import Session, State
from uma.control.watchdog import Watchdog
from uma.types import RATE_HZ, InputError
from uma_ros.action import ExecuteTask
from uma_ros.messages.compressed import SUFFIX, image_from
from uma_ros.messages.convert import (
    camera_from,
    chunk_from,
    chunk_to,
    gripper_from,
    motion_to,
    nanoseconds,
)
from uma_ros.messages.frame_buffer import FrameBuffer, check_age, check_image, check_state_pose
from uma_ros.messages.joint_names import JointNames
from uma_ros.messages.static_frames import StaticFrames
from uma_ros.msg import PolicyStatus
from uma_ros.msg import ReferenceMotion as ReferenceMsg
from uma_ros.policy.execution import Situation, TaskAction
from uma_ros.policy.frozen import FrozenImage
from uma_ros.policy.results import Results
from uma_ros.policy.settings import PolicySettings, goal_matcher, load_policy
from uma_ros.policy.sources import GOAL_PATIENCE, TaskSources
from uma_ros.policy.tasks import FromBefore, GivenTask, from_echo
from uma_ros.policy.worker import PolicyWorker
from uma_ros.runtime.lifecycle import INACTIVE
from uma_ros.runtime.node import UmaNode, leave, run_node
from uma_ros.runtime.robot import robot
from uma_ros.runtime.status import StatusPublisher
from uma_ros.runtime.topics import HISTORY_IN, LATCHED, SENSOR_IN, STATIC_TF_IN, STATUS, TASK_IN
from uma_ros.srv import PredictMotion, PreviewTask


class PolicyNode(UmaNode):
    """
    Args:
        load: settings -> the policy for chunks and the policy for predicted motion; runs in the worker's thread.
    """

    def __init__(self, load: Callable[[PolicySettings], tuple[Any, Any]]) -> None:
        super().__init__("policy", PolicySettings())
        self._load = load

    def configure(self) -> None:
        s, topics = self.settings, self.settings.topics
        self.session = Session(autostart=True)
        self.watchdog = Watchdog(self._limits())
        self.buffer, self.frames = FrameBuffer(s.robot_ee_frame, rgb_topic=self.topics.rgb), StaticFrames()
        self._joint_names = JointNames(robot(), self.topics.joint_states)
        self.cadence = Cadence("chunks", s.replan_steps / RATE_HZ)
        self.status = StatusPublisher(self)

        self.results = Results(self)
        self.worker = PolicyWorker(
            lambda: self._load(s),
            self.results,
            self.buffer,
            self.frames,
            s.replan_steps,
            s.predict_motion,
            s.prefix,
            s.track_keypoints,
            s.finish_after_s,
            s.candidates,
        )
        self.sources = TaskSources(self.buffer, self.frames, lambda: self.worker.policy, goal_matcher(s))
        self._controller: PolicyStatus | None = None
        self._frozen = {kind: FrozenImage() for kind in ("rgb", "depth")}
        for image, topic in {"rgb": topics.rgb, "depth": topics.depth}.items():
            self._subscribe_images(image, topic)
        self.make_subscription(CameraInfo, topics.camera_info, self._on_info, SENSOR_IN)
        self.make_subscription(PoseStamped, topics.robot_pose, self._on_pose, HISTORY_IN)
        self.make_subscription(JointState, topics.joint_states, self._on_joints, HISTORY_IN)
        self.make_subscription(TFMessage, topics.tf_static, self._on_tf, STATIC_TF_IN)
        self.make_subscription(ReferenceMsg, topics.reference_motion, self._on_reference, TASK_IN)
        if s.recorded_task:
            self.make_subscription(ReferenceMsg, s.recorded_task, self._on_recorded_task, LATCHED)
        self.make_subscription(
            Image, topics.goal_image, lambda m: self._on_goal("rgb", self.topics.goal_image, m), TASK_IN
        )
        self.make_subscription(
            Image, topics.goal_depth, lambda m: self._on_goal("depth", self.topics.goal_depth, m), TASK_IN
        )
        self.make_subscription(String, topics.instruction, self._on_instruction, TASK_IN)
        self.make_subscription(PolicyStatus, topics.status, self._on_status, STATUS)
        self.create_service(PredictMotion, "uma/predict_motion", self._on_predict_motion)
        self.create_service(Trigger, "uma/previous_task", self._on_previous_task)
        self.create_service(PreviewTask, "uma/preview", self._on_preview, callback_group=self.create_group())
        self.action = TaskAction(
            self,
            topics.execute_task,
            self.worker.tasks,
            self._goal_task,
            self.worker.give_task,
            lambda error: self.status.refuse(self.topics.execute_task, error),
        )
        self.create_steady_timer(0.05, self._tick)
        self.create_steady_timer(0.2, self.status.publish)
        self.worker.start()
        if self.is_managed:  # a broken checkpoint then fails the configuration; an unmanaged node ends instead
            self.worker.wait_loaded()
            self._raise_failure()

    def _limits(self) -> dict[str, float]:
        """Return source -> longest silence, seconds."""
        s = self.settings
        limits = {
            "checkpoint": float("inf"),
            "camera": s.max_image_age,
            "depth": s.max_image_age,
            "camera_info": s.max_image_age,
        }
        limits |= {"robot": s.max_state_age, "gripper": s.max_state_age, "calibration": float("inf")}
        return limits | ({"controller": 1.0} if s.require_controller else {})

    def on_settings_changed(self) -> None:
        s = self.settings
        self.watchdog.limits = self._limits()
        self.cadence = Cadence("chunks", s.replan_steps / RATE_HZ)
        self.worker.change(s.replan_steps, s.predict_motion, s.motion_samples, s.track_keypoints, s.finish_after_s)

    def deactivate(self) -> None:
        self._tick()  # stops the chunks at once

    # -- inputs --------------------------------------------------------------------------------------------------------

    def _accept(self, topic: str, source: str, take: Callable[[], Any]) -> None:
        """Run ``take``. Success is a sign of life of ``source``; an `InputError` becomes a refusal on ``topic``."""
        if source != "task" and not self.clock_runs():
            return  # no clock to compare stamps with yet; the stamp of a task does not matter
        try:
            with self.worker.wake:
                take()
                self.worker.wake.notify()
        except InputError as error:
            self.status.refuse(topic, error)
            return
        self.watchdog.receive(source, time.monotonic())

    def _subscribe_images(self, kind: str, topic: str) -> None:
        """Subscribe to the images of ``kind`` in the chosen transport."""
        if self.settings.image_transport == "raw":
            name = self.resolve_topic_name(topic)
            self.make_subscription(Image, topic, lambda m: self._on_image(kind, name, m), SENSOR_IN)
        else:
            topic = f"{topic}/{SUFFIX[kind]}"
            name = self.resolve_topic_name(topic)
            self.make_subscription(CompressedImage, topic, lambda m: self._on_compressed(kind, name, m), SENSOR_IN)

    def _on_compressed(self, kind: str, topic: str, msg: CompressedImage) -> None:
        """Decode an image before the worker's lock is taken, which must be short."""
        try:
            image = image_from(msg, kind)
        except InputError as error:
            self.status.refuse(topic, error)
            return
        self._on_image(kind, topic, image)

    def _on_image(self, kind: str, topic: str, msg: Image) -> None:
        def take() -> None:
            check_image(msg, kind)
            check_age(nanoseconds(msg.header.stamp), self.get_clock().now().nanoseconds, self.settings.max_image_age)
            self._frozen[kind].check(msg.data, self.settings.max_frozen, time.monotonic())
            self.buffer.add_image(kind, msg)

        self._accept(topic, "camera" if kind == "rgb" else "depth", take)

    def _on_info(self, msg: CameraInfo) -> None:
        def take() -> None:
            camera_from(msg, topic=self.topics.rgb)
            self.buffer.add_info(msg)

        self._accept(self.topics.camera_info, "camera_info", take)

    def _on_pose(self, msg: PoseStamped) -> None:
        def take() -> None:
            check_state_pose(msg, self.settings.base_frame)
            check_age(nanoseconds(msg.header.stamp), self.get_clock().now().nanoseconds, self.settings.max_state_age)
            self.buffer.add_state("pose", msg)

        self._accept(self.topics.robot_pose, "robot", take)

    def _on_joints(self, msg: JointState) -> None:
        self._joint_names.add(msg.name, time.monotonic())
        if robot().gripper_joint not in msg.name:
            return  # the joint states of the arm may be separate messages

        def take() -> None:
            gripper_from(msg)
            check_age(nanoseconds(msg.header.stamp), self.get_clock().now().nanoseconds, self.settings.max_state_age)
            self.buffer.add_state("joints", msg)

        self._accept(self.topics.joint_states, "gripper", take)

    def _on_tf(self, msg: TFMessage) -> None:
        try:
            with self.worker.wake:
                self.frames.add_message(msg)
        except InputError as error:
            self.status.refuse(self.topics.tf_static, error)
            return
        self.watchdog.receive("calibration", time.monotonic())

    def _on_reference(self, msg: ReferenceMsg) -> None:
        self._take_task(self.topics.reference_motion, lambda: self.sources.reference(msg))

    def _on_recorded_task(self, msg: ReferenceMsg) -> None:
        self._take_task(
            self.resolve_topic_name(self.settings.recorded_task), lambda: from_echo(msg, self.settings.prompt)
        )

    def _on_instruction(self, msg: String) -> None:
        self._take_task(self.topics.instruction, lambda: self.sources.instruction(msg.data))

    def _on_goal(self, kind: str, topic: str, msg: Image) -> None:
        """Receive colour or depth of a goal. Both have the same stamp; its age does not matter."""
        self._take_task(topic, lambda: self.sources.half(kind, msg, time.monotonic()))

    def _take_task(self, topic: str, read: Callable[[], GivenTask | None]) -> None:
        """Give the task that ``read`` returns to the worker; None is not a task yet."""

        def take() -> None:
            if (given := read()) is not None:
                self.worker.give_task(given)

        self._accept(topic, "task", take)

    def _goal_task(self, goal: ExecuteTask.Goal | PreviewTask.Request) -> GivenTask:
        """Return the task of a goal of the action. Raises `InputError` if it is refused."""
        if not self.is_active:
            raise InputError(INACTIVE)
        with self.worker.wake:
            return self.sources.goal(goal)

    def _drop_half_a_goal(self, now: float) -> None:
        """Refuse a goal image whose other half did not arrive in time."""
        topics = {"rgb": self.topics.goal_image, "depth": self.topics.goal_depth}
        for kind, other, stamp in self.sources.late_halves(now):
            why = f"{stamp}, no image of this stamp on {topics[other]} within {GOAL_PATIENCE:g} s"
            self.status.refuse(topics[kind], why)

    def _on_status(self, msg: PolicyStatus) -> None:
        if msg.node == "controller":
            self._controller = msg
            self.watchdog.receive("controller", time.monotonic())

    # -- state ---------------------------------------------------------------------------------------------------------

    def _tick(self) -> None:
        now = time.monotonic()
        self._raise_failure()
        self._drop_half_a_goal(now)
        blockers = [*self._blockers(now), *([] if self.is_active else [INACTIVE])]
        closed = (
            self._controller is not None
            and self.settings.require_controller
            and self._controller.state in (State.IDLE, State.FAULT)
        )
        transition = self.session.update(now, blockers, self.worker.tasks.has_work and not closed)
        reason = self.session.reason
        if self.session.state is State.READY:
            idle = self.results.finished if self.worker.tasks.is_finished else "waiting for a task"
            reason = f"waiting for the controller ({self._controller.reason})" if closed else idle
        self.status.transition(transition, reason)
        # A stopped controller is started for a task in force, so the task must not wait for the start.
        newest = self.worker.set_active(
            self.session.state is State.RUNNING, encodes=bool(closed) and self.session.state is State.READY
        )
        message = self.status.message
        message.achieved_rate_hz = self.cadence.rate(now, 4.0)
        message.observation_age_ms = (
            (self.get_clock().now().nanoseconds - newest.stamp_ns) * 1e-6 if newest else float("nan")
        )
        self.action.tick(now, self._situation(reason), self.settings.max_hold_s)

    def _blockers(self, now: float) -> list[str]:
        """Return the stale inputs, and wrong names of joints, one sentence each."""
        return [*self.watchdog.stale(now), *filter(None, [self._joint_names.problem(now)])]

    def _situation(self, reason: str) -> Situation:
        """Return the state of the graph for a goal of the action."""
        c = self._controller if self.settings.require_controller else None
        of_controller = (None, "") if c is None else (c.state, c.reason)
        return Situation(self.session.state, reason, *of_controller, self.worker.end_distance, self.results.latency_ms)

    def _raise_failure(self) -> None:
        """Raise the exception that ended the worker."""
        failure = self.worker.failure
        if isinstance(failure, (ValueError, OSError, ImportError)):  # a wrong checkpoint: a message without a traceback
            raise InputError(f"checkpoint {self.settings.checkpoint}: {failure}")
        if failure is not None:
            raise failure

    # -- service and diagnostics ---------------------------------------------------------------------------------------

    def _on_predict_motion(
        self, request: PredictMotion.Request, response: PredictMotion.Response
    ) -> PredictMotion.Response:
        """Serve uma/predict_motion. Calls are rare, so the executor's thread waits for the model."""
        if not self.is_active:
            response.success, response.message = False, INACTIVE
            return response
        try:
            frame, motion = self.worker.predict_motion(chunk_from(request.chunk))
        except InputError as error:
            response.success, response.message = False, str(error)
            return response
        response.success, response.prediction = True, motion_to(motion, frame.rgb.header.stamp)
        return response

    def _on_previous_task(self, request: Trigger.Request, response: Trigger.Response) -> Trigger.Response:
        """Serve uma/previous_task: put the task in force again that was so before the present one."""
        try:
            if not self.is_active:
                raise InputError(INACTIVE)
            before = self.worker.tasks.previous()
        except InputError as error:
            response.success, response.message = False, str(error)
            return response
        self.worker.give_task(FromBefore(before.encoded))
        response.success, response.message = True, f"back to {before.encoded}"
        return response

    async def _on_preview(self, request: PreviewTask.Request, response: PreviewTask.Response) -> PreviewTask.Response:
        """Serve uma/preview. The worker predicts while it has no task, so the executor's thread goes on."""
        future: Future = Future()
        try:
            self.worker.preview(self._goal_task(request), future.set_result)
            result = await future
            if isinstance(result, InputError):
                raise result
        except InputError as error:
            response.success, response.message = False, str(error)
            return response
        stamp = result.frame.rgb.header.stamp
        response.success, response.chunk = True, chunk_to(result.chunk, stamp)
        if result.motion is not None:
            response.prediction = motion_to(result.motion, stamp)
        return response

    def waits(self) -> tuple[list[str], str]:
        inputs, reason = self._blockers(time.monotonic()), self.status.message.reason
        return inputs, "" if inputs or self.session.state is State.RUNNING else f"{self.session.state.name}: {reason}"

    def diagnose(self) -> dict:
        self.problem("joint names", self._joint_names.problem(time.monotonic()), is_error=True)
        return {"state": self.session.state.name, **self.cadence.report(), "refused": self.status.message.num_refused}

    def close(self) -> None:
        self.worker.close()


def main(load: Callable[[PolicySettings], tuple[Any, Any]] = load_policy) -> int:
    if load is load_policy:
        # Imports torch before any thread starts: scipy fails on a half-imported one.
        import uma.policy.policy  # noqa: F401
    return run_node(lambda: PolicyNode(load))


if __name__ == "__main__":
    leave(main())
