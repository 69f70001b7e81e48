"""The two kinds of storage files of a bag, MCAP and SQLite: their channels and raw messages."""

from __future__ import annotations

import sqlite3
from bisect import bisect_left
from collections import Counter
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path
from struct import Struct
from typing import IO, Protocol
from urllib.parse import quote

import zstandard
from mcap.data_stream import ReadDataStream
from mcap.opcode import Opcode
from mcap.reader import SeekingReader
from mcap.records import Channel as McapChannel
from mcap.records import Chunk, ChunkIndex, Message, Schema
from mcap.stream_reader import StreamReader, get_chunk_data_stream

from uma.types import InputError
from uma_ros.bags.storage import MAGIC, ZSTD

CHUNK = 0x06
"""Opcode of an MCAP record with compressed records."""
MAX_CHUNK = 2**30
"""Largest uncompressed chunk or message, bytes."""
DEFINITIONS = ("ros2msg", "ros2idl", "omgidl")
"""Encodings of the type definitions of ROS 2."""


@dataclass(frozen=True)
class Channel:
    """A topic of one file.

    Attributes:
        number: id in the file.
        kind: type name, ``sensor_msgs/msg/Image``; empty if unknown.
        count: number of messages.
        problem: reason why its messages are unreadable as ROS 2 messages; empty if they are readable.
    """

    number: int
    topic: str
    kind: str
    count: int
    problem: str = ""


class Table(Protocol):
    """An open storage file.

    Attributes:
        channels: by id.
        start_ns: time of the first message, ns; 0 without messages.
    """

    channels: dict[int, Channel]
    start_ns: int

    def messages(self, numbers: Collection[int]) -> Iterator[tuple[Channel, int, bytes]]:
        """Yield (channel, time in ns, data) of the channels with these ids, in the order of time."""

    def close(self) -> None: ...


def problem_of(encoding: str, definition: str | None) -> str:
    """Return why the messages of a channel are unreadable as ROS 2 messages; empty if they are readable.

    Args:
        encoding: encoding of the messages.
        definition: encoding of the type definition; None without one.
    """
    if encoding == "ros1" or definition == "ros1msg":
        return "ROS 1 messages"
    if definition is None:
        return "schemaless: its type is unknown"
    if encoding != "cdr":
        return f"messages in {encoding[:40] or 'an unnamed encoding'}, not in ROS 2's cdr"
    return "" if definition in DEFINITIONS or not definition else f"types in {definition[:40]}, not ROS 2's"


def unpacked(data: bytes) -> bytes:
    """Return a message, unpacked if rosbag2 compressed it: the first byte of plain CDR is 0.

    Raises:
        InputError: the unpacked message is too large.
    """
    if not data.startswith(ZSTD):
        return data
    size = zstandard.frame_content_size(data)
    if size > MAX_CHUNK:
        raise InputError(f"a message of {size} bytes, limit {MAX_CHUNK}")
    return zstandard.ZstdDecompressor().decompress(data, max_output_size=MAX_CHUNK)


# -- MCAP --------------------------------------------------------------------------------------------------------------


def ends(file: Path) -> bool:
    """Return whether an MCAP file was closed, with the index and the end of the file."""
    with open(file, "rb") as f:
        size = f.seek(0, 2)
        f.seek(max(size - len(MAGIC), 0))
        return size > 2 * len(MAGIC) and f.read() == MAGIC


class _Bounded:
    """A file whose reads end at its end. Python allocates the requested size of a read, however large."""

    def __init__(self, file: IO[bytes], size: int) -> None:
        self._file, self._size = file, size
        self.seek, self.tell = file.seek, file.tell

    def read(self, count: int = -1) -> bytes:
        left = self._size - self._file.tell()
        return self._file.read(left if count < 0 else max(0, min(count, left)))

    def seekable(self) -> bool:
        return True


Entry = tuple[int, int, int, int, bytes]
"""Time in ns, offsets of the chunk and in the chunk (which order equal times), channel id, data."""
_HEAD = Struct("<HIQQ")
"""Channel id, sequence, time of recording, time of publication: the beginning of a message record."""


