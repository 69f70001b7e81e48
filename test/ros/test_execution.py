"""The action /uma/execute_task on the running graph: one goal after another, with every outcome."""

import pytest
import yaml
from action_msgs.msg import GoalStatus
from geometry_msgs.msg import Point
from harness import ROOT, TOPICS, Graph, far_task, still
from rcl_interfaces.srv import SetParameters
from rclpy.action import ActionClient
from rclpy.parameter import Parameter
from std_msgs.msg import String
from uma_ros.action import ExecuteTask
from uma_ros.msg import KeypointTrajectory, PolicyStatus, ReferenceMotion

from uma_ros.policy.execution import Outcome

DONE = {
    Outcome.FINISHED: GoalStatus.STATUS_SUCCEEDED,
    Outcome.CANCELLED: GoalStatus.STATUS_CANCELED,
}
"""Status of a goal; the other outcomes abort it."""


class Sender:
    """A client of the action."""

    def __init__(self, graph: Graph) -> None:
        self.graph, self.client = graph, graph.client
        self.action = ActionClient(self.client.node, ExecuteTask, "/uma/execute_task")
        self.feedback: list[ExecuteTask.Feedback] = []
        self.client.wait(self.action.server_is_ready, 60.0, "the action server")

    def send(self, **fields):
        """Send a goal and return its handle."""
        self.feedback.clear()
        sent = self.action.send_goal_async(
            ExecuteTask.Goal(**fields), feedback_callback=lambda m: self.feedback.append(m.feedback)
        )
        self.client.wait(sent.done, 30.0, "an answer to the goal")
        assert sent.result().accepted
        return sent.result()

    def end(self, handle, outcome: Outcome, timeout: float = 60.0) -> ExecuteTask.Result:
        """Wait for the result and check its outcome."""
        found, c = handle.get_result_async(), self.client

        def is_silent() -> bool:  # on a busy machine; the controller then asks for a new start
            return c.state("controller") == PolicyStatus.IDLE and "was silent" in c.status["controller"].reason

        c.wait(lambda: found.done() or is_silent(), timeout, outcome.name)
        if not found.done():
            c.call("/uma/start")
            c.wait(found.done, timeout, outcome.name)
        result = found.result().result
        assert Outcome(result.outcome) is outcome, result.message
        assert found.result().status == DONE.get(outcome, GoalStatus.STATUS_ABORTED)
        return result

    def runs(self, handle) -> None:
        """Wait until chunks of the newest goal move the arm."""
        c = self.client
        self.graph.run_on()
        chunks = len(c.chunks)
        c.wait(lambda: len(c.chunks) > chunks and self.feedback, 30.0, "chunks and feedback")


@pytest.fixture(scope="module")
def shared(tmp_path_factory):
    g = Graph(tmp_path_factory.mktemp("execution"), changes={"policy": {"finish_after_s": 1.5, "max_hold_s": 10.0}})
    try:
        c = g.client
        c.wait(lambda: c.state("policy") == c.state("controller") == PolicyStatus.READY and c.scene, 90.0, "READY")
        yield Sender(g)
    finally:
        codes = g.close()
    assert codes.pop("camera") in (0, -9) and set(codes.values()) == {0}, codes


def test_a_goal_runs_to_its_end(shared):
    c = shared.client
    c.wait(lambda: c.poses, 30.0, "the robot's pose")
    handle = shared.send(reference=far_task(shared.graph))
    result = shared.end(handle, Outcome.FINISHED, 90.0)
    assert result.message == "task finished"
    assert any(f.state == f.controller_state == PolicyStatus.RUNNING and f.latency_ms > 0 for f in shared.feedback)
    c.wait(lambda: c.state("policy") == PolicyStatus.READY, 10.0, "READY")
    assert c.status["policy"].reason.startswith("task finished")
    assert shared.graph.log("policy").count("]: task finished") == 1
    chunks = len(c.chunks)
    c.spin(1.5)
    assert len(c.chunks) == chunks


