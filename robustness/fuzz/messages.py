"""Messages with changed fields, and damaged CDR buffers, for the conversions and checks of every callback and for the
policy."""

from __future__ import annotations

import re
from array import array
from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np
from control_msgs.action import GripperCommand, ParallelGripperCommand
from geometry_msgs.msg import Point, PoseStamped, TransformStamped
from hypothesis import strategies as st
from rclpy.serialization import serialize_message
from sensor_msgs.msg import CameraInfo, Image, JointState
from tf2_msgs.msg import TFMessage
from uma_ros.msg import ActionChunk, KeypointTrajectory, MotionPrediction, ReferenceMotion

from robustness.fuzz.mutations import changed, damaged
from robustness.fuzz.target import Target, expect
from uma.control.departure import departure
from uma.robot import DROID
from uma.types import InputError
from uma_ros.bags.reader import decode
from uma_ros.drivers.gripper.client import goal_from
from uma_ros.messages.convert import (
    chunk_from,
    chunk_to,
    depth_from,
    motion_from,
    observation_from,
    reference_from,
    rgb_from,
    stamp_from,
)
from uma_ros.messages.frame_buffer import check_image, check_state_pose
from uma_ros.messages.static_frames import StaticFrames

CAMERA = "zed_left_camera_frame_optical"
WIDTH, HEIGHT = 64, 48
TOOL = 0.16


def _stamped(msg: Any, frame: str = CAMERA, t: float = 1.7e9) -> Any:
    msg.header.frame_id, msg.header.stamp = frame, stamp_from(t)
    return msg


def image(kind: str) -> Image:
    """Return a small scene: a table with a box."""
    v, u = np.mgrid[:HEIGHT, :WIDTH]
    depth = np.where((abs(u - 32) < 12) & (abs(v - 24) < 10), 0.8, 1.0).astype(np.float32)
    rgb = np.stack([u * 3, v * 5, (u * v) % 251], -1).astype(np.uint8)
    data, step = (rgb, 3 * WIDTH) if kind == "rgb" else (depth, 4 * WIDTH)
    return _stamped(
        Image(
            width=WIDTH,
            height=HEIGHT,
            encoding="rgb8" if kind == "rgb" else "32FC1",
            step=step,
            data=array("B", data.tobytes()),
        )
    )


def info() -> CameraInfo:
    return _stamped(CameraInfo(width=WIDTH, height=HEIGHT, k=[60.0, 0.0, 32.0, 0.0, 60.0, 24.0, 0.0, 0.0, 1.0]))


def reference() -> ReferenceMotion:
    points = [Point(x=0.02, y=0.01, z=0.8), Point(x=0.05, y=0.0, z=0.7)]
    return _stamped(
        ReferenceMotion(
            keypoints=[KeypointTrajectory(waypoints=points, phase=[0.0, 1.0], is_valid=[True, True]) for _ in range(3)],
            object_label="box",
        )
    )


def chunk(frame: str = "fr3_link0", t: float = 1.7e9) -> ActionChunk:
    msg = ActionChunk(
        rate_hz=15.0, gripper=[0.0] * 16, ee_frame="robotiq_2f85_tcp", poses=[pose().pose for _ in range(16)]
    )
    for p in msg.poses:  # tool pose for the flange pose `pose`
        p.position.z -= TOOL
    return _stamped(msg, frame, t)


def motion() -> MotionPrediction:
    points = [Point(x=0.02, y=0.01, z=0.8 - 0.01 * i) for i in range(16)]
    return _stamped(MotionPrediction(rate_hz=15.0, keypoints=[KeypointTrajectory(waypoints=points) for _ in range(3)]))


def pose(t: float = 1.7e9) -> PoseStamped:
    msg = _stamped(PoseStamped(), "fr3_link0", t)
    msg.pose.position.x, msg.pose.position.z, msg.pose.orientation.x, msg.pose.orientation.w = 0.5, 0.4, 1.0, 0.0
    return msg


def joints(t: float = 1.7e9) -> JointState:
    return _stamped(
        JointState(name=["fr3_joint1", DROID.gripper_joint], position=[0.1, 0.2], velocity=[0.0, 0.0]), "", t
    )


