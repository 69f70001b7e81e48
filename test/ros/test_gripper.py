"""The gripper node on a pseudo-terminal, with the controller's client over DDS, for both actions."""

import time

import pytest
import rclpy
from control_msgs.action import GripperCommand
from diagnostic_msgs.msg import DiagnosticArray
from harness import ROOT, TOPICS
from rclpy.action import ActionClient
from rclpy.node import Node
from robotiq_gripper import FakeGripper
from sensor_msgs.msg import JointState
from std_srvs.srv import Trigger

from uma.robot import DROID
from uma.types import InputError
from uma_ros.deployment.graph import NodeSpec
from uma_ros.deployment.supervisor import Supervisor
from uma_ros.drivers.gripper.client import (
    ACTIONS,
    GripperClient,
    GripperGoal,
    action_type,
    goal_from,
    goal_to,
    result_to,
)
from uma_ros.messages.convert import gripper_from
from uma_ros.runtime.topics import SENSOR_IN

pytest.importorskip("pymodbus", reason="extra 'robot' is not installed")
pytest.importorskip("serial", reason="extra 'robot' is not installed")


# -- conventions -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("action", ACTIONS)
def test_opening_0_to_1_spans_the_joint_range(action):
    for opening, angle in ((0.0, 0.0), (1.0, DROID.gripper_closed), (0.25, 0.25 * DROID.gripper_closed)):
        goal = goal_to(action, GripperGoal(opening, force=30.0))
        assert (goal.command.position if action == "GripperCommand" else goal.command.position[0]) == pytest.approx(
            angle
        )
        assert goal_from(action, goal) == GripperGoal(pytest.approx(opening), 0.0, 30.0)
        result = result_to(action, opening, False, True)
        assert (result.position if action == "GripperCommand" else result.state.position[0]) == pytest.approx(angle)


def test_a_parallel_goal_may_name_its_speed():
    assert goal_from(
        "ParallelGripperCommand", goal_to("ParallelGripperCommand", GripperGoal(1.0, 0.5, 20.0))
    ) == GripperGoal(1.0, 0.5, 20.0)
    assert goal_from("ParallelGripperCommand", goal_to("ParallelGripperCommand", GripperGoal(1.0))) == GripperGoal(1.0)


@pytest.mark.parametrize(
    "action, command, words",
    [
        ("GripperCommand", {"position": -0.01}, "command.position: -0.01"),
        ("GripperCommand", {"position": 0.085}, None),
        ("GripperCommand", {"position": float("nan")}, "must lie in"),
        ("GripperCommand", {"position": 0.9}, r"\[0, 0.8\]"),
        ("GripperCommand", {"max_effort": float("inf")}, "effort: inf"),
        ("ParallelGripperCommand", {"name": ["other_joint"], "position": [0.1]}, DROID.gripper_joint),
        ("ParallelGripperCommand", {"position": []}, "0 positions"),
        ("ParallelGripperCommand", {"position": [0.1, 0.1]}, "2 positions"),
        ("ParallelGripperCommand", {"position": [0.1], "velocity": [-1.0]}, "velocity: -"),
        ("ParallelGripperCommand", {"position": [float("nan")]}, "must lie in"),
        ("ParallelGripperCommand", {"position": [0.1]}, None),
    ],
)
def test_malformed_goals_are_refused_by_field(action, command, words):
    goal = action_type(action).Goal()
    for key, value in command.items():
        setattr(goal.command, key, value)
    if words is None:
        goal_from(action, goal)
        return
    with pytest.raises(InputError, match=words):
        goal_from(action, goal)


def test_an_action_that_control_msgs_does_not_have_is_named():
    with pytest.raises(InputError, match="'Grasp': not in the installed control_msgs, must be one of GripperCommand"):
        action_type("Grasp")


# -- the node ----------------------------------------------------------------------------------------------------------


PACE = 6.0
"""How many times as fast as a real one the gripper is."""


