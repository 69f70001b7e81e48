"""Supervisor of a graph's processes without a launch system."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from uma_ros.deployment.graph import NodeSpec
from uma_ros.runtime.exit_codes import HUNG


class Supervisor:
    """Starts, monitors and ends child processes, each in its own process group.

    Args:
        log_dir: folder for the output of each child, ``<name>.log``.
        echo: called with (name, line) for every line of output.
    """

    def __init__(self, log_dir: str | Path, echo: Callable[[str, str], None] | None = None) -> None:
        self.log_dir = Path(log_dir)
        self.log_dir.mkdir(parents=True, exist_ok=True)
        self.processes: dict[str, subprocess.Popen] = {}
        self._echo = echo
        self._readers: list[threading.Thread] = []

    def start(self, spec: NodeSpec, config: str, command: Sequence[str] | None = None) -> None:
        """Start one node. ``command`` replaces the command of the spec."""
        words = list(command or spec.command(config))
        environment = {**os.environ, "PYTHONUNBUFFERED": "1", "RCUTILS_COLORIZED_OUTPUT": "0"}
        process = subprocess.Popen(
            words, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True, env=environment
        )
        self.processes[spec.name] = process
        reader = threading.Thread(target=self._read, args=(spec.name, process), daemon=True)
        reader.start()
        self._readers.append(reader)

    def _read(self, name: str, process: subprocess.Popen) -> None:
        with open(self.log_dir / f"{name}.log", "a") as log:
            for line in process.stdout:
                log.write(line)
                log.flush()
                if self._echo:
                    self._echo(name, line.rstrip())

    def dead(self) -> dict[str, int]:
        """Return name -> exit code (negative = signal) of the ended children."""
        return {name: p.returncode for name, p in self.processes.items() if p.poll() is not None}

    def kill(self, name: str) -> None:
        """Send SIGKILL to the process group of one child."""
        os.killpg(self.processes[name].pid, signal.SIGKILL)
        self.processes[name].wait()

    def stop(self, patience: float = 8.0) -> dict[str, int]:
        """End all children by SIGINT, and by SIGKILL after ``patience`` seconds. Return the exit codes.

        `HUNG` counts as 0, because the node had closed its own resources.
        """
        for process in self.processes.values():
            if process.poll() is None:
                process.send_signal(signal.SIGINT)
        deadline = time.monotonic() + patience
        for name, process in self.processes.items():
            try:
                process.wait(max(deadline - time.monotonic(), 0.05))
            except subprocess.TimeoutExpired:
                print(f"{name} did not end within {patience:g} s and is killed", file=sys.stderr)
        for process in self.processes.values():
            try:
                os.killpg(process.pid, signal.SIGKILL)  # also processes that a dead child left in its group
            except (ProcessLookupError, PermissionError):
                pass
            process.wait()
        for reader in self._readers:
            reader.join(1.0)
        for name, process in self.processes.items():
            if process.returncode == HUNG:
                print(f"{name} ended, but its middleware did not shut down in time; see its log", file=sys.stderr)
        return {name: 0 if p.returncode == HUNG else p.returncode for name, p in self.processes.items()}

    def __enter__(self) -> Supervisor:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()
