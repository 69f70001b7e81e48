"""Bags on a disk that takes no more: whole up to then. And damaged bags, refused by name."""

import os
import resource
import subprocess
import sys

import pytest
from harness import ROOT
from rclpy.serialization import serialize_message
from std_msgs.msg import String

from uma.types import InputError
from uma_ros.bags.chunks import ChunkFile
from uma_ros.bags.reader import bag_topics, read_bag
from uma_ros.bags.writer import BagWriter
from uma_ros.offline.recording import read_recording
from uma_ros.runtime.topics import STATUS

FILL = """
import os, resource, sys
from pathlib import Path
from rclpy.serialization import serialize_message
from std_msgs.msg import String
from uma_ros.bags.writer import BagWriter
from uma_ros.runtime.topics import STATUS
bag = BagWriter(sys.argv[1])
bag.add_topic("/a", String, STATUS)
path = next(Path(sys.argv[1]).glob("*.mcap"))
for i in range(400):
    data = serialize_message(String(data=os.urandom(20_000).hex()))
    if i == int(sys.argv[3]):
        spare = int(sys.argv[2])
        resource.setrlimit(resource.RLIMIT_FSIZE, (path.stat().st_size + spare, resource.RLIM_INFINITY))
    if not bag.write("/a", 10**18 + i, data):
        break
bag.close()
print(i, bag.num_messages, bag.trouble)
"""


@pytest.mark.parametrize("spare", [0, 700, 300_000])
def test_when_the_disk_takes_no_more_the_bag_is_whole_up_to_then(tmp_path, spare):
    ended = subprocess.run(
        [sys.executable, "-c", FILL, str(tmp_path / "bag"), str(spare), "200"],
        capture_output=True,
        text=True,
        timeout=120,
        cwd=ROOT,
    )
    assert ended.returncode == 0, ended.stderr
    stopped, kept, trouble = ended.stdout.strip().split(" ", 2)
    assert trouble.startswith("writing failed") and "could not be written" not in trouble
    assert 100 < int(kept) <= int(stopped) < 399
    times = [t for _, t, _ in read_bag(tmp_path / "bag", {"/a": String})]
    assert times == [10**18 + i for i in range(int(kept))], "the messages until then, each once"
    assert bag_topics(tmp_path / "bag") == {"/a": ("std_msgs/msg/String", int(kept))}
    assert not (tmp_path / "bag/.reserve").exists()


def test_full_disk_at_the_start_leaves_no_file(tmp_path):
    ended = subprocess.run(
        [sys.executable, "-c", FILL, str(tmp_path / "bag"), "0", "0"],
        capture_output=True,
        text=True,
        timeout=120,
        cwd=ROOT,
    )
    assert ended.returncode == 0, ended.stderr
    _, kept, trouble = ended.stdout.strip().split(" ", 2)
    assert kept == "0" and trouble.startswith("writing failed") and "index of the bag could not be written" in trouble
    with pytest.raises(InputError, match="^bag .*bag"):
        bag_topics(tmp_path / "bag")


def bag(path, *messages):
    """A bag of (topic, message)."""
    writer = BagWriter(path)
    for topic, msg in dict(messages).items():
        writer.add_topic(topic, type(msg), STATUS)
    for i, (topic, msg) in enumerate(messages):
        writer.write(topic, 10**18 + i, serialize_message(msg))
    writer.close()
    return path


@pytest.mark.parametrize("part", [0.0, 0.3, 1.0])
def test_an_interrupted_write_leaves_a_whole_bag(tmp_path, monkeypatch, part):
    append, writes = ChunkFile.append, []

    def interrupted(self, data):
        writes.append(len(data))
        if len(data) > 10_000 and sum(size > 10_000 for size in writes) == 3:
            append(self, data[: int(part * len(data))])
            raise KeyboardInterrupt
        append(self, data)

    monkeypatch.setattr(ChunkFile, "append", interrupted)
    writer, count = BagWriter(tmp_path / "bag"), 0
    writer.add_topic("/a", String, STATUS)
    with pytest.raises(KeyboardInterrupt):
        while count < 1000:
            writer.write("/a", 10**18 + count, serialize_message(String(data=os.urandom(20_000).hex())))
            count += 1
    writer.close()
    times = [t for _, t, _ in read_bag(tmp_path / "bag", {"/a": String})]
    assert 25 < len(times) <= count < 1000 and times == [10**18 + i for i in range(len(times))]
    assert writer.num_messages == len(times) and "interrupted by KeyboardInterrupt" in writer.trouble


def test_a_bag_without_its_metadata_is_read_all_the_same(tmp_path):
    path = bag(tmp_path / "bag", ("/a", String(data="x")))
    (path / "metadata.yaml").unlink()
    assert [m.data for _, _, m in read_bag(path, {"/a": String})] == ["x"]


def test_a_damaged_bag_is_refused_by_name(tmp_path):
    path = bag(tmp_path / "bag", *[("/a", String(data="x" * 100))] * 50)
    file = next(path.glob("*.mcap"))
    whole = file.read_bytes()
    for data in (whole[:200], whole[:-1], whole[:120] + b"\xff" * 60 + whole[180:], b""):
        file.write_bytes(data)
        with pytest.raises(InputError, match="^bag .*bag"):
            list(read_bag(path, {"/a": String}))


