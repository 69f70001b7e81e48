"""Pickles of public data sets: arrays of numpy, and nothing else."""

from __future__ import annotations

import io
import pickle
from pathlib import Path
from typing import Any

from uma.types import InputError

MAX_BYTES = 16 << 20
ALLOWED = {
    (module + tail, name)
    for module in ("numpy", "numpy.core", "numpy._core")
    for tail, name in (
        ("", "ndarray"),
        ("", "dtype"),
        (".multiarray", "_reconstruct"),
        (".multiarray", "scalar"),
        (".numeric", "_frombuffer"),
    )
}
"""(module, name) of everything that a pickle may name: what numpy's own pickles need."""


class _Arrays(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in ALLOWED:
            raise InputError(f"names {module}.{name}, must name arrays of numpy alone")
        return super().find_class(module, name)


def load_arrays(path: str | Path) -> dict[str, Any]:
    """Return the mapping in a pickle of numpy arrays, numbers and texts. Nothing in the file is executed.

    Raises:
        InputError: the file is damaged, too large, no mapping, or names anything but numpy's arrays.
    """
    path = Path(path)
    try:
        data = path.read_bytes()
        if len(data) > MAX_BYTES:
            raise InputError(f"{len(data)} bytes, limit {MAX_BYTES}")
        value = _Arrays(io.BytesIO(data), encoding="latin1").load()
    except InputError as error:
        raise InputError(f"{path}: {error}") from error
    except Exception as error:  # a damaged pickle raises any kind
        raise InputError(f"{path}: no pickle of arrays: {type(error).__name__}: {error}") from error
    if not isinstance(value, dict):
        raise InputError(f"{path}: {type(value).__name__}, must be a mapping")
    return value