def transforms() -> TFMessage:
    msg = TFMessage()
    for parent, child in (("fr3_link0", CAMERA), ("fr3_link8", "robotiq_2f85_tcp")):
        t = _stamped(TransformStamped(child_frame_id=child), parent)
        t.transform.translation.z, t.transform.rotation.w = TOOL, 1.0
        msg.transforms.append(t)
    return msg


# -- one entry point each ----------------------------------------------------------------------------------------------


def _refused_by_field(take: Callable[[Any], None]) -> Callable[[tuple[Any, tuple[str, ...]]], bool]:
    """Return a function that passes a changed message to ``take``. A refusal must contain a field's name."""

    def run(case: tuple[Any, tuple[str, ...]]) -> bool:
        msg, _ = case
        try:
            take(msg)
        except InputError as error:
            text = str(error)
            expect(len(text) < 2000, f"a message of {len(text)} characters")
            expect(bool(re.search("|".join(_names(type(msg))), text)), f"no field is named: {text[:200]}")
            return False
        return True

    return run


@cache
def _names(kind: type) -> set[str]:
    """Return the names of every field of a message, and of the quantities computed from them."""
    special = {
        "fx",
        "fy",
        "cx",
        "cy",
        "camera",
        "frame",
        "transform",
        "pose",
        "orientation",
        "position",
        "velocity",
        "effort",
        "depth",
        "rgb",
    }
    return (
        special
        | {re.escape(name) for name in kind.get_fields_and_field_types()}
        | {"waypoints", "phase", "is_valid", "frame_id"}
    )


def _image(kind: str) -> Callable[[Image], None]:
    def take(msg: Image) -> None:
        check_image(msg, kind)
        found = rgb_from(msg) if kind == "rgb" else depth_from(msg)
        shape = (msg.height, msg.width, 3) if kind == "rgb" else (msg.height, msg.width)
        expect(found.shape == shape, f"{kind} of shape {found.shape}, must be {shape}")
        expect(
            kind == "rgb" or not (found <= 0).any() and not np.isinf(found).any(),
            "depth that is neither positive nor NaN",
        )

    return take


def _camera(msg: CameraInfo) -> None:
    observation_from(image("rgb"), image("depth"), msg, np.eye(4), 0.0)


def _frames(msg: TFMessage) -> None:
    frames = StaticFrames()
    frames.add_message(transforms())
    before = frames.lookup("fr3_link0", CAMERA)
    try:
        frames.add_message(msg)
    except InputError:
        expect(np.array_equal(frames.lookup("fr3_link0", CAMERA), before), "a refused message moved a frame")
        raise
    for t in msg.transforms:
        expect(np.isfinite(frames.lookup(t.header.frame_id, t.child_frame_id)).all(), "a frame that is not finite")


def _chunk(msg: ActionChunk) -> None:
    found = chunk_from(msg)
    expect(np.isfinite(found.poses).all() and np.isfinite(found.due()).all(), "a chunk that is not finite")
    chunk_from(chunk_to(found, msg.header.stamp))


def _motion(msg: MotionPrediction) -> None:
    frame = msg.header.frame_id
    task = _stamped(ReferenceMotion(keypoints=reference().keypoints[:1] * max(len(msg.keypoints), 1)), frame or CAMERA)
    away = departure(motion_from(msg), reference_from(task))
    expect(np.isfinite(away), f"a departure of {away}, which no limit compares with")


def _pose(msg: PoseStamped) -> None:
    expect(np.isfinite(check_state_pose(msg, "fr3_link0")).all(), "a pose that is not finite")


def _joints(msg: JointState) -> None:
    from uma_ros.messages.convert import gripper_from

    expect(0.0 <= gripper_from(msg) <= 1.0, "an opening outside [0, 1]")


def _goal(name: str) -> Callable[[Any], None]:
    def take(goal: Any) -> None:
        wish = goal_from(name, goal)
        expect(0.0 <= wish.opening <= 1.0 and np.isfinite([wish.speed, wish.force]).all(), f"{wish}")

    return take


def _goals() -> dict[str, Any]:
    plain = GripperCommand.Goal()
    plain.command.position, plain.command.max_effort = 0.4, 40.0
    parallel = ParallelGripperCommand.Goal(
        command=JointState(name=[DROID.gripper_joint], position=[0.4], velocity=[0.1], effort=[20.0])
    )
    return {"GripperCommand": plain, "ParallelGripperCommand": parallel}


# -- bytes -------------------------------------------------------------------------------------------------------------


