"""A signal ends a node after its callback, and a second one ends it in the callback."""

import signal
import subprocess
import sys
import time

import own_domain  # noqa: F401
import pytest
from harness import ROOT

NODE = """
import time
from dataclasses import dataclass, field
from pathlib import Path
from uma.settings import setting
from uma_ros.runtime.node import UmaNode, run_node
from uma_ros.runtime.topics import Topics

@dataclass(frozen=True)
class Settings:
    path: str = setting("", "a folder")
    seconds: float = setting(1.0, "s; duration of a callback", 0.0, 100.0)
    topics: Topics = field(default_factory=Topics)

class SlowNode(UmaNode):
    def __init__(self):
        super().__init__("slow", Settings())

    def configure(self):
        self.create_steady_timer(0.01, self.work)

    def work(self):
        Path(self.settings.path, "begun").write_text("x")
        time.sleep(self.settings.seconds)
        Path(self.settings.path, "done").write_text("x")

raise SystemExit(run_node(SlowNode))
"""


@pytest.mark.parametrize("sent", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("twice", [False, True])
def test_a_callback_ends_before_its_node(tmp_path, sent, twice):
    words = ["--ros-args", "-p", f"path:={tmp_path}", "-p", f"seconds:={60.0 if twice else 2.0}"]
    child = subprocess.Popen([sys.executable, "-c", NODE, *words], cwd=ROOT, stderr=subprocess.PIPE, text=True)
    try:
        end = time.monotonic() + 60.0
        while not (tmp_path / "begun").exists():
            assert child.poll() is None and time.monotonic() < end, "the callback has not begun"
            time.sleep(0.02)
        (tmp_path / "done").unlink(missing_ok=True)
        child.send_signal(sent)
        if twice:
            time.sleep(0.5)
            child.send_signal(sent)
        _, log = child.communicate(timeout=40.0)
    finally:
        child.kill()
    assert child.returncode == 0, log
    assert (tmp_path / "done").exists() is not twice and "Traceback" not in log
