"""The contents of a bag as arrays, for reports and replays."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from diagnostic_msgs.msg import DiagnosticArray
from geometry_msgs.msg import PoseStamped
from sensor_msgs.msg import CameraInfo, Image, PointCloud2
from std_msgs.msg import String
from tf2_msgs.msg import TFMessage

from uma.robot import RobotConfig
from uma.types import ActionChunk, CameraModel, InputError, MotionPrediction, ReferenceMotion
from uma_ros.bags.reader import read_bag
from uma_ros.messages.convert import (
    camera_from,
    chunk_from,
    motion_from,
    nanoseconds,
    pose_from,
    reference_from,
    seconds,
)
from uma_ros.messages.static_frames import StaticFrames
from uma_ros.msg import ActionChunk as ActionChunkMsg
from uma_ros.msg import MotionPrediction as MotionPredictionMsg
from uma_ros.msg import PolicyStatus
from uma_ros.msg import ReferenceMotion as ReferenceMotionMsg
from uma_ros.runtime.robot import recorded_robot
from uma_ros.runtime.textfile import parse_yaml
from uma_ros.runtime.topics import Topics

TOPICS = Topics().in_namespace()
"""Full names of a graph in the root namespace."""


@dataclass
class Recording:
    """Everything in a bag but the images, in the order of recording.

    Attributes:
        chunks: (stamp of the observation in ns, chunk in the camera frame).
        motions: (sequence, stamp in ns) -> predicted motion in the camera frame.
        references: (stamp of the first observation in ns, reference motion in the camera frame) of each task that is a
            reference motion.
        ee: ``(N,)`` seconds and ``(N, 4, 4)`` measured poses of the robot-side frame in the base frame.
        targets: ``(N,)`` stamps of the targets, seconds.
        objects: ``(N,)`` seconds and ``(N, 16, 3)`` true object points in the base frame (simulated station only).
        outcome: last verdict of the simulated station.
        states: (seconds, node, state, reason) at each change of state.
        latency: stage -> ms of each chunk.
        configuration: node -> its resolved parameters.
        diagnostics: node -> its last values.
        frames: static transforms.
        camera: intrinsics of the camera; None without a camera_info.
    """

    chunks: list[tuple[int, ActionChunk]] = field(default_factory=list)
    motions: dict[tuple[int, int], MotionPrediction] = field(default_factory=dict)
    references: list[tuple[int, ReferenceMotion]] = field(default_factory=list)
    ee: tuple[np.ndarray, np.ndarray] = (np.zeros(0), np.zeros((0, 4, 4)))
    targets: np.ndarray = field(default_factory=lambda: np.zeros(0))
    objects: tuple[np.ndarray, np.ndarray] = (np.zeros(0), np.zeros((0, 16, 3)))
    outcome: dict[str, Any] = field(default_factory=dict)
    states: list[tuple[float, str, int, str]] = field(default_factory=list)
    latency: dict[str, list[float]] = field(default_factory=dict)
    configuration: dict[str, dict] = field(default_factory=dict)
    diagnostics: dict[str, dict[str, str]] = field(default_factory=dict)
    frames: StaticFrames = field(default_factory=StaticFrames)
    camera: CameraModel | None = None

    @property
    def robot(self) -> RobotConfig:
        """The recorded robot; this process's own in a bag from before it was recorded."""
        return recorded_robot(next((c["robot"] for c in self.configuration.values() if "robot" in c), None))


def read_recording(path: str | Path, topics: Topics = TOPICS) -> Recording:
    """Read a bag of the recorder, or of other ``topics``.

    Raises:
        InputError: a missing, damaged or malformed bag.
    """
    reader = _Reader(f"bag {path}", topics)
    for topic, t, msg in read_bag(path, {topic: kind for topic, (kind, _) in reader.topics.items()}):
        reader.topics[topic][1](msg, t)
    return reader.finished()


