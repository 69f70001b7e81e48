"""Names in joint_states: what is said of a wrong prefix, and what is no error."""

import pytest

from uma.geometry import fr3
from uma.robot import DROID, RobotConfig
from uma_ros.messages.joint_names import PATIENCE, JointNames

LEFT = RobotConfig(frame_prefix="left_", joint_prefix="left_").with_prefixes()
RIGHT = RobotConfig(joint_prefix="right_").with_prefixes()


def told(robot, *messages):
    names = JointNames(robot, "/left/joint_states")
    for message in messages:
        names.add(message, 10.0)
    assert names.problem(10.0 + 0.9 * PATIENCE) == ""
    return names.problem(10.0 + PATIENCE)


def test_prefixes_are_before_every_name():
    assert LEFT.base_frame == "left_fr3_link0" and LEFT.flange_frame == "left_fr3_link8"
    assert LEFT.camera_frame == "left_zed_left_camera_frame_optical" and LEFT.ee_frame == "left_robotiq_2f85_tcp"
    assert LEFT.gripper_joint == "left_robotiq_85_left_knuckle_joint" and LEFT.arm_joints[6] == "left_fr3_joint7"
    assert LEFT.kinematics == ("left_fr3_link0", "left_fr3_link8") and DROID.kinematics == ("fr3_link0", "fr3_link8")
    assert RIGHT.base_frame == "fr3_link0" and DROID.with_prefixes() == DROID and DROID.arm_joints == fr3.JOINT_NAMES


@pytest.mark.parametrize(
    "robot, messages",
    [
        (DROID, []),
        (DROID, [[DROID.gripper_joint]]),  # the arm's joints may be absent
        (DROID, [fr3.JOINT_NAMES, [DROID.gripper_joint]]),
        (LEFT, [[*LEFT.arm_joints, LEFT.gripper_joint, *RIGHT.arm_joints, RIGHT.gripper_joint]]),
        (LEFT, [["finger_joint", *LEFT.arm_joints], [LEFT.gripper_joint]]),
    ],
)
def test_the_robot_s_own_names_are_no_problem(robot, messages):
    assert told(robot, *messages) == ""


@pytest.mark.parametrize(
    "robot, messages, words",
    [
        (LEFT, [[*DROID.arm_joints, DROID.gripper_joint]], ["found the joints fr3_joint1,", "left_fr3_joint1"]),
        (LEFT, [[LEFT.gripper_joint], RIGHT.arm_joints], ["right_fr3_joint1", "expected left_fr3_joint1, left_fr3_j"]),
        (
            DROID,
            [LEFT.arm_joints, [LEFT.gripper_joint]],
            ["expected robotiq_85_left_knuckle_joint", "joint_prefix ('')"],
        ),
        (DROID, [fr3.JOINT_NAMES], ["expected robotiq_85_left_knuckle_joint; joint_prefix"]),
        (DROID, [[]], ["found the joints of no name"]),
    ],
)
def test_a_wrong_prefix_is_named_with_what_was_found(robot, messages, words):
    text = told(robot, *messages)
    assert text.startswith("/left/joint_states: ") and all(word in text for word in words)
