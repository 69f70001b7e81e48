"""TFRecord files and ``tf.train.Example`` without TensorFlow; every length is checked before it is used.

A record is: length (u64), its masked CRC32C (u32), payload, the payload's masked CRC32C (u32), little endian.
An Example is a protobuf: field 1 Features, its field 1 map entries (1 key, 2 Feature), in these 1, 2 or 3 the list of
bytes, floats or int64.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import numpy as np

from uma.types import InputError

HEAD, TAIL = 12, 4
MOST_BYTES = 2 << 30
"""Longest record, bytes."""
MASK = 0xA282EAD8


@cache
def _table() -> list[int]:
    table = []
    for n in range(256):
        for _ in range(8):
            n = n >> 1 ^ (0x82F63B78 if n & 1 else 0)
        table.append(n)
    return table


def crc32c(data: bytes) -> int:
    """Return the CRC32C of bytes; 4 MB/s."""
    table, crc = _table(), 0xFFFFFFFF
    for byte in data:
        crc = crc >> 8 ^ table[(crc ^ byte) & 255]
    return crc ^ 0xFFFFFFFF


def masked(crc: int) -> int:
    """Return the form in which a CRC is stored."""
    return ((crc >> 15 | crc << 17) + MASK) & 0xFFFFFFFF


def _fast_crc(data: bytes) -> int | None:
    try:
        from google_crc32c import value
    except ImportError:
        return None
    return int(value(data))


def _length(head: bytes, where: str) -> int:
    if len(head) < HEAD:
        raise InputError(f"{where}: cut: {len(head)} bytes of a record's head, must be {HEAD}")
    length, crc = struct.unpack("<QI", head)
    if masked(crc32c(head[:8])) != crc:
        raise InputError(f"{where}: checksum of the length {length} is wrong")
    if length > MOST_BYTES:
        raise InputError(f"{where}: a record of {length} bytes, limit {MOST_BYTES}")
    return int(length)


def offsets(path: Path) -> Iterator[int]:
    """Yield where each record begins, bytes, without reading payloads.

    The last one is that of the first damaged record, if there is one: `record` raises its error.
    """
    size, at = path.stat().st_size, 0
    with open(path, "rb") as f:
        while at < size:
            yield at
            f.seek(at)
            try:
                at += HEAD + _length(f.read(HEAD), str(path)) + TAIL
            except InputError:
                return


def record(path: Path, at: int, is_checked: bool = False) -> bytes:
    """Return the payload of the record that begins at byte ``at``.

    Args:
        is_checked: check the payload's checksum in any case; otherwise only if `google_crc32c` is installed.

    Raises:
        InputError: cut, or a wrong checksum; names file and offset.
    """
    where = f"{path.name}: offset {at}"
    with open(path, "rb") as f:
        f.seek(at)
        length = _length(f.read(HEAD), where)
        if at + HEAD + length + TAIL > path.stat().st_size:
            raise InputError(f"{where}: cut: a record of {length} bytes, {path.stat().st_size - at - HEAD} are left")
        payload, (stored,) = f.read(length), struct.unpack("<I", f.read(TAIL))
    crc = _fast_crc(payload)
    if crc is None and is_checked:
        crc = crc32c(payload)
    if crc is not None and masked(crc) != stored:
        raise InputError(f"{where}: checksum of the {length} bytes is wrong")
    return payload


def _varint(data: memoryview, at: int) -> tuple[int, int]:
    value = 0
    for i in range(10):
        if at + i >= len(data):
            raise InputError(f"byte {at + i}: a number is cut")
        byte = data[at + i]
        value |= (byte & 127) << 7 * i
        if byte < 128:
            return value, at + i + 1
    raise InputError(f"byte {at}: a number of more than 10 bytes")


def _fields(data: memoryview) -> Iterator[tuple[int, memoryview]]:
    """Yield number and content of the fields of a message with a length (wire type 2) or of 4 bytes (5)."""
    at = 0
    while at < len(data):
        tag, at = _varint(data, at)
        kind = tag & 7
        if kind == 0:
            _, at = _varint(data, at)
            continue
        if kind not in (1, 2, 5):
            raise InputError(f"byte {at}: wire type {kind}, must be 0, 1, 2 or 5")
        size = 8 if kind == 1 else 4
        if kind == 2:
            size, at = _varint(data, at)
        if at + size > len(data):
            raise InputError(f"byte {at}: a field of {size} bytes, {len(data) - at} are left")
        if kind != 1:
            yield tag >> 3, data[at : at + size]
        at += size


def example(payload: bytes) -> dict[str, memoryview]:
    """Return name -> encoded feature.

    Raises:
        InputError: the payload is malformed.
    """
    found: dict[str, memoryview] = {}
    for features in (content for number, content in _fields(memoryview(payload)) if number == 1):
        for entry in (content for number, content in _fields(features) if number == 1):
            parts = dict(_fields(entry))
            try:
                found[bytes(parts.get(1, b"")).decode()] = parts.get(2, memoryview(b""))
            except UnicodeDecodeError as error:
                raise InputError(f"name of a feature: {error}") from error
    return found


def byte_strings(feature: memoryview) -> list[bytes]:
    """Return the bytes of a feature; empty if it holds another kind."""
    lists = [content for number, content in _fields(feature) if number == 1]
    return [bytes(content) for one in lists for number, content in _fields(one) if number == 1]


def floats(feature: memoryview) -> np.ndarray:
    """Return the ``(N,)`` float32 of a feature, packed or not; empty if it holds another kind."""
    lists = [content for number, content in _fields(feature) if number == 2]
    parts = [bytes(content) for one in lists for number, content in _fields(one) if number == 1]
    if any(len(part) % 4 for part in parts):
        raise InputError("a list of floats: its bytes must be a multiple of 4")
    return np.frombuffer(b"".join(parts), "<f4")
