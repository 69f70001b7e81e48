"""Still images of a bag for the calibration: images during which the arm stood still, with the flange pose."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
from geometry_msgs.msg import PoseStamped
from sensor_msgs.msg import CameraInfo, Image

from uma.geometry.se3 import rotation_angle
from uma.types import CameraModel, InputError
from uma_ros.bags.reader import read_bag
from uma_ros.messages.convert import nanoseconds, pose_from, rgb_from, seconds
from uma_ros.messages.intrinsics import camera_from, is_raw, rectified
from uma_ros.runtime.topics import Topics

WINDOW = 0.3
"""Seconds before and after an image in which the arm must stand still."""
STILL = (0.0005, 0.002)
"""Largest motion of a standing arm, m and rad."""
APART = (0.01, 0.05)
"""Smallest motion since the previous still, m or rad."""


def still_stamps(stamps: np.ndarray, times: np.ndarray, poses: np.ndarray) -> list[tuple[int, np.ndarray]]:
    """Choose the still images.

    Args:
        stamps: ``(M,)`` sorted stamps of the images, ns.
        times: ``(N,)`` sorted times of the arm's poses, s.
        poses: ``(N, 4, 4)`` poses of the arm.

    Returns:
        (stamp in ns, ``(4, 4)`` pose) of each still.
    """
    chosen: list[tuple[int, np.ndarray]] = []
    for stamp in stamps:
        t = stamp * 1e-9
        low, high = np.searchsorted(times, [t - WINDOW, t + WINDOW])
        near = poses[low:high]
        if len(near) < 3 or times[low] > t or times[high - 1] < t:
            continue
        moved, turned = (
            np.linalg.norm(near[:, :3, 3] - near[0, :3, 3], axis=1).max(),
            rotation_angle(near[:1, :3, :3], near[:, :3, :3]).max(),
        )
        if moved > STILL[0] or turned > STILL[1]:
            continue
        T = near[len(near) // 2]
        last = chosen[-1][1] if chosen else None
        if (
            last is None
            or np.linalg.norm(T[:3, 3] - last[:3, 3]) > APART[0]
            or rotation_angle(last[:3, :3], T[:3, :3]) > APART[1]
        ):
            chosen.append((int(stamp), T))
    return chosen


def read_stills(
    bag: str | Path, topics: Topics | None = None
) -> tuple[CameraModel, Iterator[tuple[str, np.ndarray, np.ndarray]]]:
    """Return the camera, and (name, ``(4, 4)`` T_base_flange, ``(H, W, 3)`` uint8 image) of each still in a bag.

    Raises:
        InputError: the bag lacks images, intrinsics or poses, or the arm never stood still.
    """
    topics = topics or Topics().in_namespace()
    camera, info, stamps, times, poses = None, None, [], [], []
    for topic, _, msg in read_bag(
        bag, {topics.rgb: Image, topics.camera_info: CameraInfo, topics.robot_pose: PoseStamped}
    ):
        if topic == topics.rgb:
            stamps.append(nanoseconds(msg.header.stamp))
        elif topic == topics.camera_info:
            camera, info = (camera, info) if camera else (camera_from(msg, topic=topics.rgb), msg)
        else:
            times.append(seconds(msg.header.stamp))
            poses.append(pose_from(msg.pose, "pose"))
    for topic, is_there in ((topics.rgb, stamps), (topics.camera_info, camera), (topics.robot_pose, poses)):
        if not is_there:
            raise InputError(f"bag {bag}: no message on {topic}")
    chosen = dict(still_stamps(np.array(sorted(stamps)), np.array(times), np.stack(poses)))
    if not chosen:
        raise InputError(f"bag {bag}: the arm never stood still for {2 * WINDOW:g} s around an image")

    def pictures() -> Iterator[tuple[str, np.ndarray, np.ndarray]]:
        begin = min(stamps)
        for _, _, msg in read_bag(bag, {topics.rgb: Image}):
            stamp = nanoseconds(msg.header.stamp)
            if stamp in chosen:
                rgb = rgb_from(msg)
                if is_raw(info, topics.rgb) and rgb.shape[:2] == (camera.height, camera.width):
                    rgb, _ = rectified(rgb, np.zeros(rgb.shape[:2], np.float32), info, camera)
                yield f"{(stamp - begin) * 1e-9:.2f}s", chosen[stamp], rgb

    return camera, pictures()
