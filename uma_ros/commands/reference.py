"""`uma reference FILE.yaml`: send a reference motion, and report its receipt by the policy or the refusal.

`uma reference --from-bag BAG` and `uma reference --from-scene` write a reference instead of sending one.
Also reads and writes reference files:

frame: fr3_link0          # any frame with a static transform to the camera
object_label: spoon       # for logs
keypoints:
  - waypoints: [[0.45, -0.10, 0.03], [0.45, -0.10, 0.20]]   # m, in order
    phase: [0.0, 1.0]     # optional, in [0, 1]
    is_valid: [true, true]  # optional
"""

from __future__ import annotations

import reprlib
import sys
import time
from collections.abc import Callable
from dataclasses import MISSING, dataclass
from pathlib import Path

import numpy as np
import rclpy
import yaml
from builtin_interfaces.msg import Time

from uma.settings import from_words, setting
from uma.types import MAX_KEYPOINTS, InputError, ReferenceMotion
from uma_ros.deployment.graph import REPLAY_NAMES
from uma_ros.messages.convert import reference_from, reference_to
from uma_ros.msg import PolicyStatus
from uma_ros.msg import ReferenceMotion as ReferenceMsg
from uma_ros.runtime.names import NAMESPACE, check_namespace
from uma_ros.runtime.status import newly_refused
from uma_ros.runtime.textfile import numbers, read_value, text_of
from uma_ros.runtime.topics import LATCHED, STATUS, TASK_IN, Topics


def load_reference(path: str | Path) -> ReferenceMotion:
    """Read a reference file. Raises `InputError` with the file and the entry."""
    data, where = read_value(Path(path), "reference"), f"reference {path}"
    if (
        not isinstance(data, dict)
        or not {"frame", "keypoints"} <= set(data)
        or set(data) - {"frame", "keypoints", "object_label"}
    ):
        raise InputError(f"{where}: must be a mapping with frame, keypoints and optionally object_label")
    keypoints = data["keypoints"]
    if not isinstance(keypoints, list) or not 1 <= len(keypoints) <= MAX_KEYPOINTS:
        raise InputError(f"{where}: keypoints: {reprlib.repr(keypoints)}, must be a list of 1 to {MAX_KEYPOINTS}")
    read = [_keypoint(keypoint, f"{where}: keypoints[{k}]") for k, keypoint in enumerate(keypoints)]
    label = data.get("object_label")
    try:
        return ReferenceMotion(*zip(*read), text_of(data["frame"], "frame"), "" if label is None else str(label)[:256])
    except InputError as error:
        raise InputError(f"{where}: {error}") from None