def documented_reference() -> ReferenceMotion:
    """The goal that the README sends, without `ros2`."""
    given = yaml.safe_load((ROOT / "config/goal_insertion.yaml").read_text())["reference"]
    keypoints = [KeypointTrajectory(waypoints=[Point(**p) for p in k["waypoints"]]) for k in given["keypoints"]]
    reference = ReferenceMotion(object_label=given["object_label"], keypoints=keypoints)
    reference.header.frame_id = given["header"]["frame_id"]
    return reference


def test_refused_goals_say_why_and_the_task_goes_on(shared):
    c = shared.client
    change = SetParameters.Request(parameters=[Parameter("finish_after_s", value=0.0).to_parameter_msg()])
    assert c.call("/policy/set_parameters", SetParameters, change).results[0].successful  # for the following goals
    running = shared.send(reference=documented_reference())
    shared.runs(running)
    lost = far_task(shared.graph)
    lost.header.frame_id = "nowhere"
    for fields, words in (
        ({}, "goal: no source"),
        ({"instruction": "lift", "prompt": "p"}, "instruction and prompt, must be exactly one"),
        ({"instruction": "lift"}, "accepts reference motions only"),
        ({"reference": lost}, "'nowhere'"),
        ({"prompt": "no such file"}, "no such file"),
    ):
        assert words in shared.end(shared.send(**fields), Outcome.REFUSED).message
    assert c.state("policy") == PolicyStatus.RUNNING and len(c.active.keypoints) == 6
    assert running.status == GoalStatus.STATUS_EXECUTING
    c.send(far_task(shared.graph))  # on the topic
    assert "replaced by a new task: 1 keypoints" in shared.end(running, Outcome.REPLACED).message


def test_a_new_goal_replaces_and_a_cancelled_one_stops(shared):
    c = shared.client
    first = shared.send(reference=far_task(shared.graph))
    shared.runs(first)
    second = shared.send(reference=far_task(shared.graph, (0.0, -0.3, 0.0)))
    shared.end(first, Outcome.REPLACED)
    shared.runs(second)
    cancelled = second.cancel_goal_async()
    c.wait(cancelled.done, 30.0, "an answer to the cancellation")
    chunks = len(c.chunks)
    assert "chunks ended" in shared.end(second, Outcome.CANCELLED).message
    c.wait(lambda: c.state("controller") == PolicyStatus.HOLD, 30.0, "HOLD")
    c.wait(lambda: "no fresh chunk" in c.status["controller"].reason, 30.0, "the reason")
    c.wait(lambda: c.status["policy"].reason == "waiting for a task", 30.0, "READY")
    assert len(c.chunks) <= chunks + 1


def test_a_goal_waits_at_the_gate(shared):
    c = shared.client
    assert c.call("/uma/stop").success
    c.wait(lambda: c.state("controller") == PolicyStatus.IDLE, 10.0, "IDLE")
    handle = shared.send(reference=far_task(shared.graph))
    c.wait(lambda: shared.feedback and "/uma/start" in shared.feedback[-1].reason, 30.0, "the gate in the feedback")
    c.wait(lambda: shared.feedback[-1].in_force, 30.0, "the task in force, so that its client may start")
    c.spin(1.0)  # the arm brakes
    assert still(shared.graph, 2.0) < 2e-3 and handle.status == GoalStatus.STATUS_EXECUTING
    assert c.call("/uma/start").success
    shared.runs(handle)
    c.out["instruction"].publish(String(data="lift"))  # refused on its topic: the goal goes on
    c.wait(lambda: c.status["policy"].refused.startswith(TOPICS.instruction), 20.0, "the refusal")
    assert handle.status == GoalStatus.STATUS_EXECUTING


def test_a_long_hold_aborts_the_goal(shared):
    c = shared.client
    handle = shared.send(reference=far_task(shared.graph))
    shared.runs(handle)
    shared.graph.kill("camera")
    result = shared.end(handle, Outcome.HELD)
    assert "policy in HOLD for over 10 s: camera" in result.message or "controller in HOLD" in result.message
    c.wait(lambda: c.state("policy") != PolicyStatus.RUNNING, 10.0, "an end of the chunks")
