"""Writing rosbag2 bags (MCAP) that stay readable when the disk is full."""

from __future__ import annotations

import os
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy

from uma_ros.bags.reader import type_name, typestore

RESERVE = 2 * 1024 * 1024
"""Bytes that are held for the index and the metadata, to be written where nothing else can be any more."""


@dataclass(frozen=True)
class _Mark:
    """How far the file is whole: its length, and what had been written until then; ``times``: the first and the last
    message's, ns."""

    offset: int
    num_chunks: int
    counts: dict[int, int]
    times: tuple[int, int]


class BagWriter:
    """An MCAP bag with a metadata.yaml, compressed by zstd in chunks of a megabyte. The folder must not exist.

    Attributes:
        trouble: why nothing is written any more; empty while all is well. What was written until then is a whole bag.
        num_messages: in the file, or waiting for their chunk to be full; after trouble, those that can be read.
    """

    def __init__(self, path: str | Path) -> None:
        from rosbags.rosbag2 import CompressionFormat, CompressionMode, StoragePlugin, Writer

        self.trouble, self._path = "", Path(path)
        self._writer = Writer(self._path, version=9, storage_plugin=StoragePlugin.MCAP)
        self._writer.set_compression(CompressionMode.STORAGE, CompressionFormat.ZSTD)
        self._writer.open()
        self._is_open = True
        self._topics: dict[str, Any] = {}
        self._reserve = self._path / ".reserve"
        with suppress(OSError):  # a disk that is full from the start says so at the first chunk
            with open(self._reserve, "wb") as file:
                os.posix_fallocate(file.fileno(), 0, RESERVE)
        self._marks = [self._mark()]

    @property
    def num_messages(self) -> int:
        return sum(self._writer.counts.values())

    @property
    def _storage(self) -> Any:
        """What rosbags keeps of the file: ``bio``, the pending ``chunk``, the index of the ``chunks`` and
        ``channel_stats``."""
        return self._writer.storage

    def add_topic(self, topic: str, kind: type, offered: QoSProfile) -> None:
        """Announce a topic and its type; before the first message on it."""
        self._topics[topic] = self._writer.add_connection(
            topic, type_name(kind), typestore=typestore(), offered_qos_profiles=[_qos(offered)]
        )

    def write(self, topic: str, time_ns: int, data: bytes) -> bool:
        """Add a message; False if the disk takes no more: `trouble` says why, and the bag is closed."""
        if not self._is_open:
            return False
        try:
            self._writer.write(self._topics[topic], time_ns, data)
            if len(self._storage.chunks) > self._marks[-1].num_chunks:
                self._marks.append(self._mark())
        except OSError as error:
            self._end_short(error)
        return self._is_open

    def _mark(self) -> _Mark:
        """Now, after a chunk."""
        self._storage.bio.flush()
        return _Mark(
            self._storage.bio.tell(),
            len(self._storage.chunks),
            dict(self._writer.counts),
            (self._writer.min_timestamp, self._writer.max_timestamp),
        )

    def close(self) -> None:
        """Write the index and the metadata."""
        if not self._is_open:
            return
        self._reserve.unlink(missing_ok=True)
        try:
            self._writer.close()
            self._is_open = False
        except OSError as error:
            self._end_short(error)

    def _end_short(self, error: OSError) -> None:
        """Close the bag with the chunks that are whole; with fewer of them while there is no room for the index."""
        self._is_open, self.trouble = False, f"the disk takes no more: {error.strerror or error}"
        self._reserve.unlink(missing_ok=True)
        while self._marks:
            self._rewind(self._marks.pop())
            try:
                self._writer.close()
                return
            except OSError:
                if self._storage is None:  # the file is whole, and only metadata.yaml is missing: it is read without it
                    return
        self.trouble += "; not even the index of the bag could be written"

    def _rewind(self, mark: _Mark) -> None:
        """Cut the file, and what is counted, back to where it was whole."""
        storage = self._storage
        with suppress(OSError, ValueError):  # what its buffer still holds finds no room
            storage.bio.raw.close()
        with suppress(OSError, ValueError):
            storage.bio.close()
        os.truncate(storage.path, mark.offset)
        storage.bio = open(storage.path, "r+b")
        storage.bio.seek(mark.offset)
        del storage.chunks[mark.num_chunks :]
        storage.chunk = _empty_chunk()
        for number in self._writer.counts:
            self._writer.counts[number] = storage.channel_stats[number] = mark.counts.get(number, 0)
        self._writer.min_timestamp, self._writer.max_timestamp = (
            storage.message_start_time,
            storage.message_end_time,
        ) = mark.times


def _empty_chunk() -> Any:
    from collections import defaultdict
    from io import BytesIO

    from rosbags.rosbag2.storage_mcap import PendingChunk

    return PendingChunk(2**63 - 1, 0, BytesIO(), defaultdict(list))


def _qos(profile: QoSProfile) -> Any:
    from rosbags.interfaces import Qos, QosDurability, QosHistory, QosLiveliness, QosReliability, QosTime

    never = QosTime(9223372036, 854775807)
    return Qos(
        QosHistory.KEEP_LAST,
        profile.depth,
        QosReliability.RELIABLE if profile.reliability == ReliabilityPolicy.RELIABLE else QosReliability.BEST_EFFORT,
        QosDurability.TRANSIENT_LOCAL
        if profile.durability == DurabilityPolicy.TRANSIENT_LOCAL
        else QosDurability.VOLATILE,
        never,
        never,
        QosLiveliness.AUTOMATIC,
        never,
        False,
    )
