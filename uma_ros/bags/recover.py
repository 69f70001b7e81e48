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
from uma_ros.bags.metadata import Topic, parse_profiles
from uma_ros.bags.reader import MAX_CHUNK, ends, named, storage, typestore
from uma_ros.bags.writer import BagWriter


def recover(
    path: str | Path, out: str | Path, progress: Callable[[int, int], object] = lambda done, total: None
) -> tuple[int, int, int]:
    """Copy the complete chunks of the bag at ``path`` to a new bag with an index at ``out``.

    The recorder writes chunks of a megabyte. The unwritten chunk is lost, and so is everything after damaged data.

    Args:
        progress: called with the number of read bytes and the size of the file.

    Returns:
        Number of messages, and the times of the first and the last, ns.

    Raises:
        InputError: the bag is missing or complete, ``out`` exists, or no message is readable.
    """
    with named(path):
        return _recover(path, Path(out), progress)


def _recover(path: str | Path, out: Path, progress: Callable[[int, int], object]) -> tuple[int, int, int]:
    file = storage(path)
    if file.is_dir():
        files = sorted(file.glob("*.mcap"))
        if len(files) != 1:
            raise InputError(f"bag {path}: {len(files)} MCAP files, must be one")
        file = files[0]
    if ends(file):
        raise InputError(f"bag {path}: complete, there is nothing to recover")
    if out.exists():
        raise InputError(f"{out}: exists, must be a new folder")
    part = out.with_name(f"{out.name}.part-{os.getpid()}")
    channels, schemas, count, first, last = {}, {}, 0, 0, 0
    try:
        writer = BagWriter(part / out.name)
        for record in _whole(file, progress):
            if isinstance(record, Schema):
                schemas[record.id] = record
            elif isinstance(record, Channel) and record.id not in channels and record.schema_id in schemas:
                schema = schemas[record.schema_id]
                known = schema.name in typestore().types
                profiles = parse_profiles(record.metadata.get("offered_qos_profiles", ""))
                topic = Topic(
                    record.topic, schema.name, typestore().hash_rihs01(schema.name) if known else "", profiles
                )
                channels[record.id] = writer.add_channel(topic, schema.data.decode())
            elif isinstance(record, Message) and record.channel_id in channels:
                writer.write_to(channels[record.channel_id], record.log_time, record.data)
                count, first, last = count + 1, first or record.log_time, record.log_time
        writer.close()
        if writer.trouble:
            raise InputError(f"{out}: {writer.trouble}")
        if not count:
            raise InputError(f"bag {path}: no readable message")
        os.replace(part / out.name, out)
    finally:
        shutil.rmtree(part, ignore_errors=True)
    return count, first, last


def _whole(file: Path, progress: Callable[[int, int], object]) -> Iterator[Any]:
    """Yield schemas, channels and messages up to the end of the file or the first damaged record."""
    size = file.stat().st_size
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
            progress(stream.tell(), size)
            yield from inner


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
        count, first, last = recover(bag, out, lambda done, total: display.update(bar, completed=done, total=total))
    print(f"{out}: {count} messages, {(last - first) * 1e-9:.1f} s")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
