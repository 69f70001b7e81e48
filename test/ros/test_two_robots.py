"""Two simulated robots in one ROS domain: each has its own names, clock and start, and both share a tree of frames."""

import time
from dataclasses import replace

import numpy as np
import pytest
import rclpy
import yaml
from geometry_msgs.msg import PoseStamped
from harness import ROOT, fake_command, place_of
from std_srvs.srv import Trigger
from tf2_msgs.msg import TFMessage
from uma_ros.msg import PolicyStatus, ReferenceMotion

from uma_ros.deployment.graph import Options
from uma_ros.deployment.preparation import located, missing_module, prepared, write_parameters
from uma_ros.deployment.supervisor import Supervisor
from uma_ros.messages.static_frames import StaticFrames
from uma_ros.runtime.names import full_name
from uma_ros.runtime.topics import COMMAND, LATCHED, SENSOR_IN, STATIC_TF_IN, STATUS, TASK_IN, Topics

pytestmark = pytest.mark.timeout(900)  # ten processes start for the first test
SIDES = ("left", "right")
OF_ALL = {"/diagnostics", "/tf", "/tf_static", "/parameter_events", "/rosout"}
"""Topics that ROS keeps outside the namespaces."""
SLOW = {
    "/**": {"max_state_age": 5.0, "max_image_age": 5.0},
    "/**/controller": {"rate": 30.0, "max_chunk_age": 8.0, "hold_limit": 600.0, "safety.joint_margin": 0.0},
    "/**/station": {"real_time_factor": 0.2, "camera_rate": 4.0},
    "/**/policy": {"finish_after_s": 0.0, "predict_motion": False, "track_keypoints": False},
}
"""Ten processes share the machine with other work."""


class Side:
    """One robot's graph, and a client of its topics."""

    def __init__(self, folder, side: str, node) -> None:
        self.side, self.node = side, node
        config = folder / f"{side}.yaml"
        config.write_text(yaml.safe_dump({name: {"ros__parameters": values} for name, values in SLOW.items()}))
        options = Options(
            seed=3,
            namespace=side,
            robot=f"config/robot_{side}.yaml",
            config=str(config),
            run_dir=str(folder / side),
            description="off",
        )
        self.specs = [self._waiting(spec) for spec in prepared("insertion", located(options), missing_module)]
        write_parameters(self.specs, folder / side / "node_parameters.yaml")
        self.supervisor = Supervisor(folder / side / "log")
        for spec in self.specs:
            own = str(folder / side / "node_parameters.yaml")
            self.supervisor.start(replace(spec, parameters={}), own, fake_command(replace(spec, parameters={}), own))
        topics = self.topics = Topics().in_namespace(side)
        self.status: dict[str, PolicyStatus] = {}
        self.scene: ReferenceMotion | None = None
        self.poses: list[PoseStamped] = []
        self.num_targets = 0
        node.create_subscription(PolicyStatus, topics.status, lambda m: self.status.update({m.node: m}), STATUS)
        node.create_subscription(ReferenceMotion, topics.sim_reference, lambda m: setattr(self, "scene", m), LATCHED)
        node.create_subscription(PoseStamped, topics.robot_pose, self.poses.append, SENSOR_IN)
        self.out = node.create_publisher(ReferenceMotion, topics.reference_motion, TASK_IN)

    @staticmethod
    def _waiting(spec):
        """A controller that waits for its start, as on hardware."""
        return replace(spec, parameters=spec.parameters | ({"autostart": False} if spec.name == "controller" else {}))

    def state(self, node: str) -> int | None:
        return self.status[node].state if node in self.status else None

    def waits_for_start(self) -> bool:
        """Whether the controller waits for a start. On a busy machine the robot was silent before, which stops it."""
        reason = self.status["controller"].reason if "controller" in self.status else ""
        return reason.endswith(f"waiting for /{self.side}/uma/start")

    def place(self) -> np.ndarray:
        return np.array(place_of(self.poses[-1]))


class Pair:
    """Both graphs."""

    def __init__(self, folder) -> None:
        rclpy.init()
        self.node = rclpy.create_node("tester")
        self.frames = StaticFrames()
        self.node.create_subscription(TFMessage, "/tf_static", self.frames.add_message, STATIC_TF_IN)
        self.left, self.right = (Side(folder, side, self.node) for side in SIDES)

    def wait(self, condition, patience: float, what: str) -> None:
        end = time.monotonic() + patience
        while not condition():
            rclpy.spin_once(self.node, timeout_sec=0.05)
            if time.monotonic() > end:
                words = {s.side: {k: (m.state, m.reason, m.refused) for k, m in s.status.items()} for s in self.sides}
                raise AssertionError(f"{what} did not come within {patience:g} s: {words}")

    def spin(self, seconds: float) -> None:
        end = time.monotonic() + seconds
        self.wait(lambda: time.monotonic() > end, seconds + 60.0, "the time")

    def call(self, name: str) -> Trigger.Response:
        client = self.node.create_client(Trigger, name)
        self.wait(client.service_is_ready, 60.0, name)
        future = client.call_async(Trigger.Request())
        self.wait(future.done, 60.0, f"the answer of {name}")
        return future.result()

    def run(self, side: Side, condition, what: str) -> None:
        """Start a robot and wait for a condition. A robot whose state was late needs another start."""
        end = time.monotonic() + 300.0
        while not condition():
            if side.waits_for_start():
                assert self.call(f"/{side.side}/uma/start").success
                self.wait(lambda: not side.waits_for_start(), 60.0, "the controller's answer to its start")
            self.wait(lambda: condition() or side.waits_for_start(), end - time.monotonic(), what)

    @property
    def sides(self) -> tuple[Side, Side]:
        return self.left, self.right

    def close(self) -> dict[str, int]:
        self.node.destroy_node()
        rclpy.try_shutdown()
        codes = {}
        for side in self.sides:
            for name, code in side.supervisor.stop(patience=60.0).items():
                codes[f"{side.side}/{name}"] = code
                if code:
                    print(f"{name}:\n" + (side.supervisor.log_dir / f"{name}.log").read_text()[-3000:])
        return codes


