"""`uma replay BAG`: run the policy on the observations of a bag, and compare its chunks with the recorded ones."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import MISSING, dataclass
from heapq import heappop, heappush
from pathlib import Path
from typing import Any

import numpy as np
from geometry_msgs.msg import PoseStamped
from sensor_msgs.msg import CameraInfo, Image, JointState

from uma.geometry.se3 import rotation_angle
from uma.policy.prefix import committed
from uma.settings import flatten, from_words, replaced, setting
from uma.types import ActionChunk, InputError, Observation
from uma_ros.bags.candidates import candidates, chosen_topics, graph_topics
from uma_ros.bags.reader import bag_channels, read_bag
from uma_ros.bags.storage import OF_BAG, TOPIC
from uma_ros.messages.convert import chunk_from, chunk_to, nanoseconds
from uma_ros.messages.frame_buffer import FrameBuffer
from uma_ros.msg import ActionChunk as ActionChunkMsg
from uma_ros.msg import ReferenceMotion as ReferenceMotionMsg
from uma_ros.offline.recording import TOPICS, Recording, read_recording
from uma_ros.policy.settings import PolicySettings, load_policy
from uma_ros.policy.tasks import FromReference, from_echo
from uma_ros.runtime.robot import robot, robot_of, with_frames
from uma_ros.runtime.topics import Topics


@dataclass(frozen=True)
class Row:
    """Comparison of a recorded chunk with the replayed one.

    Attributes:
        sequence, stamp: of the recorded chunk.
        equal: poses and gripper are bit-equal.
        position_m, rotation_rad, gripper: largest differences over the actions; NaN if the chunk was not replayed.
        executed_m: mean distance of the actions, up to the next chunk, to the measured end effector at their due times.
        missing: data that the bag lacks for the replay; empty if complete.
    """

    sequence: int
    stamp: float
    equal: bool
    position_m: float
    rotation_rad: float
    gripper: float
    executed_m: float
    missing: str = ""


def recorded_settings(recording: Recording, checkpoint: str = "") -> PolicySettings:
    """Return the recorded settings of the policy. A non-empty ``checkpoint`` replaces the recorded one."""
    recorded = recording.configuration.get("policy", {}).get("parameters", {})
    if not isinstance(recorded, dict):
        raise InputError(
            f"the recorded configuration of the policy: parameters: {type(recorded).__name__}, must be a mapping"
        )
    known = flatten(PolicySettings())
    settings = replaced(PolicySettings(), {k: v for k, v in recorded.items() if k in known})
    return with_frames(replaced(settings, {"checkpoint": checkpoint}) if checkpoint else settings)


def compare(recorded: ActionChunk, again: ActionChunk) -> tuple[bool, float, float, float]:
    """Return whether two chunks are bit-equal, and their largest differences in metres, radians and gripper units."""
    equal = np.array_equal(recorded.poses, again.poses) and np.array_equal(recorded.gripper, again.gripper)
    position = float(np.linalg.norm(recorded.poses[:, :3, 3] - again.poses[:, :3, 3], axis=1).max())
    rotation = float(rotation_angle(recorded.poses[:, :3, :3], again.poses[:, :3, :3]).max())
    return bool(equal), position, rotation, float(np.abs(recorded.gripper - again.gripper).max())


def recorded_prefix(recorded: ActionChunk, before: ActionChunk | None, observation: Observation) -> ActionChunk | None:
    """Return the committed actions of ``recorded``, recomputed from the previous chunk; None if it has none.

    Args:
        before: the previous chunk in the bag.

    Raises:
        InputError: the committed actions are not those of ``before``.
    """
    d = recorded.num_committed
    if not d:
        return None
    prefix = committed(before, observation, d)
    if prefix is None or not np.allclose(prefix.poses, recorded.poses[:d], atol=1e-6):
        raise InputError(
            f"num_committed: {d}, these actions are not from the previous chunk in the bag; their chunk is missing"
        )
    return prefix


def executed_error(recording: Recording, index: int, settings: PolicySettings) -> float:
    """Return the mean distance of a chunk's actions to the measured end effector, metres; NaN without robot states.

    It covers the actions up to the next chunk.
    """
    _, chunk = recording.chunks[index]
    times, poses = recording.ee
    end = (
        recording.chunks[index + 1][1].stamp + 0.1
        if index + 1 < len(recording.chunks)
        else chunk.stamp + settings.replan_steps / chunk.rate_hz
    )
    T_base_cam = recording.frames.lookup(settings.base_frame, chunk.frame)
    tool = recording.frames.lookup(settings.robot_ee_frame, chunk.ee_frame)
    errors = [
        np.linalg.norm((T_base_cam @ T)[:3, 3] - (poses[int(np.searchsorted(times, due)) - 1] @ tool)[:3, 3])
        for due, T in zip(chunk.due(), chunk.poses)
        if len(times) and due <= min(end, times[-1])
    ]
    return float(np.mean(errors)) if errors else float("nan")


def replay(
    bag: str | Path,
    checkpoint: str = "",
    load: Callable[[PolicySettings], tuple[Any, Any]] = load_policy,
    topics: Topics = TOPICS,
) -> tuple[list[Row], Recording, Any]:
    """Replay every recorded chunk.

    Returns:
        The comparisons, the recording, and the policy.

    Raises:
        InputError: the bag or the checkpoint is unreadable, or the bag contains no chunks.
    """
    recording = read_recording(bag, topics)
    if not recording.chunks:
        raise InputError(f"bag {bag}: no message on {topics.action_chunk}, must have at least one{_hint(bag)}")
    with robot_of(recording.robot):
        return _replayed(bag, recording, recorded_settings(recording, checkpoint), load, topics)


def _replayed(
    bag: str | Path,
    recording: Recording,
    settings: PolicySettings,
    load: Callable[[PolicySettings], tuple[Any, Any]],
    topics: Topics,
) -> tuple[list[Row], Recording, Any]:
    policy, _ = load(settings)
    buffer = FrameBuffer(settings.robot_ee_frame, num_images=60, num_states=3000, rgb_topic=topics.rgb)
    rows: list[Row] = []
    task = None
    kinds = {
        topics.rgb: Image,
        topics.depth: Image,
        topics.camera_info: CameraInfo,
        topics.robot_pose: PoseStamped,
        topics.joint_states: JointState,
        topics.active_reference: ReferenceMotionMsg,
        topics.action_chunk: ActionChunkMsg,
    }

    def observe(stamp_ns: int) -> Any:
        frame = buffer.at(stamp_ns)
        if frame is None:
            raise InputError("images or robot states missing in the bag")
        return frame.observation(recording.frames, policy.contract.ee_frame)

    def first(stamp_ns: int) -> Observation | None:
        """The image of an instruction or a prompt; None if it is older than the bag, which most checkpoints accept."""
        try:
            return observe(stamp_ns)
        except InputError:
            return None

    def process(before_ns: float) -> None:
        nonlocal task
        while waiting and waiting[0][0] < before_ns:
            *_, topic, msg = heappop(waiting)
            if topic == topics.action_chunk:
                rows.append(_again(msg, policy, task, observe, recording, len(rows), settings))
                continue
            try:
                given = from_echo(msg, settings.prompt)
                if isinstance(given, FromReference):
                    task = given.encode(
                        policy, observe(nanoseconds(msg.header.stamp)), recording.frames.lookup, msg.header.stamp
                    ).task
                else:
                    task = given.task(policy, first(nanoseconds(msg.header.stamp)))
            except InputError as error:
                task = error

    # The recorder may write a chunk before its image or its task. Chunks and tasks therefore wait until a second after
    # their image. They are processed in the order of their images, a task before the chunk of the same image.
    waiting: list[tuple[int, bool, int, str, Any]] = []
    for number, (topic, t, msg) in enumerate(read_bag(bag, kinds)):
        process(t - 1_000_000_000)
        if topic in (topics.rgb, topics.depth):
            buffer.add_image("rgb" if topic == topics.rgb else "depth", msg)
        elif topic == topics.camera_info:
            buffer.add_info(msg)
        elif topic == topics.robot_pose:
            buffer.add_state("pose", msg)
        elif topic == topics.joint_states:
            if robot().gripper_joint in msg.name:
                buffer.add_state("joints", msg)
        else:
            heappush(waiting, (nanoseconds(msg.header.stamp), topic == topics.action_chunk, number, topic, msg))
    process(float("inf"))
    return rows, recording, policy


def _hint(bag: str | Path) -> str:
    """Return what a bag without chunks may serve for."""
    if candidates(bag_channels(bag)):
        return "; a replay compares with recorded chunks: `uma inspect BAG` names the topics for --topic"
    return ""


def _again(
    msg: ActionChunkMsg,
    policy: Any,
    task: Any,
    observe: Callable[[int], Any],
    recording: Recording,
    index: int,
    settings: PolicySettings,
) -> Row:
    recorded, stamp_ns = chunk_from(msg), nanoseconds(msg.header.stamp)
    executed = executed_error(recording, index, settings)
    try:
        if task is None or isinstance(task, InputError):
            raise InputError(f"no task before the chunk in the bag{f': {task}' if task else ''}")
        observation = observe(stamp_ns)
        before = recording.chunks[index - 1][1] if index else None
        chunk = policy.predict(
            observation, task, sequence=recorded.sequence, prefix=recorded_prefix(recorded, before, observation)
        ).chunk
    except InputError as error:
        nan = float("nan")
        return Row(recorded.sequence, recorded.stamp, False, nan, nan, nan, executed, str(error))
    # The conversion to a message and back rounds the chunk like the recorded one.
    return Row(
        recorded.sequence, recorded.stamp, *compare(recorded, chunk_from(chunk_to(chunk, msg.header.stamp))), executed
    )


def show(rows: list[Row]) -> None:
    """Print the comparisons as a table."""
    from rich.console import Console
    from rich.table import Table

    table = Table(title="Replayed against recorded chunks")
    for name in (
        "chunk",
        "time (s)",
        "bit-equal",
        "position (mm)",
        "rotation (mrad)",
        "gripper",
        "action to executed (mm)",
    ):
        table.add_column(name, justify="right")
    for row in rows:
        differences = (
            [row.missing, "", ""]
            if row.missing
            else [f"{row.position_m * 1e3:.3g}", f"{row.rotation_rad * 1e3:.3g}", f"{row.gripper:.2g}"]
        )
        table.add_row(
            str(row.sequence),
            f"{row.stamp - rows[0].stamp:.2f}",
            "yes" if row.equal else "no",
            *differences,
            f"{row.executed_m * 1e3:.1f}",
        )
    Console(width=None if sys.stdout.isatty() else 120).print(table)


def plot(rows: list[Row], path: Path) -> None:
    """Plot the differences to the recorded chunks, and the error against the executed motion, over time."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    t = [row.stamp - rows[0].stamp for row in rows]
    figure, axes = plt.subplots(1, 2, figsize=(11, 4))
    axes[0].plot(t, [row.position_m * 1e3 for row in rows], "o-", label="position (mm)")
    axes[0].plot(t, [row.rotation_rad * 1e3 for row in rows], "s-", label="rotation (mrad)")
    axes[0].set(title="replayed against recorded, largest over a chunk", xlabel="time (s)", ylim=(0, None))
    axes[0].legend()
    axes[1].plot(t, [row.executed_m * 1e3 for row in rows], "o-", color="tab:green")
    axes[1].set(
        title="recorded actions against the executed motion, mean", xlabel="time (s)", ylabel="mm", ylim=(0, None)
    )
    figure.tight_layout()
    figure.savefig(path, dpi=90)
    plt.close(figure)


