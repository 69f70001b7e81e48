"""Teach node: a page in the browser on which a person shows what should move. The policy is its only way to the robot.

The node converts messages and calls services. Decisions are in `uma_ros.teach`.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import yaml
from rclpy.action import ActionClient
from sensor_msgs.msg import CameraInfo, Image, JointState
from std_msgs.msg import Header, String
from std_srvs.srv import Trigger
from tf2_msgs.msg import TFMessage

from uma.control.cadence import Cadence
from uma.control.safety import SafetySettings
from uma.control.services import SERVICES
from uma.control.session import State
from uma.geometry import se3
from uma.settings import flatten, replaced, setting
from uma.types import ActionChunk as Chunk
from uma.types import InputError, MotionPrediction, ReferenceMotion
from uma_ros.action import ExecuteTask
from uma_ros.messages import convert
from uma_ros.messages.frame_buffer import check_image
from uma_ros.msg import ActionChunk, PolicyStatus
from uma_ros.msg import MotionPrediction as MotionMsg
from uma_ros.msg import ReferenceMotion as ReferenceMsg
from uma_ros.runtime.node import UmaNode, leave, run_node
from uma_ros.runtime.robot import robot
from uma_ros.runtime.topics import COMMAND, CONFIGURATION, LATCHED, SENSOR_IN, STATIC_TF_IN, STATUS, Topics
from uma_ros.srv import Episode, PreviewTask
from uma_ros.teach.execution import Execution
from uma_ros.teach.feed import Feed
from uma_ros.teach.gatekeeper import NodeState
from uma_ros.teach.guard import is_loopback
from uma_ros.teach.link import Answer, Numbers, Outlook, Seen
from uma_ros.teach.operator import SILENCE_S
from uma_ros.teach.page import Page, PageSettings
from uma_ros.teach.rehearsal import Rehearsal
from uma_ros.teach.requests import filled, qr
from uma_ros.teach.scene import Box, View
from uma_ros.teach.task import Ask
from uma_ros.teach.waiting import Waiting

PREVIEW_PATIENCE_S = 60.0
"""A preview without an answer by then is given up, seconds. The first one may wait until the model is compiled."""

STATE_HZ = 50.0
"""Largest rate at which joint states are read; the image's own time needs no more."""


@dataclass(frozen=True)
class TeachSettings:
    """Where the page listens, and how much of the camera's cloud it shows."""

    host: str = setting("127.0.0.1", "address where the page listens; others than 127.0.0.1 open it to the network")
    port: int = setting(8080, "port of the page, which must be free", 1, 65535)
    token: str = setting("", "opens the page once per browser; empty: a new one at every start, printed")
    cloud_rate: float = setting(4.0, "Hz; clouds sent to the page", 0.2, 15.0, live=True)
    voxel: float = setting(0.005, "m; edge of the cubes with one point of the cloud each", 0.001, 0.05)
    max_points: int = setting(25000, "largest number of points of a cloud, of 9 bytes each", 500, 200000)
    prompts: list[str] = setting([""], "prompt files of the checkpoint to choose from, on the policy's computer")
    base_frame: str = setting("", "base frame of the robot; empty: as in the robot file")
    topics: Topics = field(default_factory=Topics)


class Noting:
    """A context whose `InputError` becomes a problem of the node, cleared by the next success."""

    def __init__(self, node: UmaNode, name: str) -> None:
        self._node, self._name = node, name

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: Any, error: Any, trace: Any) -> bool:
        self._node.problem(self._name, f"refused: {error}" if isinstance(error, InputError) else "")
        return isinstance(error, InputError)