def _keypoint(entry: object, name: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return waypoints, phase and validity of one keypoint. Missing phase and validity are empty."""
    if not isinstance(entry, dict) or "waypoints" not in entry or set(entry) - {"waypoints", "phase", "is_valid"}:
        raise InputError(f"{name}: must be a mapping with waypoints and optionally phase, is_valid")
    points, most = entry["waypoints"], ReferenceMotion.MAX_WAYPOINTS
    if not isinstance(points, list) or not 1 <= len(points) <= most:
        raise InputError(f"{name}.waypoints: {reprlib.repr(points)}, must be a list of 1 to {most}")
    valid = entry.get("is_valid") or []
    if not isinstance(valid, list) or len(valid) > most or not all(isinstance(v, bool) for v in valid):
        raise InputError(f"{name}.is_valid: {reprlib.repr(valid)}, must be a list of true and false")
    waypoints = np.stack([numbers(point, f"{name}.waypoints[{i}]", 3) for i, point in enumerate(points)])
    return waypoints, numbers(entry.get("phase") or [], f"{name}.phase", most=most), np.array(valid, dtype=bool)


def save_reference(reference: ReferenceMotion, path: str | Path, comment: str = "") -> None:
    """Write a reference file."""
    Path(path).write_text(reference_text(reference, comment))


def reference_text(reference: ReferenceMotion, comment: str = "") -> str:
    """Return the text of a reference file. Waypoints that are not valid and not finite become zeros."""
    lines = [f"# {line}" for line in comment.splitlines()]
    lines += [
        f"frame: {reference.frame}",
        f"object_label: {yaml.safe_dump(reference.object_label).splitlines()[0]}",
        "keypoints:",
    ]
    for w, p, v in zip(reference.waypoints, reference.phase, reference.is_valid):
        w = np.where(np.isfinite(w), w, 0.0)
        lines.append(
            "  - waypoints: [" + ", ".join("[" + ", ".join(f"{x:.4f}" for x in point) + "]" for point in w) + "]"
        )
        if not np.array_equal(p, np.linspace(0.0, 1.0, len(w))):
            lines.append("    phase: [" + ", ".join(f"{x:.4f}" for x in p) + "]")
        if not v.all():
            lines.append("    is_valid: [" + ", ".join(str(bool(x)).lower() for x in v) + "]")
    return "\n".join(lines) + "\n"


def _same_shape(a: ReferenceMotion, b: ReferenceMotion) -> bool:
    """Return whether two references may differ only by a rigid motion.

    It compares the numbers of waypoints, and their distances from the first waypoint.
    """
    if [len(w) for w in a.waypoints] != [len(w) for w in b.waypoints]:
        return False
    p, q = (np.concatenate(r.waypoints) for r in (a, b))
    return bool(
        np.allclose(np.linalg.norm(p - p[0], axis=1), np.linalg.norm(q - q[0], axis=1), atol=1e-4, equal_nan=True)
    )


class _Sender:
    """Publishes a task and waits for its echo or refusal."""

    def __init__(self, topics: Topics) -> None:
        rclpy.init()
        self.node = rclpy.create_node("uma_reference")
        self._topic = topics.reference_motion
        self._publisher = self.node.create_publisher(ReferenceMsg, self._topic, TASK_IN)
        self._sent: ReferenceMotion | None = None
        self._active: Time | None = None
        self._num_refused: int | None = None
        self._answer: str | None = None
        self._reason = ""  # of the policy's state
        self.node.create_subscription(ReferenceMsg, topics.active_reference, self._on_echo, LATCHED)
        self.node.create_subscription(PolicyStatus, topics.status, self._on_status, STATUS)

    def _on_echo(self, msg: ReferenceMsg) -> None:
        # The latched echo of the previous task may be late. Only an echo of the same shape is an answer; its frame may
        # differ.
        if (
            self._sent is not None
            and msg.header.stamp != self._active
            and msg.keypoints
            and _same_shape(reference_from(msg), self._sent)
        ):
            self._answer = ""
        self._active = msg.header.stamp

    def _on_status(self, msg: PolicyStatus) -> None:
        if msg.node != "policy":
            return
        if self._sent is not None and newly_refused(msg, self._num_refused, self._topic):
            self._answer = msg.refused
        self._num_refused, self._reason = msg.num_refused, msg.reason

    def _wait(self, condition: Callable[[], bool], deadline: float) -> bool:
        while not condition() and time.monotonic() < deadline:
            rclpy.spin_once(self.node, timeout_sec=0.1)
        return condition()

    def send(self, reference: ReferenceMotion, timeout: float) -> int:
        deadline = time.monotonic() + timeout
        if not self._wait(
            lambda: self._publisher.get_subscription_count() > 0 and self._num_refused is not None, deadline
        ):
            print(
                f"no policy found within {timeout:g} s on {self._topic}; is it in this ROS domain and namespace?",
                file=sys.stderr,
            )
            return 1
        self._wait(
            lambda: self._active is not None, min(deadline, time.monotonic() + 0.5)
        )  # a latched echo, if there is one
        self._sent = reference
        self._publisher.publish(reference_to(reference, self.node.get_clock().now().to_msg()))
        if not self._wait(lambda: self._answer is not None, deadline):
            print(f"sent, but not received by policy within {timeout:g} s; policy: {self._reason}", file=sys.stderr)
            return 1
        if self._answer:
            print(self._answer, file=sys.stderr)
            return 1
        print(f"received by policy: {len(reference.waypoints)} keypoints in {reference.frame}")
        return 0


@dataclass(frozen=True)
class ReferenceOptions:
    """Send a reference motion to the running policy. With --from-bag BAG or --from-scene, write one as YAML instead."""

    file: str = setting(MISSING, "YAML file, such as config/reference_insertion.yaml")
    replay: bool = setting(False, "send to the policy of `uma up replay` or replay.launch.py")
    namespace: str = setting("", NAMESPACE)
    timeout: float = setting(10.0, "s; longest wait for the policy", 0.0, 3600.0)

    def __post_init__(self) -> None:
        check_namespace(self.namespace)


@dataclass(frozen=True)
class SaveOptions:
    """Write the reference motion of a recording or of the running simulated scene as a reference file."""

    from_bag: str = setting("", "bag of a recording")
    from_scene: bool = setting(False, "the reference that the simulated station suggests")
    task: int = setting(0, "number of the task in the bag, from 1; 0 = the last", 0, 10000)
    out: str = setting("", "new reference file; empty: print it")
    namespace: str = setting("", NAMESPACE)
    timeout: float = setting(10.0, "s; longest wait for the station", 0.0, 3600.0)

    def __post_init__(self) -> None:
        check_namespace(self.namespace)
        if bool(self.from_bag) == self.from_scene:
            raise InputError("from_bag, from_scene: one of both must be given")


def save(args: SaveOptions) -> int:
    """Write a reference. Return 0, or 1 if no station answers.

    Raises:
        InputError: a bad bag, or an existing file.
    """
    if args.out and Path(args.out).exists():
        raise InputError(f"out: {args.out}: exists, must be a new file")
    if args.from_bag:
        reference, comment = recorded_reference(args.from_bag, args.task, args.namespace)
    else:
        found = _scene_reference(args.timeout, args.namespace)
        if found is None:
            where = Topics().in_namespace(args.namespace).sim_reference
            print(f"no simulated station found within {args.timeout:g} s on {where}; is it running?", file=sys.stderr)
            return 1
        reference, comment = found, "from the simulated scene"
    text = reference_text(reference, comment)
    if args.out:
        Path(args.out).write_text(text)
        print(f"written: {args.out}: {len(reference.waypoints)} keypoints in {reference.frame}")
    else:
        print(text, end="")
    return 0


def recorded_reference(bag: str | Path, task: int = 0, namespace: str = "") -> tuple[ReferenceMotion, str]:
    """Return a reference motion of a recording and a comment on it.

    It is in the base frame if the bag has the transform, so that it fits any camera; else in the recorded frame.

    Args:
        task: number of the task, from 1; 0 = the last.
        namespace: of the graph, see `graph_topics`.

    Raises:
        InputError: the bag is unreadable or has no such task.
    """
    from uma_ros.bags.candidates import graph_topics
    from uma_ros.bags.reader import bag_channels
    from uma_ros.offline.recording import read_recording

    recording = read_recording(bag, graph_topics(bag_channels(bag), namespace))
    count = len(recording.references)
    if not count or task > count:
        raise InputError(f"bag {bag}: task {task or 'last'}, must be one of {count} reference motions in the bag")
    _, reference = recording.references[task - 1]
    base = recording.robot.base_frame
    if reference.frame != base and recording.frames.connects(base, reference.frame):
        reference = reference.transformed(recording.frames.lookup(base, reference.frame), base)
    return reference, f"task {task or count} of {count} in {bag}"


def _scene_reference(timeout: float, namespace: str) -> ReferenceMotion | None:
    """Return the reference that the simulated station publishes; None without one within ``timeout`` seconds."""
    found: list[ReferenceMsg] = []
    rclpy.init()
    node = rclpy.create_node("uma_reference")
    try:
        topic = Topics().in_namespace(namespace).sim_reference
        node.create_subscription(ReferenceMsg, topic, found.append, LATCHED)
        deadline = time.monotonic() + timeout
        while not found and time.monotonic() < deadline:
            rclpy.spin_once(node, timeout_sec=0.1)
    finally:
        node.destroy_node()
        rclpy.try_shutdown()
    return reference_from(found[-1]) if found else None


def main(argv: list[str]) -> int:
    """Run the command. Return 0 if the policy received the task or a file was written, else 1.

    Raises:
        InputError: a bad file or bag.
    """
    if any(word.split("=")[0] in ("--from-bag", "--from-scene") for word in argv):
        return save(from_words(SaveOptions, argv, "uma reference"))
    args = from_words(ReferenceOptions, argv, "uma reference")
    reference = load_reference(args.file)

    answers = {name: REPLAY_NAMES[name] for name in ("active_reference", "status")} if args.replay else {}
    sender = _Sender(Topics(**answers).in_namespace(args.namespace))
    try:
        return sender.send(reference, args.timeout)
    finally:
        sender.node.destroy_node()
        rclpy.try_shutdown()
