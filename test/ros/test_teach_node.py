"""The teach node beside plain services of policy and controller: what a task sends, and when Start acts."""

import sys
import threading

import pytest

pytest.importorskip("viser", reason="the extra 'teach' is not installed")
import numpy as np
import rclpy
import yaml
from harness import TOPICS
from rclpy.action import ActionServer, CancelResponse, GoalResponse
from rclpy.callback_groups import ReentrantCallbackGroup
from rclpy.executors import MultiThreadedExecutor
from rclpy.node import Node
from std_msgs.msg import String
from std_srvs.srv import Trigger
from teaching import drawn, eventually, free_port
from uma_ros.action import ExecuteTask
from uma_ros.msg import ActionChunk
from uma_ros.msg import ReferenceMotion as ReferenceMsg
from uma_ros.srv import PreviewTask

from uma.types import ReferenceMotion
from uma_ros.messages.convert import seconds
from uma_ros.nodes import teach
from uma_ros.nodes.teach import TeachNode
from uma_ros.runtime.topics import CONFIGURATION, LATCHED
from uma_ros.teach import execution
from uma_ros.teach.task import Ask

OUTCOMES = {"refuse": ExecuteTask.Result.REFUSED, "finish": ExecuteTask.Result.FINISHED}


class Stack(Node):
    """A policy's and a controller's side of the page.

    Attributes:
        way: what becomes of a goal: "reject", "refuse", "finish" when it is told to, or "wait" for a cancellation.
        goals, previews: those received; calls: names of the services called.
    """

    def __init__(self) -> None:
        super().__init__("stack")
        self.way, self.goals, self.previews, self.calls = "finish", [], [], []
        self.go_on = threading.Event()
        group = ReentrantCallbackGroup()
        self.echo = self.create_publisher(ReferenceMsg, TOPICS.active_reference, LATCHED)
        self._configuration = self.create_publisher(String, TOPICS.configuration, CONFIGURATION)
        for name in ("start", "stop", "home"):
            self.create_service(Trigger, f"/uma/{name}", lambda _, r, name=name: self._called(name, r))
        self.create_service(PreviewTask, "/uma/preview", self._preview, callback_group=group)
        self._action = ActionServer(
            self,
            ExecuteTask,
            TOPICS.execute_task,
            self._run,
            goal_callback=lambda _: GoalResponse.REJECT if self.way == "reject" else GoalResponse.ACCEPT,
            cancel_callback=lambda _: CancelResponse.ACCEPT,
            callback_group=group,
        )

    def configure(self, heartbeat_s: float) -> None:
        """Publish the configuration of a controller with or without a heartbeat."""
        parameters = {"heartbeat_s": heartbeat_s}
        self._configuration.publish(String(data=yaml.safe_dump({"node": "controller", "parameters": parameters})))

    def _called(self, name, response):
        self.calls.append(name)
        response.success, response.message = True, f"{name} done"
        return response

    def _preview(self, request, response):
        self.previews.append(request)
        response.success, response.message, response.chunk = False, "no frames", ActionChunk()
        return response

    def _run(self, handle):
        self.goals.append(handle.request)
        if self.way != "refuse":
            for in_force in (False, True, True):  # encoded, then in force; told again later
                handle.publish_feedback(ExecuteTask.Feedback(in_force=in_force))
            while not (self.go_on.wait(0.02) or handle.is_cancel_requested):
                pass
        if handle.is_cancel_requested:
            handle.canceled()
            return ExecuteTask.Result(outcome=ExecuteTask.Result.CANCELLED, end_distance_m=-1.0)
        (handle.abort if self.way == "refuse" else handle.succeed)()
        return ExecuteTask.Result(outcome=OUTCOMES[self.way], message="as told", end_distance_m=0.02)


class Now:
    """A future that is done."""

    def __init__(self, value) -> None:
        self._value = value

    def result(self):
        return self._value

    def add_done_callback(self, callback) -> None:
        callback(self)


class Goals:
    """An action client whose goals end when a test says so."""

    def __init__(self, answers: bool = True) -> None:
        self.handles, self._answers = [], answers

    def server_is_ready(self) -> bool:
        return True

    def send_goal_async(self, goal, feedback_callback):
        self.handles.append(Handle())
        self.handles[-1].tell = feedback_callback
        return Now(self.handles[-1]) if self._answers else self

    def add_done_callback(self, callback) -> None:
        self._callback = callback

    def answer(self) -> None:
        """Accept the last goal, which had no answer yet."""
        self._callback(Now(self.handles[-1]))


