"""An MCAP output file with a list of its complete chunks, and the end of the file that indexes them."""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from io import BytesIO
from pathlib import Path

from mcap.data_stream import RecordBuilder
from mcap.exceptions import EndOfFile
from mcap.opcode import Opcode
from mcap.records import (
    Channel,
    Chunk,
    ChunkIndex,
    DataEnd,
    Footer,
    Header,
    McapRecord,
    MessageIndex,
    Metadata,
    MetadataIndex,
    Schema,
    Statistics,
    SummaryOffset,
)
from mcap.stream_reader import StreamReader

from uma_ros.bags.storage import MAGIC


@dataclass
class WholeChunk:
    """A complete chunk and its message indexes.

    Attributes:
        index: the chunk's record in the summary; offsets in bytes from the beginning of the file, times in ns.
        counts: number of messages by channel id.
    """

    index: ChunkIndex
    counts: dict[int, int]

    @property
    def end(self) -> int:
        """Offset of the end of the chunk's message indexes, bytes."""
        return self.index.chunk_start_offset + self.index.chunk_length + self.index.message_index_length


class ChunkFile:
    """The output stream of a `mcap.writer.Writer`.

    It is unbuffered: a `write` that returns has written all its bytes; one that raises OSError may have written some.

    Attributes:
        chunks: complete chunks, in the order of the file.
    """

    def __init__(self, path: Path) -> None:
        self.chunks: list[WholeChunk] = []
        self._file = open(path, "xb", buffering=0)
        self._chunk: WholeChunk | None = None
        self._header_end = 0

    @property
    def has_header(self) -> bool:
        return self._header_end > 0

    def tell(self) -> int:
        """Length of the file in bytes."""
        return self._file.tell()

    def flush(self) -> None:
        """Do nothing: nothing is buffered."""

    def close(self) -> None:
        self._file.close()

    def write(self, data: bytes) -> int:
        """Append complete records or the magic bytes. Raises OSError on a full disk."""
        start = self.tell()
        self.append(data)
        for record, begin, end in _records(data if data != MAGIC else b""):
            if isinstance(record, Header):
                self._header_end = start + end
            elif isinstance(record, Chunk):
                self._chunk = WholeChunk(_chunk_index(record, start + begin, end - begin), {})
            elif isinstance(record, MessageIndex) and self._chunk is not None:
                self._chunk.index.message_index_offsets[record.channel_id] = start + begin
                self._chunk.index.message_index_length += end - begin
                self._chunk.counts[record.channel_id] = len(record.records)
        if self._chunk is not None and self._chunk.counts:  # mcap writes all indexes of a chunk at once
            self.chunks.append(self._chunk)
            self._chunk = None
        return len(data)

    def cut(self) -> None:
        """Truncate the file after its last complete chunk, or after the header. Raises OSError."""
        self._chunk = None
        self._file.seek(self.chunks[-1].end if self.chunks else self._header_end)
        self._file.truncate()

    def append(self, data: bytes) -> None:
        """Append bytes without chunks. Raises OSError on a full disk."""
        rest = memoryview(data)
        while rest:
            rest = rest[self._file.write(rest) :]


def _records(data: bytes) -> Iterator[tuple[McapRecord, int, int]]:
    """Yield each record with its begin and end in ``data``, bytes."""
    stream, begin = BytesIO(data), 0
    with suppress(EndOfFile):
        for record in StreamReader(stream, skip_magic=True, emit_chunks=True).records:
            yield record, begin, stream.tell()
            begin = stream.tell()


def _chunk_index(chunk: Chunk, start: int, length: int) -> ChunkIndex:
    return ChunkIndex(
        chunk_start_offset=start,
        chunk_length=length,
        message_index_offsets={},
        message_index_length=0,
        message_start_time=chunk.message_start_time,
        message_end_time=chunk.message_end_time,
        compression=chunk.compression,
        compressed_size=len(chunk.data),
        uncompressed_size=chunk.uncompressed_size,
    )


def ending(start: int, schemas: list[Schema], channels: list[Channel], chunks: list[WholeChunk], about: str) -> bytes:
    """Return the bytes after the last chunk of an MCAP file: metadata, summary and footer.

    Args:
        start: offset of these bytes in the file.
        about: rosbag2's metadata as YAML, for players without a metadata.yaml.
    """
    data = RecordBuilder()
    Metadata(name="rosbag2", metadata={"serialized_metadata": about}).write(data)
    place = MetadataIndex(offset=start, length=data.count, name="rosbag2")
    DataEnd(data_section_crc=0).write(data)
    begin, summary, offsets = start + data.count, RecordBuilder(), []
    groups: list[tuple[Opcode, Iterable[McapRecord]]] = [
        (Opcode.SCHEMA, schemas),
        (Opcode.CHANNEL, channels),
        (Opcode.STATISTICS, [_statistics(schemas, channels, chunks)]),
        (Opcode.CHUNK_INDEX, [chunk.index for chunk in chunks]),
        (Opcode.METADATA_INDEX, [place]),
    ]
    for opcode, records in groups:
        first = summary.count
        for record in records:
            record.write(summary)
        if summary.count > first:
            offsets.append(SummaryOffset(opcode, begin + first, summary.count - first))
    footer = Footer(summary_start=begin, summary_offset_start=begin + summary.count, summary_crc=0)
    for offset in offsets:
        offset.write(summary)
    indexed = summary.end()
    crc = zlib.crc32(_written(footer)[:-4], zlib.crc32(indexed))  # the last four bytes are the checksum
    return data.end() + indexed + _written(replace(footer, summary_crc=crc)) + MAGIC


def _written(record: McapRecord) -> bytes:
    builder = RecordBuilder()
    record.write(builder)
    return builder.end()


def _statistics(schemas: list[Schema], channels: list[Channel], chunks: list[WholeChunk]) -> Statistics:
    counts = {channel.id: sum(chunk.counts.get(channel.id, 0) for chunk in chunks) for channel in channels}
    return Statistics(
        attachment_count=0,
        metadata_count=1,
        schema_count=len(schemas),
        channel_count=len(channels),
        channel_message_counts=counts,
        message_count=sum(counts.values()),
        chunk_count=len(chunks),
        message_start_time=min((chunk.index.message_start_time for chunk in chunks), default=0),
        message_end_time=max((chunk.index.message_end_time for chunk in chunks), default=0),
    )
