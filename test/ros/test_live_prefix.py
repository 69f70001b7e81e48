"""Chunks that start with committed actions of the previous one: in the policy's thread, in a replay, on the graph."""

import threading
from pathlib import Path

import numpy as np
import pytest
import yaml
from geometry_msgs.msg import PoseStamped, TransformStamped
from harness import Graph
from rclpy.serialization import serialize_message
from scenes import reference, scene
from sensor_msgs.msg import CameraInfo, Image, JointState
from std_msgs.msg import String
from tf2_msgs.msg import TFMessage
from uma_ros.msg import ActionChunk, ReferenceMotion

from uma.geometry.se3 import invert, make_pose
from uma.robot import DROID
from uma.settings import flatten
from uma_ros.bags.reader import bag_topics, read_bag, type_name
from uma_ros.bags.writer import BagWriter
from uma_ros.messages import convert
from uma_ros.messages.frame_buffer import FrameBuffer
from uma_ros.messages.static_frames import StaticFrames
from uma_ros.offline import replay as bags
from uma_ros.policy.settings import PolicySettings, load_policy
from uma_ros.policy.tasks import FromReference
from uma_ros.policy.worker import PolicyWorker
from uma_ros.runtime.robot import with_frames
from uma_ros.runtime.topics import TASK_IN, Topics

TOPICS = Topics().in_namespace()
TOOL = "robotiq_2f85_tcp"
T_CAM_BASE = make_pose(np.array([[0.0, -1.0, 0.0], [-0.6, 0.0, -0.8], [0.8, 0.0, -0.6]]), np.array([0.05, 0.3, 0.9]))
T_FLANGE_TOOL = make_pose(np.eye(3), np.array([0.0, 0.0, 0.16]))
START_NS = 1_700_000_000_013_000_000
IMAGES = [START_NS + round(i * 1e9 / 15) + (3_000_000 if i % 3 else 0) for i in range(26)]
"""Stamps in ns: 15 Hz with the jitter of a real camera."""
ANOTHER_TASK, STOPPED = 12, 20
"""Images before which another task is given, and the policy is stopped for a moment. A chunk is made of every
fourth."""


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    import torch

    from uma.checkpoint.bundle import Contract, save_bundle
    from uma.model.config import tiny
    from uma.model.inputs import Normalization
    from uma.model.uma import Uma

    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("checkpoint") / "tiny"
    save_bundle(
        path,
        Uma(tiny(), Normalization()),
        Contract(),
        training={"command": "none: random weights"},
        card="For a test.\n",
    )
    return path


