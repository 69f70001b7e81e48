"""Default topic names, which are parameters, and the QoS profile of each kind of topic.

The names are relative: a node in the namespace /left publishes on /left/uma/status. Absolute by convention
are /diagnostics, and /tf and /tf_static as tf2 has them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields

from rclpy.qos import DurabilityPolicy, HistoryPolicy, QoSProfile, ReliabilityPolicy

from uma.settings import setting
from uma.types import InputError
from uma_ros.runtime.names import full_name


@dataclass(frozen=True)
class Topics:
    """Topic names of the graph, relative to the namespace of its nodes.

    The camera's names are from zed-ros2-wrapper >= 5.1, the robot's from CRISP and ros2_robotiq_gripper.
    """

    rgb: str = setting(
        "zed/zed_node/rgb/color/rect/image", "rectified colour image (sensor_msgs/Image: rgb8, bgr8, rgba8, bgra8)"
    )
    camera_info: str = setting(
        "zed/zed_node/rgb/color/rect/camera_info", "intrinsics of the colour image (sensor_msgs/CameraInfo)"
    )
    depth: str = setting(
        "zed/zed_node/depth/depth_registered",
        "depth on the colour image's pixels (sensor_msgs/Image: 32FC1, 16UC1, mono16)",
    )
    depth_info: str = setting(
        "zed/zed_node/depth/camera_info", "intrinsics of the depth image (sensor_msgs/CameraInfo)"
    )
    robot_pose: str = setting(
        "current_pose",
        "measured pose of the robot-side end-effector frame in the base frame (geometry_msgs/PoseStamped)",
    )
    joint_states: str = setting("joint_states", "arm and gripper joints (sensor_msgs/JointState)")
    target_pose: str = setting(
        "target_pose", "Cartesian target of the robot-side end-effector frame (geometry_msgs/PoseStamped)"
    )
    gripper: str = setting(
        "robotiq_gripper_controller/gripper_cmd",
        "gripper action (control_msgs/action/GripperCommand or ParallelGripperCommand)",
    )
    reference_motion: str = setting(
        "uma/reference_motion", "the task as a reference motion (uma_ros/msg/ReferenceMotion)"
    )
    active_reference: str = setting(
        "uma/active_reference",
        "the active task in the camera frame, stamped with its first observation (uma_ros/msg/ReferenceMotion); "
        "without keypoints, an instruction (its label) or the stored prompt (no label)",
    )
    instruction: str = setting(
        "uma/instruction", "the task as an instruction, for checkpoints that accept one (std_msgs/String)"
    )
    goal_image: str = setting(
        "uma/goal_image",
        "the task as a goal image of the finished scene (sensor_msgs/Image, as rgb), with goal_depth of the same stamp",
    )
    execute_task: str = setting(
        "uma/execute_task", "action that executes a task and reports its end (uma_ros/action/ExecuteTask)"
    )
    goal_depth: str = setting("uma/goal_depth", "depth of goal_image (sensor_msgs/Image, as depth)")
    action_chunk: str = setting("uma/action_chunk", "chunks in the camera frame (uma_ros/msg/ActionChunk)")
    action_chunk_base: str = setting(
        "uma/action_chunk_base", "the same chunks in the base frame (uma_ros/msg/ActionChunk)"
    )
    predicted_motion: str = setting(
        "uma/predicted_motion",
        "predicted object motion of a chunk, in the camera frame (uma_ros/msg/MotionPrediction)",
    )
    keypoints: str = setting("uma/keypoints", "tracked positions of the task's keypoints (uma_ros/msg/Keypoints)")
    status: str = setting("uma/status", "states and refusals of the nodes (uma_ros/msg/PolicyStatus)")
    heartbeat: str = setting(
        "uma/heartbeat", "heartbeat of a remote operator, if the controller requires it (std_msgs/Header)"
    )
    markers: str = setting(
        "uma/markers",
        "reference, chunk, predicted motion and tracked keypoints, for rviz and Foxglove "
        "(visualization_msgs/MarkerArray)",
    )
    robot_description: str = setting("robot_description", "the robot as URDF, for rviz and Foxglove (std_msgs/String)")
    configuration: str = setting("uma/configuration", "resolved parameters of every node, as YAML (std_msgs/String)")
    tf: str = setting("/tf", "frames of the robot's links (tf2_msgs/TFMessage); absolute as in tf2")
    tf_static: str = setting(
        "/tf_static",
        "static transforms (tf2_msgs/TFMessage); absolute as in tf2, so that all namespaces share one tree",
    )
    sim_camera: str = setting(
        "uma_sim/camera", "prefix of the simulated camera's topics, from the station to the camera node"
    )
    sim_object: str = setting(
        "uma_sim/object_points",
        "true points on the simulated object, for plots only (sensor_msgs/PointCloud2, base frame)",
    )
    sim_reference: str = setting(
        "uma_sim/reference_motion", "a reference motion that fits the simulated scene (uma_ros/msg/ReferenceMotion)"
    )
    sim_outcome: str = setting("uma_sim/outcome", "verdict on the simulated task, as YAML (std_msgs/String)")

    def origins(self) -> dict[str, str]:
        """Return source of the controller's watchdog -> topic, for messages."""
        return {
            "robot": self.robot_pose,
            "gripper": self.joint_states,
            "calibration": self.tf_static,
            "operator": self.heartbeat,
        }

    def resolved(self, resolve: Callable[[str], str]) -> Topics:
        """Return the topics with each name replaced by ``resolve(name)``.

        Raises:
            InputError: ``resolve`` raises an exception for a name. The message contains the field and the name.
        """
        names = {}
        for f in fields(self):
            try:
                names[f.name] = resolve(getattr(self, f.name))
            except Exception as error:  # rclpy raises its own types
                raise InputError(f"topics.{f.name}: {getattr(self, f.name)!r:.80}, must be a topic name") from error
        return Topics(**names)

    def in_namespace(self, namespace: str = "") -> Topics:
        """Return the full names for nodes in a namespace, such as /left; empty: the root."""
        return self.resolved(lambda name: full_name(name, namespace))


