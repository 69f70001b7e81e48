"""A rehearsal: the whole task in a copy of the simulated scene, by `uma rehearse` in a process of its own."""

from __future__ import annotations

import tempfile
import threading
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from uma.policy.task_file import write_task
from uma.types import RATE_HZ, InputError
from uma_ros.teach.commands import UMA, Commands
from uma_ros.teach.link import Outlook, Seen
from uma_ros.teach.task import Ask


class Rehearsal:
    """Runs one rehearsal at a time. Every method may be called from any thread.

    Args:
        command: words that replace `uma`.
    """

    def __init__(self, command: Sequence[str] = UMA) -> None:
        self._commands, self._lock = Commands(command), threading.Lock()
        self._thread: threading.Thread | None = None

    def start(self, scene: str, ask: Ask, checkpoint: str, say: Callable[[str], object], done: Seen) -> None:
        """Execute a task in a copy of a scene.

        Args:
            scene: snapshot of the scene.
            say: takes the progress, from a thread.
            done: takes the way of tool and points, and a text; from a thread.

        Raises:
            InputError: a rehearsal runs, or the task is of another kind than a motion or words.
        """
        if ask.reference is None and not ask.instruction:
            raise InputError("rehearse: needs a shown motion or words")
        with self._lock:
            if self._thread is not None and self._thread.is_alive():
                raise InputError("rehearse: another one is in progress")
            self._commands.begin()
            words = (scene, ask, checkpoint, say, done)
            self._thread = threading.Thread(target=self._run, args=words, name="rehearsal", daemon=True)
            self._thread.start()

    def cancel(self) -> None:
        """End the running rehearsal. Without one, do nothing."""
        self._commands.cancel()

    def _run(self, scene: str, ask: Ask, checkpoint: str, say: Callable[[str], object], done: Seen) -> None:
        lines = [""]

        def take(line: str) -> None:
            lines.append(line)
            say(line)

        with tempfile.TemporaryDirectory() as folder:
            task, out = Path(folder) / "task.json", Path(folder) / "rehearsal.npz"
            write_task(task, ask.reference, ask.instruction)
            words = ("rehearse", scene, str(task), "--checkpoint", checkpoint, "--out", str(out))
            code = self._commands.run(words, take)
            if self._commands.is_cancelled or code or not out.exists():
                why = "cancelled" if self._commands.is_cancelled else f"ended with code {code}: {lines[-1]}"
                done(None, f"rehearsal {why}")
                return
            with np.load(out, allow_pickle=False) as z:
                tool, points = z["tool"], z["points"]
        done(Outlook(tool, points if points.shape[1] else None, (len(tool) - 1) / RATE_HZ), lines[-1])
