"""The Franka behind franka_ros2: its state, and its recovery against an arm that refuses steps in the wrong order."""

import subprocess
import sys
import time
from types import SimpleNamespace

import fake_franka_ros
import numpy as np
import pytest
import rclpy
from control_msgs.action import GripperCommand
from fake_franka_ros import Arm, Errors
from geometry_msgs.msg import PoseStamped
from harness import ROOT
from rclpy.action import ActionServer
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from rclpy.task import Future
from scipy.spatial.transform import Rotation
from std_srvs.srv import Trigger

from uma.geometry.se3 import make_pose
from uma.types import InputError
from uma_ros.drivers.device import DeviceError, LinkError, MissingPackage
from uma_ros.drivers.franka.health import Health, RobotMode, recover
from uma_ros.drivers.franka.ros_recovery import FrankaSteps, flange_pose, health_from, ros_package
from uma_ros.messages.convert import pose_to
from uma_ros.nodes.robot import RobotSettings
from uma_ros.runtime.node import UmaNode

NAMES = ["cartesian_impedance_controller"]


def drive(coroutine, arm: Arm | None = None):
    """Run a coroutine as an executor would; timers fire when nothing else is left to do."""
    while True:
        try:
            coroutine.send(None)
        except StopIteration as end:
            return end.value
        assert arm is not None and arm.timers, "it waits for something that never comes"
        arm.timers[-1]()


@pytest.fixture
def arm(monkeypatch):
    fake_franka_ros.install(monkeypatch)
    return Arm()


def steps_of(arm: Arm) -> FrankaSteps:
    return FrankaSteps(arm, "/controller_manager", "/action_server/error_recovery", 5.0, None, arm.action_client)


def test_recovery_keeps_the_documented_order(arm):
    arm.reflex()
    done = drive(recover(steps_of(arm), NAMES, "FrankaHardwareInterface"))
    assert arm.log == [
        f"activate [] deactivate {NAMES}",
        "recovery",
        "hardware FrankaHardwareInterface",
        f"activate {NAMES} deactivate []",
    ]
    assert arm.states[NAMES[0]] == arm.hardware == "active" and not arm.in_reflex and len(done) == 4


def test_inactive_controllers_are_not_deactivated_again(arm):
    arm.reflex()
    arm.states[NAMES[0]] = "inactive"
    drive(recover(steps_of(arm), NAMES, "FrankaHardwareInterface"))
    assert arm.log[0] == "recovery" and arm.states[NAMES[0]] == "active"


@pytest.mark.parametrize(
    "prepare, words",
    [
        (lambda a: a.refuse.add("recovery"), "error_recovery: ended with status 6"),
        (lambda a: setattr(a, "is_user_stopped", True), "external activation device"),
        (lambda a: a.refuse.add("hardware"), "FrankaHardwareInterface is inactive, must be active"),
        (lambda a: a.refuse.add("switch"), "switch_controller: refused.*the hardware is not active"),
        (lambda a: a.states.pop(NAMES[0]), "not loaded; loaded are joint_state_broadcaster"),
    ],
)
def test_refused_step_ends_the_recovery_with_its_reason(arm, prepare, words):
    arm.reflex()
    prepare(arm)
    with pytest.raises(DeviceError, match=words):
        drive(recover(steps_of(arm), NAMES, "FrankaHardwareInterface"))
    assert not any(entry.startswith(f"activate {NAMES}") for entry in arm.log)


@pytest.mark.parametrize(
    "name, words",
    [
        ("ListControllers", "list_controllers: no answer within 5 s"),
        ("SetHardwareComponentState", "set_hardware_component_state: no answer"),
    ],
)
def test_a_service_that_does_not_answer_is_a_broken_link(arm, name, words):
    arm.silent.add(name)
    with pytest.raises(LinkError, match=words):
        drive(recover(steps_of(arm), NAMES, "FrankaHardwareInterface"), arm)
    assert not arm.timers, "every timer is taken down"


@pytest.mark.parametrize(
    "name, words", [("ListControllers", "is ros2_control running"), ("recovery", "is franka_ros2 running")]
)
def test_a_service_that_is_not_there_is_named(arm, name, words):
    arm.absent.add(name)
    with pytest.raises(LinkError, match=words):
        drive(recover(steps_of(arm), NAMES, "FrankaHardwareInterface"))


