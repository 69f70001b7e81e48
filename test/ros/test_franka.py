"""The franka node over libfranka's own protocol: a simulated arm listens on loopback, the node drives it, the test speaks for the controller."""

import os
import signal
import subprocess
import sys
import time
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import pytest
import rclpy
from diagnostic_msgs.msg import DiagnosticArray
from geometry_msgs.msg import PoseStamped
from harness import ROOT, TOPICS
from rclpy.node import Node
from sensor_msgs.msg import JointState
from std_srvs.srv import Trigger
from uma_ros.msg import PolicyStatus

from uma.geometry import fr3
from uma.geometry.se3 import rotation_angle
from uma.types import InputError
from uma_ros.convert import pose_from, pose_to
from uma_ros.graph import NodeSpec
from uma_ros.hardware.board import Board
from uma_ros.hardware.fci import ArmState, Phase, Target
from uma_ros.hardware.franka import Mode
from uma_ros.names import COMMAND, SENSOR_IN, STATUS
from uma_ros.nodes.franka import FrankaSettings, TargetMaker
from uma_ros.supervisor import Supervisor

pytest.importorskip("pylibfranka", reason="extra 'robot' is not installed")
pytest.importorskip("franky_sim", reason="extra 'sim' is not installed")

SERVER = Path(__file__).resolve().parent.parent / "fci_server.py"
HOME = fr3.forward(np.array([0.0, -0.35, 0.0, -2.35, 0.0, 2.0, 0.785]))


