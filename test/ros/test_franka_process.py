"""The franka node as a process: its variants, an arm that comes later, a missing library, a death; and the targets that
it makes, without an arm."""

import os
import signal
import subprocess
import sys
import time
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import pytest
from franka_bench import Bench
from harness import ROOT

from uma.geometry import fr3
from uma.types import InputError
from uma_ros.drivers.franka.exchange import ArmState, Phase, Target
from uma_ros.drivers.franka.health import RobotMode
from uma_ros.drivers.franka.shared_row import SharedRow
from uma_ros.nodes.franka import FrankaSettings, TargetMaker

pytest.importorskip("pylibfranka", reason="extra 'robot' is not installed")
pytest.importorskip("franky_sim", reason="extra 'sim' is not installed")


def test_the_variant_for_a_pc_that_is_not_real_time_follows_too(tmp_path):
    b = Bench(tmp_path, **{"fci.variant": "async"})
    try:
        b.reached()
        goal = b.flange()[:3, 3] + [0.04, 0.05, -0.03]
        b.go(goal - b.flange()[:3, 3])
        b.spin(2.0)
        assert np.linalg.norm(b.flange()[:3, 3] - goal) < 3e-3
    finally:
        assert b.close() == 0


def test_arm_switched_on_later_needs_no_recovery(tmp_path):
    b = Bench(tmp_path, late=True)
    try:
        b.wait(
            lambda: "next attempt" in b.diagnostics.get("arm", "") and "recover" not in b.diagnostics["arm"],
            "what it tries",
        )
        assert not b.recover().success and not b.poses
        b.switch_on()
        b.reached()
        b.wait(lambda: "arm" not in b.diagnostics, "no problem any more")
        b.go([0.02, 0.0, 0.0])
        assert b.stops == 0
    finally:
        assert b.close() == 0


def test_without_pylibfranka_the_node_ends_with_a_message(tmp_path):
    (tmp_path / "pylibfranka.py").write_text(
        "raise ModuleNotFoundError(\"No module named 'pylibfranka'\", name='pylibfranka')\n"
    )
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(tmp_path), str(ROOT)])}
    ended = subprocess.run(
        [sys.executable, "-m", "uma_ros.nodes.franka"],
        capture_output=True,
        text=True,
        timeout=60,
        env=environment,
        cwd=ROOT,
    )
    assert ended.returncode == 2 and "pip install 'uma[robot]'" in ended.stderr and "Traceback" not in ended.stderr, (
        ended.stderr
    )


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
        os.kill(node, signal.SIGKILL)  # only this process, like an out-of-memory kill
        end = time.monotonic() + 30.0
        while (
            Path(f"/proc/{own[0]}").exists()
            and "Z" not in Path(f"/proc/{own[0]}/stat").read_text().split()[2]
            and time.monotonic() < end
        ):
            time.sleep(0.05)
        assert not Path(f"/proc/{own[0]}").exists() or "Z" in Path(f"/proc/{own[0]}/stat").read_text().split()[2]
    finally:
        b.close()


def test_arm_process_loads_neither_torch_nor_ros():
    code = "import sys; import uma_ros.nodes.franka; assert 'torch' not in sys.modules, 'torch'"
    subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT)
    code = (
        "import sys; import uma_ros.drivers.franka.fci; bad = {'torch', 'rclpy', 'mujoco'} & set(sys.modules); "
        "assert not bad, bad"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT)


# -- without an arm ----------------------------------------------------------------------------------------------------


def test_targets_lead_the_arm_smoothly_and_restart_after_a_pause():
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
    assert (maker.make(T, 20.0, 110.0, last.q).speed == 0).all(), "no speed after a pause"
    T[0, 3] += 2.0
    with pytest.raises(InputError, match="the joints come no nearer than"):
        maker.make(T, 30.0, 120.0, q)


def test_a_target_runs_on_for_two_periods_and_no_further():
    target = Target(5.0, np.zeros(7), np.ones(7))
    assert (target.at(4.0) == 0).all() and np.allclose(target.at(5.01), 0.01) and np.allclose(target.at(9.0), 0.016)
    assert Target.from_row(None) is None and Target.from_row(np.full(15, np.nan)) is None
    assert (Target.from_row(target.row()).speed == 1).all()


def test_a_board_gives_whole_rows_and_nothing_before_the_first():
    board = SharedRow(get_context("spawn"), 29)
    assert board.read() is None
    state = ArmState(1.0, Phase.MOVING, RobotMode.MOVE, 0.9, np.arange(7.0), np.ones(7), np.zeros(7), 5, 1, 0.2, 1.1)
    for i in range(10):
        board.write(
            ArmState(
                i + 1.0,
                *[
                    getattr(state, f)
                    for f in (
                        "phase",
                        "mode",
                        "success_rate",
                        "q",
                        "dq",
                        "q_command",
                        "cycles",
                        "late",
                        "compute_p99_ms",
                        "interval_p99_ms",
                    )
                ],
            ).row()
        )
        assert ArmState.from_row(board.read()).time == i + 1.0
    got = ArmState.from_row(board.read())
    assert (
        got.phase is Phase.MOVING
        and got.mode is RobotMode.MOVE
        and (got.q == np.arange(7)).all()
        and (got.cycles, got.late) == (5, 1)
    )
