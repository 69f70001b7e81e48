"""The contents of a bag as arrays, for reports and replays."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from diagnostic_msgs.msg import DiagnosticArray
from geometry_msgs.msg import PoseStamped
from sensor_msgs.msg import CameraInfo, Image, PointCloud2
from std_msgs.msg import String
from tf2_msgs.msg import TFMessage

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
from uma_ros.runtime.robot import robot
from uma_ros.runtime.textfile import parse_yaml
from uma_ros.runtime.topics import Topics

TOPICS = Topics()


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


def read_recording(path: str | Path) -> Recording:
    """Read a bag of the recorder. Raises `InputError` for a missing, damaged or malformed bag."""
    kinds = {
        TOPICS.action_chunk: ActionChunkMsg,
        TOPICS.predicted_motion: MotionPredictionMsg,
        TOPICS.active_reference: ReferenceMotionMsg,
        "/tf_static": TFMessage,
        TOPICS.robot_pose: PoseStamped,
        TOPICS.target_pose: PoseStamped,
        TOPICS.sim_object: PointCloud2,
        TOPICS.sim_outcome: String,
        TOPICS.status: PolicyStatus,
        TOPICS.configuration: String,
        "/diagnostics": DiagnosticArray,
        TOPICS.camera_info: CameraInfo,
    }
    recording, ee, targets, objects, last, seen = Recording(), [], [], [], {}, -1
    for topic, t, msg in read_bag(path, kinds):
        if topic == TOPICS.action_chunk:
            recording.chunks.append((nanoseconds(msg.header.stamp), chunk_from(msg)))
        elif topic == TOPICS.predicted_motion:
            recording.motions[msg.sequence, nanoseconds(msg.header.stamp)] = motion_from(msg)
        elif topic == TOPICS.active_reference and msg.keypoints:
            recording.references.append((nanoseconds(msg.header.stamp), reference_from(msg)))
        elif topic == "/tf_static":
            recording.frames.add_message(msg)
        elif topic == TOPICS.robot_pose:
            ee.append((seconds(msg.header.stamp), pose_from(msg.pose, "pose")))
        elif topic == TOPICS.target_pose:
            targets.append(seconds(msg.header.stamp))
        elif topic == TOPICS.sim_object:
            objects.append((seconds(msg.header.stamp), _points(msg, f"bag {path}: {topic}")))
        elif topic == TOPICS.sim_outcome:
            recording.outcome = _mapping(msg.data, f"bag {path}: {topic}", "verdict")
        elif topic == TOPICS.configuration:
            values = _mapping(msg.data, f"bag {path}: {topic}", "node")
            recording.configuration[str(values["node"])] = values
        elif topic == "/diagnostics":
            for status in msg.status:
                recording.diagnostics[status.name.removeprefix("uma: ")] = {
                    pair.key: pair.value for pair in status.values
                }
        elif topic == TOPICS.camera_info:
            recording.camera = recording.camera or camera_from(msg)
        elif topic == TOPICS.status:
            if last.get(msg.node) != msg.state:
                last[msg.node] = msg.state
                recording.states.append((t * 1e-9, msg.node, msg.state, msg.reason))
            if msg.node == "policy" and msg.stages and msg.sequence != seen:
                seen = msg.sequence
                for stage, value in zip(msg.stages, msg.latency_ms):
                    recording.latency.setdefault(stage, []).append(float(value))
    if ee:
        recording.ee = np.array([t for t, _ in ee]), np.stack([T for _, T in ee])
    if len({len(p) for _, p in objects}) > 1:
        raise InputError(
            f"bag {path}: {TOPICS.sim_object}: clouds of {sorted({len(p) for _, p in objects})} points, must "
            "have one size"
        )
    if objects:
        recording.objects = np.array([t for t, _ in objects]), np.stack([p for _, p in objects])
    recording.targets = np.array(targets)
    return recording


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


def read_images(path: str | Path, stamps_ns: set[int]) -> dict[int, Image]:
    """Return the colour images with these stamps, by stamp."""
    return {
        s: msg for _, _, msg in read_bag(path, {TOPICS.rgb: Image}) if (s := nanoseconds(msg.header.stamp)) in stamps_ns
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
    base_frame = robot().base_frame
    base = reference.transformed(recording.frames.lookup(base_frame, reference.frame), base_frame)
    start = int(np.argmin(np.abs(times - stamp_ns * 1e-9)))
    waypoints = [w[v] for w, v in zip(base.waypoints, base.is_valid)]
    index = [int(np.argmin(np.linalg.norm(points[start] - w[0], axis=1))) for w in waypoints]
    return times[start:], points[start:, index], waypoints
