"""Writing of rosbag2 bags (MCAP) that stay readable on a full disk."""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from mcap.records import Channel, Schema
from mcap.writer import CompressionType, IndexType, Writer
from rclpy.qos import QoSProfile

from uma.types import InputError
from uma_ros.bags.chunks import ChunkFile, ending
from uma_ros.bags.metadata import Topic, dump, information, profiles_of
from uma_ros.bags.reader import type_name, typestore

RESERVE = 2 * 1024 * 1024
"""Bytes reserved on the disk for the index and the metadata."""
CHUNK_SIZE = 1024 * 1024
"""Size of a chunk before compression, bytes."""


class BagWriter:
    """Writes an MCAP bag with a metadata.yaml, in chunks of a megabyte compressed by zstd.

    mcap's writer makes the chunks, and `ending` the end of the file.

    Attributes:
        trouble: reason why the bag was closed early; empty without an error. The bag is complete up to then.

    Raises:
        InputError: the folder exists.
    """

    def __init__(self, path: str | Path) -> None:
        self.trouble, self._folder = "", Path(path)
        try:
            self._folder.mkdir(parents=True)
        except FileExistsError:
            raise InputError(f"{path}: exists, must be a new folder") from None
        self._name = f"{self._folder.name}.mcap"
        self._reserve = self._folder / ".reserve"
        with suppress(OSError):  # on a full disk the first write fails
            with open(self._reserve, "wb") as file:
                os.posix_fallocate(file.fileno(), 0, RESERVE)
        self._file = ChunkFile(self._folder / self._name)
        self._writer = Writer(
            self._file, CHUNK_SIZE, CompressionType.ZSTD, index_types=IndexType.CHUNK | IndexType.MESSAGE
        )
        self._is_open, self._count = True, 0
        self._topics: dict[int, Topic] = {}
        self._numbers: dict[str, int] = {}
        self._schemas: dict[str, Schema] = {}
        self._channels: list[Channel] = []
        self._accepts(lambda: self._writer.start(profile="ros2", library="uma_ros"))

    @property
    def num_messages(self) -> int:
        """Number of messages, including the unwritten chunk; after an error, of readable messages."""
        return sum(self._counts().values()) if self.trouble else self._count

    def add_topic(self, topic: str, kind: type, offered: QoSProfile) -> None:
        """Add a topic and its message class, before the first message on it."""
        name = type_name(kind)
        definition, _ = typestore().generate_msgdef(name, ros_version=2)
        digest = typestore().hash_rihs01(name)
        self._numbers[topic] = self.add_channel(Topic(topic, name, digest, profiles_of(offered)), definition)

    def add_channel(self, topic: Topic, definition: str) -> int:
        """Add a topic with the text of its message definition (ros2msg). Return the channel id for `write_to`."""
        self._accepts(lambda: self._register(topic, definition))
        return len(self._channels)

    def _register(self, topic: Topic, definition: str) -> None:
        if topic.kind not in self._schemas:
            data = definition.encode()
            number = self._writer.register_schema(topic.kind, "ros2msg", data)
            self._schemas[topic.kind] = Schema(id=number, data=data, encoding="ros2msg", name=topic.kind)
        schema, about = self._schemas[topic.kind].id, {"offered_qos_profiles": dump(topic.profiles).strip()}
        number = self._writer.register_channel(topic.name, "cdr", schema, about)
        self._channels.append(Channel(number, topic.name, "cdr", about, schema))
        self._topics[number] = topic

    def write(self, topic: str, time_ns: int, data: bytes) -> bool:
        """Add a message. Return False if the bag is closed; `trouble` contains the reason."""
        return self._is_open and self.write_to(self._numbers[topic], time_ns, data)

    def write_to(self, channel: int, time_ns: int, data: bytes) -> bool:
        """Add a message by the channel id of `add_channel`, because two channels may have the same topic."""
        self._count += 1
        return self._accepts(lambda: self._writer.add_message(channel, time_ns, data, time_ns))

    def close(self) -> None:
        """Write the index and the metadata."""
        if not self._is_open or not self._accepts(self._writer.flush):
            return
        self._is_open = False
        self._reserve.unlink(missing_ok=True)
        if error := self._end():
            self._end_short(error)

    def _accepts(self, step: Callable[[], object]) -> bool:
        """Run a step of writing. On an OSError close the bag. Return whether the bag is open.

        Any other exception, as an interrupt, also closes the bag after its complete chunks, and is raised.
        """
        if not self._is_open:
            return False
        try:
            step()
        except OSError as error:
            self._end_short(error)
        except BaseException as error:  # the writer may be in the middle of a chunk
            self._end_short(OSError(f"interrupted by {type(error).__name__}"))
            raise
        return self._is_open

    def _end_short(self, error: OSError) -> None:
        """Close the bag after its complete chunks. Drop chunks until the index fits on the disk."""
        self._is_open, self.trouble = False, f"writing failed: {error.strerror or error}"
        self._reserve.unlink(missing_ok=True)
        while self._file.has_header:
            if self._end() is None:
                return
            if not self._file.chunks:
                break
            self._file.chunks.pop()
        self._file.close()
        self.trouble += "; the index of the bag could not be written"

    def _end(self) -> OSError | None:
        """End the file after its last complete chunk, and write metadata.yaml, which is optional.

        Returns:
            The error of writing the index; None on success.
        """
        chunks, counts = self._file.chunks, self._counts()
        about = information(
            self._name,
            [(topic, counts.get(number, 0)) for number, topic in self._topics.items()],
            min((chunk.index.message_start_time for chunk in chunks), default=2**63 - 1),
            max((chunk.index.message_end_time for chunk in chunks), default=0),
        )
        try:
            self._file.cut()
            self._file.append(
                ending(self._file.tell(), list(self._schemas.values()), self._channels, chunks, dump(about))
            )
            self._file.close()
        except OSError as error:
            return error
        with suppress(OSError):
            part = self._folder / "metadata.yaml.part"
            part.write_text(dump({"rosbag2_bagfile_information": about}))
            os.replace(part, self._folder / "metadata.yaml")
        return None

    def _counts(self) -> dict[int, int]:
        """Return the number of messages in the complete chunks by channel id."""
        counts: dict[int, int] = {}
        for chunk in self._file.chunks:
            for number, count in chunk.counts.items():
                counts[number] = counts.get(number, 0) + count
        return counts