class Station:
    """A policy's thread with an arm that follows the chunks exactly. A bag records all messages."""

    def __init__(self, settings: PolicySettings, bag: Path) -> None:
        settings = with_frames(settings)
        self.scene, self.bag, self.topics = scene(), BagWriter(bag), set()
        self.buffer, self.frames = FrameBuffer(settings.robot_ee_frame), StaticFrames()
        self.answered = threading.Event()
        self.chunks, self.refused, self.tracked = [], [], []
        self.worker = PolicyWorker(
            lambda: load_policy(settings), self, self.buffer, self.frames, settings.replan_steps, False, settings.prefix
        )
        self.now = START_NS
        self.write(
            TOPICS.configuration,
            String(
                data=yaml.safe_dump({"node": "policy", "parameters": {k: v for k, (v, _) in flatten(settings).items()}})
            ),
        )
        transforms = []
        for parent, child, T in (
            (self.scene.camera.frame, "fr3_link0", T_CAM_BASE),
            ("fr3_link8", TOOL, T_FLANGE_TOOL),
        ):
            transform = TransformStamped(child_frame_id=child, transform=convert.transform_to(T))
            transform.header.frame_id = parent
            transforms.append(transform)
        message = TFMessage(transforms=transforms)
        self.write("/tf_static", message)
        self.frames.add_message(message)
        self.plan = None

    def write(self, topic: str, message) -> None:
        if topic not in self.topics:
            self.topics.add(topic)
            self.bag.add_topic(topic, type(message), TASK_IN)
        self.bag.write(topic, self.now, serialize_message(message))

    def tool(self, stamp: float) -> np.ndarray:
        """Where the arm is: on its plan, in the camera frame."""
        if self.plan is None:
            return self.scene.T_cam_ee
        return self.plan.poses[int(np.clip(round((stamp - self.plan.stamp) * 15.0) - 1, 0, 15))]

    def show(self, stamp_ns: int) -> None:
        """One image and the robot's states around it."""
        frame = self.scene.camera.frame
        stamp = convert.stamp_from(stamp_ns * 1e-9)
        stamp.sec, stamp.nanosec = divmod(stamp_ns, 1_000_000_000)
        with self.worker.wake:
            for offset in (-2_000_000, 1_000_000):
                self.now = stamp_ns + offset
                pose = PoseStamped(
                    pose=convert.pose_to(invert(T_CAM_BASE) @ self.tool(stamp_ns * 1e-9) @ invert(T_FLANGE_TOOL))
                )
                joints = JointState(name=[DROID.gripper_joint], position=[0.1])
                for message, kind, topic in (
                    (pose, "pose", TOPICS.robot_pose),
                    (joints, "joints", TOPICS.joint_states),
                ):
                    message.header.stamp.sec, message.header.stamp.nanosec = divmod(self.now, 1_000_000_000)
                    if kind == "pose":
                        message.header.frame_id = "fr3_link0"
                    self.buffer.add_state(kind, message)
                    self.write(topic, message)
            info = convert.camera_to(self.scene.camera, stamp)
            self.buffer.add_info(info)
            self.write(TOPICS.camera_info, info)
            for kind, topic, image in (
                ("rgb", TOPICS.rgb, convert.image_to(self.scene.rgb, "rgb8", frame, stamp)),
                ("depth", TOPICS.depth, convert.image_to(self.scene.depth, "32FC1", frame, stamp)),
            ):
                self.buffer.add_image(kind, image)
                self.write(topic, image)

    def run(self) -> None:
        """Show every image; where a chunk is due, wait for it."""
        self.worker.start()
        with self.worker.wake:
            self.worker.give_task(FromReference(convert.reference_to(reference(), convert.stamp_from(1.0))))
        last = -1
        for i, stamp_ns in enumerate(IMAGES):
            if i == ANOTHER_TASK:
                with self.worker.wake:
                    self.worker.give_task(FromReference(convert.reference_to(reference(2), convert.stamp_from(1.0))))
            if i == STOPPED:
                self.worker.set_active(False)
            self.show(stamp_ns)
            due = last < 0 or i - last >= 4
            self.worker.set_active(True)
            if due:
                assert self.answered.wait(60.0), self.worker.failure or self.refused or "no chunk"
                self.answered.clear()
                last = i
        self.worker.close()
        self.bag.close()

    # -- the worker's listener

    def on_ready(self, policy) -> None: ...

    def on_task(self, encoded) -> None:
        self.write(TOPICS.active_reference, encoded.echo)

    def on_chunk(self, frame, prediction, stages_ms):
        message = convert.chunk_to(prediction.chunk, frame.rgb.header.stamp)
        self.write(TOPICS.action_chunk, message)
        self.plan = convert.chunk_from(message)
        self.chunks.append(self.plan)
        self.answered.set()
        return self.plan

    def on_motion(self, frame, motion) -> None: ...

    def on_keypoints(self, frame, state) -> None:
        self.tracked.append((frame.stamp_ns, state))

    def on_finished(self, distance) -> None: ...

    def on_refused(self, source, error) -> None:
        self.refused.append(f"{source}: {error}")


def run(folder: Path, checkpoint: Path, prefix: int) -> Station:
    station = Station(
        PolicySettings(checkpoint=str(checkpoint), prefix=prefix, num_steps=2, num_samples=1, predict_motion=False),
        folder / "bag",
    )
    station.run()
    assert not station.refused
    return station


def test_keypoints_of_the_task_in_force_are_followed(tmp_path, checkpoint):
    station = run(tmp_path, checkpoint, 0)
    stamps = [stamp for stamp, _ in station.tracked]
    assert stamps == sorted(set(stamps)) and len(stamps) >= len(station.chunks) - 2, (
        "on all but the first of each task, at least"
    )
    assert {s.positions.shape for _, s in station.tracked} == {(3, 3), (2, 3)}, "of the task in force"


