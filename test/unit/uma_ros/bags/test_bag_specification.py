"""Bags that the formats' specifications allow and few programs write, and what they forbid."""

import sqlite3
import struct
import zlib

import pytest
import zstandard
from bag_files import T0, TEXT, cdr, db3, numbers

from uma.types import InputError
from uma_ros.bags.reader import bag_topics
from uma_ros.bags.storage import MAGIC

HEADER, FOOTER, SCHEMA, CHANNEL, MESSAGE, CHUNK = 1, 2, 3, 4, 5, 6
ATTACHMENT, METADATA, DATA_END = 9, 12, 15


def record(opcode: int, content: bytes = b"") -> bytes:
    return struct.pack("<BQ", opcode, len(content)) + content


def text(words: str) -> bytes:
    data = words.encode()
    return struct.pack("<I", len(data)) + data


def schema(number: int = 1, more: bytes = b"") -> bytes:
    content = struct.pack("<H", number) + text("std_msgs/msg/String") + text("ros2msg") + text(TEXT)
    return record(SCHEMA, content + more)


def channel(number: int = 1, topic: str = "/a", of: int = 1, qos: bytes = b"", more: bytes = b"") -> bytes:
    content = struct.pack("<HH", number, of) + text(topic) + text("cdr") + struct.pack("<I", len(qos)) + qos
    return record(CHANNEL, content + more)


def message(value: int, at: int | None = None, number: int = 1, published: int = 0) -> bytes:
    log_time = T0 + value if at is None else at
    return record(MESSAGE, struct.pack("<HIQQ", number, 0, log_time, published) + cdr(str(value)))


def chunk(records: bytes, crc: int | None = None, compression: str = "", size: int | None = None) -> bytes:
    pack = {"": bytes, "zstd": zstandard.compress, "snappy": lambda data: data[::-1]}
    stored = pack[compression](records)
    crc = zlib.crc32(records) if crc is None else crc
    content = struct.pack("<QQQI", T0, T0 + 9, len(records) if size is None else size, crc)
    return record(CHUNK, content + text(compression) + struct.pack("<Q", len(stored)) + stored)


def mcap_of(path, *records: bytes):
    end = record(DATA_END, struct.pack("<I", 0)) + record(FOOTER, struct.pack("<QQI", 0, 0, 0))
    path.write_bytes(MAGIC + record(HEADER, text("ros2") + text("")) + b"".join(records) + end + MAGIC)
    return path


def three(**options) -> bytes:
    return b"".join(message(i, **options) for i in range(3))


START = schema() + channel()
READ = {
    "private records": (START, record(0x80, b"ours"), three(), record(0xFF)),
    "a record of a later version": (START, record(0x40, bytes(9)), three()),
    "fields of a later version": (schema(more=bytes(7)), channel(more=bytes(5)), three()),
    "attachment": (START, record(ATTACHMENT, struct.pack("<QQ", 1, 1) + text("x") + text("y") + bytes(12)), three()),
    "metadata": (START, three(), record(METADATA, text("name") + struct.pack("<I", 0))),
    "the schema again": (START, schema(), channel(), three()),
    "two channels of one topic": (START, channel(2), message(0), message(1, number=2), message(2)),
    "a channel without a message": (START, channel(7, "/b"), three()),
    "an empty chunk": (chunk(b""), chunk(START + three())),
    "a checksum that is not there": (chunk(START + three(), crc=0),),
    "a schema in another chunk": (chunk(START + message(0)), chunk(message(1) + message(2))),
    "a small zstd chunk": (chunk(START + three(), compression="zstd"),),
    "a private record in a chunk": (chunk(START + record(0x90, b"x") + three()),),
    "times of zero": (START, three(at=0)),
    "profiles that are not text": (schema(), channel(qos=text("offered_qos_profiles") + text("no: [")), three()),
    "a topic of another alphabet": (schema(), channel(), channel(2, "/kamera/größe"), three()),
}


