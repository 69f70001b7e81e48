"""The real graph as processes, with the fake policy, and a client of all topics."""

from __future__ import annotations

import signal
import sys
import time
from collections.abc import Callable
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import rclpy
from geometry_msgs.msg import Point, PoseStamped
from rclpy.node import Node
from rosgraph_msgs.msg import Clock
from sensor_msgs.msg import CameraInfo, Image, JointState
from std_msgs.msg import String
from std_srvs.srv import Trigger
from uma_ros.msg import ActionChunk, KeypointTrajectory, MotionPrediction, PolicyStatus, ReferenceMotion

from uma_ros.deployment.graph import Options, insertion
from uma_ros.deployment.supervisor import Supervisor
from uma_ros.messages.convert import chunk_from, pose_from, seconds
from uma_ros.runtime.exit_codes import HUNG
from uma_ros.runtime.topics import CAMERA_OUT, COMMAND, LATCHED, STATE_OUT, STATUS, TASK_IN, Topics, qos_profile

ROOT = Path(__file__).resolve().parents[2]
TOPICS = Topics().in_namespace()
TOOL = 0.1597
"""From the flange to the tip of the gripper, m."""
FAKE = str(Path(__file__).with_name("fake_policy.py"))


class Graph:
    """Starts the insertion graph with a `client`.

    Args:
        without: nodes to leave out.
        changes: parameters that override the graph's, by node.
        graph, topics: another graph, and the topics of its policy.
        record: folder of a bag.
        managed: add a manager node.
        scripted: use a scripted policy instead of the model.
        description: whether a node publishes the robot's description, which no other node of the graph needs.
    """

    def __init__(
        self,
        folder: Path,
        without: tuple[str, ...] = (),
        changes: dict[str, dict] | None = None,
        graph=insertion,
        topics: Topics = TOPICS,
        record: str = "",
        managed: bool = False,
        scripted: bool = True,
        description: str = "off",
    ) -> None:
        self.options = Options(
            seed=3,
            config=str(ROOT / "config/parameters.yaml"),
            run_dir=str(folder),
            record=record,
            managed=managed,
            description=description,
        )
        self.specs = {spec.name: spec for spec in graph(self.options)}
        if scripted and "controller" in self.specs:  # the script does not look where the joints are; test_holding does
            self.specs["controller"].parameters["safety.joint_margin"] = 0.0
        if scripted and "policy" in self.specs:  # the script's chunks end at its goal; test_execution lets it finish
            self.specs["policy"].parameters["finish_after_s"] = 0.0
        for name, parameters in (changes or {}).items():
            self.specs[name].parameters.update(parameters)
        self.supervisor = Supervisor(folder / "log")
        self.scripted = scripted
        self.closers: list = []  # of what a test has set beside the graph
        self.own: dict[str, dict] = {}  # parameters before `restart` changed them
        self.home: np.ndarray | None = None
        for name in self.specs:
            if name not in without:
                self.start(name)
        rclpy.init()
        self.client = Client(topics)

    def start(self, name: str) -> None:
        words = self.specs[name].command(self.options.config)
        self.supervisor.start(
            self.specs[name],
            self.options.config,
            [words[0], FAKE, *words[3:]] if name == "policy" and self.scripted else words,
        )

    def kill(self, name: str) -> None:
        self.supervisor.kill(name)

    def start_again(self, name: str, condition: Callable[[], object], what: str, patience: float = 40.0) -> None:
        """Start a killed node and wait for what it should bring about. The middleware leaves one in some hundreds
        without messages (doc/results/soak.md); such a node is started once more."""
        self.start(name)
        try:
            self.client.wait(condition, patience, what)
        except AssertionError as error:
            print(f"{name} was started once more: {error}")
            self.kill(name)
            self.start(name)
            self.client.wait(condition, 60.0, what)

    def run_on(self, timeout: float = 30.0) -> None:
        """Wait until policy and controller are RUNNING.

        On a busy machine the robot may be silent for over a second. The controller then waits for a new start.
        """
        c, begin = self.client, time.monotonic()
        is_running = lambda: c.state("policy") == c.state("controller") == PolicyStatus.RUNNING  # noqa: E731

        def asks() -> bool:
            status = c.status["controller"]
            return c.state("controller") == PolicyStatus.IDLE and "the robot was silent" in status.reason

        while not is_running():
            c.wait(lambda: is_running() or asks(), max(timeout - (time.monotonic() - begin), 1.0), "RUNNING")
            if not is_running():
                print(f"started again: {c.status['controller'].reason}")
                c.call("/uma/start")
                c.wait(lambda: not asks(), 10.0, "the controller's answer to /uma/start")

    def restart(self, name: str, **changes) -> None:
        """End a node with SIGINT and start it with ``changes`` over the parameters of the graph's own.

        Args:
            changes: by the parameter's name with ``__`` for the dot; a call without takes all earlier ones back.
        """
        own = self.own.setdefault(name, dict(self.specs[name].parameters))
        self.specs[name].parameters.clear()
        self.specs[name].parameters.update(own | {k.replace("__", "."): v for k, v in changes.items()})
        self.end(name)
        self.client.status.pop(name, None)
        self.start_again(name, lambda: name in self.client.status, f"the status of a new {name}")

    def end(self, name: str) -> None:
        """End a node with SIGINT: unlike a killed one it leaves the bus at once."""
        process = self.supervisor.processes[name]
        process.send_signal(signal.SIGINT)
        assert process.wait(20.0) in (0, HUNG), f"{name} ended with {process.returncode}"

    def go_home(self) -> None:
        """Every node with its own parameters, policy and controller RUNNING, the arm where it was at the first call."""
        c = self.client
        for name, own in self.own.items():
            if self.specs[name].parameters != own:
                self.restart(name)
        if c.state("controller") == PolicyStatus.IDLE:
            c.call("/uma/start")
        self.home = c.ee()[:3, 3] if self.home is None else self.home
        c.send(point_task(self.home))
        c.wait(lambda: np.linalg.norm(c.ee()[:3, 3] - self.home) < 0.03, 60.0, "the arm at home")
        self.run_on()

    def alive(self) -> set[str]:
        return set(self.supervisor.processes) - set(self.supervisor.dead())

    def log(self, name: str) -> str:
        return (self.supervisor.log_dir / f"{name}.log").read_text()

    def begin(self) -> None:
        """Wait until policy and controller are READY, send the scene's own reference, wait for chunks."""
        c = self.client
        c.wait(lambda: c.state("policy") == c.state("controller") == PolicyStatus.READY and c.scene, 90.0, "READY")
        # The recorder's log should have the task too, and it may find the tester later than the policy does.
        c.send(c.scene, 1 + ("recorder" in self.supervisor.processes))
        c.wait(lambda: c.state("policy") == c.state("controller") == PolicyStatus.RUNNING, 30.0, "RUNNING")
        n = len(c.base_chunks)
        c.wait(lambda: len(c.base_chunks) >= n + 1, 30.0, "chunks")

    def close(self) -> dict[str, int]:
        for close in self.closers:
            close()
        self.client.node.destroy_node()
        rclpy.try_shutdown()
        codes = self.supervisor.stop(patience=25.0)
        for name, code in codes.items():
            if code:
                print(f"{name} ended with {code}; its log ends:\n" + "\n".join(self.log(name).splitlines()[-40:]))
        return codes