@pytest.mark.parametrize("prefix", [0, 3])
def test_a_replay_is_bit_equal_with_and_without_a_prefix(tmp_path, checkpoint, prefix):
    station = run(tmp_path, checkpoint, prefix)
    assert [c.num_committed for c in station.chunks] == [0, prefix, prefix, 0, prefix, 0, prefix], (
        "none at the start, of another task, or after a stop"
    )
    for before, after in zip(station.chunks, station.chunks[1:]):
        for i in range(after.num_committed):
            there = [np.interp(after.due()[i], before.due(), before.poses[:, k, 3]) for k in range(3)]
            assert np.linalg.norm(after.poses[i][:3, 3] - there) < 1e-3, "where the chunk before is at that time"
    rows, _, _ = bags.replay(tmp_path / "bag")
    assert len(rows) == len(station.chunks) and all(row.equal for row in rows), rows


def test_replay_names_a_missing_previous_chunk(tmp_path, checkpoint):
    """The recorder lost one chunk: only the next one cannot be replayed."""
    run(tmp_path, checkpoint, 3)
    classes = {
        type_name(k): k
        for k in (String, TFMessage, PoseStamped, JointState, CameraInfo, Image, ActionChunk, ReferenceMotion)
    }
    lossy, seen = BagWriter(tmp_path / "lossy"), 0
    for topic, (kind, _) in bag_topics(tmp_path / "bag").items():
        lossy.add_topic(topic, classes[kind], TASK_IN)
    for topic, t, data in read_bag(tmp_path / "bag"):
        if topic == TOPICS.action_chunk:
            seen += 1
            if seen == 2:
                continue
        lossy.write(topic, t, bytes(data))
    lossy.close()
    rows, _, _ = bags.replay(tmp_path / "lossy")
    assert [bool(row.missing) for row in rows] == [False, True, False, False, False, False]
    assert "num_committed: 3" in rows[1].missing and all(row.equal for row in rows if not row.missing)


def test_chunks_and_motion_have_their_own_sampling(checkpoint):
    chunks, motions = load_policy(
        PolicySettings(
            checkpoint=str(checkpoint), num_steps=5, num_samples=3, agreeing=0.7, motion_steps=2, motion_samples=4
        )
    )
    assert (
        chunks.config.num_steps,
        chunks.config.num_samples,
        chunks.config.consensus_fraction,
        motions.config.num_steps,
        motions.config.num_samples,
    ) == (5, 3, 0.7, 2, 4)


def test_more_than_a_chunk_is_refused_at_the_start(checkpoint):
    class Short:
        class contract:
            horizon = 8

    worker = PolicyWorker(
        lambda: (Short(), Short()), None, FrameBuffer("fr3_link8"), StaticFrames(), 4, False, prefix=8
    )
    worker.start()
    worker._thread.join(10.0)
    assert str(worker.failure) == "prefix: 8, must be fewer than the chunk's 8 actions"


def test_live_chunks_begin_with_the_previous_actions(tmp_path):
    graph = Graph(tmp_path, changes={"policy": {"prefix": 3}, "controller": {"ensemble": 0.3}})
    try:
        graph.begin()
        c = graph.client
        start = graph.client.ee()
        c.wait(lambda: sum(m.num_committed == 3 for m in c.base_chunks) >= 4, 60.0, "chunks with a prefix")
        chunks = {m.sequence: convert.chunk_from(m) for m in c.base_chunks}
        checked = 0
        for after in chunks.values():
            before = chunks.get(after.sequence - 1)
            if before is None or not after.num_committed:
                continue
            checked += 1
            for i in range(3):
                nearest = int(np.abs(before.due() - after.due()[i]).argmin())
                assert np.linalg.norm(after.poses[i][:3, 3] - before.poses[nearest][:3, 3]) < 0.016, (
                    "at most one step of the fake policy away"
                )
        assert checked >= 2
        c.wait(lambda: np.linalg.norm(graph.client.ee()[:3, 3] - start[:3, 3]) > 0.1, 40.0, "the arm on its way")
    finally:
        codes = graph.close()
    assert set(codes.values()) == {0}