class _Reader:
    """Fills a `Recording`, message by message.

    Attributes:
        topics: topic -> message type and the method that takes (message, time of recording in ns).
    """

    def __init__(self, bag: str, topics: Topics) -> None:
        self._bag, self._names, self._recording = bag, topics, Recording()
        inside = topics.status.removesuffix(TOPICS.status)  # the diagnostics are of all namespaces
        self._prefix = f"uma: {inside[1:]}/" if inside.startswith("/") and inside != topics.status else "uma: "
        self._ee: list[tuple[float, np.ndarray]] = []
        self._targets: list[float] = []
        self._objects: list[tuple[float, np.ndarray]] = []
        self._last_state: dict[str, int] = {}
        self._last_sequence = -1
        self.topics: dict[str, tuple[type, Callable[[Any, int], None]]] = {
            topics.action_chunk: (ActionChunkMsg, self._chunk),
            topics.predicted_motion: (MotionPredictionMsg, self._motion),
            topics.active_reference: (ReferenceMotionMsg, self._reference),
            topics.tf_static: (TFMessage, lambda msg, t: self._recording.frames.add_message(msg)),
            topics.robot_pose: (PoseStamped, self._pose),
            topics.target_pose: (PoseStamped, lambda msg, t: self._targets.append(seconds(msg.header.stamp))),
            topics.sim_object: (PointCloud2, self._object),
            topics.sim_outcome: (String, self._outcome),
            topics.status: (PolicyStatus, self._status),
            topics.configuration: (String, self._configuration),
            "/diagnostics": (DiagnosticArray, self._diagnostics),
            topics.camera_info: (CameraInfo, self._camera),
        }

    def finished(self) -> Recording:
        """Return the recording. Raises `InputError` for object clouds of several sizes."""
        recording = self._recording
        if self._ee:
            recording.ee = np.array([t for t, _ in self._ee]), np.stack([T for _, T in self._ee])
        sizes = sorted({len(p) for _, p in self._objects})
        if len(sizes) > 1:
            raise InputError(f"{self._bag}: {self._names.sim_object}: clouds of {sizes} points, must have one size")
        if self._objects:
            recording.objects = np.array([t for t, _ in self._objects]), np.stack([p for _, p in self._objects])
        recording.targets = np.array(self._targets)
        return recording

    def _chunk(self, msg: ActionChunkMsg, t: int) -> None:
        self._recording.chunks.append((nanoseconds(msg.header.stamp), chunk_from(msg)))

    def _motion(self, msg: MotionPredictionMsg, t: int) -> None:
        self._recording.motions[msg.sequence, nanoseconds(msg.header.stamp)] = motion_from(msg)

    def _reference(self, msg: ReferenceMotionMsg, t: int) -> None:
        if msg.keypoints:
            self._recording.references.append((nanoseconds(msg.header.stamp), reference_from(msg)))

    def _pose(self, msg: PoseStamped, t: int) -> None:
        self._ee.append((seconds(msg.header.stamp), pose_from(msg.pose, "pose")))

    def _object(self, msg: PointCloud2, t: int) -> None:
        points = _points(msg, f"{self._bag}: {self._names.sim_object}")
        self._objects.append((seconds(msg.header.stamp), points))

    def _outcome(self, msg: String, t: int) -> None:
        self._recording.outcome = _mapping(msg.data, f"{self._bag}: {self._names.sim_outcome}", "verdict")

    def _configuration(self, msg: String, t: int) -> None:
        values = _mapping(msg.data, f"{self._bag}: {self._names.configuration}", "node")
        self._recording.configuration[str(values["node"])] = values

    def _diagnostics(self, msg: DiagnosticArray, t: int) -> None:
        for status in msg.status:
            values = {pair.key: pair.value for pair in status.values}
            self._recording.diagnostics[status.name.removeprefix(self._prefix).removeprefix("uma: ")] = values

    def _camera(self, msg: CameraInfo, t: int) -> None:
        self._recording.camera = self._recording.camera or camera_from(msg, topic=self._names.rgb)

    def _status(self, msg: PolicyStatus, t: int) -> None:
        if self._last_state.get(msg.node) != msg.state:
            self._last_state[msg.node] = msg.state
            self._recording.states.append((t * 1e-9, msg.node, msg.state, msg.reason))
        if msg.node == "policy" and msg.stages and msg.sequence != self._last_sequence:
            self._last_sequence = msg.sequence
            for stage, value in zip(msg.stages, msg.latency_ms):
                self._recording.latency.setdefault(stage, []).append(float(value))


def _points(msg: PointCloud2, what: str) -> np.ndarray:
    """Return the ``(N, 3)`` float64 points of a cloud. Raises `InputError`, starting with ``what``."""
    if not len(msg.data) or len(msg.data) % 12:
        raise InputError(f"{what}: data: {len(msg.data)} bytes, must be 12 per point, for at least one point")
    return np.frombuffer(msg.data, "<f4").reshape(-1, 3).astype(np.float64)


def _mapping(text: str, what: str, key: str) -> dict[str, Any]:
    """Parse a YAML mapping that contains ``key``. Raises `InputError`, starting with ``what``."""
    values = parse_yaml(text, what)
    if not isinstance(values, dict) or key not in values:
        raise InputError(f"{what}: must be a mapping with the key {key!r}")
    return values


def read_images(path: str | Path, stamps_ns: set[int], topics: Topics = TOPICS) -> dict[int, Image]:
    """Return the colour images with these stamps, by stamp."""
    return {
        s: msg for _, _, msg in read_bag(path, {topics.rgb: Image}) if (s := nanoseconds(msg.header.stamp)) in stamps_ns
    }


def executed_keypoints(recording: Recording) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the executed motion of the last reference's keypoints.

    A keypoint is represented by the true object point nearest to its first waypoint at the start of the task.

    Returns:
        ``(N,)`` seconds, ``(N, K, 3)`` executed positions, and a list of K ``(T, 3)`` waypoints, all in the base frame.

    Raises:
        InputError: the bag contains no reference motion or no true object points.
    """
    times, points = recording.objects
    if not recording.references or not len(times):
        raise InputError(
            "the bag contains no reference motion"
            if not recording.references
            else "the bag contains no true object points (only the simulated station publishes them)"
        )
    stamp_ns, reference = recording.references[-1]
    base_frame = recording.robot.base_frame
    base = reference.transformed(recording.frames.lookup(base_frame, reference.frame), base_frame)
    start = int(np.argmin(np.abs(times - stamp_ns * 1e-9)))
    waypoints = [w[v] for w, v in zip(base.waypoints, base.is_valid)]
    index = [int(np.argmin(np.linalg.norm(points[start] - w[0], axis=1))) for w in waypoints]
    return times[start:], points[start:, index], waypoints