class Bench:
    """A simulated arm, the node on it, and a stand-in for the controller."""

    def __init__(self, folder, late: bool = False, **parameters) -> None:
        host = f"127.{os.getpid() % 200 + 20}.{time.monotonic_ns() % 250 + 1}.3"  # libfranka's port is fixed, the address need not be
        self.host, self.arm = host, None
        if not late:
            self.switch_on()
        values = {"fci.host": host, "fci.hold_after": 1.0, "max_target_age": 2.0, **parameters}  # the machine may be busy
        self.supervisor = Supervisor(folder / "log")
        self.supervisor.start(NodeSpec("franka", values, module="uma_ros.nodes.franka"), str(ROOT / "config/insertion.yaml"))
        self.log = folder / "log/franka.log"
        rclpy.init()
        self.node = Node("tester")
        self.poses: list[PoseStamped] = []
        self.joints: list[JointState] = []
        self.refused: list[str] = []
        self.stops = 0
        self.diagnostics: dict[str, str] = {}
        self.node.create_subscription(PoseStamped, TOPICS.robot_pose, self.poses.append, SENSOR_IN)
        self.node.create_subscription(JointState, TOPICS.joint_states, self.joints.append, SENSOR_IN)
        self.node.create_subscription(DiagnosticArray, "/diagnostics", self._on_diagnostics, 10)
        self.node.create_subscription(PolicyStatus, TOPICS.status, lambda m: self.refused.append(m.refused), STATUS)
        self.node.create_service(Trigger, "/uma/stop", self._on_stop)
        self.out = self.node.create_publisher(PoseStamped, TOPICS.target_pose, COMMAND)
        self.recovery = self.node.create_client(Trigger, "/uma/recover_robot")

    def switch_on(self) -> None:
        self.arm = subprocess.Popen([sys.executable, str(SERVER), self.host], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        while self.arm.stdout.readline().strip() != "ready":
            assert self.arm.poll() is None

    def _on_diagnostics(self, msg: DiagnosticArray) -> None:
        self.diagnostics = {v.key: v.value for s in msg.status for v in s.values}

    def _on_stop(self, _, response):
        self.stops += 1
        return response

    def say(self, word: str) -> None:
        self.arm.stdin.write(word + "\n")
        self.arm.stdin.flush()

    def spin(self, seconds: float) -> None:
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            rclpy.spin_once(self.node, timeout_sec=0.002)

    def wait(self, condition, what: str, timeout: float = 60.0) -> None:
        end = time.monotonic() + timeout
        while not condition():
            rclpy.spin_once(self.node, timeout_sec=0.01)
            assert time.monotonic() < end, f"{what} did not come: {self.diagnostics}\n{self.refused[-1:]}\n{self.log.read_text()[-3000:]}"

    def flange(self) -> np.ndarray:
        return pose_from(self.poses[-1].pose, "pose")

    def reached(self) -> None:
        self.wait(lambda: self.poses and self.out.get_subscription_count() and self.recovery.service_is_ready(), "the arm's pose")

    def target(self, T: np.ndarray, frame: str = "fr3_link0") -> None:
        msg = PoseStamped(pose=pose_to(T))
        msg.header.frame_id, msg.header.stamp = frame, self.node.get_clock().now().to_msg()
        self.out.publish(msg)

    def go(self, offset, seconds: float = 1.5, until=None) -> None:
        """Stream targets from where the arm is, along a straight line eased in and out, and stay until it is there."""
        start, began = self.flange(), time.monotonic()
        goal = start[:3, 3] + offset
        there = until or (lambda: np.linalg.norm(self.flange()[:3, 3] - goal) < 2e-3)
        while True:
            s = min((time.monotonic() - began) / seconds, 1.0)
            T = start.copy()
            T[:3, 3] += np.asarray(offset) * (s * s * (3 - 2 * s))
            self.target(T)
            self.spin(0.008)
            if s >= 1.0 and there():
                return
            assert time.monotonic() - began < seconds + 60.0, (
                f"{self.flange()[:3, 3]} is not {goal}: {self.diagnostics} {self.refused[-1:]}\n{self.log.read_text()[-2000:]}"
            )

    def recover(self):
        future = self.recovery.call_async(Trigger.Request())
        self.wait(future.done, "the recovery's answer")
        return future.result()

    def close(self) -> int:
        self.node.destroy_node()
        rclpy.try_shutdown()
        code = self.supervisor.stop()["franka"]
        if self.arm is not None:
            self.arm.kill()
            self.arm.wait()
        return code


@pytest.fixture
def bench(tmp_path):
    b = Bench(tmp_path)
    try:
        b.reached()
        yield b
    finally:
        code = b.close()
    assert code == 0


def test_it_says_where_the_flange_is_by_our_own_kinematics(bench):
    bench.wait(lambda: len(bench.poses) > 20 and bench.joints, "states")
    T = bench.flange()
    assert np.linalg.norm(T[:3, 3] - HOME[:3, 3]) < 2e-3 and rotation_angle(T[:3, :3], HOME[:3, :3]) < 5e-3
    assert bench.poses[-1].header.frame_id == "fr3_link0" and list(bench.joints[-1].name) == list(fr3.JOINT_NAMES)
    stamps = [m.header.stamp.sec + m.header.stamp.nanosec * 1e-9 for m in bench.poses]
    assert stamps == sorted(stamps) and abs(stamps[-1] - time.time()) < 10.0
    bench.wait(lambda: bench.diagnostics.get("phase") == "WATCHING" and bench.diagnostics["mode"] == "IDLE", "the diagnostics")


def test_it_follows_a_stream_of_targets_and_holds_when_it_ends(bench):
    before = bench.flange()
    bench.go([0.05, -0.06, -0.04])
    assert rotation_angle(bench.flange()[:3, :3], before[:3, :3]) < 0.01, "the orientation is kept"
    bench.wait(lambda: bench.diagnostics.get("phase") == "MOVING" and bench.diagnostics["mode"] == "MOVE", "the diagnostics")
    held = bench.flange()[:3, 3]
    bench.spin(2.0)
    assert np.linalg.norm(bench.flange()[:3, 3] - held) < 2e-3
    bench.go([-0.05, 0.06, 0.04])


def test_the_variant_for_a_pc_that_is_not_real_time_follows_too(tmp_path):
    b = Bench(tmp_path, **{"fci.variant": "async"})
    try:
        b.reached()
        b.go([0.04, 0.05, -0.03])
        held = b.flange()[:3, 3]
        b.spin(2.0)
        assert np.linalg.norm(b.flange()[:3, 3] - held) < 3e-3
    finally:
        assert b.close() == 0


def test_after_a_reflex_nothing_moves_until_it_is_recovered(bench):
    bench.go([0.03, 0.0, 0.0])
    bench.say("reflex")
    bench.wait(lambda: bench.stops == 1, "the stop of the controller")
    bench.wait(lambda: "motion aborted by reflex" in bench.diagnostics.get("arm", "") and bench.diagnostics["mode"] == "REFLEX", "the reason")
    assert "joint_velocity_violation" in bench.diagnostics["arm"] and "/uma/recover_robot" in bench.diagnostics["arm"]
    silent, q = len(bench.poses), np.array(bench.joints[-1].position)
    T = bench.flange()
    T[2, 3] += 0.05
    for _ in range(100):
        bench.target(T)
        bench.spin(0.008)
    assert len(bench.poses) == silent, "for the controller it is silent"
    assert np.abs(np.array(bench.joints[-1].position) - q).max() < 0.015, "targets do not move it: 5 cm would be 0.1 rad; it only comes to rest"
    bench.spin(1.2)  # the targets grow old
    answer = bench.recover()
    assert answer.success and "/uma/start" in answer.message
    bench.wait(lambda: len(bench.poses) > silent, "the pose")
    bench.go([0.0, 0.04, 0.0])
    assert bench.stops == 1


def test_while_a_person_stops_it_the_recovery_says_why_it_fails(bench):
    bench.go([0.02, 0.0, 0.0])
    bench.say("stop")
    bench.wait(lambda: bench.diagnostics.get("mode") == "USER_STOPPED", "the mode")
    answer = bench.recover()
    assert not answer.success and answer.message
    bench.say("release")
    bench.wait(lambda: bench.diagnostics.get("mode") == "REFLEX", "the release")
    assert bench.recover().success
    bench.go([-0.02, 0.0, 0.0])


def test_a_lost_connection_is_found_again_and_moves_only_after_a_recovery(bench):
    bench.go([0.0, 0.03, 0.0])
    bench.say("mute")
    bench.wait(lambda: "next attempt" in bench.diagnostics.get("arm", "") and bench.diagnostics["phase"] == "UNREACHED", "the loss")
    assert bench.stops == 1 and not bench.recover().success
    bench.say("unmute")
    bench.wait(lambda: bench.diagnostics.get("phase") == "BLOCKED", "the connection")
    q = np.array(bench.joints[-1].position)
    T = fr3.forward(q)
    T[2, 3] += 0.05
    for _ in range(60):
        bench.target(T)
        bench.spin(0.008)
    assert np.abs(np.array(bench.joints[-1].position) - q).max() < 0.015
    bench.spin(1.2)
    silent = len(bench.poses)
    assert bench.recover().success
    bench.wait(lambda: len(bench.poses) > silent, "the pose")
    bench.go([0.0, -0.03, 0.0])


def test_an_arm_that_is_switched_on_later_is_reached_and_needs_no_recovery(tmp_path):
    b = Bench(tmp_path, late=True)
    try:
        b.wait(lambda: "next attempt" in b.diagnostics.get("arm", "") and "recover" not in b.diagnostics["arm"], "what it tries")
        assert not b.recover().success and not b.poses
        b.switch_on()
        b.reached()
        b.wait(lambda: "arm" not in b.diagnostics, "no problem any more")
        b.go([0.02, 0.0, 0.0])
        assert b.stops == 0
    finally:
        assert b.close() == 0


def test_without_pylibfranka_the_node_ends_with_a_message(tmp_path):
    (tmp_path / "pylibfranka.py").write_text("raise ModuleNotFoundError(\"No module named 'pylibfranka'\", name='pylibfranka')\n")
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(tmp_path), str(ROOT)])}
    ended = subprocess.run([sys.executable, "-m", "uma_ros.nodes.franka"], capture_output=True, text=True, timeout=60, env=environment, cwd=ROOT)
    assert ended.returncode == 2 and "pip install 'uma[robot]'" in ended.stderr and "Traceback" not in ended.stderr, ended.stderr