class McapTable:
    """An MCAP file. Without an index it is read once from end to end, in the order of the file."""

    def __init__(self, file: Path, name: str) -> None:
        self._size = file.stat().st_size
        _check_lengths(file, self._size, name)
        self._file = open(file, "rb")
        try:
            self._open()
        except BaseException:
            self._file.close()
            raise

    def _open(self) -> None:
        summary = SeekingReader(self._stream()).get_summary()  # type: ignore[arg-type]
        about = summary.statistics if summary else None
        self._is_indexed = bool(summary and about and summary.channels and summary.chunk_indexes)
        if self._is_indexed:
            assert summary is not None and about is not None
            schemas, found, counts = summary.schemas, summary.channels, about.channel_message_counts
            self.start_ns = about.message_start_time if about.message_count else 0
            self._chunks = list(summary.chunk_indexes)
        else:
            schemas, found, counts, self.start_ns = self._scanned()
        self.channels = {
            number: _channel(channel, schemas.get(channel.schema_id), counts.get(number, 0))
            for number, channel in found.items()
        }

    def _stream(self) -> _Bounded:
        self._file.seek(0)
        return _Bounded(self._file, self._size)

    def _scanned(self) -> tuple[dict[int, Schema], dict[int, McapChannel], dict[int, int], int]:
        """Return schemas, channels, numbers of messages by channel and the time of the first message."""
        schemas: dict[int, Schema] = {}
        channels: dict[int, McapChannel] = {}
        counts: Counter[int] = Counter()
        start: int | None = None
        for record in self._records():
            if isinstance(record, Schema):
                schemas[record.id] = record
            elif isinstance(record, McapChannel):
                known = channels.setdefault(record.id, record)
                if (known.topic, known.schema_id) != (record.topic, record.schema_id):
                    raise InputError(f"channel {record.id}: {record.topic[:80]!r} after {known.topic[:80]!r}")
            elif isinstance(record, Message):
                if record.channel_id not in channels:
                    raise InputError(f"a message of channel {record.channel_id}, which no record before it describes")
                counts[record.channel_id] += 1
                start = record.log_time if start is None else min(start, record.log_time)
        return schemas, channels, counts, start or 0

    def _records(self) -> Iterator[object]:
        reader = StreamReader(self._stream(), validate_crcs=True, record_size_limit=self._size)
        return iter(reader.records)

    def messages(self, numbers: Collection[int]) -> Iterator[tuple[Channel, int, bytes]]:
        found = self._indexed(numbers) if self._is_indexed else self._unindexed(numbers)
        for t, *_, number, data in found:
            yield self.channels[number], t, data

    def _unindexed(self, numbers: Collection[int]) -> Iterator[Entry]:
        for record in self._records():
            if isinstance(record, Message) and record.channel_id in numbers:
                yield record.log_time, 0, 0, record.channel_id, record.data

    def _indexed(self, numbers: Collection[int]) -> Iterator[Entry]:
        """Yield the messages in the order of time. Messages of overlapping chunks are held until their turn."""
        held: list[Entry] = []
        chunks = [c for c in self._chunks if not c.message_index_offsets or set(numbers) & set(c.message_index_offsets)]
        chunks.sort(key=lambda chunk: (chunk.message_start_time, chunk.chunk_start_offset))
        for chunk, after in zip(chunks, [*chunks[1:], None]):
            held += self._in_chunk(chunk, numbers)
            held.sort()
            due = len(held) if after is None else bisect_left(held, (after.message_start_time,))
            yield from held[:due]
            del held[:due]

    def _in_chunk(self, index: ChunkIndex, numbers: Collection[int]) -> list[Entry]:
        self._file.seek(index.chunk_start_offset + 9)  # after the opcode and the length
        stream, size = get_chunk_data_stream(
            Chunk.read(ReadDataStream(_Bounded(self._file, self._size))),  # type: ignore[arg-type]
            validate_crc=True,
        )
        data, at, found = stream.read(size), 0, []
        while at < size:
            end = at + 9 + int.from_bytes(data[at + 1 : at + 9], "little")
            if end > size:
                raise InputError(f"a record of {end - at} bytes at {at} of a chunk of {size}")
            if data[at] == Opcode.MESSAGE:
                number, _, t, _ = _HEAD.unpack_from(data, at + 9)
                if number in numbers:
                    found.append((t, index.chunk_start_offset, at, number, data[at + 9 + _HEAD.size : end]))
            at = end
        return found

    def close(self) -> None:
        self._file.close()


def _channel(channel: McapChannel, schema: Schema | None, count: int) -> Channel:
    problem = problem_of(channel.message_encoding, schema.encoding if schema else None)
    return Channel(channel.id, channel.topic, schema.name if schema else "", count, problem)


