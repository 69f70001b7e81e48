"""A demonstration of the scripted expert in the simulated station as a bag."""

from __future__ import annotations

import numpy as np
from demonstration_clips import Clip
from geometry_msgs.msg import PoseStamped, TransformStamped
from rclpy.serialization import serialize_message
from sensor_msgs.msg import CameraInfo, Image, JointState
from tf2_msgs.msg import TFMessage

from uma.geometry.se3 import invert
from uma.robot import DROID
from uma_ros.bags.writer import BagWriter
from uma_ros.messages.convert import camera_to, image_to, pose_to, stamp_from, transform_to
from uma_ros.runtime.topics import LATCHED, STATUS, Topics

TOPICS = Topics().in_namespace()
T_FLANGE_EE = DROID.T_flange_ee.matrix()


def write_bag(path, c: Clip, *, T_base_cam=None, topics=TOPICS, depth_scale=1.0, skip_depth=1, stamp=1.0, targets=True):
    """The clip as a bag of our recorder's topics.

    Args:
        T_base_cam: another calibration than the true one.
        depth_scale: factor on the depth, as of another unit.
        skip_depth: every n-th depth image is there.
        stamp: of the first step, s.
    """
    bag = BagWriter(path)
    names = (topics.rgb, topics.depth, topics.camera_info, topics.robot_pose, topics.joint_states, topics.tf_static)
    kinds = (Image, Image, CameraInfo, PoseStamped, JointState, TFMessage)
    for name, kind in [*zip(names, kinds), (topics.target_pose, PoseStamped)]:
        bag.add_topic(name, kind, LATCHED if kind is TFMessage else STATUS)
    frame = c.observations[0].camera.frame
    t = TransformStamped(
        child_frame_id=frame, transform=transform_to(c.T_base_cam if T_base_cam is None else T_base_cam)
    )
    t.header.frame_id = DROID.base_frame
    bag.write(topics.tf_static, round(stamp * 1e9), serialize_message(TFMessage(transforms=[t])))

    def posed(T, at):
        msg = PoseStamped(pose=pose_to(T @ invert(T_FLANGE_EE)))
        msg.header.frame_id, msg.header.stamp = DROID.base_frame, at
        return msg

    for i, o in enumerate(c.observations):
        now = stamp + i / 15.0
        at, ns = stamp_from(now), round(now * 1e9)
        joints = JointState(name=[DROID.gripper_joint], position=[c.gripper[i] * DROID.gripper_closed])
        joints.header.stamp = at
        messages = {
            topics.robot_pose: posed(c.pose[i], at),
            topics.joint_states: joints,
            topics.camera_info: camera_to(o.camera, at),
            topics.rgb: image_to(o.rgb, "rgb8", frame, at),
        }
        if i % skip_depth == 0:
            messages[topics.depth] = image_to((o.depth * depth_scale).astype(np.float32), "32FC1", frame, at)
        if targets:
            messages[topics.target_pose] = posed(c.target_pose[i], at)
        for name, msg in messages.items():
            bag.write(name, ns, serialize_message(msg))
    bag.close()
    return path
