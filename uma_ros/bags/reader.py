"""Reading of rosbag2 bags, MCAP and SQLite, without an installed rosbag2."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import zstandard
from rclpy.serialization import deserialize_message

from uma.types import InputError
from uma_ros.bags.storage import files_of, kind_of
from uma_ros.bags.tables import Channel, McapTable, SqliteTable, Table, unpacked
from uma_ros.runtime.resources import find_own

GREW = {"uma_ros/msg/ActionChunk": 8}
"""Message type -> size of the fields that were added at its end, bytes. Zeros replace them in older bags."""


@cache
def typestore() -> Any:
    """Return the message types of ROS 2 Jazzy and of this package."""
    from rosbags.typesys import Stores, get_types_from_msg, get_typestore

    store, ours = get_typestore(Stores.ROS2_JAZZY), {}
    for path in sorted(find_own("msg").glob("*.msg")):
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
    with opened(path) as tables:
        wanted = [_wanted(table, topics, path) for table in tables]
        for table, numbers in zip(tables, wanted):
            for channel, t, data in table.messages(numbers) if numbers else ():
                data, topic = unpacked(data), channel.topic
                yield topic, t, decode(data, topics[topic], f"bag {path}: {topic}") if topics is not None else data


def _wanted(table: Table, topics: dict[str, type] | None, path: str | Path) -> set[int]:
    """Return the channels of these topics. Raise `InputError` for one of another type."""
    if topics is None:
        return set(table.channels)
    found = {number: channel for number, channel in table.channels.items() if channel.topic in topics}
    for channel in found.values():
        wanted = type_name(topics[channel.topic])
        if channel.problem:
            raise InputError(f"bag {path}: {channel.topic}: {channel.problem}; must be {wanted}")
        if channel.kind != wanted:
            raise InputError(f"bag {path}: {channel.topic}: {channel.kind[:80]}, must be {wanted}")
    return set(found)


def decode(data: bytes, kind: type, what: str) -> Any:
    """Return the message in a CDR buffer.

    Raises:
        InputError: the data is damaged or of another type. The message starts with ``what``.
    """
    try:
        return deserialize_message(data + (b"\0" * GREW.get(type_name(kind), 0)), kind)
    except Exception as error:  # the type support raises its own types
        raise InputError(f"{what}: {len(data)} bytes, must be a {type_name(kind)}: {str(error)[:120]}") from None


@contextmanager
def opened(path: str | Path) -> Iterator[list[Table]]:
    """Open the files of a bag, in the order of their first messages.

    Raises:
        InputError: the bag is missing or damaged, as in `named`.
    """
    with named(path), ExitStack() as stack:
        tables = [_open(file, f"bag {path}", stack) for file in files_of(path)]
        yield sorted(tables, key=lambda table: table.start_ns)


def _open(file: Path, name: str, stack: ExitStack) -> Table:
    """Open a file until the end of ``stack``; unpack a compressed one to a temporary folder."""
    kind = kind_of(file, name)
    if kind == "zstd":
        plain = Path(stack.enter_context(TemporaryDirectory(prefix="uma_bag"))) / file.stem
        with open(file, "rb") as packed, open(plain, "wb") as out:
            shutil.copyfileobj(zstandard.ZstdDecompressor().stream_reader(packed), out)
        file, kind = plain, kind_of(plain, name)
    if kind == "zstd":
        raise InputError(f"{name}: {file.name}: compressed twice, must be an MCAP or SQLite file")
    table: Table = McapTable(file, name) if kind == "mcap" else SqliteTable(file, name)
    stack.callback(table.close)
    return table


def bag_channels(path: str | Path) -> list[Channel]:
    """Return one channel per topic and type, by topic, with the messages of all files.

    Raises:
        InputError: as `read_bag` does.
    """
    found: dict[tuple[str, str, str], int] = {}
    with opened(path) as tables:
        for table in tables:
            for channel in table.channels.values():
                key = (channel.topic, channel.kind, channel.problem)
                found[key] = found.get(key, 0) + channel.count
    rows = sorted(found.items())
    return [Channel(i, topic, kind, count, problem) for i, ((topic, kind, problem), count) in enumerate(rows)]


def bag_topics(path: str | Path) -> dict[str, tuple[str, int]]:
    """Return topic -> (type name, number of messages). The name is empty if it is unknown, or one of several.

    Raises:
        InputError: as `read_bag` does.
    """
    topics: dict[str, tuple[str, int]] = {}
    for channel in bag_channels(path):
        kind, count = topics.get(channel.topic, (channel.kind, 0))
        topics[channel.topic] = (kind if kind == channel.kind else "", count + channel.count)
    return topics


@contextmanager
def named(path: str | Path) -> Iterator[None]:
    """Turn the exceptions for a damaged file (struct.error, KeyError, zstd's own) into an `InputError`."""
    try:
        yield
    except InputError as error:
        text = str(error)
        raise (error if str(path) in text else InputError(f"bag {path}: {text}")) from None
    except OSError as error:
        raise InputError(f"bag {path}: {str(error)[:300]}") from None
    except MemoryError:
        raise InputError(f"bag {path}: damaged: a length in it exceeds the memory") from None
    except Exception as error:
        raise InputError(f"bag {path}: damaged: {_words(error)[:300]}") from None


def _words(error: Exception) -> str:
    return f"an unknown entry {error}" if isinstance(error, KeyError) else f"{type(error).__name__}: {error}"
