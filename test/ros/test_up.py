"""`uma up` and `uma reference`: one terminal starts the graph, another sends a task; every child ends."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import pytest
from harness import ROOT

from uma_ros.deployment.graph import NodeSpec
from uma_ros.deployment.supervisor import Supervisor


def up(folder: Path, *more: str, fake: bool = True) -> subprocess.Popen:
    """`uma up insertion`, with the fake policy put in by a wrapper."""
    code = (
        f"import sys; sys.path.insert(0, {str(ROOT / 'test/support')!r})\n"
        "from harness import fake_command\nfrom uma_ros.deployment import supervisor, up\n"
        "start = supervisor.Supervisor.start\n"
        "supervisor.Supervisor.start = lambda self, spec, config, command=None: start(self, spec, config, "
        "fake_command(spec, config))\n"
        "sys.exit(up.main(sys.argv[1:]))"
    )
    words = [
        sys.executable,
        *(["-c", code] if fake else ["-m", "uma.cli", "up"]),
        "insertion",
        "--run-dir",
        str(folder),
        *more,
    ]
    return subprocess.Popen(
        words, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True
    )


def children(pid: int) -> list[int]:
    out = subprocess.run(["ps", "-o", "pid=", "--ppid", str(pid)], capture_output=True, text=True).stdout
    return [int(x) for x in out.split()]


def kill_all(process: subprocess.Popen) -> None:
    """End a graph that a failed test leaves behind, its children first."""
    for pid in children(process.pid):
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    process.kill()


def wait_for(path: Path, text: str, timeout: float = 90.0) -> None:
    """Wait until a file contains a regular expression."""
    end = time.monotonic() + timeout
    while time.monotonic() < end:
        if path.exists() and re.search(text, path.read_text()):
            return
        time.sleep(0.1)
    raise AssertionError(f"{text!r} did not come in {path}: {path.read_text() if path.exists() else 'no file'}")


def gone(pids: list[int]) -> bool:
    return not any(
        os.path.exists(f"/proc/{pid}") and "Z" not in Path(f"/proc/{pid}/stat").read_text().split()[2] for pid in pids
    )


def test_reference_is_taken_and_ctrl_c_ends_every_child(tmp_path):
    process = up(tmp_path)
    try:
        wait_for(tmp_path / "log/policy.log", "READY")
        pids = children(process.pid)
        assert len(pids) == 6
        send = [sys.executable, "-m", "uma.cli", "reference", "--timeout", "40"]
        good = subprocess.run(
            [*send, "config/reference_insertion.yaml"], cwd=ROOT, capture_output=True, text=True, timeout=60
        )
        assert good.returncode == 0, good.stdout + good.stderr
        assert "received by policy: 6 keypoints in fr3_link0" in good.stdout
        (tmp_path / "bad.yaml").write_text("frame: nowhere\nkeypoints:\n  - waypoints: [[0.4, 0.0, 0.1]]\n")
        bad = subprocess.run([*send, str(tmp_path / "bad.yaml")], cwd=ROOT, capture_output=True, text=True, timeout=60)
        assert bad.returncode == 1 and "'nowhere'" in bad.stderr, bad.stdout + bad.stderr
        process.send_signal(signal.SIGINT)
        output = process.communicate(timeout=60)[0]
        assert process.returncode == 0, output
        assert "ended after" in output and gone(pids)
    finally:
        kill_all(process)


def test_dying_node_ends_the_graph_with_an_error_code(tmp_path):
    process = up(tmp_path)
    try:
        wait_for(tmp_path / "log/controller.log", "READY")
        pids = children(process.pid)
        camera = next(p for p in pids if "uma_ros.nodes.camera" in Path(f"/proc/{p}/cmdline").read_text())
        os.kill(camera, signal.SIGKILL)
        output = process.communicate(timeout=60)[0]
        assert process.returncode == 1 and "camera died with code -9; it is not restarted" in output, output
        assert gone(pids)
    finally:
        kill_all(process)


def test_a_wrong_argument_is_named():
    done = subprocess.run(
        [sys.executable, "-m", "uma.cli", "up", "insertion", "--config", "no.yaml"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 2 and "no.yaml: no such file" in done.stderr


def node_with(folder: Path, **parameters: float) -> list[str]:
    """The command of a controller with a parameter file."""
    path = folder / "parameters.yaml"
    path.write_text(json.dumps({"controller": {"ros__parameters": parameters}}))
    return [sys.executable, "-m", "uma_ros.nodes.controller", "--ros-args", "--params-file", str(path)]


def test_a_misspelt_parameter_ends_the_node(tmp_path):
    words = node_with(tmp_path, ratee=100.0)
    done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert done.returncode == 2 and "ratee: unknown parameter of controller; did you mean 'rate'?" in done.stderr


def test_an_older_parameter_file_only_warns(tmp_path):
    waits = "waiting for 1[0-9] s: robot: nothing received yet; gripper: nothing received yet; calibration: nothing"
    with Supervisor(tmp_path) as supervisor:
        supervisor.start(NodeSpec("controller"), "", node_with(tmp_path, lead_s=0.1))
        wait_for(tmp_path / "controller.log", "lead_s: removed in 0.1.0, without effect")
        wait_for(tmp_path / "controller.log", rf"\[WARN\].*{waits}")
        assert supervisor.stop(patience=30.0) == {"controller": 0}


def test_reference_without_a_policy_is_an_error(tmp_path):
    words = [sys.executable, "-m", "uma.cli", "reference", "config/reference_insertion.yaml", "--timeout", "2"]
    done = subprocess.run(
        words, cwd=ROOT, capture_output=True, text=True, timeout=60, env={**os.environ, "ROS_DOMAIN_ID": "9"}
    )
    assert done.returncode == 1 and "no policy found within 2 s" in done.stderr


@pytest.mark.parametrize(
    "text, words",
    [
        ("- 1", "must be a mapping"),
        (
            "frame: a\nkeypoints:\n  - waypoints: [[1, 2]]",
            "keypoints[0].waypoints[0]: [1, 2], must be 3 finite numbers",
        ),
        ("frame: a\nkeypoints:\n  - waypoints: [[.nan, 0, 0]]", "[nan, 0, 0], must be 3 finite numbers"),
        ("frame: a\nkeypoints: []", "keypoints: [], must be a list of 1 to 16"),
        ("frame: a\nkeypoints:\n  - {waypoints: [[0, 0, 0]], speed: 2}", "keypoints[0]"),
    ],
)
def test_a_bad_reference_file_is_refused_by_entry(tmp_path, text, words, capsys):
    from uma.cli import main

    (tmp_path / "r.yaml").write_text(text)
    assert main(["reference", str(tmp_path / "r.yaml")]) == 2
    assert words in capsys.readouterr().err


def test_node_whose_middleware_hangs_still_ends(tmp_path, capfd):
    """In C, with Python's lock held, where nothing of Python's runs any more."""
    code = (
        "import ctypes, sys\nfrom uma_ros.runtime import node as runtime\nfrom uma_ros.nodes.camera import "
        "CameraNode\nruntime.PATIENCE = 0.5\n"
        "CameraNode.destroy_node = lambda self: ctypes.PyDLL(None).sleep(100)\nsys.exit(runtime.run_node(CameraNode))"
    )
    with Supervisor(tmp_path) as supervisor:
        supervisor.start(NodeSpec("camera"), "", [sys.executable, "-c", code])
        wait_for(tmp_path / "camera.log", "waiting for")
        began = time.monotonic()
        assert supervisor.stop(patience=30.0) == {"camera": 0} and time.monotonic() - began < 20.0
    assert "camera ended" in capfd.readouterr().err and "Timeout (0:00:00.5" in (tmp_path / "camera.log").read_text()