def test_another_type_on_a_topic_is_named(tmp_path):
    from std_msgs.msg import Header

    path = bag(tmp_path / "bag", ("/a", String(data="x")))
    with pytest.raises(InputError, match="/a: std_msgs/msg/String, must be std_msgs/msg/Header"):
        list(read_bag(path, {"/a": Header}))


@pytest.mark.parametrize("text", ["[1, 2]", "verdict: ok", "x: !!int ''", "a: &a [*a]", "node"])
def test_a_configuration_that_is_none_is_named(tmp_path, text):
    path = bag(tmp_path / "bag", ("/uma/configuration", String(data=text)))
    with pytest.raises(InputError, match="/uma/configuration"):
        read_recording(path)


def test_on_a_small_file_system_too(tmp_path):
    """The same on a real full file system, if one can be mounted."""
    if (
        os.geteuid()
        or subprocess.run(
            ["mount", "-t", "tmpfs", "-o", "size=6m", "none", str(tmp_path)], capture_output=True
        ).returncode
    ):
        pytest.skip("mounting a file system is not permitted here")
    try:
        assert resource.getrlimit(resource.RLIMIT_FSIZE)[0] == resource.RLIM_INFINITY
        writer = BagWriter(tmp_path / "bag")
        writer.add_topic("/a", String, STATUS)
        count = 0
        while writer.write("/a", 10**18 + count, serialize_message(String(data=os.urandom(20_000).hex()))):
            count += 1
            assert count < 1000
        kept = writer.num_messages
        assert "No space left" in writer.trouble and 50 < kept <= count
        assert (
            len(list(read_bag(tmp_path / "bag", {"/a": String}))) == kept and (tmp_path / "bag/metadata.yaml").exists()
        )
    finally:
        subprocess.run(["umount", str(tmp_path)], check=True)


def test_a_record_longer_than_its_file_takes_no_memory(tmp_path):
    path = bag(tmp_path / "bag", ("/a", String(data="x")))
    file = next(path.glob("*.mcap"))
    data = bytearray(file.read_bytes())
    data[9:17] = (10**12).to_bytes(8, "little")
    file.write_bytes(data)
    with pytest.raises(InputError, match="a record of 1000000000000 bytes in a file of"):
        bag_topics(path)


def test_the_index_is_the_one_that_mcap_writes(tmp_path):
    """Byte for byte the file of mcap's own `finish`, with the same metadata record."""
    from mcap.reader import make_reader
    from mcap.writer import IndexType, Writer

    written = next(
        bag(tmp_path / "bag", *[("/a", String(data="x" * 200_000)), ("/b", String(data="y"))] * 8).glob("*.mcap")
    )
    with open(written, "rb") as f, open(tmp_path / "other.mcap", "wb") as out:
        reader = make_reader(f, validate_crcs=True)
        writer = Writer(out, index_types=IndexType.CHUNK | IndexType.MESSAGE | IndexType.METADATA)
        writer.start(profile="ros2", library="uma_ros")
        summary = reader.get_summary()
        for schema in summary.schemas.values():
            writer.register_schema(schema.name, schema.encoding, schema.data)
        for channel in summary.channels.values():
            writer.register_channel(channel.topic, channel.message_encoding, channel.schema_id, channel.metadata)
        for _, channel, message in reader.iter_messages():
            writer.add_message(channel.id, message.log_time, message.data, message.publish_time)
        writer.flush()
        for record in reader.iter_metadata():
            writer.add_metadata(record.name, record.metadata)
        writer.finish()
    assert summary.statistics.chunk_count == 2 and summary.statistics.message_count == 16
    assert written.read_bytes() == (tmp_path / "other.mcap").read_bytes()


def test_a_bag_without_messages_is_read(tmp_path):
    path = bag(tmp_path / "bag")
    assert bag_topics(path) == {} and list(read_bag(path)) == []
    writer = BagWriter(tmp_path / "topic")
    writer.add_topic("/a", String, STATUS)
    writer.close()
    assert bag_topics(tmp_path / "topic") == {"/a": ("std_msgs/msg/String", 0)}


def test_a_folder_that_exists_is_refused(tmp_path):
    with pytest.raises(InputError, match="exists, must be a new folder"):
        BagWriter(tmp_path)


def test_profiles_of_older_bags_are_read():
    from uma_ros.bags.metadata import dump, parse_profiles, profiles_of
    from uma_ros.runtime.topics import LATCHED

    profiles = profiles_of(LATCHED)
    assert parse_profiles(dump(profiles)) == profiles and parse_profiles("") == []
    older = [{**profiles[0], "history": 1, "reliability": 1, "durability": 1, "liveliness": 1}]
    assert parse_profiles(dump(older)) == profiles
    with pytest.raises(ValueError, match="offered_qos_profiles: .*, must be a list of profiles"):
        parse_profiles("[1]")