class Handle:
    accepted, cancellations = True, 0

    def put_in_force(self) -> None:
        """Report the goal's own task as in force."""
        self.tell(ExecuteTask.Impl.FeedbackMessage(feedback=ExecuteTask.Feedback(in_force=True)))

    @property
    def is_cancelled(self) -> bool:
        return self.cancellations > 0

    def cancel_goal_async(self) -> None:
        self.cancellations += 1

    def get_result_async(self):
        return self

    def add_done_callback(self, callback) -> None:
        self._callback = callback

    def end(self) -> None:
        result = ExecuteTask.Result(outcome=ExecuteTask.Result.FINISHED, message="as told", end_distance_m=0.0)
        self._callback(Now(type("Answer", (), {"result": result})))


@pytest.fixture(scope="module")
def ros():
    before = sys.argv
    sys.argv = ["teach"]
    rclpy.init(args=["teach", "--ros-args", "-p", f"port:={free_port()}", "-p", "base_frame:=fr3_link0"])
    node, stack = TeachNode(), Stack()
    node.trigger_configure()
    assert node.failure is None
    node.trigger_activate()
    executor = MultiThreadedExecutor(4)
    executor.add_node(node)
    executor.add_node(stack)
    thread = threading.Thread(target=executor.spin, daemon=True)
    thread.start()
    yield node, stack
    executor.shutdown()
    node.close()
    node.destroy_node()
    stack.destroy_node()
    rclpy.try_shutdown()
    thread.join(10.0)
    sys.argv = before


@pytest.fixture
def node(ros):
    node, stack = ros
    assert eventually(lambda: node.execution.action.server_is_ready() and node._preview.service_is_ready(), 30.0)
    assert eventually(lambda: node._triggers["start"].service_is_ready(), 30.0)
    stack.configure(heartbeat_s=1.0)
    assert eventually(lambda: node.numbers().holds)
    stack.go_on.clear()
    stack.goals.clear()
    stack.calls.clear()
    stack.previews.clear()
    return node


@pytest.fixture
def stack(ros):
    return ros[1]


def reference() -> ReferenceMotion:
    points = np.random.default_rng(0).normal(size=(5, 3, 3)) * 0.05 + [0.0, 0.0, 0.6]
    return ReferenceMotion(points, object_label="cup")


def started(node, stack, way, ask=None):
    """Start a task whose goal ends in some way. Return what the page was told."""
    stack.way, told = way, []
    node.start(ask or Ask(reference=reference()), lambda is_done, text: told.append((is_done, text)))
    return told


def test_a_task_in_force_starts_the_controller_once(node, stack):
    told = started(node, stack, "finish")
    assert eventually(lambda: stack.calls == ["start"] and told)
    assert told[0] == (True, "task in force; controller: start done")
    stack.go_on.set()
    assert eventually(lambda: len(told) == 2) and told[1] == (True, "task finished: as told, 2 cm from the end")
    assert stack.calls == ["start"]


@pytest.mark.parametrize("way, words", [("refuse", "task refused: as told"), ("reject", "rejects goals")])
def test_a_refused_task_does_not_start_the_controller(node, stack, way, words):
    told = started(node, stack, way)
    assert eventually(lambda: bool(told)) and not told[0][0] and words in told[0][1]
    stack.echo.publish(ReferenceMsg())  # the echo of another task comes later
    assert not eventually(lambda: bool(stack.calls), 1.0)


def test_a_stop_before_the_task_is_in_force_prevents_the_start(node, stack):
    told = started(node, stack, "finish")
    node.stop()
    assert eventually(lambda: any("task cancelled" in text for _, text in told))
    assert "start" not in stack.calls and "stop" in stack.calls


def test_a_stop_cancels_the_running_task(node, stack):
    told = started(node, stack, "finish")
    assert eventually(lambda: "start" in stack.calls)
    node.stop()
    assert eventually(lambda: any("task cancelled" in text for _, text in told)) and stack.calls[-1] == "stop"


def test_the_end_of_an_earlier_task_leaves_the_later_one(node, stack, monkeypatch):
    """A replaced task may end after the next one was accepted. Stop still cancels the next one."""
    client = Goals()
    monkeypatch.setattr(node.execution, "action", client)
    for _ in range(2):
        node.start(Ask(reference=reference()), lambda *answer: None)
    first, second = client.handles
    first.end()
    second.put_in_force()
    assert eventually(lambda: stack.calls == ["start"]), "the second task is in force and starts the controller"
    node.stop()
    assert second.is_cancelled and not first.is_cancelled
    second.end()
    node.stop()
    assert second.cancellations == 1