class Bench:
    """A gripper on a pseudo-terminal, its node, and a client."""

    def __init__(self, folder, action: str, **parameters) -> None:
        self.hand = FakeGripper(pace=PACE)
        values = {"action": action, "robotiq.port": self.hand.port, **parameters}
        self.supervisor = Supervisor(folder / "log")
        self.supervisor.start(
            NodeSpec("gripper", values, module="uma_ros.nodes.gripper"), str(ROOT / "config/parameters.yaml")
        )
        self.log = folder / "log/gripper.log"
        rclpy.init()
        self.node = Node("tester")
        self.joints: list[JointState] = []
        self.diagnostics: dict[str, str] = {}
        self.node.create_subscription(JointState, TOPICS.joint_states, self.joints.append, SENSOR_IN)
        self.node.create_subscription(DiagnosticArray, "/diagnostics", self._on_diagnostics, 10)
        self.client = GripperClient(self.node, TOPICS.gripper, 60.0, action)
        self.raw = ActionClient(self.node, action_type(action), TOPICS.gripper)

    def _on_diagnostics(self, msg: DiagnosticArray) -> None:
        self.diagnostics = {v.key: v.value for s in msg.status for v in s.values}

    def wait(self, condition, what: str, timeout: float = 30.0):
        end = time.monotonic() + timeout
        while not condition():
            rclpy.spin_once(self.node, timeout_sec=0.02)
            assert time.monotonic() < end, f"{what} did not come: {self.diagnostics}\n{self.log.read_text()}"

    def opening(self) -> float:
        return gripper_from(self.joints[-1])

    def ready(self) -> None:
        self.wait(lambda: self.diagnostics.get("ready") == "True", "ready")

    def send(self, goal):
        """The accepted goal's handle, or None if it was rejected."""
        self.wait(self.raw.server_is_ready, "server")
        future = self.raw.send_goal_async(goal)
        self.wait(future.done, "answer")
        return future.result() if future.result().accepted else None

    def accepted(self, goal):
        """Return the handle of an accepted goal. Repeat the goal if the serial line was silent for a moment."""
        end = time.monotonic() + 20.0
        while (handle := self.send(goal)) is None:
            assert time.monotonic() < end, f"rejected: {self.diagnostics}\n{self.log.read_text()}"
        return handle

    def result(self, handle):
        future = handle.get_result_async()
        self.wait(future.done, "result")
        return future.result()

    def close(self) -> int:
        self.node.destroy_node()
        rclpy.try_shutdown()
        code = self.supervisor.stop()["gripper"]
        self.hand.close()
        return code


@pytest.fixture(scope="module", params=ACTIONS)
def shared(request, tmp_path_factory):
    """One gripper and one node for the tests that leave the node running."""
    b = Bench(tmp_path_factory.mktemp("gripper"), request.param)
    b.action = request.param
    try:
        yield b
    finally:
        assert b.close() == 0


@pytest.fixture
def bench(shared):
    """Ready and open, whatever the test before has done with it."""
    shared.hand.object_at, shared.hand.pace = None, PACE
    shared.ready()
    shared.result(shared.accepted(goal_to(shared.action, GripperGoal(0.0))))
    return shared


plain = pytest.mark.parametrize("shared", ["GripperCommand"], indirect=True)


def test_the_controllers_client_closes_and_opens_it(bench):
    bench.wait(lambda: bench.client.send(True), "server")
    bench.wait(lambda: bench.joints and bench.opening() > 0.99, "closed")
    assert bench.hand.written()[-1] == (0x0900, 255, 255 << 8 | 47), "60 N requested, at the default speed"
    bench.client.send(False)
    bench.wait(lambda: bench.opening() < 0.01, "open")
    assert not bench.client.trouble
    stamps = [m.header.stamp.sec + m.header.stamp.nanosec * 1e-9 for m in bench.joints]
    assert stamps == sorted(stamps) and abs(stamps[-1] - time.time()) < 5.0


