"""Bags of every form, written for the tests of their reader."""

import sqlite3

import yaml
import zstandard
from mcap.writer import CompressionType, Writer
from rclpy.serialization import serialize_message
from rosbags.rosbag2 import CompressionFormat
from rosbags.rosbag2 import Writer as OtherWriter
from std_msgs.msg import String

from uma_ros.bags.reader import read_bag, typestore

TEXT = "string data\n"
T0 = 10**18


def cdr(text: str) -> bytes:
    return serialize_message(String(data=text))


def mcap(path, numbers=range(3), topic="/a", schema="ros2msg", encoding="cdr", **options):
    """An MCAP file of another program, with a message per number."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path, "wb") as file:
        writer = Writer(file, **{"compression": CompressionType.NONE, **options})
        writer.start("ros2")
        kind = writer.register_schema("std_msgs/msg/String", schema, TEXT.encode()) if schema is not None else 0
        channel = writer.register_channel(topic, encoding, kind)
        for i in numbers:
            writer.add_message(channel, T0 + i, cdr(str(i)), T0 + i)
        writer.finish()
    return path


def db3(path, numbers=range(3), profiles=True, encoding="cdr"):
    """A SQLite file as rosbag2 writes it: of Dashing without profiles, of later ones with them."""
    path.parent.mkdir(parents=True, exist_ok=True)
    extra, more = (", offered_qos_profiles TEXT NOT NULL", ", ''") if profiles else ("", "")
    db = sqlite3.connect(path)
    db.executescript(
        "CREATE TABLE topics(id INTEGER PRIMARY KEY, name TEXT NOT NULL, type TEXT NOT NULL, serialization_format TEXT "
        f"NOT NULL{extra}); CREATE TABLE messages(id INTEGER PRIMARY KEY, topic_id INTEGER NOT NULL, timestamp INTEGER "
        "NOT NULL, data BLOB NOT NULL); CREATE INDEX timestamp_idx ON messages (timestamp ASC);"
        f"INSERT INTO topics VALUES(1, '/a', 'std_msgs/msg/String', '{encoding}'{more});"
        f"INSERT INTO topics VALUES(2, '/b', 'std_msgs/msg/String', '{encoding}'{more});"
    )
    for i in numbers:
        db.execute("INSERT INTO messages(topic_id, timestamp, data) VALUES(1, ?, ?)", (T0 + i, cdr(str(i))))
    db.commit()
    db.close()
    return path


def packed(path):
    """The file compressed by zstd beside itself, which goes."""
    out = path.with_name(path.name + ".zstd")
    out.write_bytes(zstandard.compress(path.read_bytes()))
    path.unlink()
    return out


def metadata(folder, files, version=9, storage="mcap", **more):
    about = {
        "version": version,
        "storage_identifier": storage,
        "relative_file_paths": files,
        "duration": {"nanoseconds": 5},
        "starting_time": {"nanoseconds_since_epoch": T0},
        "message_count": 6,
        "topics_with_message_count": [],
        "compression_format": "",
        "compression_mode": "",
        **more,
    }
    (folder / "metadata.yaml").write_text(yaml.safe_dump({"rosbag2_bagfile_information": about}))


def of_rosbags(path, plugin, mode=None):
    writer = OtherWriter(path, version=9, storage_plugin=plugin)
    if mode is not None:
        writer.set_compression(mode, CompressionFormat.ZSTD)
    with writer:
        connection = writer.add_connection("/a", "std_msgs/msg/String", typestore=typestore())
        for i in range(3):
            writer.write(connection, T0 + i, cdr(str(i)))
    return path


def numbers(path, topic="/a"):
    return [int(m.data) for _, _, m in read_bag(path, {topic: String})]