@pytest.mark.parametrize("name", READ)
def test_what_mcap_allows_is_read(tmp_path, name):
    assert numbers(mcap_of(tmp_path / "x.mcap", *READ[name])) == [0, 1, 2]


REFUSED = {
    "a wrong checksum": (chunk(START + three(), crc=1),),
    "an unknown compression": (chunk(START + three(), compression="snappy"),),
    "a chunk larger than it says": (chunk(START + three(), size=10, compression="zstd"),),
    "a message of no channel": (START, three(), message(3, number=9)),
    "a channel of no schema": (schema(), channel(of=5), three()),
    "a channel that changes its topic": (START, message(0), channel(topic="/b"), message(1)),
    "a short message": (START, record(MESSAGE, bytes(21)), three()),
    "a text longer than its record": (START, record(SCHEMA, struct.pack("<HI", 2, 10**6)), three()),
    "a name that is not UTF-8": (START, record(CHANNEL, struct.pack("<HHI", 2, 1, 2) + b"\xff\xfe"), three()),
    "a list of topics only": (channel(),),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_mcap_forbids_names_the_bag(tmp_path, name):
    path = mcap_of(tmp_path / "x.mcap", *REFUSED[name])
    with pytest.raises(InputError, match=r"^bag .*x\.mcap: "):
        numbers(path)


def changed(path, *statements: str):
    base = sqlite3.connect(db3(path))
    for statement in statements:
        base.execute(statement)
        base.commit()
    base.close()
    return path


ALLOWED = {
    "rows out of order": "UPDATE messages SET id = 100 - id",
    "topics in another order": "UPDATE topics SET id = 7 WHERE name = '/b'",
    "a topic without messages": "INSERT INTO topics VALUES(9, '/c', 'x_msgs/msg/Unknown', 'cdr', '')",
    "a table of another program": "CREATE TABLE notes(text)",
    "a schema table": "CREATE TABLE schema(schema_version INTEGER, ros_distro TEXT)",
    "a column of a later version": "ALTER TABLE messages ADD COLUMN publish_time INTEGER",
    "a hash of the type": "ALTER TABLE topics ADD COLUMN type_description_hash TEXT",
    "without the index": "DROP INDEX timestamp_idx",
    "a write-ahead log": "PRAGMA journal_mode = WAL",
    "larger pages": "VACUUM",
}


@pytest.mark.parametrize("name", ALLOWED)
def test_what_rosbag2_allows_in_sqlite_is_read(tmp_path, name):
    before = ["PRAGMA page_size = 65536"] if name == "larger pages" else []
    assert numbers(changed(tmp_path / "x.db3", *before, ALLOWED[name])) == [0, 1, 2]


FORBIDDEN = {
    "no table of topics": "DROP TABLE topics",
    "no table of messages": "DROP TABLE messages",
    "a topic that is not there": "UPDATE messages SET topic_id = 5",
    "no data": "UPDATE messages SET data = x'' WHERE id = 2",
    "text for data": "UPDATE messages SET data = 'abc' WHERE id = 2",
    "text for a time": "UPDATE messages SET timestamp = 'noon' WHERE id = 2",
    "a broken time": "UPDATE messages SET timestamp = 1.5 WHERE id = 2",
    "a number for a name": "UPDATE topics SET name = x'ff'",
    "no column of types": "ALTER TABLE topics DROP COLUMN type",
    "no column of data": "ALTER TABLE messages DROP COLUMN data",
}


@pytest.mark.parametrize("name", FORBIDDEN)
def test_what_rosbag2_forbids_in_sqlite_names_the_bag(tmp_path, name):
    path = changed(tmp_path / "x.db3", FORBIDDEN[name])
    with pytest.raises(InputError, match=r"^bag .*x\.db3: "):
        numbers(path)
    try:
        bag_topics(path)
    except InputError as error:
        assert "x.db3" in str(error)


def test_without_an_index_the_order_is_the_files(tmp_path):
    assert numbers(mcap_of(tmp_path / "x.mcap", START, message(2), message(0), message(1))) == [2, 0, 1]
