"""The nodes' life cycle: what a configuration makes a clean up takes away, an inactive node does not act, and a manager
brings up a whole graph."""

import os
import signal
import time
from dataclasses import dataclass, field

import numpy as np
import pytest
import rclpy
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus
from harness import TOPICS, Graph, point_task
from lifecycle_msgs.msg import Transition
from lifecycle_msgs.srv import ChangeState, GetState
from rcl_interfaces.srv import SetParameters
from rclpy.executors import SingleThreadedExecutor
from rclpy.parameter import Parameter
from std_msgs.msg import String
from std_srvs.srv import Trigger
from uma_ros.msg import PolicyStatus

from uma.settings import setting
from uma.types import InputError
from uma_ros.messages.convert import pose_from
from uma_ros.nodes.camera import CameraNode
from uma_ros.nodes.controller import ControllerNode
from uma_ros.runtime.node import UmaNode
from uma_ros.runtime.topics import COMMAND, Topics


@dataclass(frozen=True)
class Settings:
    speed: float = setting(1.0, "m/s; some speed", 0.0, 2.0, live=True)
    names: list[str] = setting(["a"], "some names", live=True)
    rate: float = setting(10.0, "Hz; some rate", 1.0, 20.0)
    mode: str = setting("off", "some mode", choices=("off", "on"))
    topics: Topics = field(default_factory=Topics)


class ThingNode(UmaNode):
    """A node that publishes its state and its received messages."""

    def __init__(self):
        super().__init__("thing", Settings())
        self.story = []

    def configure(self):
        if self.settings.rate > 15.0:
            raise InputError(f"rate: {self.settings.rate}, must be at most 15 with this mode")
        if self.settings.mode == "on":
            raise RuntimeError("broken")
        self._out = self.make_publisher(String, "said", COMMAND)
        self.create_steady_timer(
            0.05, lambda: self._out.publish(String(data="active" if self.is_active else "inactive"))
        )
        self.create_service(Trigger, "ask", lambda _, r: r)

    def activate(self):
        self.story.append("activate")

    def deactivate(self):
        self.story.append("deactivate")

    def close(self):
        self.story.append("close")

    def on_settings_changed(self):
        self.story.append(("take over", self.settings.speed))


class Bench:
    """A node and a client in one executor."""

    def __init__(self, make) -> None:
        rclpy.init()
        self.node, self.other = make(), rclpy.create_node("other")
        self.executor = SingleThreadedExecutor()
        self.executor.add_node(self.node)
        self.executor.add_node(self.other)
        self.said: list[str] = []
        self.other.create_subscription(String, "said", lambda m: self.said.append(m.data), 10)

    def call(self, kind, name, request):
        client = self.other.create_client(kind, name if name[0] == "/" else f"{self.node.get_name()}/{name}")
        future = client.call_async(request)
        self.executor.spin_until_future_complete(future, 20.0)
        assert future.done(), name
        self.other.destroy_client(client)
        return future.result()

    def change(self, transition: int) -> bool:
        return self.call(ChangeState, "change_state", ChangeState.Request(transition=Transition(id=transition))).success

    def state(self) -> str:
        return self.call(GetState, "get_state", GetState.Request()).current_state.label

    def set(self, **values) -> list[tuple[bool, str]]:
        """All in one request, as `ros2 param load` would not: each answered for itself."""
        parameters = [Parameter(k.replace("__", "."), value=v).to_parameter_msg() for k, v in values.items()]
        return [
            (r.successful, r.reason)
            for r in self.call(SetParameters, "set_parameters", SetParameters.Request(parameters=parameters)).results
        ]

    def hear(self, word: str) -> bool:
        """Return whether ``word`` arrives within a second of its request, and nothing else at the end."""
        self.said.clear()
        for _ in range(60):
            self.executor.spin_once(0.02)
            if self.said[-3:] == [word] * 3:
                return True
        return False

    def close(self):
        if self.node.is_configured:
            self.node.close()
        self.executor.shutdown()
        self.node.destroy_node()
        self.other.destroy_node()
        rclpy.try_shutdown()


