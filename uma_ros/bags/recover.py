"""`uma recover BAG`: a bag whose recorder was killed, or whose machine lost its power, made readable again."""

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
    path: str | Path, out: str | Path, told: Callable[[int, int], object] = lambda done, total: None
) -> tuple[int, int, int]:
    """Copy what is whole in the bag at ``path`` to a new one at ``out``, with the index that was never written.

    The recorder writes a chunk whenever a megabyte has come together; what had not come to the disk by then is lost,
    and so is whatever lies behind a damaged place.

    Args:
        told: called with bytes read, and bytes in all.

    Returns:
        Number of messages, and when the first and the last were recorded, in ns.

    Raises:
        InputError: there is no such bag, it is whole, ``out`` exists, or no message can be read.
    """
    with named(path):
        return _recover(path, Path(out), told)


def _recover(path: str | Path, out: Path, told: Callable[[int, int], object]) -> tuple[int, int, int]:
    file = storage(path)
    if file.is_dir():
        files = sorted(file.glob("*.mcap"))
        if len(files) != 1:
            raise InputError(f"bag {path}: {len(files)} MCAP files, must be one")
        file = files[0]
    if ends(file):
        raise InputError(f"bag {path}: is whole, there is nothing to recover")
    if out.exists():
        raise InputError(f"{out}: exists, must be a new folder")
    part = out.with_name(f"{out.name}.part-{os.getpid()}")
    channels, schemas, count, first, last = {}, {}, 0, 0, 0
    try:
        writer = BagWriter(part / out.name)
        for record in _whole(file, told):
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
            raise InputError(f"bag {path}: not one message of it is whole")
        os.replace(part / out.name, out)
    finally:
        shutil.rmtree(part, ignore_errors=True)
    return count, first, last


def _whole(file: Path, told: Callable[[int, int], object]) -> Iterator[Any]:
    """Schemas, channels and messages, up to where the file ends or is damaged."""
    size = file.stat().st_size
    with open(file, "rb") as stream:
        records = iter(StreamReader(stream, emit_chunks=True, record_size_limit=size).records)
        while True:
            try:
                record = next(records, None)
                if record is None or isinstance(record, Chunk) and record.uncompressed_size > MAX_CHUNK:
                    return
                inner = breakup_chunk(record) if isinstance(record, Chunk) else [record]
            except (
                Exception
            ):  # whatever a torn record makes of the reader: struct.error, EndOfFile, zstd's own and more
                return
            told(stream.tell(), size)
            yield from inner


@dataclass(frozen=True)
class RecoverOptions:
    """Make a bag readable whose recorder was killed. The bag itself stays as it is."""

    bag: str = setting(MISSING, "folder of the bag, or its MCAP file")
    out: str = setting("", "folder of the new bag; empty: BAG-recovered")


def main(argv: list[str]) -> int:
    """Exit code 0 when a readable bag was written, 2 when there was nothing to do or to save."""
    args = from_words(RecoverOptions, argv, "uma recover")
    bag = Path(args.bag)
    out = Path(args.out) if args.out else bag.with_name(f"{bag.stem if bag.is_file() else bag.name}-recovered")
    with Progress(console=Console(stderr=True)) as progress:
        bar = progress.add_task("reading", total=None)
        count, first, last = recover(bag, out, lambda done, total: progress.update(bar, completed=done, total=total))
    print(f"{out}: {count} messages, {(last - first) * 1e-9:.1f} s")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