def test_grasp_succeeds_as_stalled_and_bad_goals_are_rejected(bench):
    bench.hand.object_at = 140
    done = bench.result(bench.accepted(goal_to(bench.action, GripperGoal(1.0))))
    assert done.status == 4 and done.result.stalled and not done.result.reached_goal
    angle = done.result.position if bench.action == "GripperCommand" else done.result.state.position[0]
    assert angle == pytest.approx((140 - 3) / 227 * DROID.gripper_closed, abs=0.01)
    bad = action_type(bench.action).Goal()
    bad.command.position = 5.0 if bench.action == "GripperCommand" else [5.0]
    writes = len(bench.hand.written())
    assert bench.send(bad) is None and len(bench.hand.written()) == writes


@plain
def test_silent_gripper_is_not_reported_until_it_returns(bench):
    lost = int(bench.diagnostics["links_lost"])
    bench.hand.is_silent = True
    bench.wait(lambda: "next attempt" in bench.diagnostics.get("gripper", ""), "the problem in the diagnostics")
    heard = len(bench.joints)
    end = time.monotonic() + 0.5
    bench.wait(lambda: time.monotonic() > end, "half a second")
    assert len(bench.joints) == heard, "an old state is not published as a new one"
    assert bench.send(goal_to("GripperCommand", GripperGoal(1.0))) is None
    bench.hand.is_silent = False
    bench.ready()
    assert bench.diagnostics["links_lost"] == str(lost + 1)
    assert bench.result(bench.send(goal_to("GripperCommand", GripperGoal(1.0)))).result.reached_goal


@plain
def test_after_a_fault_the_service_activates_it_anew(bench):
    bench.hand.fault = 0x0C
    bench.wait(lambda: "internal fault" in bench.diagnostics.get("gripper", ""), "the fault in the diagnostics")
    assert bench.send(GripperCommand.Goal()) is None
    service = bench.node.create_client(Trigger, "/robotiq_activation_controller/reactivate_gripper")
    assert service.wait_for_service(10.0)
    future = service.call_async(Trigger.Request())
    bench.wait(future.done, "the service")
    bench.ready()
    assert bench.result(bench.send(goal_to("GripperCommand", GripperGoal(1.0)))).status == 4


@plain
def test_cancel_stops_the_fingers_and_a_new_goal_replaces(bench):
    bench.hand.pace = 0.05  # ten seconds for the whole way
    first = bench.send(goal_to("GripperCommand", GripperGoal(1.0)))
    second = bench.send(goal_to("GripperCommand", GripperGoal(0.9)))
    assert bench.result(first).status == 6, "aborted"
    future = second.cancel_goal_async()
    bench.wait(future.done, "cancelled")
    assert bench.result(second).status == 5, "canceled"
    bench.wait(lambda: bench.hand.written()[-1] == (0x0100, 0, 0), "the stop")


def test_silent_server_is_reported_and_retried():
    """Without a wire: a client of the client's own that is there and never answers, then does."""
    from types import SimpleNamespace

    from rclpy.task import Future

    sent: list[Future] = []

    def send(goal) -> Future:
        sent.append(Future())
        return sent[-1]

    client = GripperClient.__new__(GripperClient)
    client._client = SimpleNamespace(server_is_ready=lambda: True, send_goal_async=send)
    client._action, client.max_effort, client.trouble, client._sent_at, client._first_sent_at = (
        "GripperCommand",
        40.0,
        "",
        None,
        None,
    )
    assert not client.overdue(time.monotonic()), "no goal was sent"
    assert client.send(True) and len(sent) == 1
    now = time.monotonic()
    assert not client.overdue(now + 1.5) and len(sent) == 1
    assert "has not answered for 2.5 s, limit 2 s" in client.overdue(now + 2.5) and len(sent) == 2, "sent again"
    sent[0].set_result(SimpleNamespace(accepted=True))
    assert not client.overdue(now + 10.0) and not client.trouble
