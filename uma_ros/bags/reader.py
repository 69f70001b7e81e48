"""Reading of rosbag2 bags (MCAP) with the Python package rosbags, without an installed rosbag2."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

from rclpy.serialization import deserialize_message

from uma.types import InputError
from uma_ros.runtime.resources import find

MAGIC = b"\x89MCAP0\r\n"
"""First and last bytes of an MCAP file."""
CHUNK = 0x06
"""Opcode of an MCAP record with compressed records."""
MAX_CHUNK = 2**30
"""Largest uncompressed chunk, bytes."""


GREW = {"uma_ros/msg/ActionChunk": 8}
"""Message type -> size of the fields that were added at its end, bytes. Zeros replace them in older bags."""


@cache
def typestore() -> Any:
    """Return the message types of ROS 2 Jazzy and of this package."""
    from rosbags.typesys import Stores, get_types_from_msg, get_typestore

    store, ours = get_typestore(Stores.ROS2_JAZZY), {}
    for path in sorted(find("msg").glob("*.msg")):
        ours.update(get_types_from_msg(path.read_text(), f"uma_ros/msg/{path.stem}"))
    store.register(ours)
    return store


def type_name(kind: type) -> str:
    """Return the type name of a message class, such as ``sensor_msgs/msg/Image``."""
    package, interface = kind.__module__.split(".")[:2]
    return f"{package}/{interface}/{kind.__name__}"


def read_bag(path: str | Path, topics: dict[str, type] | None = None) -> Iterator[tuple[str, int, Any]]:
    """Yield ``(topic, time in ns, message)`` in the order of recording.

    Args:
        topics: topic -> message class. None = all topics, as bytes.

    Raises:
        InputError: the bag is missing or damaged, or a topic has another message type. The message contains the bag
            and the topic.
    """
    from rosbags.rosbag2 import Reader

    with named(path), Reader(_checked(path)) as reader:
        wanted = [c for c in reader.connections if topics is None or c.topic in topics]
        for c in wanted:
            if topics is not None and c.msgtype != type_name(topics[c.topic]):
                raise InputError(f"bag {path}: {c.topic}: {c.msgtype[:80]}, must be {type_name(topics[c.topic])}")
        for connection, t, data in reader.messages(connections=wanted) if wanted else ():
            yield (
                connection.topic,
                t,
                decode(bytes(data), topics[connection.topic], f"bag {path}: {connection.topic}") if topics else data,
            )


def decode(data: bytes, kind: type, what: str) -> Any:
    """Return the message in a CDR buffer.

    Raises:
        InputError: the data is damaged or of another type. The message starts with ``what``.
    """
    try:
        return deserialize_message(data + (b"\0" * GREW.get(type_name(kind), 0)), kind)
    except Exception as error:  # the type support raises its own types
        raise InputError(f"{what}: {len(data)} bytes, must be a {type_name(kind)}: {str(error)[:120]}") from None


def storage(path: str | Path) -> Path:
    """Return the path to read of a bag: its folder, or its only MCAP file if ``metadata.yaml`` is missing.

    Raises:
        InputError: the folder has no ``metadata.yaml`` and not exactly one MCAP file.
    """
    path = Path(path)
    if path.is_dir() and not (path / "metadata.yaml").exists():
        files = sorted(path.glob("*.mcap"))
        if len(files) != 1:
            raise InputError(f"bag {path}: no metadata.yaml, and {len(files)} MCAP files, must be one")
        return files[0]
    return path


def ends(file: Path) -> bool:
    """Return whether an MCAP file was closed, with the index and the end of the file."""
    with open(file, "rb") as f:
        size = f.seek(0, 2)
        f.seek(max(size - len(MAGIC), 0))
        return size > 2 * len(MAGIC) and f.read() == MAGIC


def _checked(path: str | Path) -> Path:
    """Return `storage` after a check of the record lengths in every MCAP file.

    The reader would allocate the stated length of a record, even beyond the end of the file.
    """
    found = storage(path)
    for file in sorted(found.glob("*.mcap")) if found.is_dir() else [found]:
        size, at = file.stat().st_size, 8
        with open(file, "rb") as f:
            if f.read(8) == MAGIC and not ends(file):
                raise InputError(
                    f"bag {path}: {file.name} is not closed: its recorder is still running or was killed; `uma "
                    f"recover {path}` copies its complete chunks to a new bag"
                )
            while at + 9 <= size - 8:  # the last eight bytes are the magic bytes
                f.seek(at)
                kind, *length = f.read(9)
                at += 9 + int.from_bytes(bytes(length), "little")
                if at > size:
                    raise InputError(
                        f"bag {path}: {file.name}: a record of {int.from_bytes(bytes(length), 'little')} "
                        f"bytes in a file of {size}"
                    )
                unpacked = int.from_bytes(f.read(24)[16:24], "little") if kind == CHUNK else 0
                if unpacked > MAX_CHUNK:
                    raise InputError(f"bag {path}: {file.name}: a chunk of {unpacked} bytes, limit {MAX_CHUNK}")
    return found


def bag_topics(path: str | Path) -> dict[str, tuple[str, int]]:
    """Return topic -> (type name, number of messages). Raises `InputError` as `read_bag` does."""
    from rosbags.rosbag2 import Reader

    with named(path), Reader(_checked(path)) as reader:
        return {topic: (info.msgtype or "", info.msgcount) for topic, info in sorted(reader.topics.items())}


@contextmanager
def named(path: str | Path) -> Iterator[None]:
    """Turn the reader's exceptions for a damaged file (struct.error, KeyError, zstd's own) into an `InputError`."""
    try:
        yield
    except InputError:
        raise
    except Exception as error:
        words = (
            str(error)
            if type(error).__name__ == "ReaderError" or isinstance(error, OSError)
            else f"damaged: {type(error).__name__}: {error}"
        )
        raise InputError(f"bag {path}: {words[:300]}") from None