def test_bad_targets_are_refused_by_field_and_move_nothing(bench):
    q = np.array(bench.joints[-1].position) if bench.joints else None
    bench.wait(lambda: bench.joints, "joints")
    q = np.array(bench.joints[-1].position)
    far, T = HOME.copy(), HOME.copy()
    far[0, 3] += 1.0
    for target, frame, words in ((T, "world", "'world', must be 'fr3_link0'"), (far, "fr3_link0", "the joints come no nearer than")):
        bench.wait(lambda target=target, frame=frame, words=words: bench.target(target, frame) or any(words in text for text in bench.refused), words)
    jump = HOME.copy()
    jump[1, 3] += 0.25  # within reach, but over 0.3 rad away in a joint
    end = time.monotonic() + 1.0
    bench.wait(lambda: bench.target(jump) or time.monotonic() > end, "a second of it")
    assert np.abs(np.array(bench.joints[-1].position) - q).max() < 0.015
    assert "it is not followed" in bench.log.read_text()


def test_with_two_publishers_of_targets_none_is_followed(bench):
    second = bench.node.create_publisher(PoseStamped, TOPICS.target_pose, COMMAND)
    bench.wait(lambda: "2 nodes publish targets" in bench.diagnostics.get("targets", ""), "the problem")
    T = HOME.copy()
    T[2, 3] += 0.02
    bench.wait(lambda: bench.target(T) or any("must be one" in text for text in bench.refused), "the refusal")
    assert bench.diagnostics["phase"] == "WATCHING"
    bench.node.destroy_publisher(second)
    bench.wait(lambda: "targets" not in bench.diagnostics or "publish" not in bench.diagnostics["targets"], "the end of it")
    bench.go([0.0, 0.0, 0.02])


