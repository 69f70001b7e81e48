"""Messages to arrays and back; images of every encoding; frames; inputs of one instant."""

import array
import dataclasses
import time

import numpy as np
import pytest
from builtin_interfaces.msg import Time
from geometry_msgs.msg import Pose, PoseStamped, TransformStamped
from hypothesis import given, settings
from hypothesis import strategies as st
from rclpy.serialization import deserialize_message, serialize_message
from scipy.spatial.transform import Rotation
from sensor_msgs.msg import CameraInfo, Image, JointState
from tf2_msgs.msg import TFMessage

from uma.geometry.se3 import invert, make_pose
from uma.types import ActionChunk, CameraModel, InputError, MotionPrediction, ReferenceMotion
from uma_ros import msg
from uma_ros.messages import convert
from uma_ros.messages.frame_buffer import FrameBuffer, check_image
from uma_ros.messages.static_frames import StaticFrames

STAMP = Time(sec=1_700_000_000, nanosec=123_456_789)
CAMERA = CameraModel(6, 4, 13.175, 13.175, 2.5, 1.5)
finite = st.floats(-2, 2)


def wire(message):
    """The message after a trip over the wire."""
    return deserialize_message(serialize_message(message), type(message))


@settings(max_examples=60, deadline=None)
@given(st.tuples(finite, finite, finite), st.tuples(*[st.floats(-3, 3)] * 3))
def test_poses_survive_the_wire(p, r):
    T = make_pose(Rotation.from_rotvec(r).as_matrix(), np.array(p))
    assert np.allclose(convert.pose_from(wire(convert.pose_to(T)), "pose"), T, atol=1e-9)


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 16), st.data())
def test_references_survive_the_wire_to_the_last_bit(K, data):
    T = [data.draw(st.integers(1, 6)) for _ in range(K)]
    points = tuple(np.array([[data.draw(finite) for _ in range(3)] for _ in range(n)]) for n in T)
    phase = tuple(
        np.sort(np.float32([data.draw(st.floats(0, 1, width=32)) for _ in range(n)])).astype(float)
        if data.draw(st.booleans())
        else np.zeros(0)
        for n in T
    )
    valid = tuple(np.array([True] + [data.draw(st.booleans()) for _ in range(n - 1)]) for n in T)
    reference = ReferenceMotion(points, phase, valid, "fr3_link0", "spoon")
    again = convert.reference_from(wire(convert.reference_to(reference, STAMP)))
    for a, b in zip(
        (*reference.waypoints, *reference.phase, *reference.is_valid), (*again.waypoints, *again.phase, *again.is_valid)
    ):
        assert np.array_equal(a, b)
    assert (again.frame, again.object_label) == ("fr3_link0", "spoon")


def test_chunks_and_motions_survive_the_wire():
    rng = np.random.default_rng(0)
    poses = make_pose(Rotation.random(16, random_state=0).as_matrix(), rng.normal(size=(16, 3)))
    chunk = ActionChunk(poses, np.linspace(0, 1, 16), 1.7e9, "fr3_link0", "tcp", 15.0, 7, 3)
    again = convert.chunk_from(wire(convert.chunk_to(chunk, STAMP)))
    assert np.allclose(again.poses, poses, atol=1e-9) and np.allclose(again.gripper, chunk.gripper, atol=1e-7)
    assert (again.sequence, again.num_committed, again.ee_frame, again.rate_hz) == (7, 3, "tcp", 15.0)
    motion = MotionPrediction(rng.normal(size=(16, 5, 3)), 1.7e9, "camera", 15.0, 7, 0.25)
    assert np.array_equal(convert.motion_from(wire(convert.motion_to(motion, STAMP))).points, motion.points)


def test_stamps_keep_their_nanoseconds():
    assert convert.nanoseconds(STAMP) == 1_700_000_000_123_456_789
    t = convert.stamp_from(1763.123456789)
    assert (t.sec, t.nanosec) == (1763, 123456789)