def qos_profile(depth: int, reliable: bool, latched: bool = False) -> QoSProfile:
    """Return a profile that keeps the last ``depth`` messages, with ``latched`` also for late subscribers."""
    return QoSProfile(
        history=HistoryPolicy.KEEP_LAST,
        depth=depth,
        reliability=ReliabilityPolicy.RELIABLE if reliable else ReliabilityPolicy.BEST_EFFORT,
        durability=DurabilityPolicy.TRANSIENT_LOCAL if latched else DurabilityPolicy.VOLATILE,
    )


SENSOR_IN = qos_profile(5, reliable=False)
"""Subscriptions to images and states. Best effort matches reliable and best-effort publishers.

With Fast DDS 2.14 a killed reliable subscriber of images sometimes blocks the other subscribers (test/ros/README.md).
"""
HISTORY_IN = qos_profile(20, reliable=False)
"""Subscriptions to states that are matched to images by time stamp.

The queue bridges short pauses of the process. A longer queue would deliver states that are too old.
"""
STATE_OUT = qos_profile(10, reliable=True)
"""Robot states. Reliable publishers match every subscription, also a default one of `rclpy`."""
CAMERA_OUT = qos_profile(20, reliable=True)
"""Images: reliable, as zed-ros2-wrapper publishes them. The queue holds over a second for a delayed recorder."""
TASK_IN = qos_profile(5, reliable=True)
"""Tasks: reliable and volatile, as `ros2 topic pub` sends them. A transient_local subscription would not match it."""
COMMAND = qos_profile(1, reliable=True)
"""Chunks and targets: only the last message counts."""
LATCHED = qos_profile(1, reliable=True, latched=True)
"""The last message, also for late subscribers."""
STATIC_TF_IN = qos_profile(100, reliable=True, latched=True)
"""Subscriptions to /tf_static, on which several nodes have one last message each."""
TF_OUT = qos_profile(100, reliable=True)
"""The frames of the robot's links, as tf2 publishes and subscribes them."""
CONFIGURATION = qos_profile(16, reliable=True, latched=True)
STATUS = qos_profile(10, reliable=True)