class Client:
    """Receives the messages of a graph on ``topics``, and can publish on the usual ones."""

    def __init__(self, topics: Topics = TOPICS) -> None:
        self.node = Node("tester")
        self.status: dict[str, PolicyStatus] = {}
        self.history: list[PolicyStatus] = []
        self.scene: ReferenceMotion | None = None
        self.active: ReferenceMotion | None = None
        self.chunks: list[ActionChunk] = []
        self.base_chunks: list[ActionChunk] = []
        self.ages: list[float] = []  # ages of base_chunks at their receipt
        self.motions: list[MotionPrediction] = []
        self.targets: list[tuple[float, float, PoseStamped]] = []
        self.own_targets: set[tuple[float, float, float]] = (
            set()
        )  # places that a rival of the test's own sends; they are not among the targets
        self.behind: list[tuple[float, float]] = []
        self.poses: list[tuple[float, PoseStamped]] = []
        listen = self.node.create_subscription
        listen(PolicyStatus, topics.status, self._on_status, STATUS)
        listen(ReferenceMotion, TOPICS.sim_reference, lambda m: setattr(self, "scene", m), LATCHED)
        listen(ReferenceMotion, topics.active_reference, lambda m: setattr(self, "active", m), LATCHED)
        listen(ActionChunk, topics.action_chunk, self.chunks.append, COMMAND)
        listen(ActionChunk, TOPICS.action_chunk_base, self._on_base_chunk, COMMAND)
        listen(MotionPrediction, topics.predicted_motion, self.motions.append, COMMAND)
        listen(PoseStamped, TOPICS.target_pose, self._on_target, qos_profile(200, True))
        listen(
            PoseStamped,
            TOPICS.robot_pose,
            lambda m: self.poses.append((seconds(m.header.stamp), m)),
            qos_profile(200, False),
        )
        speak = self.node.create_publisher
        self.out = {
            "reference": speak(ReferenceMotion, TOPICS.reference_motion, TASK_IN),
            "instruction": speak(String, TOPICS.instruction, TASK_IN),
            "chunk": speak(ActionChunk, TOPICS.action_chunk, COMMAND),
            "chunk_base": speak(ActionChunk, TOPICS.action_chunk_base, COMMAND),
            "rgb": speak(Image, TOPICS.rgb, CAMERA_OUT),
            "depth": speak(Image, TOPICS.depth, CAMERA_OUT),
            "camera_info": speak(CameraInfo, TOPICS.camera_info, CAMERA_OUT),
            "pose": speak(PoseStamped, TOPICS.robot_pose, STATE_OUT),
            "joints": speak(JointState, TOPICS.joint_states, STATE_OUT),
        }
        self._time = 0.0
        listen(Clock, "/clock", lambda m: setattr(self, "_time", seconds(m.clock)), qos_profile(1, False))
        self._services: dict[str, object] = {}

    def _on_status(self, msg: PolicyStatus) -> None:
        self.status[msg.node] = msg
        self.history.append(msg)

    def _on_base_chunk(self, msg: ActionChunk) -> None:
        self.base_chunks.append(msg)
        self.ages.append(self.poses[-1][0] - seconds(msg.header.stamp) if self.poses else float("inf"))

    def _on_target(self, msg: PoseStamped) -> None:
        if place_of(msg) in self.own_targets:
            return
        stamp = seconds(msg.header.stamp)
        self.targets.append((time.monotonic(), stamp, msg))
        if self.poses:
            self.behind.append((stamp, self.poses[-1][0] - stamp))

    @contextmanager
    def rival(self):
        """A second publisher of targets, for as long as the context lasts: the controller does not stand it."""
        publisher = self.out["target"] = self.node.create_publisher(PoseStamped, TOPICS.target_pose, COMMAND)
        try:
            yield publisher
        finally:
            self.node.destroy_publisher(self.out.pop("target"))

    def ros_time(self) -> float:
        """The simulation's clock, seconds."""
        return self._time

    def state(self, node: str) -> int | None:
        return self.status[node].state if node in self.status else None

    def send(self, reference: ReferenceMotion, listeners: int = 1) -> None:
        self.wait(
            lambda: self.out["reference"].get_subscription_count() >= listeners,
            30.0,
            f"subscriptions of {listeners} who take a task",
        )
        self.out["reference"].publish(reference)

    def spin(self, duration: float) -> None:
        end = time.monotonic() + duration
        while time.monotonic() < end:
            rclpy.spin_once(self.node, timeout_sec=0.02)

    def wait(self, condition, timeout: float, what: str) -> float:
        """Spin until ``condition`` holds; returns the seconds it took."""
        began = time.monotonic()
        while not condition():
            rclpy.spin_once(self.node, timeout_sec=0.02)
            if time.monotonic() - began > timeout:
                words = {k: (m.state, m.reason, m.refused) for k, m in self.status.items()}
                raise AssertionError(f"{what} did not come within {timeout} s: {words}")
        return time.monotonic() - began

    def target_rate(self) -> float:
        """Targets a second over the last second, by the steady clock."""
        now = time.monotonic()
        return sum(t > now - 1.0 for t, _, _ in self.targets[-400:])

    def lateness(self, begin: float, end: float) -> float:
        """Return the lateness of targets from ``begin`` to ``end`` on the simulation's clock, seconds.

        These are the longest time between two targets, and the largest delay of a target's stamp behind the robot state
        of the same moment.
        """
        stamps = [t for _, t, _ in self.targets if begin <= t <= end]
        return float(np.diff([begin, *stamps, end]).max()) + max(
            (behind for t, behind in self.behind if begin <= t <= end), default=0.0
        )

    def call(self, name: str, kind=Trigger, request=None, timeout: float = 30.0):
        """Call a service and return its answer. Repeat the call after five seconds.

        A new server may answer before it has discovered its client, and the answer is lost.
        """
        client = self._services.setdefault(name, self.node.create_client(kind, name))
        assert client.wait_for_service(timeout), f"no service {name}"
        end = time.monotonic() + timeout
        while True:
            future = client.call_async(request or kind.Request())
            try:
                self.wait(future.done, min(5.0, timeout), name)
            except AssertionError:
                client.remove_pending_request(future)
                if time.monotonic() > end:
                    raise
            else:
                return future.result()

    def ee(self):
        """Measured pose of fr3_link8 in the base, (4, 4)."""
        return pose_from(self.poses[-1][1].pose, "pose")

    def last_chunk(self):
        return chunk_from(self.base_chunks[-1])


