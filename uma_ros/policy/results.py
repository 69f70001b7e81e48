"""What becomes of the worker's results: messages, markers, status and log. Called in the worker's thread."""

from __future__ import annotations

import time
from typing import Any

from visualization_msgs.msg import Marker, MarkerArray

from uma.types import ActionChunk as PublishedChunk
from uma.types import InputError, KeypointState, MotionPrediction, Prediction
from uma_ros.messages.convert import chunk_from, chunk_to, keypoints_to, motion_to
from uma_ros.messages.frame_buffer import Frame
from uma_ros.messages.markers import chunk_markers, clear_markers, keypoint_markers, motion_markers, reference_markers
from uma_ros.msg import ActionChunk
from uma_ros.msg import Keypoints as KeypointsMsg
from uma_ros.msg import MotionPrediction as MotionMsg
from uma_ros.msg import ReferenceMotion as ReferenceMsg
from uma_ros.policy.tasks import Encoded, FromPrompt
from uma_ros.runtime.node import UmaNode
from uma_ros.runtime.resources import find
from uma_ros.runtime.topics import COMMAND, LATCHED, STATUS


class Results:
    """Publishes the results of a policy node's worker.

    Attributes:
        latency_ms: of the last chunk; NaN before the first.
        finished: how the last finished task ended, for people; empty before.
    """

    def __init__(self, node: UmaNode) -> None:
        self._node, topics = node, node.settings.topics
        self.latency_ms, self.finished = float("nan"), ""
        self._chunks = node.make_publisher(ActionChunk, topics.action_chunk, COMMAND)
        self._motions = node.make_publisher(MotionMsg, topics.predicted_motion, COMMAND)
        self._keypoints = node.make_publisher(KeypointsMsg, topics.keypoints, COMMAND)
        self._echo = node.make_publisher(ReferenceMsg, topics.active_reference, LATCHED)
        self._markers = node.make_publisher(MarkerArray, topics.markers, STATUS)
        self._task_markers: list[Marker] = []

    def on_ready(self, policy: Any) -> None:
        if self._node.settings.prompt:
            policy.check_prompt(find(self._node.settings.prompt))  # raises before the first image
            with self._node.worker.wake:
                if not self._node.worker.tasks.has_work:
                    self._node.worker.give_task(FromPrompt(self._node.settings.prompt))
        self._node.get_logger().info(
            f"checkpoint {policy.checkpoint_id} ready after {time.monotonic() - self._node.started:.1f} s"
        )
        self._node.status.message.checkpoint_id = policy.checkpoint_id
        self._node.publish_configuration(checkpoint_id=policy.checkpoint_id)
        self._node.watchdog.receive("checkpoint", time.monotonic())

    def on_task(self, encoded: Encoded) -> None:
        self._echo.publish(encoded.echo)
        reference = encoded.reference
        self._task_markers = [] if reference is None else reference_markers(reference, encoded.echo.header.stamp)
        self._markers.publish(MarkerArray(markers=[*clear_markers(), *self._task_markers]))
        self._node.get_logger().info(f"new task: {encoded}")
        if reference is None and self._node.settings.candidates > 1:
            text = "without keypoints there is no choice, one chunk is drawn"
            self._node.get_logger().info(f"candidates: {self._node.settings.candidates}, {text}")

    def on_chunk(self, frame: Frame, prediction: Prediction, stages_ms: dict[str, float]) -> PublishedChunk:
        message = chunk_to(prediction.chunk, frame.rgb.header.stamp)
        self._chunks.publish(message)
        # With the reference again, for a viewer that came after the task.
        markers = [*self._task_markers, *chunk_markers(prediction.chunk, frame.rgb.header.stamp)]
        self._markers.publish(MarkerArray(markers=markers))
        self.latency_ms = stages_ms["total"]
        self._node.cadence.beat(time.monotonic(), self.latency_ms)
        self._node.status.set_fields(
            stages=list(stages_ms),
            latency_ms=[float(v) for v in stages_ms.values()],
            sequence=prediction.chunk.sequence,
        )
        return chunk_from(message)

    def on_motion(self, frame: Frame, motion: MotionPrediction) -> None:
        self._motions.publish(motion_to(motion, frame.rgb.header.stamp))
        self._markers.publish(MarkerArray(markers=motion_markers(motion, frame.rgb.header.stamp)))

    def on_keypoints(self, frame: Frame, state: KeypointState) -> None:
        stamp, camera = frame.rgb.header.stamp, frame.info.header.frame_id
        self._keypoints.publish(keypoints_to(state, camera, stamp))
        self._markers.publish(MarkerArray(markers=keypoint_markers(state, camera, stamp)))

    def on_finished(self, distance: float) -> None:
        self.finished = "task finished"
        if distance == distance:
            self.finished += f", keypoints {1e3 * distance:.0f} mm from the end of the reference"
        self._node.get_logger().info(self.finished)

    def on_refused(self, source: str, error: InputError | str) -> None:
        self._node.status.refuse(getattr(self._node.topics, source, source), error)