@pytest.mark.parametrize(
    "encoding, order", [("rgb8", [0, 1, 2]), ("bgr8", [2, 1, 0]), ("rgba8", [0, 1, 2, 3]), ("bgra8", [2, 1, 0, 3])]
)
@pytest.mark.parametrize("padding", [0, 5])
def test_colours_of_every_encoding_and_padded_rows(encoding, order, padding):
    rgb = np.random.default_rng(1).integers(0, 256, (4, 6, 4), dtype=np.uint8)
    wired = rgb[..., order]
    rows = np.concatenate([wired.reshape(4, -1), np.full((4, padding), 99, np.uint8)], axis=1)
    image = Image(width=6, height=4, encoding=encoding, step=rows.shape[1], data=array.array("B", rows.tobytes()))
    assert np.array_equal(convert.rgb_from(wire(image)), rgb[..., :3])


def test_invalid_depth_is_nan_in_both_units():
    metres = np.array([[0.5, np.nan, np.inf], [-1.0, 0.0, 2.25]], np.float32)
    got = convert.depth_from(wire(convert.image_to(metres, "32FC1", "camera", STAMP)))
    assert got.dtype == np.float32 and np.array_equal(
        got, [[0.5, np.nan, np.nan], [np.nan, np.nan, 2.25]], equal_nan=True
    )
    millimetres = np.array([[500, 0, 65535]], np.uint16)
    for encoding in ("16UC1", "mono16"):
        got = convert.depth_from(wire(convert.image_to(millimetres, encoding, "camera", STAMP)))
        assert got.dtype == np.float32 and np.allclose(got, [[0.5, np.nan, np.nan]], equal_nan=True)
    big = Image(width=1, height=1, encoding="16UC1", step=2, is_bigendian=1, data=array.array("B", b"\x01\xf4"))
    assert convert.depth_from(big)[0, 0] == pytest.approx(0.5)


def test_an_image_is_made_without_a_loop_over_its_bytes():
    image = np.zeros((720, 1280, 3), np.uint8)
    began = time.process_time()
    convert.image_to(image, "rgb8", "camera", STAMP)
    assert time.process_time() - began < 0.1


def test_intrinsics_come_back_from_both_matrices():
    info = wire(convert.camera_to(CAMERA, STAMP))
    assert convert.camera_from(info) == CAMERA
    info.p = [0.0] * 12
    assert convert.camera_from(info) == CAMERA


def test_the_gripper_joint_is_0_open_to_1_closed():
    joints = JointState(name=["fr3_joint1", "robotiq_85_left_knuckle_joint"], position=[1.0, 0.4])
    assert convert.gripper_from(joints) == pytest.approx(0.5)


def test_the_arms_joints_are_found_by_name_in_any_order():
    names = [f"fr3_joint{i}" for i in range(1, 8)]
    message = JointState(name=["other", *reversed(names)], position=[9.0, *(0.1 * i for i in range(7, 0, -1))])
    assert np.allclose(convert.arm_joints_from(message), 0.1 * np.arange(1, 8))
    assert convert.arm_joints_from(JointState(name=names[:6], position=[0.0] * 6)) is None, (
        "the gripper's own message, or another arm's"
    )
    with pytest.raises(InputError, match=r"joint_states.position: 3 values for 7 names"):
        convert.arm_joints_from(JointState(name=names, position=[0.0] * 3))
    with pytest.raises(InputError, match="must be finite and within a turn"):
        convert.arm_joints_from(JointState(name=names, position=[0.0] * 6 + [np.nan]))


