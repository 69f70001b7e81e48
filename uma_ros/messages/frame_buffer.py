"""Synchronisation of image and state streams to frames of one instant, live and in a replay."""

from __future__ import annotations

from bisect import bisect_right
from collections import deque
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from geometry_msgs.msg import PoseStamped
from sensor_msgs.msg import CameraInfo, Image, JointState

from uma.control.freshness import check_freshness
from uma.control.grasp import GraspWatch
from uma.geometry.se3 import invert
from uma.robot import DROID
from uma.types import Grasp, InputError, Observation
from uma_ros.messages.convert import COLOURS, DEPTHS, MAX_PIXELS, gripper_from, nanoseconds, observation_from, pose_from
from uma_ros.messages.static_frames import StaticFrames

MAX_PADDING = 4096
"""A row may have twice the bytes of its pixels plus this number. The limit exists because the padding is buffered."""


@dataclass(frozen=True)
class Frame:
    """Messages of one instant: colour and depth with the same stamp, and the last robot states up to that stamp.

    Attributes:
        grasp: pose ``(4, 4)`` of the robot's frame and stamp, seconds, of the grasp in force; None while it is open.
    """

    rgb: Image
    depth: Image
    info: CameraInfo
    pose: PoseStamped
    joints: JointState
    robot_frame: str = DROID.flange_frame
    rgb_topic: str = ""
    grasp: tuple[np.ndarray, float] | None = None

    @property
    def stamp_ns(self) -> int:
        return nanoseconds(self.rgb.header.stamp)

    def observation(self, frames: StaticFrames, ee_frame: str) -> Observation:
        """Return the observation in the camera frame.

        Args:
            ee_frame: end-effector frame of the policy.

        Raises:
            InputError: a message is malformed, or the frames are not connected.
        """
        camera, base = self.info.header.frame_id, self.pose.header.frame_id
        T_cam_base = frames.lookup(camera, base)
        T_robot_ee = frames.lookup(self.robot_frame, ee_frame)
        T_cam_ee = T_cam_base @ pose_from(self.pose.pose, "pose") @ T_robot_ee
        grasp = None if self.grasp is None else Grasp(T_cam_base @ self.grasp[0] @ T_robot_ee, self.grasp[1])
        gripper, T_base_cam = gripper_from(self.joints), invert(T_cam_base)
        seen = observation_from(self.rgb, self.depth, self.info, T_cam_ee, gripper, T_base_cam, self.rgb_topic)
        return replace(seen, grasp=grasp)


