"""Topic and frame names, and the quality of service of each kind of topic. Every name is a parameter; these are the
defaults."""

from __future__ import annotations

from dataclasses import dataclass

from rclpy.qos import DurabilityPolicy, HistoryPolicy, QoSProfile, ReliabilityPolicy

from uma.settings import setting


@dataclass(frozen=True)
class Topics:
    """Where the nodes meet. Camera names are those of zed-ros2-wrapper >= 5.1, robot names those of CRISP and
    ros2_robotiq_gripper."""

    rgb: str = setting(
        "/zed/zed_node/rgb/color/rect/image", "rectified colour image (sensor_msgs/Image: rgb8, bgr8, rgba8, bgra8)"
    )
    camera_info: str = setting("/zed/zed_node/rgb/color/rect/camera_info", "its intrinsics (sensor_msgs/CameraInfo)")
    depth: str = setting(
        "/zed/zed_node/depth/depth_registered",
        "depth on the colour image's pixels (sensor_msgs/Image: 32FC1, 16UC1, mono16)",
    )
    depth_info: str = setting(
        "/zed/zed_node/depth/camera_info", "intrinsics of the depth image (sensor_msgs/CameraInfo)"
    )
    robot_pose: str = setting(
        "/current_pose",
        "measured pose of the robot-side end-effector frame in the base frame (geometry_msgs/PoseStamped)",
    )
    joint_states: str = setting("/joint_states", "arm and gripper joints (sensor_msgs/JointState)")
    target_pose: str = setting(
        "/target_pose", "Cartesian target of the robot-side end-effector frame (geometry_msgs/PoseStamped)"
    )
    gripper: str = setting(
        "/robotiq_gripper_controller/gripper_cmd",
        "gripper action (control_msgs/action/GripperCommand or ParallelGripperCommand)",
    )
    reference_motion: str = setting("/uma/reference_motion", "the task (uma_ros/msg/ReferenceMotion)")
    active_reference: str = setting(
        "/uma/active_reference",
        "the task in force, in the camera frame, stamped with its first observation (uma_ros/msg/ReferenceMotion); "
        "without keypoints: the instruction is its label, or it is the stored prompt",
    )
    instruction: str = setting("/uma/instruction", "the task in words, for checkpoints that take it (std_msgs/String)")
    goal_image: str = setting(
        "/uma/goal_image",
        "the task as a picture: the scene as it should be (sensor_msgs/Image, as rgb), with goal_depth of "
        "the same stamp",
    )
    goal_depth: str = setting("/uma/goal_depth", "depth of goal_image (sensor_msgs/Image, as depth)")
    action_chunk: str = setting("/uma/action_chunk", "actions in the camera frame (uma_ros/msg/ActionChunk)")
    action_chunk_base: str = setting("/uma/action_chunk_base", "the same in the base frame (uma_ros/msg/ActionChunk)")
    predicted_motion: str = setting(
        "/uma/predicted_motion", "how the object should move, in the camera frame (uma_ros/msg/MotionPrediction)"
    )
    keypoints: str = setting(
        "/uma/keypoints", "where the task's keypoints are, as the policy follows them (uma_ros/msg/Keypoints)"
    )
    status: str = setting("/uma/status", "state of policy and controller (uma_ros/msg/PolicyStatus)")
    heartbeat: str = setting(
        "/uma/heartbeat", "signs of life of a remote operator, if the controller asks for them (std_msgs/Header)"
    )
    markers: str = setting(
        "/uma/markers", "reference and predicted motion for rviz and Foxglove (visualization_msgs/MarkerArray)"
    )
    configuration: str = setting("/uma/configuration", "resolved parameters of every node, as YAML (std_msgs/String)")
    sim_camera: str = setting(
        "/uma_sim/camera", "the simulated camera's cable: prefix of what station sends to the camera node"
    )
    sim_object: str = setting(
        "/uma_sim/object_points",
        "true points on the simulated object, for plots only (sensor_msgs/PointCloud2, base frame)",
    )
    sim_reference: str = setting(
        "/uma_sim/reference_motion", "a reference motion that fits the simulated scene (uma_ros/msg/ReferenceMotion)"
    )
    sim_outcome: str = setting("/uma_sim/outcome", "how the simulated task stands, as YAML (std_msgs/String)")


def qos_profile(depth: int, reliable: bool, latched: bool = False) -> QoSProfile:
    """Keep the last ``depth`` messages; ``latched`` keeps them for late subscribers too."""
    return QoSProfile(
        history=HistoryPolicy.KEEP_LAST,
        depth=depth,
        reliability=ReliabilityPolicy.RELIABLE if reliable else ReliabilityPolicy.BEST_EFFORT,
        durability=DurabilityPolicy.TRANSIENT_LOCAL if latched else DurabilityPolicy.VOLATILE,
    )


SENSOR_IN = qos_profile(5, reliable=False)
"""Images and states as they are subscribed to: matches reliable and best-effort publishers. A reliable subscriber of
images that dies without a word is to be avoided: beside a dead one, a living node now and then hears nothing more with
Fast DDS 2.14 (test/ros/README.md)."""
HISTORY_IN = qos_profile(20, reliable=False)
"""States for one who looks for that of an image's time: a moment without the processor must not lose the right one. No
longer, or what is heard is too old."""
STATE_OUT = qos_profile(5, reliable=False)
"""Robot state, as franka_ros2 and CRISP publish it."""
CAMERA_OUT = qos_profile(20, reliable=True)
"""Reliable as zed-ros2-wrapper publishes; over a second of images stays at hand for a recorder that was not let run."""
TASK_IN = qos_profile(5, reliable=True)
"""Tasks: reliable and volatile as `ros2 topic pub` sends them; a transient_local subscription would never hear it."""
COMMAND = qos_profile(1, reliable=True)
"""Chunks and targets: the last one counts."""
LATCHED = qos_profile(1, reliable=True, latched=True)
"""Heard also by those who come later."""
CONFIGURATION = qos_profile(16, reliable=True, latched=True)
STATUS = qos_profile(10, reliable=True)