def test_static_frames_resolve_in_both_directions():
    frames, rng = StaticFrames(), np.random.default_rng(2)
    T = {
        name: make_pose(Rotation.random(random_state=i).as_matrix(), rng.normal(size=3)) for i, name in enumerate("ab")
    }
    t = TransformStamped(child_frame_id="camera", transform=convert.transform_to(T["a"]))
    t.header.frame_id = "base"
    frames.add_message(TFMessage(transforms=[t]))
    frames.add("table", "base", T["b"])
    assert np.allclose(frames.lookup("table", "camera"), T["b"] @ T["a"])
    assert np.allclose(frames.lookup("camera", "table"), invert(T["b"] @ T["a"]))
    assert np.allclose(frames.lookup("base", "base"), np.eye(4))
    with pytest.raises(InputError, match="'world'.*connected frames: base, camera, table"):
        frames.lookup("camera", "world")


def image(t, kind):
    data = np.zeros((4, 6, 3), np.uint8) if kind == "rgb" else np.ones((4, 6), np.float32)
    return convert.image_to(data, "rgb8" if kind == "rgb" else "32FC1", CAMERA.frame, convert.stamp_from(t))


def pose(t):
    message = PoseStamped(pose=Pose())
    message.header.stamp, message.header.frame_id, message.pose.position.x = convert.stamp_from(t), "fr3_link0", t
    return message


def joints(t, position=0.0):
    message = JointState(name=["robotiq_85_left_knuckle_joint"], position=[position])
    message.header.stamp = convert.stamp_from(t)
    return message


def test_frame_is_complete_once_states_pass_its_images():
    buffer = FrameBuffer()
    buffer.add_info(convert.camera_to(CAMERA, STAMP))
    for kind in ("rgb", "depth"):
        buffer.add_image(kind, image(1.0, kind))
    buffer.add_state("joints", joints(0.5))
    buffer.add_state("joints", joints(1.5))
    buffer.add_state("pose", pose(0.98))
    assert buffer.newest() is None, "a later pose that is still before the image may come"
    buffer.add_state("pose", pose(0.999))
    buffer.add_state("pose", pose(1.003))
    frame = buffer.newest()
    assert frame.pose.pose.position.x == 0.999 and convert.seconds(frame.joints.header.stamp) == 0.5
    buffer.add_image("rgb", image(1.066, "rgb"))
    assert buffer.newest().stamp_ns == frame.stamp_ns, "no depth of that stamp yet"
    frames = StaticFrames()
    frames.add("fr3_link0", CAMERA.frame, make_pose(np.eye(3), np.array([0.0, 0.0, 1.0])))
    frames.add("fr3_link8", "tcp", make_pose(np.eye(3), np.array([0.0, 0.0, 0.16])))
    observation = frame.observation(frames, "tcp")
    assert np.allclose(observation.T_cam_ee[:3, 3], [0.999, 0.0, -0.84]) and observation.stamp == pytest.approx(1.0)


def test_an_observation_has_the_grasp_as_of_its_image():
    buffer, frames = FrameBuffer(), StaticFrames()
    buffer.add_info(convert.camera_to(CAMERA, STAMP))
    frames.add("fr3_link0", CAMERA.frame, make_pose(np.eye(3), np.array([0.0, 0.0, 1.0])))
    frames.add("fr3_link8", "tcp", make_pose(np.eye(3), np.array([0.0, 0.0, 0.16])))
    broken = JointState(name=["fr3_joint1"], position=[0.0])
    for t in np.arange(0.0, 3.0, 0.1):
        buffer.add_state("pose", pose(t))
        buffer.add_state("joints", joints(t, 0.5 if 1.0 <= t < 2.0 else 0.0))
        broken.header.stamp = convert.stamp_from(t)
        buffer.add_state("joints", broken)  # of another source, without the gripper
    times = {0.9: None, 1.5: 1.0, 2.5: None}
    for t, closed_at in times.items():
        for kind in ("rgb", "depth"):
            buffer.add_image(kind, image(t, kind))
        grasp = buffer.at(round(t * 1e9)).grasp
        assert (grasp is None) == (closed_at is None)
        if closed_at is not None:
            assert grasp[0][0, 3] == grasp[1] == pytest.approx(closed_at)
    buffer.add_state("joints", joints(0.5, 0.5))  # played again
    buffer.add_state("pose", pose(0.6))
    buffer.add_state("joints", joints(0.7, 0.5))
    pose_then, stamp = buffer.at(round(0.9e9)).grasp
    assert pose_then[0, 3] == 0.6 and stamp == pytest.approx(0.7), "the grasps of before do not count"


