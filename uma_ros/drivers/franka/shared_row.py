"""Lock-free exchange of a row of numbers between two processes. The reader gets the last complete row."""

from __future__ import annotations

import ctypes
from multiprocessing.context import SpawnContext

import numpy as np


class SharedRow:
    """A row of float64 in shared memory with one writer. It stays readable if the writer is killed while writing.

    Args:
        size: numbers per row.
    """

    def __init__(self, context: SpawnContext, size: int) -> None:
        # Two rows and the index of the valid one. The writer fills the other row, then switches the index.
        self._memory = context.RawArray(ctypes.c_double, 1 + 2 * (size + 2))
        self._size = size

    def _views(self) -> tuple[np.ndarray, np.ndarray]:
        whole = np.frombuffer(self._memory, dtype=np.float64)
        return whole[:1], whole[1:].reshape(2, self._size + 2)

    def write(self, row: np.ndarray) -> None:
        which, rows = self._views()
        other = 1 - int(which[0])
        number = rows[int(which[0]), 0] + 1
        rows[other, 0] = number
        rows[other, 1:-1] = row
        rows[other, -1] = number  # a row is complete if both ends have its number
        which[0] = other

    def read(self) -> np.ndarray | None:
        """Return the last row; None before the first."""
        which, rows = self._views()
        for _ in range(100):
            row = rows[int(which[0])].copy()
            if row[0] == row[-1]:
                return row[1:-1] if row[0] else None
        return None