def place_of(msg: PoseStamped) -> tuple[float, float, float]:
    return msg.pose.position.x, msg.pose.position.y, msg.pose.position.z


def point_task(flange: np.ndarray) -> ReferenceMotion:
    """A reference of one point in the base: the tip below a flange that points down at ``(3,)``."""
    task = ReferenceMotion(
        keypoints=[
            KeypointTrajectory(waypoints=[Point(x=float(flange[0]), y=float(flange[1]), z=float(flange[2] - TOOL))])
        ]
    )
    task.header.frame_id = "fr3_link0"
    return task


def far_task(graph, way=(0.0, 0.38, 0.0)) -> ReferenceMotion:
    """A point that takes over a second to reach, from wherever the arm is; to the side where there is room."""
    here = pose_from(graph.client.poses[-1][1].pose, "pose")[:3, 3]
    return point_task(here + np.multiply(way, [1.0, -1.0 if here[1] > 0 else 1.0, 1.0]))


def still(graph, seconds_=1.0) -> float:
    """Return the largest movement in metres, on the robot's clock, from 0.3 s after the last state change on."""
    c = graph.client
    begin = max(seconds(m.header.stamp) for m in c.status.values()) + 0.3
    c.wait(lambda: c.poses and c.poses[-1][0] > begin + seconds_, 60.0, "states of the robot")
    p = np.array([pose_from(m.pose, "pose")[:3, 3] for t, m in c.poses if t > begin])
    return float(np.linalg.norm(p - p[0], axis=1).max())


def fake_command(spec, config: str = str(ROOT / "config/parameters.yaml")) -> list[str] | None:
    words = spec.command(config)
    return [sys.executable, FAKE, *words[3:]] if spec.name == "policy" else None