@pytest.fixture(scope="module")
def pair(tmp_path_factory):
    p = Pair(tmp_path_factory.mktemp("pair"))
    try:
        ready = lambda s: s.state("controller") == PolicyStatus.READY or s.waits_for_start()  # noqa: E731
        p.wait(
            lambda: all(s.state("policy") == PolicyStatus.READY and ready(s) for s in p.sides), 400.0, "READY of both"
        )
        yield p
        assert not p.left.supervisor.dead() and not p.right.supervisor.dead()
    finally:
        codes = p.close()
    assert set(codes.values()) == {0}, codes


def test_every_name_is_in_its_namespace(pair):
    wanted = {(spec.name, f"/{side.side}") for side in pair.sides for spec in side.specs}
    pair.wait(lambda: wanted <= set(pair.node.get_node_names_and_namespaces()), 60.0, "every node")
    for side in pair.sides:
        for spec in side.specs:
            names = {
                name
                for of in (
                    pair.node.get_publisher_names_and_types_by_node,
                    pair.node.get_subscriber_names_and_types_by_node,
                    pair.node.get_service_names_and_types_by_node,
                    pair.node.get_client_names_and_types_by_node,
                )
                for name, _ in of(spec.name, f"/{side.side}")
            }
            outside = {name for name in names if not name.startswith(f"/{side.side}/")}
            assert names and outside <= OF_ALL, (spec.full_name, outside)


def test_each_simulated_station_has_a_clock_of_its_own(pair):
    for side in pair.sides:
        (publisher,) = pair.node.get_publishers_info_by_topic(full_name("clock", side.side))
        assert (publisher.node_namespace, publisher.node_name) == (f"/{side.side}", "station")
    assert not pair.node.get_publishers_info_by_topic("/clock")


def test_one_tree_has_the_frames_of_both(pair):
    for side in SIDES:
        camera, tool = f"{side}_zed_left_camera_frame_optical", f"{side}_robotiq_2f85_tcp"
        pair.wait(lambda: pair.frames.connects(f"{side}_fr3_link0", camera), 30.0, camera)  # noqa: B023
        assert pair.frames.lookup(f"{side}_fr3_link8", tool)[2, 3] == pytest.approx(0.1597, abs=1e-3)
    assert not pair.frames.connects("left_fr3_link0", "right_zed_left_camera_frame_optical")


def test_start_and_stop_act_on_one_robot(pair):
    """The task runs on the left, then on both, then on the right alone."""
    left, right = pair.sides
    for side in pair.sides:
        known = lambda: side.out.get_subscription_count() and side.scene and side.poses  # noqa: B023, E731
        pair.wait(known, 60.0, "the scene")
        assert side.scene.header.frame_id == f"{side.side}_zed_left_camera_frame_optical"
        assert side.poses[-1].header.frame_id == f"{side.side}_fr3_link0"
        side.out.publish(side.scene)
    begun = {side.side: side.place() for side in pair.sides}
    pair.run(left, lambda: np.linalg.norm(left.place() - begun["left"]) > 0.03, "motion on the left")
    pair.wait(right.waits_for_start, 60.0, "a right robot that waits for its start")
    assert right.state("controller") != PolicyStatus.RUNNING
    assert np.linalg.norm(right.place() - begun["right"]) < 0.01

    pair.run(right, lambda: right.state("controller") == PolicyStatus.RUNNING, "RUNNING on the right")
    assert pair.call("/left/uma/stop").success
    pair.wait(lambda: left.state("controller") == PolicyStatus.IDLE, 30.0, "IDLE on the left")
    assert left.status["controller"].reason == "stopped by /left/uma/stop, waiting for /left/uma/start"
    pair.spin(1.0)
    stopped = left.place()
    pair.run(right, lambda: np.linalg.norm(right.place() - begun["right"]) > 0.03, "motion on the right")
    assert np.linalg.norm(left.place() - stopped) < 0.01


def test_a_second_controller_disturbs_its_own_robot_alone(pair):
    left, right = pair.sides
    rival = pair.node.create_publisher(PoseStamped, right.topics.target_pose, COMMAND)
    wanted = "/right/target_pose: 2 publishers, limit 1"
    try:
        pair.wait(lambda: wanted in right.status["controller"].reason, 60.0, wanted)
        assert right.state("controller") == PolicyStatus.HOLD
        assert "publishers" not in left.status["controller"].reason
    finally:
        pair.node.destroy_publisher(rival)


def test_a_node_s_wrong_prefix_is_named(pair):
    """A controller in the left namespace with the right robot's file."""
    left = pair.left
    spec = next(spec for spec in left.specs if spec.name == "controller")
    own = {"robot": str(ROOT / "config/robot_right.yaml"), "dry_run": True, "use_sim_time": True}
    wrong = replace(spec, name="wrong", parameters=own)
    left.supervisor.start(wrong, "", [w for w in wrong.command("") if w not in ("--params-file", "")])
    log = left.supervisor.log_dir / "wrong.log"
    expected = "found the joints left_fr3_joint1, left_fr3_joint2"
    try:
        pair.wait(lambda: log.exists() and expected in log.read_text(), 90.0, expected)
        assert "expected right_robotiq_85_left_knuckle_joint, right_fr3_joint1" in log.read_text()
    finally:
        left.supervisor.kill("wrong")
        del left.supervisor.processes["wrong"]
