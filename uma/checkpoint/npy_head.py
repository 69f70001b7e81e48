"""The head of an ``.npy`` file, read without believing it."""

from __future__ import annotations

from typing import BinaryIO

import numpy as np

MAX_HEAD = 10_000
"""Bytes of a head that are read; NumPy itself writes some hundred."""


def npy_head(file: BinaryIO) -> tuple[tuple[int, ...], np.dtype]:
    """Shape and element type that the file at its beginning says it holds; the file stands behind the head then.

    Raises:
        ValueError: no such head, or one that is longer than `MAX_HEAD`, or whose shape is none.
    """
    magic = file.read(8)
    size = {b"\x01\x00": 2, b"\x02\x00": 4, b"\x03\x00": 4}.get(magic[6:8])
    if magic[:6] != b"\x93NUMPY" or size is None:
        raise ValueError("no .npy file of version 1 to 3")
    length = int.from_bytes(file.read(size), "little")
    if length > MAX_HEAD:
        raise ValueError(f"a head of {length} bytes, limit {MAX_HEAD}")
    file.seek(8)
    read = np.lib.format.read_array_header_1_0 if size == 2 else np.lib.format.read_array_header_2_0
    shape, _, dtype = read(file)
    if not all(isinstance(n, int) and 0 <= n < 2**48 for n in shape):
        raise ValueError(f"shape {str(shape)[:80]}")
    return shape, dtype
