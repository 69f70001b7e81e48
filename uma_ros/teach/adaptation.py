"""Adaptation to demonstrations, started from the page: `uma import bag`, then `uma adapt`, in their own processes."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from pathlib import Path

from uma.types import InputError
from uma_ros.teach.commands import UMA, Commands


class Adaptation:
    """Runs the two commands one after another, behind the policy in priority.

    Every method may be called from any thread.

    Args:
        changed: called after each line of progress, from a thread of its own.
        command: words that replace `uma`.

    Attributes:
        words: the progress, or why it ended, for people.
        prompt: the prompt file of the last run that succeeded; empty before.
    """

    def __init__(self, changed: Callable[[], None], command: Sequence[str] = UMA) -> None:
        self.words, self.prompt = "", ""
        self._changed, self._commands = changed, Commands(command)
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None

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
            self._commands.begin()
            self.words = "import: started"
            self._thread = threading.Thread(target=self._run, args=(steps, out), name="adaptation", daemon=True)
            self._thread.start()

    def cancel(self) -> None:
        """End the running command. Without one, do nothing."""
        self._commands.cancel()

    def _run(self, steps: Sequence[tuple[str, Sequence[str]]], out: str) -> None:
        for name, words in steps:
            code = self._commands.run(words, lambda line, name=name: self._say(f"{name}: {line}"))
            if self._commands.is_cancelled:
                self._say("cancelled")
                return
            if code:
                self._say(f"{name} failed with code {code}: {self.words}")
                return
        self.prompt = out
        self._say(f"prompt {out}")

    def _say(self, words: str) -> None:
        self.words = words
        self._changed()


def _free(folder: Path) -> str:
    """Return the first prompt file beside the folder that does not exist."""
    number, start = 1, folder.absolute()  # the policy may run in another folder
    while (path := Path(f"{start}_prompt_{number}.safetensors")).exists():
        number += 1
    return str(path)
