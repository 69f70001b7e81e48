"""Malformed messages for every subscribed topic, the node that refuses each, and a text of the refusal.

A case is built at the moment of sending from a graph, whose ``good_chunk`` and ``good_pose`` it changes.
"""

import array
import copy
import math

from geometry_msgs.msg import Point, PoseStamped
from sensor_msgs.msg import CameraInfo, Image, JointState
from std_msgs.msg import String
from uma_ros.msg import ActionChunk, KeypointTrajectory, ReferenceMotion

from uma_ros.messages.convert import stamp_from

NAN, INF = math.nan, math.inf


def reference(graph) -> ReferenceMotion:
    msg = ReferenceMotion(
        keypoints=[
            KeypointTrajectory(waypoints=[Point(x=0.45, y=-0.1, z=0.03), Point(x=0.45, y=-0.1, z=0.2)])
            for _ in range(3)
        ]
    )
    msg.header.frame_id = "fr3_link0"
    return msg


def chunk(graph) -> ActionChunk:
    """A good chunk in the base frame, stamped now."""
    msg = copy.deepcopy(graph.good_chunk)
    msg.header.stamp = stamp_from(graph.client.ros_time())
    return msg


def image(graph, kind) -> Image:
    msg = Image(width=8, height=4, encoding="rgb8" if kind == "rgb" else "32FC1", step=24 if kind == "rgb" else 32)
    msg.header.frame_id, msg.header.stamp = "zed_left_camera_frame_optical", stamp_from(graph.client.ros_time())
    msg.data = array.array("B", bytes(msg.step * msg.height))
    return msg


def info(graph) -> CameraInfo:
    msg = CameraInfo(width=320, height=180, k=[131.0, 0.0, 160.0, 0.0, 131.0, 90.0, 0.0, 0.0, 1.0])
    msg.header.frame_id, msg.header.stamp = "zed_left_camera_frame_optical", stamp_from(graph.client.ros_time())
    return msg


def pose(graph) -> PoseStamped:
    msg = copy.deepcopy(graph.good_pose)
    msg.header.stamp = stamp_from(graph.client.ros_time())
    return msg


def joints(graph) -> JointState:
    msg = JointState(name=["robotiq_85_left_knuckle_joint"], position=[0.1])
    msg.header.stamp = stamp_from(graph.client.ros_time())
    return msg


def on(make, **changes):
    """``make`` with dotted fields set: ``header__frame_id='x'``, ``keypoints__1__phase=[...]``."""

    def build(graph):
        msg = make(graph)
        for path, value in changes.items():
            *heads, last = path.split("__")
            target = msg
            for head in heads:
                target = target[int(head)] if head.isdigit() else getattr(target, head)
            setattr(target, last, value(graph, msg) if callable(value) else value)
        return msg

    return build


def rgb(graph):
    return image(graph, "rgb")


def depth(graph):
    return image(graph, "depth")


def old(graph, msg):
    return stamp_from(graph.client.ros_time() - 30.0)


def future(graph, msg):
    return stamp_from(graph.client.ros_time() + 30.0)


def keypoint(*points, **fields):
    return KeypointTrajectory(waypoints=[Point(x=x, y=y, z=z) for x, y, z in points], **fields)


