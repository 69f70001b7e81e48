"""`uma recover BAG`: recover a bag whose recorder was killed or whose machine lost power."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Callable, Iterator
from dataclasses import MISSING, dataclass
from pathlib import Path
from typing import Any

from mcap.records import Channel, Chunk, Message, Schema
from mcap.stream_reader import StreamReader, breakup_chunk
from rich.console import Console
from rich.progress import Progress

from uma.settings import from_words, setting
from uma.types import InputError
from uma_ros.bags.metadata import Profiles, Topic, parse_profiles
from uma_ros.bags.reader import named, typestore
from uma_ros.bags.storage import MAGIC, files_of, kind_of
from uma_ros.bags.tables import MAX_CHUNK, ends, problem_of
from uma_ros.bags.writer import BagWriter


def recover(
    path: str | Path,
    out: str | Path,
    progress: Callable[[int, int], object] = lambda done, total: None,
    left_out: Callable[[str, str], object] = lambda topic, reason: None,
) -> tuple[int, int, int]:
    """Copy the complete chunks of the bag at ``path`` to a new bag with an index at ``out``.

    The recorder writes chunks of a megabyte. The unwritten chunk is lost, and so is everything after damaged data. The
    files of a split bag become one file.

    Args:
        progress: called with the number of read bytes and the size of all files.
        left_out: called with each topic that is not in ROS 2's format, and the reason.

    Returns:
        Number of messages, and the times of the first and the last, ns.

    Raises:
        InputError: the bag is missing or complete, ``out`` exists, or no message is readable.
    """
    with named(path):
        return _recover(path, Path(out), progress, left_out)


def _torn(path: str | Path) -> list[Path]:
    """Return the MCAP files of a bag of which at least one was not closed."""
    files = files_of(path)
    for file in files:
        with open(file, "rb") as f:
            if f.read(len(MAGIC)) == MAGIC:
                continue
        kind = kind_of(file, f"bag {path}")
        why = "SQLite keeps all that was written" if kind == "db3" else "unpack it first: `unzstd FILE`"
        raise InputError(f"bag {path}: {file.name}: there is nothing to recover, must be an MCAP file; {why}")
    if all(ends(file) for file in files):
        raise InputError(f"bag {path}: complete, there is nothing to recover")
    return files


class _Copy:
    """Copies the records of MCAP files to a writer, with one channel per topic and type."""

    def __init__(self, writer: BagWriter, left_out: Callable[[str, str], object]) -> None:
        self._writer, self._left_out = writer, left_out
        self._schemas: dict[int, Schema] = {}
        self._channels: dict[int, int | None] = {}
        self._known: dict[tuple[str, str], int] = {}
        self.count = self.first = self.last = 0

    def begin_file(self) -> None:
        """Forget the ids of the previous file."""
        self._schemas.clear()
        self._channels.clear()

    def take(self, record: Any) -> None:
        if isinstance(record, Schema):
            self._schemas[record.id] = record
        elif isinstance(record, Channel) and record.id not in self._channels:
            self._channels[record.id] = self._channel(record)
        elif isinstance(record, Message) and (number := self._channels.get(record.channel_id)) is not None:
            self._writer.write_to(number, record.log_time, record.data)
            self.count, self.first, self.last = self.count + 1, self.first or record.log_time, record.log_time

    def _channel(self, record: Channel) -> int | None:
        """Return the writer's channel; None for one that is not in ROS 2's format."""
        schema = self._schemas.get(record.schema_id)
        problem = problem_of(record.message_encoding, schema.encoding if schema else None)
        if not problem and schema is not None and schema.encoding not in ("ros2msg", ""):
            problem = f"types in {schema.encoding}, not in ros2msg"
        if problem or schema is None:
            self._left_out(record.topic, problem)
            return None
        key = (record.topic, schema.name)
        if key not in self._known:
            digest = typestore().hash_rihs01(schema.name) if schema.name in typestore().types else ""
            profiles = profiles_or_none(record.metadata.get("offered_qos_profiles", ""))
            topic = Topic(record.topic, schema.name, digest, profiles)
            self._known[key] = self._writer.add_channel(topic, schema.data.decode())
        return self._known[key]


def profiles_or_none(text: str) -> Profiles:
    """Return the profiles in a channel's metadata; none if they are unreadable: a player then offers its defaults."""
    try:
        return parse_profiles(text)
    except ValueError:
        return []


def _recover(
    path: str | Path,
    out: Path,
    progress: Callable[[int, int], object],
    left_out: Callable[[str, str], object],
) -> tuple[int, int, int]:
    files = _torn(path)
    if out.exists():
        raise InputError(f"{out}: exists, must be a new folder")
    part = out.with_name(f"{out.name}.part-{os.getpid()}")
    sizes, done = [file.stat().st_size for file in files], 0
    try:
        writer = BagWriter(part / out.name)
        copy = _Copy(writer, left_out)
        for file, size in zip(files, sizes):
            copy.begin_file()
            for record, at in _whole(file, size):
                progress(done + at, sum(sizes))
                copy.take(record)
            done += size
        writer.close()
        if writer.trouble:
            raise InputError(f"{out}: {writer.trouble}")
        if not copy.count:
            raise InputError(f"bag {path}: no readable message")
        os.replace(part / out.name, out)
    finally:
        shutil.rmtree(part, ignore_errors=True)
    return copy.count, copy.first, copy.last


def _whole(file: Path, size: int) -> Iterator[tuple[Any, int]]:
    """Yield schemas, channels and messages, each with the number of read bytes, up to the first damaged record."""
    with open(file, "rb") as stream:
        records = iter(StreamReader(stream, emit_chunks=True, record_size_limit=size).records)
        while True:
            try:
                record = next(records, None)
                if record is None or isinstance(record, Chunk) and record.uncompressed_size > MAX_CHUNK:
                    return
                inner = breakup_chunk(record) if isinstance(record, Chunk) else [record]
            except Exception:  # a torn record raises any type: struct.error, EndOfFile, zstd's own
                return
            for one in inner:
                yield one, stream.tell()


@dataclass(frozen=True)
class RecoverOptions:
    """Recover a bag whose recorder was killed. The bag itself stays unchanged."""

    bag: str = setting(MISSING, "folder of the bag, or its MCAP file")
    out: str = setting("", "folder of the new bag; empty: BAG-recovered")


def main(argv: list[str]) -> int:
    """Run the command. Return 0; `InputError` (exit code 2) if there is nothing to recover."""
    args = from_words(RecoverOptions, argv, "uma recover")
    bag = Path(args.bag)
    out = Path(args.out) if args.out else bag.with_name(f"{bag.stem if bag.is_file() else bag.name}-recovered")
    with Progress(console=Console(stderr=True)) as display:
        bar = display.add_task("reading", total=None)
        count, first, last = recover(
            bag,
            out,
            lambda done, total: display.update(bar, completed=done, total=total),
            lambda topic, reason: print(f"left out: {topic}: {reason}", file=sys.stderr),
        )
    print(f"{out}: {count} messages, {(last - first) * 1e-9:.1f} s")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
