"""Adaptation to demonstrations, started from the page: `uma import bag`, then `uma adapt`, in their own processes."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable, Sequence
from pathlib import Path

from uma.types import InputError

UMA = (sys.executable, "-m", "uma.cli")
"""The command `uma`."""


class Adaptation:
    """Runs the two commands one after another, behind the policy in priority.

    Every method may be called from any thread.

    Args:
        changed: called after each line of progress, from a thread of its own.
        command: words that replace `UMA`.

    Attributes:
        words: the progress, or why it ended, for people.
        prompt: the prompt file of the last run that succeeded; empty before.
    """

    def __init__(self, changed: Callable[[], None], command: Sequence[str] = UMA) -> None:
        self.words, self.prompt = "", ""
        self._changed, self._command = changed, tuple(command)
        self._lock = threading.Lock()
        self._process: subprocess.Popen[str] | None = None
        self._thread: threading.Thread | None = None
        self._is_cancelled = False

    @property
    def is_running(self) -> bool:
        return self._thread is not None and self._thread.is_alive()

    def start(self, demonstrations: str, checkpoint: str) -> None:
        """Adapt a checkpoint to the demonstrations in a folder.

        Episodes go to the folder's name with ``_episodes``, the prompt to the first free ``_prompt_N.safetensors``.

        Raises:
            InputError: an adaptation runs, or there is no such folder.
        """
        folder = Path(demonstrations) if demonstrations else None
        if folder is None or not folder.is_dir():
            raise InputError(f"adapt: {demonstrations or 'no folder'}: no demonstrations yet")
        with self._lock:
            if self.is_running:
                raise InputError("adapt: an adaptation runs already; cancel it first")
            episodes, out = f"{folder}_episodes", _free(folder)
            steps = (
                ("import", ("import", "bag", str(folder), "--out", episodes)),
                ("adapt", ("adapt", "--data", episodes, "--checkpoint", checkpoint, "--out", out)),
            )
            self._is_cancelled, self.words = False, "import: started"
            self._thread = threading.Thread(target=self._run, args=(steps, out), name="adaptation", daemon=True)
            self._thread.start()

    def cancel(self) -> None:
        """End the running command. Without one, do nothing."""
        with self._lock:
            self._is_cancelled = True
            if self._process is not None:
                self._process.terminate()

    def _run(self, steps: Sequence[tuple[str, Sequence[str]]], out: str) -> None:
        for name, words in steps:
            code = self._one(name, words)
            if self._is_cancelled:
                self._say("cancelled")
                return
            if code:
                self._say(f"{name} failed with code {code}: {self.words}")
                return
        self.prompt = out
        self._say(f"prompt {out}")

    def _one(self, name: str, words: Sequence[str]) -> int:
        """Run a command; its last line becomes the progress. Return the exit code."""
        behind = ("nice", "-n", "10") if shutil.which("nice") else ()
        with self._lock:
            if self._is_cancelled:
                return 0
            self._process = subprocess.Popen(
                [*behind, *self._command, *words],
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                env={**os.environ, "OMP_NUM_THREADS": "1"},
            )
        assert self._process.stdout is not None
        for line in self._process.stdout:
            if line.strip():
                self._say(f"{name}: {line.strip()[:200]}")
        code = self._process.wait()
        with self._lock:
            self._process = None
        return code

    def _say(self, words: str) -> None:
        self.words = words
        self._changed()


def _free(folder: Path) -> str:
    """Return the first prompt file beside the folder that does not exist."""
    number, start = 1, folder.absolute()  # the policy may run in another folder
    while (path := Path(f"{start}_prompt_{number}.safetensors")).exists():
        number += 1
    return str(path)
