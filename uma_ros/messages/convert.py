"""Conversion between ROS messages and `uma.types`.

Every function that reads a message raises `uma.types.InputError` with the field, its value and the limit.
"""

from __future__ import annotations

import array
import math

import numpy as np
from builtin_interfaces.msg import Time
from geometry_msgs.msg import Point, Pose, Transform
from sensor_msgs.msg import CameraInfo, Image, JointState

from uma.geometry.se3 import from_quaternion, quaternion
from uma.types import (
    MAX_KEYPOINTS,
    ActionChunk,
    CameraModel,
    InputError,
    KeypointState,
    MotionPrediction,
    Observation,
    ReferenceMotion,
)
from uma_ros.messages.intrinsics import (
    MAX_PIXELS,
    camera_from,
    check_camera_matches,
    is_raw,
    rectified,
)
from uma_ros.messages.intrinsics import (
    camera_to as camera_to,
)
from uma_ros.messages.limits import SATURATED, check_metres
from uma_ros.msg import ActionChunk as ActionChunkMsg
from uma_ros.msg import Keypoints as KeypointsMsg
from uma_ros.msg import KeypointTrajectory
from uma_ros.msg import MotionPrediction as MotionPredictionMsg
from uma_ros.msg import ReferenceMotion as ReferenceMotionMsg
from uma_ros.runtime.robot import robot

MAX_ACTIONS = 256
COLOURS = {
    "rgb8": (3, slice(0, 3)),
    "bgr8": (3, slice(None, None, -1)),
    "rgba8": (4, slice(0, 3)),
    "bgra8": (4, slice(2, None, -1)),
}
"""Encoding -> bytes per pixel, and the slice of red, green and blue. A list of indices would copy twice."""
DEPTHS = {"32FC1": np.dtype("<f4"), "16UC1": np.dtype("<u2"), "mono16": np.dtype("<u2")}


# -- time and poses ----------------------------------------------------------------------------------------------------


def nanoseconds(stamp: Time) -> int:
    return stamp.sec * 1_000_000_000 + stamp.nanosec


def seconds(stamp: Time) -> float:
    return nanoseconds(stamp) * 1e-9


