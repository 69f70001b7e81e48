"""The log of a run: one JSON line per event, and the same values for TensorBoard."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any


class RunLog:
    """``log.jsonl`` in ``out``, and TensorBoard files in ``out/tensorboard``; only the first process writes.

    A resumed run drops the lines after its last saved state, because it repeats those steps.
    """

    def __init__(self, out: Path, step: int, *, writes: bool, tensorboard: bool) -> None:
        self._file = self._board = None
        if not writes:
            return
        path = out / "log.jsonl"
        kept = (
            [line for line in path.read_text().splitlines() if json.loads(line)["step"] <= step]
            if path.exists()
            else []
        )
        part = path.with_suffix(".part")
        part.write_text("".join(line + "\n" for line in kept))
        os.replace(part, path)
        self._file = open(path, "a")
        if tensorboard:
            from torch.utils.tensorboard import SummaryWriter

            self._board = SummaryWriter(out / "tensorboard", purge_step=step + 1)

    def write(self, step: int, **values: Any) -> None:
        """Log numbers and nested dictionaries of numbers at a step."""
        if self._file is None:
            return
        self._file.write(json.dumps({"step": step, **values}) + "\n")
        self._file.flush()
        if self._board is not None:
            for name, value in _flat(values):
                self._board.add_scalar(name, value, step)

    def close(self) -> None:
        for stream in (self._file, self._board):
            if stream is not None:
                stream.close()


def _flat(values: dict[str, Any], prefix: str = "") -> list[tuple[str, float]]:
    found = []
    for k, v in values.items():
        if isinstance(v, dict):
            found += _flat(v, f"{prefix}{k}/")
        elif isinstance(v, (list, tuple)):
            found += [(f"{prefix}{k}/{i}", float(x)) for i, x in enumerate(v)]
        elif isinstance(v, (int, float)):
            found.append((prefix + k, float(v)))
    return found