def children(pid: int) -> list[int]:
    return [int(c) for c in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def test_a_killed_node_leaves_no_process_and_an_arm_at_rest(tmp_path):
    b = Bench(tmp_path)
    try:
        b.reached()
        b.go([0.02, 0.0, 0.0])
        node = b.supervisor.processes["franka"].pid
        own = [c for c in children(node) if "spawn_main" in Path(f"/proc/{c}/cmdline").read_text()]
        assert len(own) == 1
        os.kill(node, signal.SIGKILL)  # it alone, as the kernel would for want of memory
        end = time.monotonic() + 30.0
        while Path(f"/proc/{own[0]}").exists() and "Z" not in Path(f"/proc/{own[0]}/stat").read_text().split()[2] and time.monotonic() < end:
            time.sleep(0.05)
        assert not Path(f"/proc/{own[0]}").exists() or "Z" in Path(f"/proc/{own[0]}/stat").read_text().split()[2]
    finally:
        b.close()


def test_neither_process_loads_torch_and_the_arms_own_loads_no_ros():
    code = "import sys; import uma_ros.nodes.franka; assert 'torch' not in sys.modules, 'torch'"
    subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT)
    code = "import sys; import uma_ros.hardware.fci; bad = {'torch', 'rclpy', 'mujoco'} & set(sys.modules); assert not bad, bad"
    subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT)


# -- without an arm -----------------------------------------------------------------------------------------------------------


def test_targets_run_ahead_of_the_arm_smoothly_and_a_pause_starts_anew():
    maker, q = TargetMaker(FrankaSettings()), fr3.REST
    T = fr3.forward(q)
    last = maker.make(T, 10.0, 100.0, q)
    assert (last.speed == 0).all() and np.abs(last.q - q).max() < 1e-3
    for i in range(1, 50):
        T[1, 3] += 0.1 * 0.008
        target = maker.make(T, 10.0 + 0.008 * i, 100.0 + 0.008 * i, q)
        assert np.abs(target.q - last.q).max() < 0.01, "the elbow does not jump"
        assert np.allclose(target.speed, (target.q - last.q) / 0.008)
        last = target
    assert np.linalg.norm(fr3.forward(last.q)[:3, 3] - T[:3, 3]) < 5e-4
    assert (maker.make(T, 20.0, 110.0, last.q).speed == 0).all(), "after a pause nothing is known of a speed"
    T[0, 3] += 2.0
    with pytest.raises(InputError, match="the joints come no nearer than"):
        maker.make(T, 30.0, 120.0, q)


def test_a_target_runs_on_for_two_periods_and_no_further():
    target = Target(5.0, np.zeros(7), np.ones(7))
    assert (target.at(4.0) == 0).all() and np.allclose(target.at(5.01), 0.01) and np.allclose(target.at(9.0), 0.016)
    assert Target.from_row(None) is None and Target.from_row(np.full(15, np.nan)) is None
    assert (Target.from_row(target.row()).speed == 1).all()


def test_a_board_gives_whole_rows_and_nothing_before_the_first():
    board = Board(get_context("spawn"), 29)
    assert board.read() is None
    state = ArmState(1.0, Phase.MOVING, Mode.MOVE, 0.9, np.arange(7.0), np.ones(7), np.zeros(7), 5, 1, 0.2, 1.1)
    for i in range(10):
        board.write(
            ArmState(
                i + 1.0,
                *[getattr(state, f) for f in ("phase", "mode", "success_rate", "q", "dq", "q_command", "cycles", "late", "compute_p99_ms", "interval_p99_ms")],
            ).row()
        )
        assert ArmState.from_row(board.read()).time == i + 1.0
    got = ArmState.from_row(board.read())
    assert got.phase is Phase.MOVING and got.mode is Mode.MOVE and (got.q == np.arange(7)).all() and (got.cycles, got.late) == (5, 1)
