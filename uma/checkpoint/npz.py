"""Reads ``.npz`` files of others: without pickle, and no more than the file holds."""

from __future__ import annotations

import math
import zipfile
from pathlib import Path

import numpy as np

from uma.checkpoint.npy_head import npy_head
from uma.types import InputError

MAX_RATIO = 1100
"""Largest compression ratio that is unpacked; deflate reaches at most 1032."""


def check_members(path: Path) -> None:
    """Refuse an archive whose headers claim more data than it holds, before memory is allocated.

    Raises:
        InputError: a member's compression ratio exceeds `MAX_RATIO`, or its array is larger than the member.
    """
    with zipfile.ZipFile(path) as archive:
        for info in archive.infolist():
            packed, size = info.compress_size, info.file_size
            if size > MAX_RATIO * packed + 1024:
                raise InputError(f"{info.filename}: {size} bytes packed into {packed}, limit {MAX_RATIO} to 1")
            with archive.open(info) as member:
                shape, dtype = npy_head(member)
            if (claimed := math.prod(shape) * dtype.itemsize) > size:
                raise InputError(f"{info.filename}: shape {shape}, {claimed} bytes, limit {size}")


def load_arrays(path: Path) -> dict[str, np.ndarray]:
    """Return the arrays of an ``.npz`` file.

    Raises:
        InputError: no such file, damaged, with objects in it, or as `check_members`.
    """
    try:
        check_members(path)
        with np.load(path, allow_pickle=False) as z:
            return {name: z[name] for name in z.files}
    except InputError:
        raise
    except Exception as error:  # zipfile, zlib and numpy raise their own kinds on a damaged file
        raise InputError(f"not a readable .npz file: {type(error).__name__}: {error}") from error