def test_the_grasp_of_an_observation_is_in_the_cameras_frame():
    buffer, frames = FrameBuffer(), StaticFrames()
    buffer.add_info(convert.camera_to(CAMERA, STAMP))
    frames.add("fr3_link0", CAMERA.frame, make_pose(np.eye(3), np.array([0.0, 0.0, 1.0])))
    frames.add("fr3_link8", "tcp", make_pose(np.eye(3), np.array([0.0, 0.0, 0.16])))
    for t in (0.9, 1.1):
        buffer.add_state("pose", pose(t))
        buffer.add_state("joints", joints(t, 0.5))
    for kind in ("rgb", "depth"):
        buffer.add_image(kind, image(1.0, kind))
    grasp = buffer.newest().observation(frames, "tcp").grasp
    assert np.allclose(grasp.T_cam_ee[:3, 3], [0.9, 0.0, -0.84]) and grasp.stamp == pytest.approx(0.9)


def test_colour_depth_and_intrinsics_must_agree():
    with pytest.raises(InputError, match="depth: 3x4 pixels, must be 6x4"):
        convert.observation_from(
            image(1.0, "rgb"),
            convert.image_to(np.ones((4, 3), np.float32), "32FC1", "c", STAMP),
            convert.camera_to(CAMERA, STAMP),
            np.eye(4),
            0.0,
        )


def test_status_constants_are_those_of_the_session():
    from uma.control.session import State

    assert all(getattr(msg.PolicyStatus, s.name) == s for s in State)
    assert isinstance(CameraInfo(), CameraInfo)


def test_frames_are_put_together_again_when_time_is_turned_back():
    """A bag that is played once more: what is left of the first time must not push out what comes now."""
    buffer = FrameBuffer(num_images=5, num_states=10)
    buffer.add_info(CameraInfo())

    def hear(stamp_s: int) -> None:
        for kind in ("rgb", "depth"):
            image = Image()
            image.header.stamp.sec = stamp_s
            buffer.add_image(kind, image)
        for kind, state in (("pose", PoseStamped()), ("joints", JointState())):
            state.header.stamp.sec = stamp_s
            buffer.add_state(kind, state)

    for _ in range(2):
        for stamp in range(100, 110):
            hear(stamp)
            assert buffer.newest().stamp_ns == stamp * 10**9
    assert buffer.at(104 * 10**9) is None and buffer.at(105 * 10**9) is not None


def test_a_good_frame_is_looked_at_and_not_copied():
    rgb = np.arange(4 * 6 * 3, dtype=np.uint8).reshape(4, 6, 3)
    depth = np.full((4, 6), 0.8, np.float32)
    depth[1, 2] = np.nan
    messages = {e: convert.image_to(i, e, "cam", STAMP) for e, i in (("rgb8", rgb), ("bgr8", rgb), ("32FC1", depth))}
    assert np.shares_memory(convert.rgb_from(messages["rgb8"]), np.frombuffer(messages["rgb8"].data, np.uint8))
    assert np.shares_memory(convert.depth_from(messages["32FC1"]), np.frombuffer(messages["32FC1"].data, np.uint8))
    assert np.array_equal(convert.rgb_from(messages["rgb8"]), rgb) and np.array_equal(
        convert.rgb_from(messages["bgr8"]), rgb[..., ::-1]
    )
    assert np.array_equal(convert.depth_from(messages["32FC1"]), depth, equal_nan=True)
    odd = depth.copy()
    odd[0, :3] = 0.0, -1.0, np.inf
    again = convert.image_to(odd, "32FC1", "cam", STAMP)
    assert np.isnan(convert.depth_from(again)[0, :3]).all() and np.array_equal(
        np.frombuffer(again.data, np.float32), odd.ravel(), equal_nan=True
    ), "the message itself stays"


