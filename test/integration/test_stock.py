"""The stock command line on an installed package: `ros2 launch`, topics, services, parameters, action, life cycle.

It needs a sourced workspace with uma_ros and `ros2` on PATH, which is not on PyPI. Without them it skips.
"""

import os
import re
import shutil
import signal
import subprocess
import time
from contextlib import contextmanager
from pathlib import Path

import own_domain  # noqa: F401  a ROS domain of this test's own
import pytest
from harness import ROOT

ROS2 = shutil.which("ros2")
PATIENCE = 300.0
"""Seconds for a graph to start on a busy machine."""
NODES = {"/camera", "/controller", "/extrinsics", "/policy", "/robot_state", "/station"}


def is_installed() -> bool:
    return ROS2 is not None and subprocess.run([ROS2, "pkg", "prefix", "uma_ros"], capture_output=True).returncode == 0


pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(900),
    pytest.mark.skipif(not is_installed(), reason="no `ros2` on PATH, or no sourced workspace with uma_ros"),
]


@pytest.fixture(scope="module", autouse=True)
def daemon():
    """End the daemon of this domain, which the commands start."""
    yield
    subprocess.run(["ros2", "daemon", "stop"], timeout=120, cwd="/")


def ros2(*words: str) -> tuple[int, str]:
    """Run a command to its end; return its exit code and all that it printed."""
    done = subprocess.run(
        ["ros2", *words], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=PATIENCE, cwd="/"
    )
    return done.returncode, done.stdout


def until(wanted: set[str], *words: str) -> None:
    """Repeat a command until its output contains all these words. Discovery takes a while."""
    end, output = time.monotonic() + PATIENCE, ""
    while not wanted <= set(output.split()):
        assert time.monotonic() < end, f"ros2 {' '.join(words)}: {wanted} did not come: {output[-2000:]}"
        output = ros2(*words)[1]


def processes(session: int) -> list[int]:
    """Return the live processes of a session."""
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            words = stat.read_text().rpartition(")")[2].split()
        except OSError:  # it has just ended
            continue
        if int(words[3]) == session and words[0] != "Z":
            found.append(int(stat.parent.name))
    return found


class Launched:
    """A launch in a session of its own; its output goes to a file."""

    def __init__(self, folder: Path, *arguments: str) -> None:
        folder.mkdir(exist_ok=True)
        self.log, self.run_dir = folder / "launch.log", folder / "run"
        words = ["ros2", "launch", "uma_ros", "insertion.launch.py", f"run_dir:={self.run_dir}", *arguments]
        with self.log.open("w") as out:
            self.process = subprocess.Popen(words, stdout=out, stderr=out, cwd="/", start_new_session=True)

    @property
    def text(self) -> str:
        return self.log.read_text()

    def wait(self, pattern: str) -> None:
        end = time.monotonic() + PATIENCE
        while not re.search(pattern, self.text):
            assert self.process.poll() is None, self.text[-3000:]
            assert time.monotonic() < end, f"{pattern!r} did not come: {self.text[-3000:]}"
            time.sleep(0.2)

    def interrupt(self) -> int:
        """Interrupt the launch as Ctrl-C does, and return its exit code."""
        os.killpg(self.process.pid, signal.SIGINT)
        return self.process.wait(120)


@contextmanager
def launched(folder: Path, *arguments: str):
    launch = Launched(folder, *arguments)
    try:
        yield launch
    finally:
        for pid in processes(launch.process.pid):
            os.kill(pid, signal.SIGKILL)
        launch.process.wait(20)


def test_task_by_action_stop_and_record(tmp_path):
    with launched(tmp_path, f"record:={tmp_path / 'bag'}") as launch:
        launch.wait(r"\[policy.*READY")
        until(NODES | {"/recorder"}, "node", "list")
        assert "False" in ros2("param", "get", "/controller", "dry_run")[1]
        assert "Max" in ros2("param", "set", "/policy", "max_image_age", "60.0")[1]
        goal = (ROOT / "config/goal_insertion.yaml").read_text()
        words = ["ros2", "action", "send_goal", "-f", "/uma/execute_task", "uma_ros/action/ExecuteTask", goal]
        client = subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, cwd="/")
        try:
            launch.wait(r"\[controller.*-> RUNNING")
            assert "waypoints" in ros2("topic", "echo", "--once", "/uma/active_reference")[1]
            assert "success=True" in ros2("service", "call", "/uma/stop", "std_srvs/srv/Trigger")[1]
            launch.wait(r"\[controller.*stopped")
        finally:
            client.send_signal(signal.SIGINT)
            output = client.communicate(timeout=120)[0]
        assert "Goal accepted" in output and "end_distance_m" in output, output
        assert launch.interrupt() == 0, launch.text[-3000:]
        assert not processes(launch.process.pid)
        assert (tmp_path / "bag/metadata.yaml").exists()


def test_managed_graph_goes_down_and_up(tmp_path):
    with launched(tmp_path, "managed:=true") as launch:
        launch.wait(r"\[policy.*READY")
        until({"active"}, "lifecycle", "get", "/controller")
        assert "success=True" in ros2("service", "call", "/uma/deactivate", "std_srvs/srv/Trigger")[1]
        until({"inactive"}, "lifecycle", "get", "/controller")
        assert "success=True" in ros2("service", "call", "/uma/activate", "std_srvs/srv/Trigger")[1]
        until({"active"}, "lifecycle", "get", "/controller")
        launch.interrupt()
        assert not processes(launch.process.pid)


def test_two_namespaces_in_one_domain(tmp_path):
    with launched(tmp_path / "left", "namespace:=left"), launched(tmp_path / "right", "namespace:=right"):
        until({f"/{side}{name}" for side in ("left", "right") for name in NODES}, "node", "list")
        assert "success=True" in ros2("service", "call", "/right/uma/stop", "std_srvs/srv/Trigger")[1]
        until({"/left/uma/status", "/right/uma/status"}, "topic", "list")
        assert "/uma/status" not in ros2("topic", "list")[1].split()


def test_a_killed_node_ends_the_launch_with_an_error(tmp_path):
    with launched(tmp_path) as launch:
        launch.wait(r"\[policy.*READY")
        for pid in processes(launch.process.pid):
            if "uma_ros/controller" in Path(f"/proc/{pid}/cmdline").read_text():
                os.kill(pid, signal.SIGKILL)
        assert launch.process.wait(PATIENCE) == 1, launch.text[-3000:]
        assert "controller ended with code -9" in launch.text
        assert not processes(launch.process.pid)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["dry_run:=maybe"], "dry_run"),
        (["dry_runn:=true"], "dry_run"),
        (["record:=/dev/null/bag"], "/dev/null"),
        (["rviz:=true"], "rviz2"),
    ],
    ids=["boolean", "misspelt", "record", "rviz"],
)
def test_a_refused_start_starts_nothing(arguments, message, tmp_path):
    if arguments == ["rviz:=true"] and ros2("pkg", "prefix", "rviz2")[0] == 0:
        pytest.skip("rviz2 is installed")
    with launched(tmp_path, *arguments) as launch:
        code = launch.process.wait(PATIENCE)
        assert code != 0 and message in launch.text, launch.text
        assert "process started" not in launch.text