def state(**changes):
    T = make_pose(Rotation.from_euler("xyz", [3.0, 0.1, 0.7]).as_matrix(), np.array([0.4, 0.1, 0.3]))
    tool = make_pose(Rotation.from_euler("z", -0.785).as_matrix(), np.array([0.0, 0.0, 0.1034]))
    fields = {
        "robot_mode": 2,
        "control_command_success_rate": 0.98,
        "current_errors": Errors(),
        "last_motion_errors": Errors(),
        "o_t_ee": PoseStamped(pose=pose_to(T @ tool)),
        "f_t_ee": PoseStamped(pose=pose_to(tool)),
    }
    return T, SimpleNamespace(**{**fields, **changes})


def test_robot_mode_becomes_health():
    _, msg = state()
    assert health_from(msg) == Health(RobotMode.MOVE, 0.98) and not health_from(msg).blocked
    _, msg = state(robot_mode=4, current_errors=Errors(cartesian_reflex=True))
    assert "REFLEX (cartesian_reflex)" in health_from(msg).blocked and "call the recovery" in health_from(msg).blocked
    _, msg = state(robot_mode=5)
    assert "release the external activation device" in health_from(msg).blocked
    _, msg = state(robot_mode=99)
    assert health_from(msg).mode is RobotMode.OTHER and health_from(msg).blocked
    for mode in (RobotMode.IDLE, RobotMode.MOVE):
        assert not Health(mode).blocked
    assert Health(RobotMode.IDLE, errors=("joint_reflex",)).blocked, "an error blocks whatever the mode"


def test_flange_is_independent_of_the_desk_end_effector():
    T, msg = state()
    assert np.allclose(flange_pose(msg), T, atol=1e-9)
    msg.o_t_ee.pose.orientation.w = float("nan")
    with pytest.raises(InputError, match="o_t_ee.orientation"):
        flange_pose(msg)


@pytest.mark.parametrize(
    "module, origin", [("franka_msgs.msg", "franka_ros2"), ("controller_manager_msgs.srv", "ros2_control")]
)
def test_missing_ros_package_names_its_source(monkeypatch, module, origin):
    monkeypatch.setitem(sys.modules, module.split(".")[0], None)
    with pytest.raises(MissingPackage, match=f"{module.split('.')[0]} is not installed: it is part of {origin}"):
        ros_package(module)


def test_timers_run_while_a_step_awaits_its_answer(monkeypatch):
    """franka_msgs is on no package index: an action that is here stands for its own, whose goal is as empty."""
    fake_franka_ros.install(monkeypatch)
    for name in ("ListControllers", "SwitchController", "SetHardwareComponentState"):
        monkeypatch.setattr(sys.modules["controller_manager_msgs.srv"], name, Trigger)
    monkeypatch.setattr(sys.modules["franka_msgs.action"], "ErrorRecovery", GripperCommand)
    rclpy.init()
    executor = SingleThreadedExecutor()
    try:
        node, robot = UmaNode("robot_under_test", RobotSettings()), Node("robot")
        behaviour, ticks, group = ["succeed"], [], node.create_group()

        async def run(handle):
            if behaviour[0] == "wait":
                await Future()
            getattr(handle, behaviour[0])()
            return GripperCommand.Result()

        server = ActionServer(robot, GripperCommand, "/action_server/error_recovery", run)
        steps = FrankaSteps(node, "/controller_manager", "/action_server/error_recovery", 1.0, group)
        node.create_steady_timer(0.02, lambda: ticks.append(0))
        for each in (node, robot):
            executor.add_node(each)

        def outcome(seconds=20.0):
            """Return the result of the step, run in a timer's callback as in the node."""
            ended = []

            async def once():
                timer.cancel()
                try:
                    ended.append(await steps.recover_errors())
                except (DeviceError, LinkError) as error:
                    ended.append(error)

            timer = node.create_steady_timer(0.01, once, group)
            end = time.monotonic() + seconds
            while not ended:
                executor.spin_once(timeout_sec=0.05)
                assert time.monotonic() < end
            return ended[0]

        end = time.monotonic() + 20.0
        while isinstance(outcome(), LinkError):
            assert time.monotonic() < end, "the action server is never found"
        assert outcome() is None
        behaviour[0] = "abort"
        assert isinstance(outcome(), DeviceError)
        behaviour[0] = "wait"
        ticks.clear()
        assert "no answer within 1 s" in str(outcome()) and len(ticks) > 5, "the node's own timers are not kept waiting"
        server.destroy()
    finally:
        executor.shutdown()
        rclpy.try_shutdown()


def test_without_franka_msgs_the_node_ends_with_a_message():
    code = "import sys; sys.modules['franka_msgs'] = None; from uma_ros.nodes import robot; sys.exit(robot.main())"
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, cwd=ROOT)
    assert (
        ended.returncode == 2
        and "franka_msgs is not installed: it is part of franka_ros2" in ended.stderr
        and "Traceback" not in ended.stderr
    ), ended.stderr
