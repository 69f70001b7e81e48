"""`uma replay BAG`: the policy once more on what a bag holds, without a live graph, compared with what it did then."""

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
from uma_ros.bags.reader import read_bag
from uma_ros.messages.convert import chunk_from, chunk_to, nanoseconds
from uma_ros.messages.frame_buffer import FrameBuffer
from uma_ros.msg import ActionChunk as ActionChunkMsg
from uma_ros.msg import ReferenceMotion as ReferenceMotionMsg
from uma_ros.offline.recording import TOPICS, Episode, read_episode
from uma_ros.policy.settings import PolicySettings, load_policy
from uma_ros.policy.tasks import FromReference, from_echo
from uma_ros.runtime.robot import robot


@dataclass(frozen=True)
class Row:
    """One chunk, recorded and made again.

    Attributes:
        sequence, stamp: of the recorded chunk.
        equal: every bit of poses and gripper is the same.
        position_m, rotation_rad, gripper: largest differences over its actions; NaN if it could not be made again.
        executed_m: mean distance of its actions, up to the next chunk, to where the end effector really was when they
            were due.
        missing: what the bag lacks to make it again; empty if nothing.
    """

    sequence: int
    stamp: float
    equal: bool
    position_m: float
    rotation_rad: float
    gripper: float
    executed_m: float
    missing: str = ""


def recorded_settings(episode: Episode, checkpoint: str = "") -> PolicySettings:
    """The policy's settings as the bag tells them; ``checkpoint`` replaces the recorded one."""
    said = episode.configuration.get("policy", {}).get("parameters", {})
    if not isinstance(said, dict):
        raise InputError(
            f"the recorded configuration of the policy: parameters: {type(said).__name__}, must be a mapping"
        )
    known = flatten(PolicySettings())
    settings = replaced(PolicySettings(), {k: v for k, v in said.items() if k in known})
    return replaced(settings, {"checkpoint": checkpoint}) if checkpoint else settings


def compare(recorded: ActionChunk, again: ActionChunk) -> tuple[bool, float, float, float]:
    """Whether they are equal to the last bit, and the largest differences in metres, radians and gripper units."""
    equal = np.array_equal(recorded.poses, again.poses) and np.array_equal(recorded.gripper, again.gripper)
    position = float(np.linalg.norm(recorded.poses[:, :3, 3] - again.poses[:, :3, 3], axis=1).max())
    rotation = float(rotation_angle(recorded.poses[:, :3, :3], again.poses[:, :3, :3]).max())
    return bool(equal), position, rotation, float(np.abs(recorded.gripper - again.gripper).max())


def recorded_prefix(recorded: ActionChunk, before: ActionChunk | None, observation: Observation) -> ActionChunk | None:
    """The actions that ``recorded`` was given, once more from the chunk ``before`` it; None if it was given none.

    Raises:
        InputError: they do not follow from that one.
    """
    d = recorded.num_committed
    if not d:
        return None
    prefix = committed(before, observation, d)
    if prefix is None or not np.allclose(prefix.poses, recorded.poses[:d], atol=1e-6):
        raise InputError(
            f"num_committed: {d}, but these actions do not follow from the chunk before it in the bag: the "
            "one that they are from is missing"
        )
    return prefix


def executed_error(episode: Episode, index: int, settings: PolicySettings) -> float:
    """Mean distance in metres of a chunk's actions, up to the next chunk, to the measured end effector; NaN without
    robot states."""
    _, chunk = episode.chunks[index]
    times, poses = episode.ee
    end = (
        episode.chunks[index + 1][1].stamp + 0.1
        if index + 1 < len(episode.chunks)
        else chunk.stamp + settings.replan_steps / chunk.rate_hz
    )
    T_base_cam = episode.frames.lookup(settings.base_frame, chunk.frame)
    tool = episode.frames.lookup(settings.robot_ee_frame, chunk.ee_frame)
    errors = [
        np.linalg.norm((T_base_cam @ T)[:3, 3] - (poses[int(np.searchsorted(times, due)) - 1] @ tool)[:3, 3])
        for due, T in zip(chunk.due(), chunk.poses)
        if len(times) and due <= min(end, times[-1])
    ]
    return float(np.mean(errors)) if errors else float("nan")


