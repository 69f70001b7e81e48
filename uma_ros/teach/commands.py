"""One command `uma` at a time, in a process of its own and behind the policy in priority."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable, Sequence

UMA = (sys.executable, "-m", "uma.cli")
"""The command `uma`."""


class Commands:
    """Runs commands one after another. Every method may be called from any thread.

    Args:
        command: words before each command's own.

    Attributes:
        is_cancelled: whether `cancel` was called since `begin`.
    """

    def __init__(self, command: Sequence[str] = UMA) -> None:
        self._command, self._lock = tuple(command), threading.Lock()
        self._process: subprocess.Popen[str] | None = None
        self.is_cancelled = False

    def begin(self) -> None:
        """Permit commands after a cancellation."""
        with self._lock:
            self.is_cancelled = False

    def run(self, words: Sequence[str], say: Callable[[str], object]) -> int:
        """Run a command to its end, with each line of its output to ``say``. Return its exit code; 0 if cancelled."""
        behind = ("nice", "-n", "10") if shutil.which("nice") else ()
        with self._lock:
            if self.is_cancelled:
                return 0
            process = self._process = subprocess.Popen(
                [*behind, *self._command, *words],
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                env={**os.environ, "OMP_NUM_THREADS": "1"},
            )
        assert process.stdout is not None
        for line in process.stdout:
            if line.strip():
                say(line.strip()[:200])
        code = process.wait()
        with self._lock:
            self._process = None
        return code

    def cancel(self) -> None:
        """End the running command. Without one, do nothing."""
        with self._lock:
            self.is_cancelled = True
            if self._process is not None:
                self._process.terminate()
