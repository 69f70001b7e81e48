"""What a bag tells of one episode, in arrays: the input of reports and replays."""

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
class Episode:
    """Everything but the images, in the order of recording.

    Attributes:
        chunks: in the camera frame, with the nanoseconds of their observation's stamp.
        motions: sequence and stamp in ns -> predicted motion, camera frame.
        references: reference motions in force, camera frame, with the stamp of their first observation in ns; an
            instruction or a prompt is none.
        ee: ``(N,)`` seconds and ``(N, 4, 4)`` measured poses of the robot-side frame in the base frame.
        targets: ``(N,)`` seconds at which targets were sent.
        objects: ``(N,)`` seconds and ``(N, 16, 3)`` true object points in the base frame (simulated station only).
        outcome: the simulated station's last word.
        states: (seconds, node, state, reason) whenever one of them changed.
        latency: stage -> ms of each chunk.
        configuration: node -> what it said that it runs.
        diagnostics: node -> its last values.
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


def read_episode(path: str | Path) -> Episode:
    """Read a bag of the recorder. Raises `InputError` if it is none."""
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
    episode, ee, targets, objects, last, seen = Episode(), [], [], [], {}, -1
    for topic, t, msg in read_bag(path, kinds):
        if topic == TOPICS.action_chunk:
            episode.chunks.append((nanoseconds(msg.header.stamp), chunk_from(msg)))
        elif topic == TOPICS.predicted_motion:
            episode.motions[msg.sequence, nanoseconds(msg.header.stamp)] = motion_from(msg)
        elif topic == TOPICS.active_reference and msg.keypoints:
            episode.references.append((nanoseconds(msg.header.stamp), reference_from(msg)))
        elif topic == "/tf_static":
            episode.frames.add_message(msg)
        elif topic == TOPICS.robot_pose:
            ee.append((seconds(msg.header.stamp), pose_from(msg.pose, "pose")))
        elif topic == TOPICS.target_pose:
            targets.append(seconds(msg.header.stamp))
        elif topic == TOPICS.sim_object:
            objects.append((seconds(msg.header.stamp), _points(msg, f"bag {path}: {topic}")))
        elif topic == TOPICS.sim_outcome:
            episode.outcome = _mapping(msg.data, f"bag {path}: {topic}", "verdict")
        elif topic == TOPICS.configuration:
            said = _mapping(msg.data, f"bag {path}: {topic}", "node")
            episode.configuration[str(said["node"])] = said
        elif topic == "/diagnostics":
            for status in msg.status:
                episode.diagnostics[status.name.removeprefix("uma: ")] = {
                    pair.key: pair.value for pair in status.values
                }
        elif topic == TOPICS.camera_info:
            episode.camera = episode.camera or camera_from(msg)
        elif topic == TOPICS.status:
            if last.get(msg.node) != msg.state:
                last[msg.node] = msg.state
                episode.states.append((t * 1e-9, msg.node, msg.state, msg.reason))
            if msg.node == "policy" and msg.stages and msg.sequence != seen:
                seen = msg.sequence
                for stage, value in zip(msg.stages, msg.latency_ms):
                    episode.latency.setdefault(stage, []).append(float(value))
    if ee:
        episode.ee = np.array([t for t, _ in ee]), np.stack([T for _, T in ee])
    if len({len(p) for _, p in objects}) > 1:
        raise InputError(
            f"bag {path}: {TOPICS.sim_object}: clouds of {sorted({len(p) for _, p in objects})} points, must "
            "be of one size"
        )
    if objects:
        episode.objects = np.array([t for t, _ in objects]), np.stack([p for _, p in objects])
    episode.targets = np.array(targets)
    return episode


def _points(msg: PointCloud2, what: str) -> np.ndarray:
    """``(N, 3)`` float64. Raises `InputError`, beginning with ``what``."""
    if not len(msg.data) or len(msg.data) % 12:
        raise InputError(f"{what}: data: {len(msg.data)} bytes, must be 12 a point, of at least one")
    return np.frombuffer(msg.data, "<f4").reshape(-1, 3).astype(np.float64)


def _mapping(text: str, what: str, key: str) -> dict[str, Any]:
    """A mapping from YAML that has ``key``. Raises `InputError`, beginning with ``what``."""
    said = parse_yaml(text, what)
    if not isinstance(said, dict) or key not in said:
        raise InputError(f"{what}: must be a mapping with the key {key!r}")
    return said


def read_images(path: str | Path, stamps_ns: set[int]) -> dict[int, Image]:
    """The colour images with these stamps."""
    return {
        s: msg for _, _, msg in read_bag(path, {TOPICS.rgb: Image}) if (s := nanoseconds(msg.header.stamp)) in stamps_ns
    }


def executed_keypoints(episode: Episode) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """How the points that the reference speaks of really moved.

    Each keypoint is taken for the object point that is nearest to its first waypoint when the task was given.

    Returns:
        ``(N,)`` seconds, ``(N, K, 3)`` executed positions and ``(K, T, 3)``-like list of the reference's waypoints, all
        in the base frame.

    Raises:
        InputError: the bag has no task or no true object points.
    """
    times, points = episode.objects
    if not episode.references or not len(times):
        raise InputError(
            "the bag holds no reference motion"
            if not episode.references
            else "the bag holds no true object points (they come from the simulated station only)"
        )
    stamp_ns, reference = episode.references[-1]
    base_frame = robot().base_frame
    base = reference.transformed(episode.frames.lookup(base_frame, reference.frame), base_frame)
    start = int(np.argmin(np.abs(times - stamp_ns * 1e-9)))
    waypoints = [w[v] for w, v in zip(base.waypoints, base.is_valid)]
    index = [int(np.argmin(np.linalg.norm(points[start] - w[0], axis=1))) for w in waypoints]
    return times[start:], points[start:, index], waypoints