@pytest.fixture
def bench(request):
    b = Bench(request.param)
    try:
        yield b
    finally:
        b.close()


def things(node) -> dict[str, int]:
    """Return the numbers of publishers, subscriptions, ... of a node, including those of rclpy."""
    return {
        kind: len(list(getattr(node, kind)))
        for kind in ("publishers", "subscriptions", "services", "clients", "timers", "waitables")
    }


@pytest.mark.parametrize("bench", [ThingNode], indirect=True)
def test_a_life(bench):
    node, before = bench.node, things(bench.node)
    assert bench.state() == "unconfigured" and not bench.hear("inactive")
    for _ in range(2):
        assert bench.change(Transition.TRANSITION_CONFIGURE) and bench.state() == "inactive" and bench.hear("inactive")
        assert bench.change(Transition.TRANSITION_ACTIVATE) and bench.state() == "active" and bench.hear("active")
        assert bench.change(Transition.TRANSITION_DEACTIVATE) and bench.hear("inactive")
        assert bench.change(Transition.TRANSITION_CLEANUP) and bench.state() == "unconfigured"
        assert things(node) == before
    assert node.story == ["activate", "deactivate", "close"] * 2


@pytest.mark.parametrize("bench", [ThingNode], indirect=True)
def test_impossible_transition_is_refused(bench):
    assert not bench.change(Transition.TRANSITION_ACTIVATE)
    assert not bench.change(99)
    assert bench.state() == "unconfigured"
    assert bench.change(Transition.TRANSITION_CONFIGURE) and not bench.change(Transition.TRANSITION_CONFIGURE)
    assert bench.state() == "inactive" and bench.hear("inactive")


@pytest.mark.parametrize("bench", [ThingNode], indirect=True)
@pytest.mark.parametrize("name, value, kind", [("rate", 16.0, InputError), ("mode", "on", RuntimeError)])
def test_failed_configuration_can_be_mended(bench, name, value, kind):
    before = things(bench.node)
    assert bench.set(**{name: value}) == [(True, "")]
    assert not bench.change(Transition.TRANSITION_CONFIGURE)
    assert isinstance(bench.node.failure, kind) and bench.state() == "unconfigured" and things(bench.node) == before
    assert bench.set(**{name: {"rate": 10.0, "mode": "off"}[name]}) == [(True, "")]
    assert bench.change(Transition.TRANSITION_CONFIGURE) and bench.state() == "inactive"


@pytest.mark.parametrize("bench", [ThingNode], indirect=True)
def test_configured_node_changes_live_parameters_alone(bench):
    assert bench.set(mode="maybe") == [(False, "mode: 'maybe', must be one of off, on")]
    assert bench.set(rate=12.0) == [(True, "")] and bench.node.settings.rate == 12.0
    bench.change(Transition.TRANSITION_CONFIGURE)
    ((done, why),) = bench.set(rate=11.0)
    assert (
        not done
        and why == "rate: read at the start; deactivate and clean up the node first, or restart it to change it"
    )
    ((done, why),) = bench.set(managed=True)
    assert not done and why.startswith("managed: read at the start; restart")
    ((done, why),) = bench.set(speed=3.0)
    assert not done and "speed" in why
    assert bench.node.settings.rate == 12.0 and bench.node.settings.speed == 1.0 and bench.node.story == []
    assert bench.set(speed=0.5, names=["b", "c"]) == [(True, "")] * 2
    assert bench.node.settings.speed == 0.5 and bench.node.settings.names == ["b", "c"]
    assert bench.node.story == [("take over", 0.5)] * 2


@pytest.mark.parametrize("bench", [ThingNode], indirect=True)
def test_parameters_change_atomically(bench):
    bench.change(Transition.TRANSITION_CONFIGURE)
    result = bench.node.set_parameters_atomically([Parameter("speed", value=0.5), Parameter("rate", value=11.0)])
    assert not result.successful and bench.node.settings.speed == 1.0 and bench.node.story == []