def stamp_from(t: float) -> Time:
    """Return the time stamp of ``t`` seconds, to the nearest nanosecond."""
    ns = round(t * 1e9)
    return Time(sec=ns // 1_000_000_000, nanosec=ns % 1_000_000_000)


def pose_from(msg: Pose | Transform, name: str) -> np.ndarray:
    """Return the ``(4, 4)`` pose of a geometry_msgs Pose or Transform."""
    p, q = (msg.position, msg.orientation) if hasattr(msg, "position") else (msg.translation, msg.rotation)
    xyz, xyzw = np.array([p.x, p.y, p.z]), np.array([q.x, q.y, q.z, q.w])
    if not np.isfinite(xyz).all():
        raise InputError(f"{name}.position: {xyz}, must be finite")
    if np.abs(xyz).max() > 10.0:
        raise InputError(f"{name}.position: {xyz}, must be within 10 m")
    try:
        return from_quaternion(xyz, xyzw)
    except ValueError as error:
        raise InputError(f"{name}.orientation: {error}") from None


def pose_to(T: np.ndarray) -> Pose:
    msg, (x, y, z, w) = Pose(), quaternion(T)
    msg.position.x, msg.position.y, msg.position.z = (float(v) for v in T[:3, 3])
    msg.orientation.x, msg.orientation.y, msg.orientation.z, msg.orientation.w = float(x), float(y), float(z), float(w)
    return msg


def transform_to(T: np.ndarray) -> Transform:
    msg, pose = Transform(), pose_to(T)
    msg.translation.x, msg.translation.y, msg.translation.z = pose.position.x, pose.position.y, pose.position.z
    msg.rotation = pose.orientation
    return msg


# -- images ------------------------------------------------------------------------------------------------------------


def _pixels(msg: Image, name: str, bytes_per_pixel: int) -> np.ndarray:
    """Return a ``(height, width * bytes_per_pixel)`` uint8 view of an image's data without row padding."""
    for side in ("width", "height"):
        if not 1 <= getattr(msg, side) <= MAX_PIXELS:
            raise InputError(f"{name}.{side}: {getattr(msg, side)}, must be 1 to {MAX_PIXELS}")
    row = msg.width * bytes_per_pixel
    if msg.step < row:
        raise InputError(
            f"{name}.step: {msg.step} bytes, must be at least {row} for {msg.width} pixels of {msg.encoding}"
        )
    if len(msg.data) != msg.step * msg.height:
        raise InputError(f"{name}.data: {len(msg.data)} bytes, must be step x height = {msg.step * msg.height}")
    return np.frombuffer(msg.data, np.uint8).reshape(msg.height, msg.step)[:, :row]


def rgb_from(msg: Image, name: str = "rgb") -> np.ndarray:
    """Return ``(H, W, 3)`` uint8: a read-only view of ``rgb8`` data without padding, else a copy."""
    if msg.encoding not in COLOURS:
        raise InputError(f"{name}.encoding: {msg.encoding!r:.80}, must be one of {', '.join(COLOURS)}")
    channels, order = COLOURS[msg.encoding]
    image = _pixels(msg, name, channels).reshape(msg.height, msg.width, channels)
    return np.ascontiguousarray(image[..., order])


def depth_from(msg: Image, name: str = "depth") -> np.ndarray:
    """Return ``(H, W)`` float32 metres, NaN where invalid. 16-bit depth is in millimetres; 0 and 65535 are invalid.

    The result is a read-only view of ``32FC1`` data that need no change, else a copy.

    Raises:
        InputError: a malformed image, or depth of another unit.
    """
    if msg.encoding not in DEPTHS:
        raise InputError(f"{name}.encoding: {msg.encoding!r:.80}, must be one of {', '.join(DEPTHS)}")
    dtype = DEPTHS[msg.encoding].newbyteorder(">") if msg.is_bigendian else DEPTHS[msg.encoding]
    raw = np.ascontiguousarray(_pixels(msg, name, dtype.itemsize)).view(dtype)
    if dtype.itemsize == 2:
        depth = raw.astype(np.float32)
        depth *= np.float32(1e-3)
        depth[(raw == 0) | (raw == SATURATED)] = np.nan
        return check_metres(depth, name)
    if (
        raw.dtype == np.float32 and np.fmin.reduce(raw, axis=None) > 0 and np.fmax.reduce(raw, axis=None) < np.inf
    ):  # both ignore NaN
        return check_metres(raw, name)
    depth = raw.astype(np.float32)
    depth[~(np.isfinite(depth) & (depth > 0))] = np.nan
    return check_metres(depth, name)


def image_to(image: np.ndarray, encoding: str, frame: str, stamp: Time) -> Image:
    """Return an image message. Its data is an ``array.array``, which costs one copy and no loop over bytes."""
    image = np.ascontiguousarray(image)  # a slice has the strides of its parent
    # With checks on, a message keeps the given array; without, it copies it.
    msg = Image(
        height=image.shape[0],
        width=image.shape[1],
        encoding=encoding,
        is_bigendian=0,
        step=image.strides[0],
        check_fields=True,
    )
    msg.header.frame_id, msg.header.stamp = frame, stamp
    data = array.array("B")
    data.frombytes(image.reshape(-1).view(np.uint8).data)
    msg.data = data
    return msg


def gripper_from(msg: JointState) -> float:
    """Return the gripper position, 0 open to 1 closed, from the knuckle joint."""
    if robot().gripper_joint not in msg.name:
        raise InputError(f"joint_states.name: no {robot().gripper_joint!r} among {list(msg.name)[:10]}")
    i = list(msg.name).index(robot().gripper_joint)
    if i >= len(msg.position) or not math.isfinite(msg.position[i]):
        raise InputError(f"joint_states.position: no finite value for {robot().gripper_joint}")
    value = msg.position[i] / robot().gripper_closed
    if not -0.1 <= value <= 1.1:
        raise InputError(
            f"joint_states.position[{i}]: {msg.position[i]:.3f} rad for {robot().gripper_joint}, must lie in [0, "
            f"{robot().gripper_closed}]"
        )
    return min(max(value, 0.0), 1.0)


def arm_joints_from(msg: JointState) -> np.ndarray | None:
    """Return the FR3's joint positions ``(7,)``, rad; None for a message without them."""
    names = list(msg.name)
    joints = robot().arm_joints
    if not set(joints) <= set(names):
        return None
    index = [names.index(name) for name in joints]
    if max(index) >= len(msg.position):
        raise InputError(f"joint_states.position: {len(msg.position)} values for {len(names)} names")
    q = np.array([msg.position[i] for i in index], np.float64)
    if not np.isfinite(q).all() or np.abs(q).max() > 2.0 * np.pi:
        raise InputError(
            f"joint_states.position: {q.tolist()} rad for {joints[0]} to {joints[-1]}, must be finite and within a turn"
        )
    return q


def observation_from(
    rgb: Image,
    depth: Image,
    info: CameraInfo,
    T_cam_ee: np.ndarray,
    gripper: float,
    T_base_cam: np.ndarray | None = None,
    topic: str = "",
) -> Observation:
    """Return the observation of one instant. The live policy and the replay share this function.

    Args:
        topic: topic of the colour image. Raw images are rectified, see `uma_ros.messages.intrinsics.is_raw`.
    """
    camera, image, z = rectified_from(rgb, depth, info, topic)
    return Observation(image, z, camera, T_cam_ee, gripper, seconds(rgb.header.stamp), T_base_cam)


def rectified_from(
    rgb: Image, depth: Image, info: CameraInfo, topic: str = ""
) -> tuple[CameraModel, np.ndarray, np.ndarray]:
    """Return the camera, ``(H, W, 3)`` uint8 colour and ``(H, W)`` float32 depth, rectified if the images are raw."""
    camera = camera_from(info, topic=topic)
    check_camera_matches(camera, rgb, "rgb")
    check_camera_matches(camera, depth, "depth")
    image, z = rgb_from(rgb), depth_from(depth)
    return camera, *(rectified(image, z, info, camera) if is_raw(info, topic) else (image, z))


# -- motions and actions
# ------------------------------------------------------------------------------------------------------


def _waypoints(points: list[Point], name: str, most: int) -> np.ndarray:
    if not 1 <= len(points) <= most:  # before the conversion, which is slow for many points
        raise InputError(f"{name}.waypoints: {len(points)} given, must be 1 to {most}")
    return np.array([(p.x, p.y, p.z) for p in points], dtype=np.float64).reshape(-1, 3)


def _trajectory(
    points: np.ndarray, phase: np.ndarray | None = None, valid: np.ndarray | None = None
) -> KeypointTrajectory:
    msg = KeypointTrajectory(waypoints=[Point(x=float(x), y=float(y), z=float(z)) for x, y, z in points])
    if phase is not None:
        msg.phase = [float(p) for p in phase]
    if valid is not None:
        msg.is_valid = [bool(v) for v in valid]
    return msg


def reference_from(msg: ReferenceMotionMsg) -> ReferenceMotion:
    if not msg.header.frame_id:
        raise InputError("header.frame_id: empty, must name the frame of the waypoints")
    if not 1 <= len(msg.keypoints) <= MAX_KEYPOINTS:
        raise InputError(f"keypoints: {len(msg.keypoints)} given, must be 1 to {MAX_KEYPOINTS}")
    return ReferenceMotion(
        waypoints=tuple(
            _waypoints(k.waypoints, f"keypoints[{i}]", ReferenceMotion.MAX_WAYPOINTS)
            for i, k in enumerate(msg.keypoints)
        ),
        phase=tuple(np.array(k.phase, dtype=np.float64) for k in msg.keypoints),
        is_valid=tuple(np.array(k.is_valid, dtype=bool) for k in msg.keypoints),
        frame=msg.header.frame_id,
        object_label=msg.object_label,
    )


def reference_to(reference: ReferenceMotion, stamp: Time) -> ReferenceMotionMsg:
    """Return the message of a reference motion.

    Evenly spaced phases become an empty list, because float32 would round them.
    """
    msg = ReferenceMotionMsg(object_label=reference.object_label)
    msg.header.frame_id, msg.header.stamp = reference.frame, stamp
    for w, p, v in zip(reference.waypoints, reference.phase, reference.is_valid):
        even = np.array_equal(p, np.linspace(0.0, 1.0, len(w)))
        msg.keypoints.append(_trajectory(w, None if even else p, None if v.all() else v))
    return msg


def chunk_from(msg: ActionChunkMsg) -> ActionChunk:
    if not msg.header.frame_id:
        raise InputError("header.frame_id: empty, must name the frame of the poses")
    if not msg.ee_frame:
        raise InputError("ee_frame: empty, must name the frame that the poses place")
    if not 1 <= len(msg.poses) <= MAX_ACTIONS:
        raise InputError(f"poses: {len(msg.poses)} given, must be 1 to {MAX_ACTIONS}")
    if len(msg.gripper) != len(msg.poses):
        raise InputError(f"gripper: {len(msg.gripper)} values for {len(msg.poses)} poses")
    poses = np.stack([pose_from(p, f"poses[{i}]") for i, p in enumerate(msg.poses)])
    return ActionChunk(
        poses,
        np.array(msg.gripper, dtype=np.float64),
        seconds(msg.header.stamp),
        msg.header.frame_id,
        msg.ee_frame,
        msg.rate_hz,
        msg.sequence,
        msg.num_committed,
        msg.policy_frame,
    )


def chunk_to(chunk: ActionChunk, stamp: Time | None = None) -> ActionChunkMsg:
    """Return the message of a chunk.

    Args:
        stamp: time stamp of the observation. None = the chunk's own, which loses some nanoseconds as a float.
    """
    msg = ActionChunkMsg(
        sequence=chunk.sequence, rate_hz=chunk.rate_hz, num_committed=chunk.num_committed, ee_frame=chunk.ee_frame
    )
    msg.policy_frame = chunk.policy_frame
    msg.header.frame_id, msg.header.stamp = chunk.frame, stamp or stamp_from(chunk.stamp)
    msg.poses = [pose_to(T) for T in chunk.poses]
    msg.gripper = [float(g) for g in chunk.gripper]
    return msg


def motion_to(motion: MotionPrediction, stamp: Time | None = None) -> MotionPredictionMsg:
    msg = MotionPredictionMsg(
        sequence=motion.sequence, rate_hz=motion.rate_hz, reference_error_m=motion.reference_error_m
    )
    msg.header.frame_id, msg.header.stamp = motion.frame, stamp or stamp_from(motion.stamp)
    msg.keypoints = [_trajectory(motion.points[:, k]) for k in range(motion.points.shape[1])]
    return msg


def keypoints_to(state: KeypointState, frame: str, stamp: Time) -> KeypointsMsg:
    msg = KeypointsMsg(is_visible=[bool(v) for v in state.is_visible])
    msg.header.frame_id, msg.header.stamp = frame, stamp
    msg.positions = [Point(x=float(x), y=float(y), z=float(z)) for x, y, z in state.positions]
    return msg


def motion_from(msg: MotionPredictionMsg) -> MotionPrediction:
    if not msg.header.frame_id:
        raise InputError("header.frame_id: empty, must name the frame of the waypoints")
    if not 1 <= len(msg.keypoints) <= MAX_KEYPOINTS:
        raise InputError(f"keypoints: {len(msg.keypoints)} given, must be 1 to {MAX_KEYPOINTS}")
    lengths = {len(k.waypoints) for k in msg.keypoints}
    if len(lengths) != 1:
        raise InputError(f"keypoints: lengths {sorted(lengths)}, must be equal")
    if not (math.isfinite(msg.rate_hz) and 1.0 <= msg.rate_hz <= 1000.0):
        raise InputError(f"rate_hz: {msg.rate_hz}, must lie in [1, 1000]")
    points = np.stack(
        [_waypoints(k.waypoints, f"keypoints[{i}]", MAX_ACTIONS) for i, k in enumerate(msg.keypoints)], axis=1
    )
    for k in range(points.shape[1]):
        if not np.isfinite(points[:, k]).all():
            raise InputError(f"keypoints[{k}].waypoints: a value is not finite")
        if np.abs(points[:, k]).max() > 10.0:
            raise InputError(f"keypoints[{k}].waypoints: {np.abs(points[:, k]).max():.3g} m, must be within 10 m")
    return MotionPrediction(
        points, seconds(msg.header.stamp), msg.header.frame_id, msg.rate_hz, msg.sequence, msg.reference_error_m
    )