@dataclass(frozen=True)
class ReplayOptions:
    """Run the policy on a bag and compare its chunks with the recorded ones."""

    bag: str = setting(MISSING, "bag: its folder, or its file")
    checkpoint: str = setting("", "folder of the checkpoint; empty: the recorded one")
    out: str = setting("", "folder for replay.png; empty: beside the bag")
    topic: list[str] = setting([], TOPIC)
    namespace: str = setting("", OF_BAG)


def main(argv: list[str], load: Callable[[PolicySettings], tuple[Any, Any]] = load_policy) -> int:
    """Run the command. Return 0 if every chunk was replayed, else 1. Raises `InputError` as `replay` does."""
    args = from_words(ReplayOptions, argv, "uma replay")
    topics = chosen_topics(args.topic, graph_topics(bag_channels(args.bag), args.namespace))
    rows, recording, policy = replay(args.bag, args.checkpoint, load, topics)
    recorded = recording.configuration.get("policy", {}).get("checkpoint_id", "unknown")
    if recorded != policy.checkpoint_id:
        print(
            f"The bag was recorded with checkpoint {recorded}, the replay uses {policy.checkpoint_id}: expect "
            "differences."
        )
    show(rows)
    out = Path(args.out) if args.out else Path(args.bag).resolve().parent
    out.mkdir(parents=True, exist_ok=True)
    plot(rows, out / "replay.png")
    made = [row for row in rows if not row.missing]
    if made:
        worst = max(row.position_m for row in made)
        executed = np.nanmean([row.executed_m for row in rows])
        print(
            f"{sum(row.equal for row in made)} of {len(rows)} chunks bit-equal, largest difference "
            f"{worst * 1e3:.3g} mm; actions to executed {executed * 1e3:.1f} mm on average; "
            f"{out / 'replay.png'}"
        )
    if len(made) < len(rows):
        print(
            f"{len(rows) - len(made)} chunks could not be replayed: {next(row.missing for row in rows if row.missing)}",
            file=sys.stderr,
        )
    return 0 if len(made) == len(rows) else 1
