"""Reads the header of an ``.npy`` file within strict bounds."""

from __future__ import annotations

from typing import IO

import numpy as np

MAX_HEAD = 10_000
"""Longest header that is read, bytes; NumPy writes a few hundred."""


def npy_head(file: IO[bytes]) -> tuple[tuple[int, ...], np.dtype]:
    """Read the shape and the element type, and leave the file positioned after the header.

    Raises:
        ValueError: the header is missing, longer than `MAX_HEAD`, or holds an invalid shape.
    """
    magic = file.read(8)
    size = {b"\x01\x00": 2, b"\x02\x00": 4, b"\x03\x00": 4}.get(magic[6:8])
    if magic[:6] != b"\x93NUMPY" or size is None:
        raise ValueError("no .npy file of version 1 to 3")
    length = int.from_bytes(file.read(size), "little")
    if length > MAX_HEAD:
        raise ValueError(f"header of {length} bytes, limit {MAX_HEAD}")
    file.seek(8)
    read = np.lib.format.read_array_header_1_0 if size == 2 else np.lib.format.read_array_header_2_0
    shape, _, dtype = read(file)
    if not all(isinstance(n, int) and 0 <= n < 2**48 for n in shape):
        raise ValueError(f"shape {str(shape)[:80]}")
    return shape, dtype