@pytest.mark.parametrize(
    "change, words",
    [
        (
            lambda m: setattr(m.keypoints[0].waypoints[3], "x", float("nan")),
            r"keypoints\[0\].waypoints: a value is not finite",
        ),
        (lambda m: setattr(m, "keypoints", []), "keypoints: 0 given, must be 1 to 16"),
        (lambda m: setattr(m, "keypoints", m.keypoints * 20), "keypoints: 40 given"),
        (lambda m: setattr(m.keypoints[0], "waypoints", []), "lengths"),
        (lambda m: [setattr(k, "waypoints", []) for k in m.keypoints], r"keypoints\[0\].waypoints: 0 given"),
        (lambda m: setattr(m, "rate_hz", 0.0), "rate_hz: 0.0"),
        (lambda m: setattr(m.header, "frame_id", ""), "header.frame_id: empty"),
    ],
)
def test_predicted_motion_without_comparable_numbers_is_refused(change, words):
    message = convert.motion_to(MotionPrediction(np.zeros((16, 2, 3)), 1.7e9, "cam"), STAMP)
    assert convert.motion_from(message).points.shape == (16, 2, 3)
    change(message)
    with pytest.raises(InputError, match=words):
        convert.motion_from(message)


def test_of_a_message_with_one_bad_transform_none_is_taken():
    def transform(parent, child, w=1.0):
        t = TransformStamped(child_frame_id=child)
        t.header.frame_id, t.transform.rotation.w = parent, w
        return t

    frames = StaticFrames()
    for bad in (transform("b", "c", 0.0), transform("", "c"), transform("b", ""), transform("b", "b")):
        with pytest.raises(InputError, match="transform"):
            frames.add_message(TFMessage(transforms=[transform("a", "b"), bad]))
        assert not frames.connects("a", "b")
    with pytest.raises(InputError, match="frames with these, limit 1000"):
        frames.add_message(TFMessage(transforms=[transform("a", f"f{i}") for i in range(1500)]))
    frames.add_message(TFMessage(transforms=[transform("a", "b")]))
    assert frames.connects("a", "b")


def test_images_and_intrinsics_beyond_all_measure_are_refused():
    info = convert.camera_to(CAMERA, STAMP)
    info.width = 2**31
    with pytest.raises(InputError, match="width x height 2147483648x4"):
        convert.camera_from(info)
    image = Image(height=1, width=5000, encoding="rgb8", step=15000, data=array.array("B", bytes(15000)))
    image.header.frame_id = "cam"
    with pytest.raises(InputError, match="at most 4096"):
        check_image(image, "rgb")
    image.width, image.step = 4, 15000
    with pytest.raises(InputError, match="step: 15000 bytes, must be at most"):
        check_image(image, "rgb")


def test_chunk_without_policy_frame_is_read():
    from rclpy.serialization import serialize_message
    from uma_ros.msg import ActionChunk as Message

    from uma_ros.bags.reader import decode

    chunk = ActionChunk(
        np.repeat(np.eye(4)[None], 16, 0), np.linspace(0, 1, 16), 3.5, "camera", "tool", policy_frame="table"
    )
    whole = serialize_message(convert.chunk_to(chunk))
    assert convert.chunk_from(decode(whole, Message, "bag")).policy_frame == "table"
    nameless = serialize_message(convert.chunk_to(dataclasses.replace(chunk, policy_frame="")))
    before = nameless[: len(nameless) - 5]  # a length and the end of an empty string
    found = convert.chunk_from(decode(before, Message, "bag"))
    assert found.policy_frame == "" and np.array_equal(found.poses, chunk.poses) and found.ee_frame == "tool"
