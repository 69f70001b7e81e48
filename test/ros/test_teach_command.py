"""`uma teach --task`: one command starts the simulated graph with the page, and Ctrl-C ends both."""

import os
import re
import signal
import subprocess
import sys
import time

import pytest

pytest.importorskip("viser", reason="the extra 'teach' is not installed")
from harness import ROOT
from teaching import free_port, get


@pytest.mark.slow
def test_one_command_serves_the_page_of_a_graph(tmp_path):
    port, token, log = free_port(), "a_token_for_tests", tmp_path / "log"
    words = ["teach", "--task", "insertion", "--port", str(port), "--token", token, "--seed", "3"]
    with log.open("w") as out:
        process = subprocess.Popen(
            [sys.executable, "-m", "uma.cli", *words], cwd=ROOT, stdout=out, stderr=out, start_new_session=True
        )
    try:
        end = time.monotonic() + 120.0
        while not re.search(rf"teach: open http://127\.0\.0\.1:{port}/\?token={token}", log.read_text()):
            assert process.poll() is None and time.monotonic() < end, log.read_text()[-3000:]
            time.sleep(0.2)
        assert get(port, "/")[0] == 401 and get(port, f"/?token={token}")[0] == 200
        while not re.search(r"policy \|.*READY", log.read_text()):
            assert process.poll() is None and time.monotonic() < end, log.read_text()[-3000:]
            time.sleep(0.2)
        process.send_signal(signal.SIGINT)
        assert process.wait(60) == 0, log.read_text()[-3000:]
    finally:
        if process.poll() is None:
            children = subprocess.run(["ps", "-o", "pid=", "--ppid", str(process.pid)], capture_output=True, text=True)
            for pid in (*map(int, children.stdout.split()), process.pid):
                os.kill(pid, signal.SIGKILL)