def replay(
    bag: str | Path, checkpoint: str = "", load: Callable[[PolicySettings], tuple[Any, Any]] = load_policy
) -> tuple[list[Row], Episode, Any]:
    """Make every recorded chunk again.

    Raises:
        InputError: the bag or the checkpoint cannot be read, or the bag holds no chunks.
    """
    episode = read_episode(bag)
    if not episode.chunks:
        raise InputError(f"bag {bag}: no message on {TOPICS.action_chunk}: there is nothing to compare with")
    settings = recorded_settings(episode, checkpoint)
    policy, _ = load(settings)
    buffer, rows, task = FrameBuffer(settings.robot_ee_frame, num_images=60, num_states=3000), [], None
    kinds = {
        TOPICS.rgb: Image,
        TOPICS.depth: Image,
        TOPICS.camera_info: CameraInfo,
        TOPICS.robot_pose: PoseStamped,
        TOPICS.joint_states: JointState,
        TOPICS.active_reference: ReferenceMotionMsg,
        TOPICS.action_chunk: ActionChunkMsg,
    }

    def observe(stamp_ns: int) -> Any:
        frame = buffer.at(stamp_ns)
        if frame is None:
            raise InputError("its images or the robot's state are not in the bag")
        return frame.observation(episode.frames, policy.contract.ee_frame)

    def work_off(before_ns: float) -> None:
        nonlocal task
        while waiting and waiting[0][0] < before_ns:
            *_, topic, msg = heappop(waiting)
            if topic == TOPICS.action_chunk:
                rows.append(_again(msg, policy, task, observe, episode, len(rows), settings))
                continue
            try:
                given = from_echo(msg, settings.prompt)
                if isinstance(given, FromReference):
                    task = given.encode(
                        policy, observe(nanoseconds(msg.header.stamp)), episode.frames.lookup, msg.header.stamp
                    ).task
                else:
                    task = given.task(policy)  # whose first image may have come before the recorder was there
            except InputError as error:
                task = error

    # A recorder may write an answer down before the image that it answers, or the first chunk of a task before the
    # task: what the policy said waits
    # until a second after the image that it speaks of, and comes in the order of the images, a task before the chunk of
    # the same one.
    waiting: list[tuple[int, bool, int, str, Any]] = []
    for number, (topic, t, msg) in enumerate(read_bag(bag, kinds)):
        work_off(t - 1_000_000_000)
        if topic in (TOPICS.rgb, TOPICS.depth):
            buffer.add_image("rgb" if topic == TOPICS.rgb else "depth", msg)
        elif topic == TOPICS.camera_info:
            buffer.add_info(msg)
        elif topic == TOPICS.robot_pose:
            buffer.add_state("pose", msg)
        elif topic == TOPICS.joint_states:
            if robot().gripper_joint in msg.name:
                buffer.add_state("joints", msg)
        else:
            heappush(waiting, (nanoseconds(msg.header.stamp), topic == TOPICS.action_chunk, number, topic, msg))
    work_off(float("inf"))
    return rows, episode, policy


def _again(
    msg: ActionChunkMsg,
    policy: Any,
    task: Any,
    observe: Callable[[int], Any],
    episode: Episode,
    index: int,
    settings: PolicySettings,
) -> Row:
    recorded, stamp_ns = chunk_from(msg), nanoseconds(msg.header.stamp)
    executed = executed_error(episode, index, settings)
    try:
        if task is None or isinstance(task, InputError):
            raise InputError(f"no task before it in the bag{f': {task}' if task else ''}")
        observation = observe(stamp_ns)
        before = episode.chunks[index - 1][1] if index else None
        chunk = policy.predict(
            observation, task, sequence=recorded.sequence, prefix=recorded_prefix(recorded, before, observation)
        ).chunk
    except InputError as error:
        nan = float("nan")
        return Row(recorded.sequence, recorded.stamp, False, nan, nan, nan, executed, str(error))
    # Through a message, as the recorded one went: quaternions and float32 grippers round in the same way.
    return Row(
        recorded.sequence, recorded.stamp, *compare(recorded, chunk_from(chunk_to(chunk, msg.header.stamp))), executed
    )


def show(rows: list[Row]) -> None:
    """The table."""
    from rich.console import Console
    from rich.table import Table

    table = Table(title="The policy again on this bag")
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
    """Difference to the recorded chunks and action error against the executed motion, over time."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    t = [row.stamp - rows[0].stamp for row in rows]
    figure, axes = plt.subplots(1, 2, figsize=(11, 4))
    axes[0].plot(t, [row.position_m * 1e3 for row in rows], "o-", label="position (mm)")
    axes[0].plot(t, [row.rotation_rad * 1e3 for row in rows], "s-", label="rotation (mrad)")
    axes[0].set(title="made again against recorded, largest over a chunk", xlabel="time (s)", ylim=(0, None))
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
    """Run the policy again on a recorded bag and compare with what it did."""

    bag: str = setting(MISSING, "folder of the bag")
    checkpoint: str = setting("", "another checkpoint than the recorded one")
    out: str = setting("", "folder for replay.png; empty: beside the bag")


def main(argv: list[str], load: Callable[[PolicySettings], tuple[Any, Any]] = load_policy) -> int:
    """Exit code 0 when every chunk could be made again, 1 when one could not, 2 for a bad bag or checkpoint."""
    args = from_words(ReplayOptions, argv, "uma replay")
    rows, episode, policy = replay(args.bag, args.checkpoint, load)
    recorded = episode.configuration.get("policy", {}).get("checkpoint_id", "unknown")
    if recorded != policy.checkpoint_id:
        print(
            f"The bag was made with checkpoint {recorded}, this is {policy.checkpoint_id}: differences are "
            "to be expected."
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
            f"{len(rows) - len(made)} chunks could not be made again: "
            f"{next(row.missing for row in rows if row.missing)}",
            file=sys.stderr,
        )
    return 0 if len(made) == len(rows) else 1