def _check_lengths(file: Path, size: int, name: str) -> None:
    """Raise `InputError` for a file that was not closed, and for a record or chunk of an impossible length.

    A reader allocates the stated length of a record, even beyond the end of the file.
    """
    if not ends(file):
        bag = name.removeprefix("bag ")
        raise InputError(
            f"{name}: {file.name} is not closed: its recorder is still running or was killed; `uma recover {bag}` "
            "copies its complete chunks to a new bag"
        )
    at = 8
    with open(file, "rb") as f:
        while at + 9 <= size - 8:  # the last eight bytes are the magic bytes
            f.seek(at)
            kind, *length = f.read(9)
            at += 9 + int.from_bytes(bytes(length), "little")
            if at > size:
                stated = int.from_bytes(bytes(length), "little")
                raise InputError(f"{name}: {file.name}: a record of {stated} bytes in a file of {size}")
            stated, actual = _chunk_sizes(f.read(128)) if kind == CHUNK else (0, 0)
            if max(stated, actual) > MAX_CHUNK:
                raise InputError(f"{name}: {file.name}: a chunk of {max(stated, actual)} bytes, limit {MAX_CHUNK}")
            if actual not in (0, stated):
                raise InputError(f"{name}: {file.name}: a chunk of {actual} bytes, must be {stated} as its record says")


def _chunk_sizes(head: bytes) -> tuple[int, int]:
    """Return the unpacked size of a chunk that its record states, and that its zstd frame states; 0 for unknown."""
    stated, length = (int.from_bytes(head[i : i + n], "little") for i, n in ((16, 8), (28, 4)))
    frame = head[32 + length + 8 :]  # after the name of the compression and the packed size
    if head[32 : 32 + length] != b"zstd" or not frame.startswith(ZSTD):
        return stated, 0
    return stated, max(zstandard.frame_content_size(frame), 0)


# -- SQLite ------------------------------------------------------------------------------------------------------------


class SqliteTable:
    """A .db3 file of rosbag2. The file itself is never written."""

    def __init__(self, file: Path, name: str) -> None:
        for left in (file.with_name(f"{file.name}-wal"), file.with_name(f"{file.name}-journal")):
            if left.exists() and left.stat().st_size:
                raise InputError(
                    f"{name}: {file.name} is not closed: its recorder is still running or was killed; `sqlite3 "
                    f"{file.name} vacuum` includes {left.name}"
                )
        self._db = sqlite3.connect(f"file:{quote(str(file.resolve()))}?mode=ro&immutable=1", uri=True)
        try:
            self._open()
        except BaseException:
            self._db.close()
            raise

    def _open(self) -> None:
        tables = {row[0] for row in self._db.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
        if not {"topics", "messages"} <= tables:
            raise InputError(f"tables {', '.join(sorted(tables)) or '(none)'}, must be rosbag2's topics and messages")
        query = "SELECT topic_id, count(*), min(typeof(timestamp) = 'integer') FROM messages GROUP BY topic_id"
        rows = self._db.execute(query).fetchall()
        counts = {number: count for number, count, _ in rows}
        self.channels = {
            number: Channel(number, _text(topic), str(kind or ""), counts.get(number, 0), problem_of(str(encoding), ""))
            for number, topic, kind, encoding in self._db.execute(
                "SELECT id, name, type, serialization_format FROM topics"
            )
        }
        for number, _, has_times in rows:
            if number not in self.channels:
                raise InputError(f"messages: topic_id {number!r:.40}, which the table of topics lacks")
            if not has_times:
                raise InputError(f"messages of {self.channels[number].topic}: a timestamp that is not a whole number")
        (start,) = self._db.execute("SELECT min(timestamp) FROM messages").fetchone()
        self.start_ns = int(start or 0)

    def messages(self, numbers: Collection[int]) -> Iterator[tuple[Channel, int, bytes]]:
        marks = ", ".join("?" for _ in numbers)
        query = f"SELECT topic_id, timestamp, data FROM messages WHERE topic_id IN ({marks}) ORDER BY timestamp, id"
        for number, t, data in self._db.execute(query, list(numbers)):
            yield self.channels[number], t, bytes(data)

    def close(self) -> None:
        self._db.close()


def _text(name: object) -> str:
    """Return the name of a topic. Raises `InputError` if it is not text."""
    if not isinstance(name, str):
        raise InputError(f"topics: name {name!r:.80}, must be text")
    return name