def test_a_start_without_an_answer_is_given_up_for_good(node, stack, monkeypatch):
    """The answer comes later than a person expects: the robot must not move any more."""
    client, told = Goals(answers=False), []
    monkeypatch.setattr(node.execution, "action", client)
    monkeypatch.setattr(execution, "START_PATIENCE_S", 0.5)
    node.start(Ask(reference=reference()), lambda is_done, text: told.append((is_done, text)))
    assert eventually(lambda: bool(told)) and told[0][0] is False and "not in force within 0.5 s" in told[0][1]
    client.answer()
    assert client.handles[0].is_cancelled
    client.handles[0].put_in_force()
    assert not eventually(lambda: "start" in stack.calls, 1.0)


def test_a_task_of_another_client_does_not_start_the_controller(node, stack, monkeypatch):
    """The echo shows tasks of every client. Only the own goal's feedback starts the controller."""
    client = Goals()
    monkeypatch.setattr(node.execution, "action", client)
    node.start(Ask(reference=reference()), lambda *answer: None)
    stack.echo.publish(ReferenceMsg())
    assert not eventually(lambda: bool(stack.calls), 1.0)
    client.handles[0].put_in_force()
    assert eventually(lambda: stack.calls == ["start"])
    client.handles[0].end()


def test_a_stop_that_overtakes_the_start_is_sent_again(node, stack, monkeypatch):
    """Two services keep no order: the controller may take the start after the stop."""
    begun, go_on, trigger = threading.Event(), threading.Event(), node.execution._call

    def slowly(service, done):
        begun.set()
        threading.Thread(target=lambda: (go_on.wait(10.0), trigger(service, done))).start()

    monkeypatch.setattr(node.execution, "_call", slowly)
    told = started(node, stack, "finish")
    assert begun.wait(10.0)
    node.stop()
    assert eventually(lambda: stack.calls == ["stop"])
    go_on.set()
    assert eventually(lambda: stack.calls == ["stop", "start", "stop"])
    assert eventually(lambda: any("stopped meanwhile" in text for _, text in told))


def test_a_lost_cancellation_is_sent_again(node, stack, monkeypatch):
    client = Goals()
    monkeypatch.setattr(node.execution, "action", client)
    node.start(Ask(reference=reference()), lambda *answer: None)
    node.stop()
    assert eventually(lambda: client.handles[0].cancellations > 1)
    client.handles[0].end()
    ended = client.handles[0].cancellations
    assert not eventually(lambda: client.handles[0].cancellations > ended, 1.5)


def test_a_preview_without_an_answer_is_given_up(node, stack, monkeypatch):
    told = []
    monkeypatch.setattr(teach, "PREVIEW_PATIENCE_S", 0.3)
    monkeypatch.setattr(node._preview, "call_async", lambda request: Goals(answers=False))
    node.preview(Ask(reference=reference()), lambda outlook, text: told.append((outlook, text)))
    assert eventually(lambda: bool(told)) and told[0][0] is None and "no answer within 0.3 s" in told[0][1]


def test_without_a_heartbeat_a_silent_page_stops_the_task(node, stack):
    stack.configure(heartbeat_s=0.0)
    assert eventually(lambda: not node.numbers().holds)
    told = started(node, stack, "finish")
    assert eventually(lambda: any("task cancelled" in text for _, text in told)) and "stop" in stack.calls


def test_home_is_a_service_of_the_controller(node, stack):
    told = []
    node.call("home", lambda *answer: told.append(answer))
    assert eventually(lambda: told == [(True, "home done")]) and stack.calls == ["home"]


ASKS = {
    "motion": lambda: Ask(reference=reference()),
    "words": lambda: Ask(instruction="lift the cup"),
    "goal": lambda: Ask(goal=drawn(stamp=3.0)),
    "prompt": lambda: Ask(prompt="cups.safetensors"),
}


@pytest.mark.parametrize("kind", ASKS)
def test_preview_and_start_send_the_one_source_of_the_task(node, stack, kind):
    ask, told = ASKS[kind](), []
    node.preview(ask, lambda outlook, text: told.append(text))
    assert eventually(lambda: told == ["no frames"])
    started(node, stack, "finish", ask)
    assert eventually(lambda: bool(stack.goals))
    stack.go_on.set()
    for sent in (stack.previews[0], stack.goals[0]):
        sources = {
            "motion": len(sent.reference.keypoints) == 5,
            "words": sent.instruction == "lift the cup",
            "prompt": sent.prompt == "cups.safetensors",
            "goal": sent.goal_rgb.width > 0 and sent.goal_depth.encoding == "32FC1",
        }
        assert [k for k, is_given in sources.items() if is_given] == [kind]
    if kind == "goal":
        assert seconds(stack.goals[0].goal_rgb.header.stamp) == 3.0
