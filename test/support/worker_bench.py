"""A policy's worker with a drawn scene and an arm that follows its chunks, without a graph."""

import threading
import time
from types import SimpleNamespace

import numpy as np
from geometry_msgs.msg import PoseStamped, TransformStamped
from scenes import scene
from sensor_msgs.msg import JointState
from tf2_msgs.msg import TFMessage

from uma.geometry.se3 import invert, make_pose
from uma.robot import DROID
from uma_ros.messages import convert
from uma_ros.messages.frame_buffer import FrameBuffer
from uma_ros.messages.static_frames import StaticFrames
from uma_ros.policy.worker import PolicyWorker

T_CAM_BASE = make_pose(np.array([[0.0, -1.0, 0.0], [-0.6, 0.0, -0.8], [0.8, 0.0, -0.6]]), np.array([0.05, 0.3, 0.9]))
T_FLANGE_TOOL = make_pose(np.eye(3), np.array([0.0, 0.0, 0.16]))
STEP_NS = 4 * 1_000_000_000 // 15 + 1_000_000


class Bench:
    """Shows one image per chunk that may be due, and stores what the worker reports.

    Args:
        policy: for chunks and for predicted motion.
        settings: further arguments of `PolicyWorker`.
    """

    def __init__(self, policy, **settings) -> None:
        self.scene, self.now = scene(), 1_700_000_000_000_000_000
        self.buffer, self.frames = FrameBuffer(DROID.flange_frame), StaticFrames()
        self.chunks, self.stages, self.motions, self.refused, self.tasks, self.ends = [], [], [], [], [], []
        self.ready = threading.Event()
        self.worker = PolicyWorker(
            lambda: (policy, policy),
            self,
            self.buffer,
            self.frames,
            **{"replan_steps": 4, "predict_motion": False, "track": False, **settings},
        )
        transforms = []
        for parent, child, T in (
            (self.scene.camera.frame, DROID.base_frame, T_CAM_BASE),
            (DROID.flange_frame, policy.contract.ee_frame, T_FLANGE_TOOL),
        ):
            transforms.append(TransformStamped(child_frame_id=child, transform=convert.transform_to(T)))
            transforms[-1].header.frame_id = parent
        self.frames.add_message(TFMessage(transforms=transforms))
        self.worker.start()
        assert self.ready.wait(60.0), self.worker.failure
        self.worker.set_active(True)

    def tool(self, stamp_ns: int) -> np.ndarray:
        """The arm's pose in the camera frame: on the last chunk."""
        if not self.chunks:
            return self.scene.T_cam_ee
        chunk = self.chunks[-1]
        return chunk.poses[int(np.clip(round((stamp_ns * 1e-9 - chunk.stamp) * 15.0) - 1, 0, 15))]

    def show(self, patience: float = 0.5) -> bool:
        """Show the next image. Return whether a chunk came of it within ``patience`` seconds."""
        before, self.now = len(self.chunks), self.now + STEP_NS
        frame = self.scene.camera.frame
        with self.worker.wake:
            for offset in (-2_000_000, 1_000_000):
                T = invert(T_CAM_BASE) @ self.tool(self.now) @ invert(T_FLANGE_TOOL)
                pose, joints = PoseStamped(pose=convert.pose_to(T)), JointState(name=[DROID.gripper_joint])
                joints.position = [0.1]
                pose.header.frame_id = DROID.base_frame
                for kind, message in (("pose", pose), ("joints", joints)):
                    stamp = message.header.stamp
                    stamp.sec, stamp.nanosec = divmod(self.now + offset, 1_000_000_000)
                    self.buffer.add_state(kind, message)
            stamp = convert.stamp_from(0.0)
            stamp.sec, stamp.nanosec = divmod(self.now, 1_000_000_000)
            self.buffer.add_info(convert.camera_to(self.scene.camera, stamp))
            self.buffer.add_image("rgb", convert.image_to(self.scene.rgb, "rgb8", frame, stamp))
            self.buffer.add_image("depth", convert.image_to(self.scene.depth, "32FC1", frame, stamp))
            self.worker.wake.notify()
        return self.wait(lambda: len(self.chunks) > before, patience)

    def wait(self, condition, patience: float = 30.0) -> bool:
        end = time.monotonic() + patience
        while not condition() and time.monotonic() < end:
            assert self.worker.failure is None, self.worker.failure
            time.sleep(0.002)
        return condition()

    def give(self, given) -> None:
        self.worker.give_task(given)

    def close(self) -> None:
        self.worker.close()

    # -- the worker's listener

    def on_ready(self, policy) -> None:
        self.ready.set()

    def on_task(self, encoded) -> None:
        self.tasks.append(encoded)

    def on_chunk(self, frame, prediction, stages_ms):
        self.stages.append(stages_ms)
        self.chunks.append(prediction.chunk)
        return prediction.chunk

    def on_motion(self, frame, motion) -> None:
        self.motions.append(motion)

    def on_keypoints(self, frame, state) -> None: ...

    def on_finished(self, distance) -> None:
        self.ends.append(SimpleNamespace(distance=distance, chunks=len(self.chunks)))

    def on_refused(self, source, error) -> None:
        self.refused.append(f"{source}: {error}")
