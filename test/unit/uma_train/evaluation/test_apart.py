"""A training run of a comparison ends with the comparison."""

import os
import signal
import subprocess
import sys
import time

from uma_train.evaluation.apart import run


def is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def test_the_exit_code_is_returned():
    assert run([sys.executable, "-c", "raise SystemExit(7)"]) == 7


def test_a_terminated_parent_ends_its_child():
    child = "import os, time; print(os.getpid(), flush=True); time.sleep(60)"
    parent = f"import sys; from uma_train.evaluation.apart import run; run([sys.executable, '-c', {child!r}])"
    with subprocess.Popen([sys.executable, "-c", parent], stdout=subprocess.PIPE, text=True) as process:
        pid = int(process.stdout.readline())
        process.send_signal(signal.SIGTERM)
        assert process.wait(20) == 128 + signal.SIGTERM
    deadline = time.monotonic() + 20
    while is_alive(pid) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not is_alive(pid)