OK = (0.45, -0.1, 0.1)
CASES = {
    # name: (channel, who refuses, message, words that must be in the refusal)
    "reference, no keypoint": ("reference", "policy", on(reference, keypoints=[]), ["keypoints", "0 given", "1 to 16"]),
    "reference, 17 keypoints": (
        "reference",
        "policy",
        on(reference, keypoints=[keypoint(OK)] * 17),
        ["keypoints", "17 given", "1 to 16"],
    ),
    "reference, keypoint without waypoints": (
        "reference",
        "policy",
        on(reference, keypoints=[keypoint(OK), keypoint()]),
        ["keypoints[1].waypoints", "0 given", "1 to 64"],
    ),
    "reference, 65 waypoints": (
        "reference",
        "policy",
        on(reference, keypoints=[keypoint(*[OK] * 65)]),
        ["keypoints[0].waypoints", "65 given", "1 to 64"],
    ),
    "reference, NaN": (
        "reference",
        "policy",
        on(reference, keypoints__1__waypoints=[Point(x=NAN)]),
        ["keypoints[1].waypoints[0]", "nan", "not finite"],
    ),
    "reference, infinite": (
        "reference",
        "policy",
        on(reference, keypoints__2__waypoints=[Point(), Point(z=INF)]),
        ["keypoints[2].waypoints[1]", "inf", "not finite"],
    ),
    "reference, huge": (
        "reference",
        "policy",
        on(reference, keypoints__0__waypoints=[Point(x=1e6)]),
        ["keypoints[0].waypoints[0]", "1000000", "5.0 m"],
    ),
    "reference, in millimetres": (
        "reference",
        "policy",
        on(reference, keypoints__0__waypoints=[Point(x=450.0, y=-100.0, z=30.0)]),
        ["450", "5.0 m"],
    ),
    "reference, no frame": ("reference", "policy", on(reference, header__frame_id=""), ["header.frame_id", "empty"]),
    "reference, unknown frame": (
        "reference",
        "policy",
        on(reference, header__frame_id="world"),
        ["'world'", "no static transform", "fr3_link0"],
    ),
    "reference, frame that moves": (
        "reference",
        "policy",
        on(reference, header__frame_id="fr3_link8"),
        ["'fr3_link8'", "no static transform"],
    ),
    "reference, phases too few": (
        "reference",
        "policy",
        on(reference, keypoints__0__phase=[0.5]),
        ["keypoints[0].phase", "1 values for 2"],
    ),
    "reference, phase falls": (
        "reference",
        "policy",
        on(reference, keypoints__0__phase=[0.9, 0.1]),
        ["keypoints[0].phase", "0.89", "decrease"],
    ),
    "reference, phase over one": (
        "reference",
        "policy",
        on(reference, keypoints__0__phase=[0.0, 1.5]),
        ["keypoints[0].phase", "1.5", "[0, 1]"],
    ),
    "reference, phase NaN": (
        "reference",
        "policy",
        on(reference, keypoints__0__phase=[0.0, NAN]),
        ["keypoints[0].phase", "nan", "[0, 1]"],
    ),
    "reference, validity too long": (
        "reference",
        "policy",
        on(reference, keypoints__1__is_valid=[True] * 3),
        ["keypoints[1].is_valid", "3 values for 2"],
    ),
    "reference, nothing valid": (
        "reference",
        "policy",
        on(reference, keypoints__1__is_valid=[False] * 2),
        ["keypoints[1].is_valid", "no valid waypoint", "at least 1"],
    ),
    "instruction": (
        "instruction",
        "policy",
        lambda g: String(data="put the spoon away"),
        ["data", "put the spoon away", "reference motions only"],
    ),
    "image, wrong encoding": ("rgb", "policy", on(rgb, encoding="yuv422"), ["encoding", "'yuv422'", "rgb8, bgr8"]),
    "image, mono": ("rgb", "policy", on(rgb, encoding="mono8"), ["encoding", "'mono8'", "rgb8"]),
    "image, short": ("rgb", "policy", on(rgb, data=array.array("B", bytes(5))), ["data", "5 bytes", "96"]),
    "image, step too small": ("rgb", "policy", on(rgb, step=7), ["step", "7 bytes", "24"]),
    "image, no pixels": (
        "rgb",
        "policy",
        on(rgb, width=0, height=0, step=0, data=array.array("B")),
        ["width x height", "0x0", "at least 1"],
    ),
    "image, stale": ("rgb", "policy", on(rgb, header__stamp=old), ["header.stamp", "30", "limit 0.4 s"]),
    "image, from the future": ("rgb", "policy", on(rgb, header__stamp=future), ["header.stamp", "ahead", "0.5 s"]),
    "image, no frame": ("rgb", "policy", on(rgb, header__frame_id=""), ["header.frame_id", "empty"]),
    "depth, as colour": ("depth", "policy", on(depth, encoding="rgb8"), ["encoding", "'rgb8'", "32FC1, 16UC1, mono16"]),
    "depth, 64 bit": ("depth", "policy", on(depth, encoding="64FC1"), ["encoding", "'64FC1'", "32FC1"]),
    "depth, 8 bit": ("depth", "policy", on(depth, encoding="8UC1"), ["encoding", "'8UC1'"]),
    "camera, no focal length": ("camera_info", "policy", on(info, k=[0.0] * 9), ["camera_info", "fx", "0.0", "> 0"]),
    "camera, NaN": (
        "camera_info",
        "policy",
        on(info, k=[131.0, 0, NAN, 0, 131.0, 90.0, 0, 0, 1.0]),
        ["cx", "nan", "finite"],
    ),
    "camera, no frame": ("camera_info", "policy", on(info, header__frame_id=""), ["header.frame_id", "empty"]),
    "camera, no size": ("camera_info", "policy", on(info, width=0), ["0x180", "> 0"]),
    "robot, zero quaternion": (
        "pose",
        "controller",
        on(
            pose, pose__orientation__x=0.0, pose__orientation__y=0.0, pose__orientation__z=0.0, pose__orientation__w=0.0
        ),
        ["orientation", "norm 0", "1 within 0.01"],
    ),
    "robot, NaN": ("pose", "controller", on(pose, pose__position__x=NAN), ["position", "nan", "finite"]),
    "robot, wrong frame": (
        "pose",
        "controller",
        on(pose, header__frame_id="world"),
        ["header.frame_id", "'world'", "'fr3_link0'"],
    ),
    "robot, stale": ("pose", "controller", on(pose, header__stamp=old), ["header.stamp", "30", "limit 0.3 s"]),
    "gripper, NaN": (
        "joints",
        "controller",
        on(joints, position=[NAN]),
        ["joint_states.position", "robotiq_85_left_knuckle_joint"],
    ),
    "gripper, no value": (
        "joints",
        "controller",
        on(joints, position=[]),
        ["joint_states.position", "no finite value"],
    ),
    "gripper, huge": (
        "joints",
        "controller",
        on(joints, position=[40.0]),
        ["joint_states.position[0]", "40.000", "[0, 0.8]"],
    ),
    "chunk, no pose": ("chunk_base", "controller", on(chunk, poses=[]), ["poses", "0 given", "1 to 256"]),
    "chunk, lengths differ": (
        "chunk_base",
        "controller",
        on(chunk, gripper=[0.0] * 3),
        ["gripper", "3 values for 16 poses"],
    ),
    "chunk, NaN": (
        "chunk_base",
        "controller",
        on(chunk, poses__3__position__z=NAN),
        ["poses[3].position", "nan", "finite"],
    ),
    "chunk, zero quaternion": (
        "chunk_base",
        "controller",
        on(
            chunk,
            poses__5__orientation__x=0.0,
            poses__5__orientation__y=0.0,
            poses__5__orientation__z=0.0,
            poses__5__orientation__w=0.0,
        ),
        ["poses[5].orientation", "norm 0", "1 within 0.01"],
    ),
    "chunk, huge": ("chunk_base", "controller", on(chunk, poses__0__position__x=1e9), ["poses[0].position", "10 m"]),
    "chunk, camera frame to the controller": (
        "chunk_base",
        "controller",
        on(chunk, header__frame_id="zed_left_camera_frame_optical"),
        ["header.frame_id", "zed_left", "'fr3_link0'"],
    ),
    "chunk, unknown end effector": (
        "chunk_base",
        "controller",
        on(chunk, ee_frame="panda_hand_tcp"),
        ["ee_frame", "panda_hand_tcp", "robotiq_2f85_tcp"],
    ),
    "chunk, no end effector": ("chunk_base", "controller", on(chunk, ee_frame=""), ["ee_frame", "empty"]),
    "chunk, of another place on the tool": (
        "chunk_base",
        "controller",
        on(chunk, ee_frame="fr3_link8"),
        ["ee_frame", "'fr3_link8'", "differs in pose"],
    ),
    "chunk, gripper out of range": (
        "chunk_base",
        "controller",
        on(chunk, gripper=[2.0] * 16),
        ["gripper", "2.", "[0, 1]"],
    ),
    "chunk, rate zero": ("chunk_base", "controller", on(chunk, rate_hz=0.0), ["rate_hz", "0.0", "[1, 1000]"]),
    "chunk, stale": ("chunk_base", "controller", on(chunk, header__stamp=old), ["header.stamp", "30", "limit 1 s"]),
    "chunk, from the future": (
        "chunk_base",
        "controller",
        on(chunk, header__stamp=future),
        ["header.stamp", "ahead", "0.5 s"],
    ),
    "chunk, base frame to the extrinsics": (
        "chunk",
        "extrinsics",
        chunk,
        ["header.frame_id", "'fr3_link0'", "'zed_left_camera_frame_optical'"],
    ),
    "chunk, too many committed": (
        "chunk_base",
        "controller",
        on(chunk, num_committed=99),
        ["num_committed", "99", "0 to 16"],
    ),
    "target, NaN": ("target", "station", on(pose, pose__position__y=NAN), ["pose.position", "nan", "finite"]),
    "target, wrong frame": (
        "target",
        "station",
        on(pose, header__frame_id="fr3_link8"),
        ["header.frame_id", "'fr3_link8'", "'fr3_link0'"],
    ),
}