def _bytes_targets() -> Target:
    """Pass CDR buffers as of a damaged bag or a broken peer to the type support, then to the same checks."""
    doors = {
        Image: _image("rgb"),
        CameraInfo: _camera,
        ReferenceMotion: reference_from,
        ActionChunk: _chunk,
        PoseStamped: _pose,
        JointState: _joints,
        TFMessage: _frames,
        MotionPrediction: _motion,
    }
    valid = {
        type(m): serialize_message(m)
        for m in (image("rgb"), info(), reference(), chunk(), pose(), joints(), transforms(), motion())
    }

    def run(case: tuple[type, bytes]) -> bool:
        kind, data = case
        try:
            doors[kind](decode(data, kind, "buffer"))
        except InputError:
            return False
        except ValueError as error:  # from `departure`, for other frames or counts
            expect(kind is MotionPrediction and "keypoints in" in str(error), str(error))
            return False
        return True

    cases = st.sampled_from(list(valid)).flatmap(lambda kind: st.tuples(st.just(kind), damaged(valid[kind])))
    return Target("bytes of a message", cases, run, 1.5)


# -- the policy --------------------------------------------------------------------------------------------------------


def _policy_target() -> Target:
    """Pass changed images, intrinsics and references to a real (tiny, untrained) policy."""
    import torch

    from uma.checkpoint.bundle import Bundle, Contract
    from uma.model.config import tiny
    from uma.model.inputs import Normalization
    from uma.model.uma import Uma
    from uma.policy import Policy

    torch.manual_seed(0)
    policy = Policy(Bundle(Uma(tiny(), Normalization()).eval(), Contract(), "tiny", {}), num_steps=1, num_samples=1)
    T = np.eye(4)
    T[:3, 3] = 0.0, 0.0, 0.7

    def run(case: tuple[Any, Any, Any, Any]) -> bool:
        rgb, depth, camera, task = (part[0] for part in case)
        try:
            observation = observation_from(rgb, depth, camera, T, 0.2)
            given = policy.encode_task(observation, reference_from(task))
            prediction = policy.predict(observation, given)
            expect(np.isfinite(prediction.chunk.poses).all(), "a chunk that is not finite")
            policy.predict_motion(observation, given, prediction.chunk)
        except InputError:
            return False
        return True

    def some(make: Callable[[], Any]) -> st.SearchStrategy:
        return st.one_of(st.just((make(), ())), changed(make(), 1))

    parts = (lambda: image("rgb"), lambda: image("depth"), info, reference)
    return Target("policy", st.tuples(*(some(part) for part in parts)), run, 0.4)


def _goal_image_target() -> Target:
    """Pass changed goal images to the conversion and SIFT."""
    from types import SimpleNamespace

    from uma_ros.policy.tasks import FromGoal

    observation = observation_from(image("rgb"), image("depth"), info(), np.eye(4), 0.0)
    policy = SimpleNamespace(contract=SimpleNamespace(max_keypoints=16), encode_task=lambda o, r: None)

    def run(case: tuple[Any, Any]) -> bool:
        try:
            given = FromGoal(case[0][0], case[1][0], info)
            given.encode(policy, observation, lambda a, b: np.eye(4), stamp_from(0.0))
        except InputError:
            return False
        return True

    return Target("goal image", st.tuples(changed(image("rgb"), 1), changed(image("depth"), 1)), run, 0.3)


def message_targets() -> list[Target]:
    doors = {
        "colour image": (image("rgb"), _image("rgb")),
        "depth image": (image("depth"), _image("depth")),
        "camera_info": (info(), _camera),
        "reference_motion": (reference(), reference_from),
        "action_chunk": (chunk(), _chunk),
        "predicted_motion": (motion(), _motion_door),
        "robot pose": (pose(), _pose),
        "joint_states": (joints(), _joints),
        "tf_static": (transforms(), _frames),
        **{f"goal {name}": (goal, _goal(name)) for name, goal in _goals().items()},
    }
    plain = [Target(name, changed(valid), _refused_by_field(take)) for name, (valid, take) in doors.items()]
    return [*plain, _bytes_targets(), _policy_target(), _goal_image_target()]


def _motion_door(msg: MotionPrediction) -> None:
    try:
        _motion(msg)
    except InputError:
        raise
    except ValueError as error:  # as the controller takes it
        raise InputError(str(error)) from None