class TeachNode(UmaNode):
    def __init__(self) -> None:
        super().__init__("teach", TeachSettings())

    def configure(self) -> None:
        s, topics = self.settings, self.settings.topics
        self._lock = threading.RLock()  # guards what the page's thread reads
        self.feed = Feed(s.base_frame, self.topics.rgb)
        self._states: dict[str, tuple[NodeState, float]] = {}
        self._images, self._image_at, self._latency_ms = Cadence("images"), float("-inf"), float("nan")
        self._chunk: tuple[Chunk, float] | None = None
        self._motion: MotionPrediction | None = None
        self._suggestion: ReferenceMotion | None = None
        self._holds = False
        self._demonstrations, self._checkpoint = "", ""
        self._previews = Waiting()
        self._joints_at: dict[str, float] = {}  # first joint of a message -> time of the last one that was read
        self._group = self.create_group()
        self._heartbeat = self.make_publisher(Header, topics.heartbeat, STATUS)
        for kind, topic in {"rgb": topics.rgb, "depth": topics.depth}.items():
            self.make_subscription(Image, topic, lambda m, kind=kind: self._on_image(kind, m), SENSOR_IN)
        self.make_subscription(CameraInfo, topics.camera_info, self._on_info, SENSOR_IN)
        self.make_subscription(JointState, topics.joint_states, self._on_joints, SENSOR_IN)
        self.make_subscription(TFMessage, topics.tf_static, self._on_tf, STATIC_TF_IN)
        self.make_subscription(PolicyStatus, topics.status, self._on_status, STATUS)
        self.make_subscription(ActionChunk, topics.action_chunk_base, self._on_chunk, COMMAND)
        self.make_subscription(MotionMsg, topics.predicted_motion, self._on_motion, COMMAND)
        self.make_subscription(ReferenceMsg, topics.sim_reference, self._on_suggestion, LATCHED)
        self.make_subscription(String, topics.configuration, self._on_configuration, CONFIGURATION)
        self._triggers = {
            name: self.create_client(Trigger, f"uma/{name}", callback_group=self._group)
            for name in (*SERVICES, "previous_task")
        }
        self._episodes = self.create_client(Episode, "uma/episode", callback_group=self._group)
        self._preview = self.create_client(PreviewTask, "uma/preview", callback_group=self._group)
        self._scene = self.create_client(Trigger, "uma/sim_state", callback_group=self._group)
        self.rehearsal = Rehearsal()
        action = ActionClient(self, ExecuteTask, topics.execute_task, callback_group=self._group)
        self.execution = Execution(action, self.topics.execute_task, self._trigger, self._stop_controller)
        self.page = Page(self, self._page_settings(), robot(), lambda text: self.get_logger().info(text))
        self.publish_configuration(token="hidden")
        self.create_steady_timer(0.1, self._watch_page)
        where = "" if is_loopback(s.host) else " (plain HTTP: whoever reads the network reads the token)"
        print(f"teach: open {self.page.guard.url}{where}", flush=True)
        if not is_loopback(s.host):
            print(qr(self.page.guard.url), flush=True)

    def _page_settings(self) -> PageSettings:
        s = self.settings
        return PageSettings(
            base_frame=s.base_frame,
            start_service=self.service_name("start"),
            host=s.host,
            port=s.port,
            token=s.token,
            rate=s.cloud_rate,
            box=Box(voxel=s.voxel, most=s.max_points),
            prompts=tuple(p for p in s.prompts if p),
        )

    # -- inputs --------------------------------------------------------------------------------------------------------

    def _on_image(self, kind: str, msg: Image) -> None:
        with self._noting(kind), self._lock:
            check_image(msg, kind)
            self.feed.add_image(kind, msg)
            if kind == "rgb":
                self._image_at = time.monotonic()
                self._images.beat(self._image_at)

    def _on_info(self, msg: CameraInfo) -> None:
        with self._lock:
            self.feed.info = msg

    def _on_joints(self, msg: JointState) -> None:
        """Take the joints of the arm, of the gripper, or of both, each source at most `STATE_HZ` times a second."""
        source, now = (msg.name[0] if len(msg.name) else ""), time.monotonic()
        if now - self._joints_at.get(source, float("-inf")) < 1.0 / STATE_HZ:
            return
        self._joints_at = {**dict(list(self._joints_at.items())[-8:]), source: now}
        with self._noting("joint_states"), self._lock:
            self.feed.add_joints(msg)

    def _on_tf(self, msg: TFMessage) -> None:
        with self._noting("tf_static"), self._lock:
            self.feed.frames.add_message(msg)

    def _on_status(self, msg: PolicyStatus) -> None:
        with self._lock:
            self._states[msg.node] = NodeState(State(msg.state), msg.reason), time.monotonic()
            if msg.node == "policy" and len(msg.latency_ms):
                self._latency_ms = float(msg.latency_ms[-1])

    def _on_chunk(self, msg: ActionChunk) -> None:
        with self._noting("action_chunk_base"), self._lock:
            self._chunk = convert.chunk_from(msg), time.monotonic()

    def _on_motion(self, msg: MotionMsg) -> None:
        with self._noting("predicted_motion"), self._lock:
            self._motion = convert.motion_from(msg)

    def _on_suggestion(self, msg: ReferenceMsg) -> None:
        with self._noting("sim_reference"), self._lock:
            self._suggestion = convert.reference_from(msg)

    def _on_configuration(self, msg: String) -> None:
        """Take the controller's limits, so that the page warns of what it would refuse; and what training needs."""
        try:
            data = yaml.safe_load(msg.data)
            parameters = data["parameters"]
            if data["node"] == "recorder":
                self._demonstrations = str(parameters["demonstrations"])
            elif data["node"] == "policy":
                self._checkpoint = str(parameters["checkpoint"])
            if data["node"] != "controller":
                return
            self._holds = float(parameters["heartbeat_s"]) > 0
            known = flatten(SafetySettings())
            given = {k.removeprefix("safety."): v for k, v in parameters.items() if k.startswith("safety.")}
            safety = replaced(SafetySettings(), {k: v for k, v in given.items() if k in known})
        except (yaml.YAMLError, KeyError, TypeError, ValueError):
            return  # of another version
        self.page.limit(safety)

    def _noting(self, name: str) -> Noting:
        return Noting(self, name)

    # -- for the page, from its threads --------------------------------------------------------------------------------

    def view(self) -> View | None:
        with self._lock:
            parts = self.feed.parts()
        return None if parts is None else self.feed.view_of(parts)

    def joints(self) -> tuple[np.ndarray | None, float]:
        with self._lock:
            return self.feed.joints, self.feed.gripper

    def state(self, node: str) -> NodeState | None:
        with self._lock:
            if node not in self._states:
                return None
            state, at = self._states[node]
        return NodeState(state.state, state.reason, time.monotonic() - at)

    def numbers(self) -> Numbers:
        now = time.monotonic()
        with self._lock:
            return Numbers(now - self._image_at, self._latency_ms, self._images.rate(now, 2.0), self._holds)

    def suggestion(self) -> ReferenceMotion | None:
        with self._lock:
            return self._suggestion

    def camera_pose(self, frame: str) -> tuple[np.ndarray, np.ndarray, str]:
        with self._lock:
            info = self.feed.info
            if info is None:
                raise InputError("camera: no intrinsics received yet")
            camera = info.header.frame_id
            lookup = self.feed.frames.lookup
            return lookup(self.settings.base_frame, camera), lookup(camera, frame), camera

    def outlook(self) -> Outlook | None:
        with self._lock:
            chunk, motion = self._chunk, self._motion
        if chunk is None or time.monotonic() - chunk[1] > len(chunk[0].poses) / chunk[0].rate_hz:
            return None
        points = None
        if motion is not None and motion.sequence == chunk[0].sequence:
            points = self._in_base(motion)
        return Outlook(chunk[0].poses[:, :3, 3], points, len(chunk[0].poses) / chunk[0].rate_hz)

    def _in_base(self, motion: MotionPrediction) -> np.ndarray | None:
        try:
            with self._lock:
                T = self.feed.frames.lookup(self.settings.base_frame, motion.frame)
        except InputError:
            return None
        return se3.apply(T, motion.points)

    def preview(self, ask: Ask, done: Seen) -> None:
        if not self._preview.service_is_ready():
            done(None, f"no service {self.service_name('preview')}; is the policy running?")
            return
        request = filled(PreviewTask.Request(), ask)

        def answered(future: Any) -> None:
            response = future.result()
            if not response.success:
                done(None, response.message)
                return
            try:
                chunk = convert.chunk_from(response.chunk)
                with self._lock:
                    T = self.feed.frames.lookup(self.settings.base_frame, chunk.frame)
                tool = se3.apply(T, chunk.poses[:, :3, 3])
                motion = None
                if response.prediction.keypoints:
                    motion = se3.apply(T, convert.motion_from(response.prediction).points)
                done(Outlook(tool, motion, len(tool) / chunk.rate_hz), "")
            except InputError as error:
                done(None, str(error))

        late = f"no answer within {PREVIEW_PATIENCE_S:g} s; is the policy running?"
        until = time.monotonic() + PREVIEW_PATIENCE_S
        answer = self._previews.expect(answered, lambda: done(None, late), until)
        self._preview.call_async(request).add_done_callback(answer)

    def can_rehearse(self) -> bool:
        return bool(self._checkpoint) and self._scene.service_is_ready()

    def rehearse(self, ask: Ask, say: Callable[[str], object], done: Seen) -> None:
        if not self.can_rehearse():
            done(None, f"no service {self.service_name('sim_state')}: this is no simulated station")
            return

        def answered(future: Any) -> None:
            response = future.result()
            try:
                if not response.success:
                    raise InputError(response.message)
                self.rehearsal.start(response.message, ask, self._checkpoint, say, done)
            except InputError as error:
                done(None, str(error))

        self._scene.call_async(Trigger.Request()).add_done_callback(answered)

    def start(self, ask: Ask, done: Answer) -> None:
        self.execution.start(ask, done)

    def stop(self) -> None:
        self.execution.stop()
        self.get_logger().warning("stop from the page")

    def call(self, service: str, done: Answer) -> None:
        self.execution.call(service, done)

    def _stop_controller(self) -> None:
        self._triggers["stop"].call_async(Trigger.Request())

    def _trigger(self, service: str, done: Answer) -> None:
        client = self._triggers[service]
        if not client.service_is_ready():
            done(False, f"no service {self.service_name(service)}")
            return

        def answered(future: Any) -> None:
            done(future.result().success, future.result().message)

        client.call_async(Trigger.Request()).add_done_callback(answered)

    def episode(self, command: str, text: str, done: Answer) -> None:
        if not self._episodes.service_is_ready():
            done(False, f"no service {self.resolve_service_name('uma/episode')}; is there a recorder?")
            return

        def answered(future: Any) -> None:
            done(future.result().success, future.result().message)

        request = Episode.Request(command=command, text=text)
        self._episodes.call_async(request).add_done_callback(answered)

    def training(self) -> tuple[str, str]:
        return self._demonstrations, self._checkpoint

    def alive(self) -> None:
        if self.is_active:
            self._heartbeat.publish(Header(stamp=self.get_clock().now().to_msg(), frame_id="teach"))

    # -- timers --------------------------------------------------------------------------------------------------------

    def _watch_page(self) -> None:
        """Give up what has no answer. Without a heartbeat of the controller, stop a task without an operator."""
        now = time.monotonic()
        self._previews.check(now)
        if self.execution.check(now, 0.0 if self._holds else self.page.operators.silence(now)):
            self.get_logger().warning(f"the operator's page is silent for {SILENCE_S:g} s: stopped")

    def waits(self) -> tuple[list[str], str]:
        return ([] if self.feed.newest_stamp >= 0 else [f"{self.topics.rgb}: no images received yet"]), ""

    def diagnose(self) -> dict[str, Any]:
        return {"pages": self.page.operators.count, "images": self._images.rate(time.monotonic(), 2.0)}

    def close(self) -> None:
        self.rehearsal.cancel()
        self.page.close()


def main() -> int:
    return run_node(TeachNode)


if __name__ == "__main__":
    leave(main())
