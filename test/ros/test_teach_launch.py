"""teach.launch.py starts the page as installed, and every process of it ends at an interrupt."""

import os
import re
import signal
import subprocess
import sys
import time

import pytest

pytest.importorskip("viser", reason="the extra 'teach' is not installed")
from harness import ROOT
from launch_files import Launch
from teaching import free_port, get

from uma_ros.deployment.schema import NODES

PATIENCE = 120.0
TOKEN = "a_token_for_tests"


@pytest.fixture
def prefix(tmp_path):
    """A folder with the programs of an installed package."""
    folder = tmp_path / "lib/uma_ros"
    folder.mkdir(parents=True)
    (tmp_path / "share/uma_ros").mkdir(parents=True)
    template = (ROOT / "tools/program.py.in").read_text().replace("@Python3_EXECUTABLE@", sys.executable)
    for node in NODES:
        (folder / node).write_text(template.replace("@module@", f"uma_ros.nodes.{node}"))
        (folder / node).chmod(0o755)
    return tmp_path


def words_of(node, prefix) -> list[str]:
    """The command line that launch makes of a `Node`."""
    k = node.kwargs
    words = [str(prefix / "lib" / k["package"] / k["executable"]), *k["arguments"], "--ros-args", *k["ros_arguments"]]
    words += ["-r", f"__node:={k['name']}"] + (["-r", f"__ns:={k['namespace']}"] if k["namespace"] else [])
    words += [word for pair in k["remappings"] for word in ("-r", ":=".join(pair))]
    return words + [word for file in k["parameters"] for word in ("--params-file", file)]


@pytest.mark.parametrize("namespace", ["", "left"])
def test_the_launched_page_is_served_and_ends(namespace, monkeypatch, prefix, tmp_path):
    port, log = free_port(), tmp_path / "log"
    config = tmp_path / "parameters.yaml"
    config.write_text(f"/**/teach:\n  ros__parameters:\n    port: {port}\n    token: {TOKEN}\n")
    launch = Launch("teach", monkeypatch, prefix)
    nodes = launch.start(run_dir=str(prefix), namespace=namespace, config=str(config))
    assert [node.kwargs["name"] for node in nodes] == ["teach"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    with log.open("w") as out:
        words = words_of(nodes[0], prefix)
        process = subprocess.Popen(words, cwd="/", stdout=out, stderr=out, env=environment, start_new_session=True)
    try:
        end = time.monotonic() + PATIENCE
        while not re.search(rf"teach: open http://127\.0\.0\.1:{port}/\?token={TOKEN}", log.read_text()):
            assert process.poll() is None and time.monotonic() < end, log.read_text()[-3000:]
            time.sleep(0.2)
        assert get(port, "/")[0] == 401 and get(port, f"/?token={TOKEN}")[0] == 200
        os.killpg(process.pid, signal.SIGINT)  # as Ctrl-C does, and as launch does at its end
        assert process.wait(60) == 0, log.read_text()[-3000:]
        with pytest.raises(ProcessLookupError):
            os.killpg(process.pid, 0)
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait(20)