class FrameBuffer:
    """Stores the last seconds of every stream and assembles frames from them.

    Args:
        robot_frame: the frame whose pose the robot reports.
        num_images, num_states: stored messages per stream.
        rgb_topic: topic of the colour images, which says whether they are rectified.
    """

    def __init__(
        self,
        robot_frame: str = DROID.flange_frame,
        num_images: int = 30,
        num_states: int = 1000,
        rgb_topic: str = "",
    ) -> None:
        self.robot_frame, self.rgb_topic = robot_frame, rgb_topic
        self._images: dict[str, dict[int, Image]] = {"rgb": {}, "depth": {}}
        self._num_images = num_images
        self._states: dict[str, deque[tuple[int, Any]]] = {
            name: deque(maxlen=num_states) for name in ("pose", "joints")
        }
        self._info: CameraInfo | None = None
        self._grasp = GraspWatch()

    def clear(self) -> None:
        for store in (*self._images.values(), *self._states.values(), self._grasp):
            store.clear()

    def add_image(self, kind: str, msg: Image) -> None:
        """Add an image of ``kind`` rgb or depth. An earlier stamp than the last, as of a bag played again, clears the
        history."""
        store, stamp = self._images[kind], nanoseconds(msg.header.stamp)
        if store and stamp < max(store):
            store.clear()
        store[stamp] = msg
        while len(store) > self._num_images:
            del store[min(store)]

    def add_info(self, msg: CameraInfo) -> None:
        self._info = msg

    def add_state(self, kind: str, msg: PoseStamped | JointState) -> None:
        """Add a state of ``kind`` pose or joints. An earlier stamp than the last clears the history."""
        history, stamp = self._states[kind], nanoseconds(msg.header.stamp)
        if history and stamp < history[-1][0]:
            history.clear()
            self._grasp.clear()
        history.append((stamp, msg))
        if kind == "joints":
            self._watch(msg, stamp)

    def _watch(self, msg: JointState, stamp: int) -> None:
        """Note a change of the grasp. A malformed state is refused where a frame uses it."""
        try:
            gripper = gripper_from(msg)
            if self._states["pose"] and self._grasp.changes(gripper):
                self._grasp.add(pose_from(self._states["pose"][-1][1].pose, "pose"), gripper, 1e-9 * stamp)
        except InputError:
            return

    @property
    def info(self) -> CameraInfo | None:
        return self._info

    def newest(self) -> Frame | None:
        """Return the latest complete frame; None if there is none.

        A frame is complete when both images are present and both state streams have reached its stamp. A replay of all
        messages then assembles the same frame.
        """
        passed = min((history[-1][0] if history else -1) for history in self._states.values())
        for stamp in sorted(self._images["rgb"].keys() & self._images["depth"].keys(), reverse=True):
            if stamp <= passed:
                return self.at(stamp)
        return None

    def at(self, stamp_ns: int) -> Frame | None:
        """Return the frame of the images with this stamp, ns; None if a part of it is missing."""
        rgb, depth = self._images["rgb"].get(stamp_ns), self._images["depth"].get(stamp_ns)
        pose, joints = self._as_of("pose", stamp_ns), self._as_of("joints", stamp_ns)
        if any(part is None for part in (rgb, depth, self._info, pose, joints)):
            return None
        grasp = self._grasp.at(1e-9 * stamp_ns)
        return Frame(rgb, depth, self._info, pose, joints, self.robot_frame, self.rgb_topic, grasp)

    def _as_of(self, kind: str, stamp_ns: int) -> Any:
        history = self._states[kind]
        i = bisect_right([stamp for stamp, _ in history], stamp_ns)
        return history[i - 1][1] if i else None


def check_image(msg: Image, kind: str) -> None:
    """Check the header and sizes of an image of ``kind`` rgb or depth, without decoding it.

    Raises:
        InputError: with the field, its value and the limit.
    """
    known = COLOURS if kind == "rgb" else DEPTHS
    if msg.encoding not in known:
        raise InputError(f"encoding: {msg.encoding!r:.80}, must be one of {', '.join(known)}")
    size = COLOURS[msg.encoding][0] if kind == "rgb" else DEPTHS[msg.encoding].itemsize
    if msg.width < 1 or msg.height < 1:
        raise InputError(f"width x height: {msg.width}x{msg.height}, both must be at least 1")
    if max(msg.width, msg.height) > MAX_PIXELS:
        raise InputError(f"width x height: {msg.width}x{msg.height}, both must be at most {MAX_PIXELS}")
    if msg.step < msg.width * size:
        raise InputError(
            f"step: {msg.step} bytes, must be at least {msg.width * size} for {msg.width} pixels of {msg.encoding}"
        )
    if msg.step > 2 * msg.width * size + MAX_PADDING:
        raise InputError(
            f"step: {msg.step} bytes, must be at most {2 * msg.width * size + MAX_PADDING} for {msg.width} "
            f"pixels of {msg.encoding}"
        )
    if len(msg.data) != msg.step * msg.height:
        raise InputError(f"data: {len(msg.data)} bytes, must be step x height = {msg.step * msg.height}")
    if not msg.header.frame_id:
        raise InputError("header.frame_id: empty, must name the camera's optical frame")


def check_age(stamp_ns: int, now_ns: int, max_age: float) -> None:
    """Raise `InputError` for a stamp older than ``max_age`` seconds or more than 0.5 s ahead of now."""
    check_freshness((now_ns - stamp_ns) * 1e-9, max_age)


def check_state_pose(msg: PoseStamped, base_frame: str) -> np.ndarray:
    """Return the ``(4, 4)`` pose in the base frame. Raises `InputError` for another frame or a malformed pose."""
    if msg.header.frame_id != base_frame:
        raise InputError(f"header.frame_id: {msg.header.frame_id!r:.80}, must be {base_frame!r}")
    return pose_from(msg.pose, "pose")