@pytest.mark.parametrize("bench", [ControllerNode], indirect=True)
def test_the_controller_leaves_nothing_behind(bench):
    before = things(bench.node)
    for _ in range(2):
        assert bench.change(Transition.TRANSITION_CONFIGURE) and bench.change(Transition.TRANSITION_ACTIVATE)
        assert bench.change(Transition.TRANSITION_DEACTIVATE) and bench.change(Transition.TRANSITION_CLEANUP)
        assert things(bench.node) == before


@pytest.mark.parametrize("bench", [ControllerNode], indirect=True)
def test_a_start_before_any_input_is_refused_in_words(bench):
    bench.change(Transition.TRANSITION_CONFIGURE)
    bench.change(Transition.TRANSITION_ACTIVATE)
    answer = bench.call(Trigger, "/uma/start", Trigger.Request())
    wanted = "robot (/current_pose), gripper (/joint_states), calibration (/tf_static)"
    assert not answer.success and answer.message == f"not started: nothing received yet from {wanted}"


@pytest.mark.parametrize("bench", [ControllerNode], indirect=True)
def test_diagnostics_follow_the_state(bench):
    bench.change(Transition.TRANSITION_CONFIGURE)
    bench.change(Transition.TRANSITION_ACTIVATE)
    heard: list[tuple[bytes, str]] = []
    bench.other.create_subscription(
        DiagnosticArray, "/diagnostics", lambda m: heard.extend((s.level, s.message) for s in m.status), 10
    )

    def wait_for(level: bytes, message: str) -> None:
        end = time.monotonic() + 20.0
        while (level, message) not in heard:
            bench.executor.spin_once(0.1)
            assert time.monotonic() < end, heard

    wait_for(DiagnosticStatus.OK, "ok")
    for place in (0.0, 0.5):
        pose, now, t = np.eye(4), time.monotonic(), bench.node.ros_time()
        pose[0, 3] = place
        bench.node.controller.receive_pose(pose, t, now, t)
    wait_for(DiagnosticStatus.ERROR, "the robot's pose jumped by 0.50 m, limit 0.15 m")
    bench.call(Trigger, "/uma/recover", Trigger.Request())
    heard.clear()
    wait_for(DiagnosticStatus.OK, "ok")


@pytest.mark.parametrize("bench", [CameraNode], indirect=True)
def test_source_without_topics_is_refused_and_mended(bench):
    before = things(bench.node)
    bench.set(source="topics", inputs__preset="custom")
    assert not bench.change(Transition.TRANSITION_CONFIGURE) and "inputs.rgb: empty" in str(bench.node.failure)
    assert bench.state() == "unconfigured" and things(bench.node) == before
    bench.set(source="sim")
    assert bench.change(Transition.TRANSITION_CONFIGURE) and bench.change(Transition.TRANSITION_ACTIVATE)


def sockets() -> int:
    """Open ones of this process: a DDS participant has five."""
    links = (f"/proc/self/fd/{fd}" for fd in os.listdir("/proc/self/fd"))
    return sum("socket" in os.readlink(link) for link in links if os.path.islink(link))


@pytest.mark.parametrize("kind", [ThingNode, ControllerNode])
def test_a_node_that_is_destroyed_leaves_the_bus(kind):
    def live() -> int:
        b = Bench(kind)
        try:
            assert b.change(Transition.TRANSITION_CONFIGURE) and b.change(Transition.TRANSITION_ACTIVATE)
            return sockets()
        finally:
            b.close()

    live()  # the first participant of a process leaves a few for good
    before = sockets()
    assert live() > before
    assert sockets() == before


def test_every_process_is_gone_afterwards(tmp_path):
    """Also when they are ended while they are still starting."""
    g = Graph(tmp_path)
    pids = [p.pid for p in g.supervisor.processes.values()]
    g.close()
    for pid in pids:
        with pytest.raises(ProcessLookupError):
            os.killpg(pid, 0)


