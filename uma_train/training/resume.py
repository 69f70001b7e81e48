"""The state of an interrupted adaptation, beside its prompt file."""

from __future__ import annotations

import fcntl
import os
import pickle
from pathlib import Path
from typing import Any

import torch

from uma.types import InputError


class States:
    """States of the runs of one adaptation, one file, written atomically.

    A file that cannot be read, or that is of another ``key``, counts as none: the adaptation begins anew.

    Args:
        path: of the file.
        key: what must be equal for the states to be continued.

    Raises:
        InputError: another process adapts to the same file.
    """

    def __init__(self, path: Path, key: str) -> None:
        self._path, self._key = path, key
        self._runs: dict[str, dict[str, Any]] = {}
        path.parent.mkdir(parents=True, exist_ok=True)
        self._lock_path = path.with_name(path.name + ".lock")
        self._lock = open(self._lock_path, "wb")  # locked until the process ends, or `remove`
        try:
            fcntl.lockf(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except (BlockingIOError, PermissionError):
            raise InputError(f"out: {path.with_suffix('')}: another process adapts to it, must be one") from None
        try:
            stored = torch.load(path, weights_only=True)
            if stored["key"] == key:
                self._runs = dict(stored["runs"])
        except (OSError, RuntimeError, LookupError, TypeError, EOFError, ValueError, pickle.UnpicklingError):
            return

    def __getitem__(self, run: str) -> dict[str, Any] | None:
        return self._runs.get(run)

    def save(self, run: str, state: dict[str, Any]) -> None:
        """Store the state of a run."""
        self._runs[run] = state
        part = self._path.with_name(self._path.name + ".part")
        torch.save({"key": self._key, "runs": self._runs}, part)
        os.replace(part, self._path)

    def remove(self) -> None:
        """Remove the file after the end of the adaptation."""
        self._path.unlink(missing_ok=True)
        self._lock_path.unlink(missing_ok=True)
        self._lock.close()
