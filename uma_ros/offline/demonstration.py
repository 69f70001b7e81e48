"""Demonstrations in bags: of our recorder, or of any recorder with RGB-D, robot state and calibration.

The first pass over a bag takes all but the pixels; the second one takes the chosen images, one pair at a time.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from geometry_msgs.msg import PoseStamped
from sensor_msgs.msg import CameraInfo, Image, JointState
from std_msgs.msg import String
from tf2_msgs.msg import TFMessage

from uma.policy.demonstration import Demonstration, Robot, Tracks
from uma.types import RATE_HZ, InputError, Observation, ReferenceMotion
from uma_ros.bags.candidates import chosen_topics, graph_topics
from uma_ros.bags.episode_folder import DISCARDED, RECORDING, UNMARKED, read_about
from uma_ros.bags.reader import bag_channels, decode, read_bag
from uma_ros.bags.storage import is_bag
from uma_ros.messages.convert import gripper_from, nanoseconds, pose_from, reference_from
from uma_ros.messages.frame_buffer import Frame
from uma_ros.messages.static_frames import StaticFrames
from uma_ros.msg import ActionChunk, Keypoints
from uma_ros.msg import ReferenceMotion as ReferenceMsg
from uma_ros.offline.actions import gripper_actions, pose_actions
from uma_ros.runtime.robot import recorded_robot, robot, robot_of
from uma_ros.runtime.textfile import parse_yaml
from uma_ros.runtime.topics import Topics

STEP_NS = round(1e9 / RATE_HZ)
EARLY_NS = 500_000_000
"""A reference may be this much older than the first image; an older one was given before the recording."""


FOLLOWED = 0.5
"""Least share of the steps with keypoints that the policy tracked. With fewer, the import tracks them itself."""


class Options(Protocol):
    """Options of the import that concern bags."""

    topic: tuple[str, ...]
    namespace: str
    calibration: str
    camera: str
    actions: str
    text: str


def recordings(source: str | Path) -> dict[str, Path]:
    """Return name -> bag: the source itself, or the bags in a folder but for its discarded ones.

    Raises:
        InputError: there is none.
    """
    source = Path(source)
    if not source.exists():
        raise InputError(f"source: {source}: no such file or folder")
    if is_bag(source):
        return {source.stem if source.is_file() else source.resolve().name: source}
    found = [p for p in sorted(source.iterdir()) if p.name != DISCARDED and is_bag(p)]
    if not found:
        raise InputError(f"source: {source}: neither a bag nor a folder of bags")
    return {p.stem if p.is_file() else p.name: p for p in found}


@dataclass
class Contents:
    """Everything in a bag but the pixels.

    Attributes:
        images: kind -> stamps in ns.
        info: the first intrinsics.
        poses, joints, targets: (stamps in ns, messages); joints have the gripper's.
        chunks, keypoints: as received.
        echoes: active tasks.
        frames: static transforms.
        configuration: one node's resolved parameters, for the robot; empty in a foreign bag.
    """

    images: dict[str, set[int]] = field(default_factory=lambda: {"rgb": set(), "depth": set()})
    info: CameraInfo | None = None
    poses: dict[int, PoseStamped] = field(default_factory=dict)
    joint_states: list[JointState] = field(default_factory=list)
    targets: dict[int, PoseStamped] = field(default_factory=dict)
    chunks: list[ActionChunk] = field(default_factory=list)
    keypoints: dict[int, Keypoints] = field(default_factory=dict)
    echoes: list[ReferenceMsg] = field(default_factory=list)
    frames: StaticFrames = field(default_factory=StaticFrames)
    configuration: dict[str, Any] = field(default_factory=dict)


def contents(path: str | Path, topics: Topics) -> Contents:
    """Read all but the pixels.

    Raises:
        InputError: a missing, damaged or malformed bag.
    """
    c = Contents()
    images = {topics.rgb: "rgb", topics.depth: "depth"}
    takes = {
        topics.camera_info: (CameraInfo, lambda m: setattr(c, "info", c.info or m)),
        topics.robot_pose: (PoseStamped, lambda m: c.poses.__setitem__(nanoseconds(m.header.stamp), m)),
        topics.joint_states: (JointState, c.joint_states.append),
        topics.target_pose: (PoseStamped, lambda m: c.targets.__setitem__(nanoseconds(m.header.stamp), m)),
        topics.action_chunk: (ActionChunk, c.chunks.append),
        topics.keypoints: (Keypoints, lambda m: c.keypoints.__setitem__(nanoseconds(m.header.stamp), m)),
        topics.active_reference: (ReferenceMsg, c.echoes.append),
        topics.tf_static: (TFMessage, c.frames.add_message),
        topics.configuration: (String, lambda m: c.configuration.update(_configuration(m.data))),
    }
    for topic, _, data in read_bag(path):
        if topic in images:
            c.images[images[topic]].add(_stamp_of(data))
        elif topic in takes:
            kind, take = takes[topic]
            take(decode(data, kind, f"bag {path}: {topic}"))
    return c


def _stamp_of(data: bytes) -> int:
    """Return the stamp at the start of a message with a header, ns, without decoding the rest."""
    if len(data) < 12:
        raise InputError(f"an image of {len(data)} bytes, must have a header")
    seconds, nanoseconds_ = struct.unpack_from("<iI" if data[1] & 1 else ">iI", data, 4)
    return int(seconds) * 1_000_000_000 + int(nanoseconds_)


def _configuration(text: str) -> dict[str, Any]:
    values = parse_yaml(text, "configuration")
    return values if isinstance(values, dict) and "robot" in values else {}


def read(path: str | Path, options: Options) -> Demonstration:
    """Return the demonstration in a bag.

    Raises:
        InputError: the bag is unreadable, an input is missing, or no transform connects camera and robot.
    """
    topics = chosen_topics(options.topic, graph_topics(bag_channels(path), options.namespace))
    c = contents(path, topics)
    config = recorded_robot(c.configuration.get("robot"))
    with robot_of(config):
        return _demonstration(Path(path), c, topics, options)


def _demonstration(path: Path, c: Contents, topics: Topics, options: Options) -> Demonstration:
    joints = {nanoseconds(m.header.stamp): m for m in c.joint_states if robot().gripper_joint in m.name}
    lacking = {
        topics.camera_info: c.info,
        topics.robot_pose: c.poses,
        topics.joint_states: joints,
        topics.rgb: c.images["rgb"],
        topics.depth: c.images["depth"],
    }
    if missing := [topic for topic, value in lacking.items() if not value]:
        raise InputError(f"bag {path}: no message on {', '.join(missing)}; --topic NAME=TOPIC names others")
    frames, ee = c.frames, robot().ee_frame
    base, camera = next(iter(c.poses.values())).header.frame_id, c.info.header.frame_id
    if options.calibration:
        from uma_ros.calibration.files import load_calibration

        frames.add(base, camera, load_calibration(options.calibration, options.camera).T_base_cam)
    if not frames.connects(robot().flange_frame, ee):
        frames.add(robot().flange_frame, ee, robot().T_flange_ee.matrix())
    T_base_cam, tool = frames.lookup(base, camera), frames.lookup(robot().flange_frame, ee)

    pairs = np.array(sorted(c.images["rgb"] & c.images["depth"]), np.int64)
    pose_at, joints_at = AsOf(c.poses), AsOf(joints)
    pairs = pairs[(pairs >= pose_at.stamps[0]) & (pairs >= joints_at.stamps[0])]
    if len(pairs) < 2:
        raise InputError(f"bag {path}: {len(pairs)} colour and depth images of one stamp, must be at least 2")
    stamps, is_seen = grid(pairs)
    pose = np.stack([pose_from(pose_at(t).pose, "pose") @ tool for t in stamps])
    gripper = np.array([gripper_from(joints_at(t)) for t in stamps])
    targets = {t: pose_from(m.pose, "target_pose") @ tool for t, m in c.targets.items()}
    target_pose, of_pose = pose_actions(stamps, pose, targets, options.actions)
    target_gripper, of_gripper = gripper_actions(stamps, gripper, c.chunks, options.actions)
    about = read_about(path if path.is_dir() else path.parent)
    tracks, reference, at = _task(c, stamps, camera)
    steps = {int(t): i for i, t in enumerate(stamps) if is_seen[i]}

    def observations() -> Iterator[tuple[int, Observation]]:
        with robot_of(config):
            for t, rgb, depth in _images(path, topics, set(steps)):
                frame = Frame(rgb, depth, c.info, pose_at(t), joints_at(t), robot().flange_frame, topics.rgb)
                yield steps[t], frame.observation(frames, ee)

    config = robot()
    return Demonstration(
        name=path.name,
        source="bag",
        text=(about.text if about else "") or _label(c) or options.text,
        outcome="" if about is None else UNMARKED if about.outcome == RECORDING else about.outcome,
        camera_frame=camera,
        stamps=stamps * 1e-9,
        robot=Robot(
            T_base_cam,
            pose,
            gripper,
            target_pose,
            target_gripper,
            actions=(of_pose, of_gripper),
            joints=_joints(stamps, c.joint_states),
        ),
        observations=observations,
        num_colour=len(c.images["rgb"]),
        num_depth=len(c.images["depth"]),
        num_pairs=int(is_seen.sum()),
        tracks=tracks,
        reference=reference,
        reference_step=at,
    )


def _joints(stamps: np.ndarray, messages: list[JointState]) -> np.ndarray | None:
    """Return the ``(S, 7)`` measured joint angles, radians; None if the messages lack one."""
    names = robot().arm_joints
    arm = {nanoseconds(m.header.stamp): m for m in messages if set(names) <= set(m.name)}
    if not arm:
        return None
    at = AsOf(arm)
    rows = [dict(zip(at(t).name, at(t).position)) for t in stamps]
    return np.array([[row[name] for name in names] for row in rows])


class AsOf:
    """The last message up to a time."""

    def __init__(self, messages: dict[int, Any]) -> None:
        self.stamps = np.array(sorted(messages), np.int64)
        self._messages = [messages[int(t)] for t in self.stamps]

    def __call__(self, stamp_ns: int) -> Any:
        return self._messages[max(int(np.searchsorted(self.stamps, stamp_ns, side="right")) - 1, 0)]


def grid(pairs: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the times of the steps at 15 Hz, ns, and whether they have an image.

    A step takes the image nearest to its time, within half a period, and its stamp.

    Args:
        pairs: ``(N,)`` stamps of the images, ns, increasing.
    """
    count = int((pairs[-1] - pairs[0] + STEP_NS // 2) // STEP_NS) + 1
    times = pairs[0] + np.arange(count, dtype=np.int64) * STEP_NS
    after = np.searchsorted(pairs, times).clip(1, len(pairs) - 1)
    nearest = np.where(times - pairs[after - 1] <= pairs[after] - times, after - 1, after)
    is_seen = np.abs(pairs[nearest] - times) <= STEP_NS // 2
    is_seen[1:] &= ~(is_seen[:-1] & (nearest[1:] == nearest[:-1]))
    return np.where(is_seen, pairs[nearest], times), is_seen


def _images(path: Path, topics: Topics, wanted: set[int]) -> Iterator[tuple[int, Image, Image]]:
    """Yield stamp, colour and depth of the wanted images, in order."""
    halves: dict[int, dict[str, bytes]] = {}
    order = sorted(wanted, reverse=True)
    for topic, _, data in read_bag(path):
        if topic not in (topics.rgb, topics.depth) or (t := _stamp_of(data)) not in wanted:
            continue
        halves.setdefault(t, {})[topic] = data
        while order and len(halves.get(order[-1], ())) == 2:
            t = order.pop()
            both = halves.pop(t)
            yield t, *(decode(both[name], Image, f"bag {path}: {name}") for name in (topics.rgb, topics.depth))


def _label(c: Contents) -> str:
    """Return the instruction that was the task; empty if it was none."""
    return next((echo.object_label for echo in reversed(c.echoes) if not echo.keypoints), "")


def _task(c: Contents, stamps: np.ndarray, camera: str) -> tuple[Tracks | None, ReferenceMotion | None, int]:
    """Return the tracked keypoints of the last reference motion, or its keypoints, and the step of its first image.

    An echo on the active task that is older than the bag was given before; its keypoints have moved since.
    """
    motions = [echo for echo in c.echoes if echo.keypoints and echo.header.frame_id == camera]
    if not motions:
        return None, None, 0
    last = motions[-1]
    begin, K = nanoseconds(last.header.stamp), len(last.keypoints)
    positions, known = np.zeros((len(stamps), K, 3)), np.zeros((len(stamps), K), bool)
    for i, t in enumerate(stamps):
        seen = c.keypoints.get(int(t))
        if seen is not None and t >= begin and len(seen.positions) == K:
            positions[i] = [(p.x, p.y, p.z) for p in seen.positions]
            known[i] = seen.is_visible
    if known.any(1)[stamps >= begin].mean() > FOLLOWED:
        return Tracks(positions, known), None, 0
    if begin < stamps[0] - EARLY_NS:
        return None, None, 0
    return None, reference_from(last), int(np.searchsorted(stamps, begin).clip(0, len(stamps) - 1))