def test_ended_controller_leaves_the_bus_at_once(tmp_path):
    g = Graph(tmp_path, without=("station", "camera", "extrinsics", "policy"))
    count = lambda: g.client.node.count_publishers(TOPICS.target_pose)  # noqa: E731
    try:
        g.client.wait(lambda: count() == 1, 30.0, "the controller")
        g.supervisor.processes["controller"].send_signal(signal.SIGINT)
        assert g.supervisor.processes["controller"].wait(20.0) == 0
        g.client.wait(lambda: count() == 0, 5.0, "its leave")  # a killed one counts for 20 s
    finally:
        g.close()


def test_manager_starts_the_graph_and_inactive_controller_holds(tmp_path):
    g = Graph(tmp_path, managed=True)
    c = g.client
    here = lambda: pose_from(c.poses[-1][1].pose, "pose")[:3, 3]  # noqa: E731

    def controller(state: int, words: str = "") -> bool:
        return c.state("controller") == state and words in c.status["controller"].reason

    def go(*way: float) -> None:
        c.send(point_task(here() + way))

    try:
        c.wait(lambda: c.state("policy") == c.state("controller") == PolicyStatus.READY and c.poses, 90.0, "READY")
        c.wait(lambda: "controller activated" in g.log("manager"), 10.0, "the manager's word")
        go(0.0, -0.3, 0.0)
        begin = here()
        c.wait(lambda: np.linalg.norm(here() - begin) > 0.05, 60.0, "motion")

        def change(t: int) -> bool:
            request = ChangeState.Request(transition=Transition(id=t))
            return c.call("/controller/change_state", ChangeState, request).success

        assert change(Transition.TRANSITION_DEACTIVATE)
        c.wait(lambda: controller(PolicyStatus.IDLE, "not active"), 10.0, "IDLE")
        c.spin(1.5)
        begin, sent = here(), len(c.targets)
        assert not c.call("/uma/start").success
        c.spin(1.5)
        assert np.linalg.norm(here() - begin) < 2e-3
        assert len(c.targets) > sent + 50  # the pose is held, not let go

        assert change(Transition.TRANSITION_ACTIVATE)
        c.spin(1.0)
        assert np.linalg.norm(here() - begin) < 2e-3 and controller(PolicyStatus.IDLE, "/uma/start")
        assert c.call("/uma/start").success
        go(0.0, 0.2, 0.0)
        c.wait(lambda: np.linalg.norm(here() - begin) > 0.05, 60.0, "motion again")

        assert c.call("/uma/deactivate").success
        c.wait(lambda: "station deactivated" in g.log("manager"), 30.0, "the whole graph inactive")
        n = len(c.chunks)
        c.spin(1.5)
        assert len(c.chunks) == n
        assert change(Transition.TRANSITION_CLEANUP)
        c.spin(1.0)  # what was on its way
        sent = len(c.targets)
        c.spin(0.5)
        assert len(c.targets) == sent
        assert g.alive() == {"station", "camera", "extrinsics", "policy", "controller", "manager"}
    finally:
        assert set(g.close().values()) == {0}


def test_unconfigurable_graph_names_the_node_and_ends(tmp_path):
    g = Graph(tmp_path, managed=True, changes={"camera": {"source": "topics", "inputs.preset": "custom"}})
    try:
        g.client.wait(lambda: "manager" in g.supervisor.dead(), 60.0, "the manager's end")
        assert g.supervisor.dead() == {"manager": 2}
        assert "camera: could not be configured; see its log" in g.log("manager")
        assert "change_state: inputs.rgb: empty" in g.log("camera")
    finally:
        g.close()


def test_unconfigured_controller_publishes_no_targets(tmp_path):
    g = Graph(tmp_path, managed=True, without=("manager",))
    try:

        def there() -> list[str]:
            return [n for n, _ in g.client.node.get_service_names_and_types() if n.endswith("/change_state")]

        g.client.wait(lambda: len(there()) == 5, 60.0, "five nodes that can be configured")
        g.client.spin(1.0)
        assert g.client.node.count_publishers(TOPICS.target_pose) == 0
    finally:
        g.close()
