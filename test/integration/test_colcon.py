"""`colcon build`, plain and with --symlink-install, in a workspace of its own; then a node is started from the install
space."""

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PREFIX = Path(sys.prefix)
COLCON = PREFIX / "bin/colcon"

pytestmark = pytest.mark.skipif(not COLCON.exists(), reason="colcon is not in this Python's environment")


def environment(**more: str) -> dict[str, str]:
    keep = {
        k: v
        for k, v in os.environ.items()
        if k not in ("PYTHONPATH", "AMENT_PREFIX_PATH", "LD_LIBRARY_PATH", "_ROS_WHEELS_BOOTSTRAP_COMPLETE")
    }
    return {**keep, "PATH": f"{PREFIX}/bin:{os.environ['PATH']}", "AMENT_PREFIX_PATH": str(PREFIX), **more}


@pytest.fixture(scope="module")
def workspace(tmp_path_factory) -> Path:
    """Return a new workspace with the tracked files of the tree."""
    workspace = tmp_path_factory.mktemp("workspace")
    source = workspace / "src/uma_ros"
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        check=True,
    ).stdout
    for name in listed.decode().split("\0"):
        if name and (ROOT / name).is_file() and not name.startswith("test/"):
            (source / name).parent.mkdir(parents=True, exist_ok=True)
            (source / name).write_bytes((ROOT / name).read_bytes())
            (source / name).chmod((ROOT / name).stat().st_mode)
    return workspace


@pytest.fixture(scope="module", params=[[], ["--symlink-install"]], ids=["plain", "symlink"])
def install(request, workspace) -> Path:
    """An install space of its own; what has been compiled serves both, what has been copied does not (colcon refuses to
    put a link in its place)."""
    folder = workspace / ("linked" if request.param else "copied")
    shutil.rmtree(workspace / "build/uma_ros/ament_cmake_python", ignore_errors=True)
    options = ["-DBUILD_TESTING=OFF", f"-DCMAKE_PREFIX_PATH={PREFIX}", f"-DPython3_EXECUTABLE={sys.executable}"]
    words = [str(COLCON), "build", "--install-base", str(folder), *request.param, "--cmake-args", *options]
    done = subprocess.run(words, cwd=workspace, env=environment(), capture_output=True, text=True, timeout=280)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    return folder


def sourced(install: Path, command: str, **more: str) -> subprocess.Popen:
    """A command in a shell that has sourced the install space, away from the source tree."""
    return subprocess.Popen(
        ["bash", "-c", f"source {install}/setup.bash && exec {command}"],
        cwd=install.parent,
        env=environment(**more),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )


def test_nodes_and_messages_import_from_the_install_space(install):
    code = (
        "import uma, uma_ros, uma_ros.msg, uma_ros.nodes.controller as c, uma_sim, uma_train; "
        "print(uma_ros.__file__, uma_ros.msg.__file__, c.__file__, uma.__file__)"
    )
    out = sourced(install, f"{sys.executable} -c '{code}'").communicate(timeout=60)[0]
    paths = out.split()
    assert len(paths) == 4 and all(p.startswith(str(install)) for p in paths), out


def test_what_ros2_run_and_launch_need_is_installed(install):
    share, programs = install / "uma_ros/share/uma_ros", install / "uma_ros/lib/uma_ros"
    for name in (
        "package.xml",
        "launch/insertion.launch.py",
        "launch/replay.launch.py",
        "config/parameters.yaml",
        "config/uma.rviz",
        "config/reference_insertion.yaml",
        "msg/ActionChunk.msg",
        "srv/PredictMotion.srv",
        "action/ExecuteTask.action",
    ):
        assert (share / name).exists(), name
    for name in (
        "camera",
        "controller",
        "extrinsics",
        "franka",
        "gripper",
        "policy",
        "recorder",
        "robot",
        "robot_state",
        "station",
        "uma",
    ):
        assert os.access(programs / name, os.X_OK), name
    assert (install / "uma_ros/share/ament_index/resource_index/packages/uma_ros").exists()


def test_installed_node_finds_its_configuration(install):
    process = sourced(
        install,
        f"{install}/uma_ros/lib/uma_ros/controller --ros-args --params-file "
        f"{install}/uma_ros/share/uma_ros/config/parameters.yaml",
    )
    import rclpy
    from uma_ros.msg import PolicyStatus

    from uma_ros.runtime.topics import STATUS, Topics

    rclpy.init()
    heard = []
    try:
        node = rclpy.create_node("listener")
        node.create_subscription(PolicyStatus, Topics().status, heard.append, STATUS)
        end = time.monotonic() + 60
        while not heard and time.monotonic() < end and process.poll() is None:
            rclpy.spin_once(node, timeout_sec=0.1)
        node.destroy_node()
    finally:
        rclpy.try_shutdown()
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGINT)
        output = process.communicate(timeout=20)[0]
    assert heard and heard[0].node == "controller", output
    assert process.returncode == 0, output


def test_the_command_is_on_the_path_and_finds_its_files(install):
    """Away from the source tree, as `uma` and as `ros2 run uma_ros uma` starts it."""
    for program in ("uma", f"{install}/uma_ros/lib/uma_ros/uma"):
        out = sourced(install, f"{program} inspect config/reference_insertion.yaml").communicate(timeout=60)[0]
        assert "6 keypoints in fr3_link0" in out, out
    where = sourced(install, "which uma").communicate(timeout=60)[0].strip()
    assert where == f"{install}/uma_ros/bin/uma"
    out = sourced(install, "uma inspect robot").communicate(timeout=60)[0]
    assert "frame_prefix" in out, out
