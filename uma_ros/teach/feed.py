"""From ROS messages to views: colour and depth of one stamp, with the joints at that time."""

from __future__ import annotations

from bisect import bisect_right
from collections import deque

import numpy as np
from sensor_msgs.msg import CameraInfo, Image, JointState

from uma.types import InputError
from uma_ros.messages.convert import arm_joints_from, gripper_from, nanoseconds, rectified_from
from uma_ros.messages.static_frames import StaticFrames
from uma_ros.runtime.robot import robot
from uma_ros.teach.scene import View

IMAGES, STATES = 8, 400
"""Messages that are kept of each stream."""


class Feed:
    """Stores the newest messages. One thread adds; the caller guards it against readers.

    Args:
        base_frame: base frame of the robot.
        rgb_topic: topic of the colour images, which says whether they are rectified.
    """

    def __init__(self, base_frame: str, rgb_topic: str) -> None:
        self.frames = StaticFrames()
        self.info: CameraInfo | None = None
        self.joints: np.ndarray | None = None
        self.gripper = 0.0
        self._base, self._topic = base_frame, rgb_topic
        self._images: dict[str, dict[int, Image]] = {"rgb": {}, "depth": {}}
        self._states: deque[tuple[int, np.ndarray]] = deque(maxlen=STATES)

    def add_image(self, kind: str, msg: Image) -> None:
        """Add an image of ``kind`` rgb or depth. An earlier stamp than the last clears the history."""
        store, stamp = self._images[kind], nanoseconds(msg.header.stamp)
        if store and stamp < max(store):
            store.clear()
        store[stamp] = msg
        while len(store) > IMAGES:
            del store[min(store)]

    def add_joints(self, msg: JointState) -> None:
        """Add joints of the arm, of the gripper, or of both. Raises `InputError` for a malformed message."""
        joints, stamp = arm_joints_from(msg), nanoseconds(msg.header.stamp)
        if joints is not None:
            if self._states and stamp < self._states[-1][0]:
                self._states.clear()
            self._states.append((stamp, joints))
            self.joints = joints
        if robot().gripper_joint in msg.name:
            self.gripper = gripper_from(msg)

    @property
    def newest_stamp(self) -> int:
        """Stamp of the newest complete pair of images, ns; -1 without one."""
        return max(self._images["rgb"].keys() & self._images["depth"].keys(), default=-1)

    def parts(self) -> tuple[Image, Image, CameraInfo, np.ndarray, np.ndarray | None, float] | None:
        """Return the messages of the newest view; None while one is missing. The conversion is left to `view_of`.

        Raises:
            InputError: the camera's pose is unknown.
        """
        stamp, info = self.newest_stamp, self.info
        if stamp < 0 or info is None:
            return None
        T_base_cam = self.frames.lookup(self._base, info.header.frame_id)
        i = bisect_right([t for t, _ in self._states], stamp)
        joints = self._states[max(i - 1, 0)][1] if self._states else None
        return self._images["rgb"][stamp], self._images["depth"][stamp], info, T_base_cam, joints, self.gripper

    def view_of(self, parts: tuple[Image, Image, CameraInfo, np.ndarray, np.ndarray | None, float]) -> View:
        """Convert the messages of `parts`. Raises `InputError` for malformed images."""
        rgb, depth, info, T_base_cam, joints, gripper = parts
        camera, image, z = rectified_from(rgb, depth, info, self._topic)
        if not (z > 0).any():
            raise InputError("depth: no valid value in the image")
        stamp = nanoseconds(rgb.header.stamp) * 1e-9
        return View(image, z, camera, np.asarray(T_base_cam), joints, gripper, stamp)
