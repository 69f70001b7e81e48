"""Bags of every form on the disk: one idea of a bag for every reader, and what is no bag is named as what it is."""

import sqlite3

import pytest
import yaml
import zstandard
from mcap.writer import CompressionType, Writer
from rclpy.serialization import serialize_message
from rosbags.rosbag2 import CompressionFormat, CompressionMode, StoragePlugin
from rosbags.rosbag2 import Writer as OtherWriter
from std_msgs.msg import String

from uma.cli import main
from uma.types import InputError
from uma_ros.bags import tables
from uma_ros.bags.candidates import candidates, chosen_topics, describe
from uma_ros.bags.metadata import dump, parse_profiles, profiles_of
from uma_ros.bags.reader import bag_channels, bag_topics, read_bag, typestore
from uma_ros.bags.recover import profiles_or_none, recover
from uma_ros.bags.storage import is_bag
from uma_ros.bags.tables import Channel
from uma_ros.bags.writer import BagWriter
from uma_ros.runtime.topics import LATCHED, STATUS, Topics

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


# -- forms that are read -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("plugin", [StoragePlugin.MCAP, StoragePlugin.SQLITE3])
@pytest.mark.parametrize("mode", [None, CompressionMode.FILE, CompressionMode.MESSAGE])
@pytest.mark.parametrize("has_metadata", [True, False])
def test_a_folder_of_every_storage_and_compression(tmp_path, plugin, mode, has_metadata):
    path = of_rosbags(tmp_path / "bag", plugin, mode)
    if not has_metadata:
        (path / "metadata.yaml").unlink()
    assert numbers(path) == [0, 1, 2] and bag_topics(path) == {"/a": ("std_msgs/msg/String", 3)}
    (file,) = (f for f in path.iterdir() if f.name != "metadata.yaml")
    assert numbers(file) == [0, 1, 2] and is_bag(path) and is_bag(file)


@pytest.mark.parametrize("compression", list(CompressionType))
@pytest.mark.parametrize(
    "options",
    [{}, {"use_chunking": False}, {"use_statistics": False}, {"use_summary_offsets": False}, {"chunk_size": 9}],
)
def test_mcap_with_and_without_chunks_and_index(tmp_path, compression, options):
    path = mcap(tmp_path / "x.mcap", range(40), compression=compression, **options)
    assert numbers(path) == list(range(40)) and bag_topics(path) == {"/a": ("std_msgs/msg/String", 40)}


def test_mcap_without_a_summary_is_read_to_its_end(tmp_path):
    from mcap.writer import IndexType

    path = mcap(
        tmp_path / "x.mcap",
        range(40),
        index_types=IndexType.NONE,
        repeat_channels=False,
        repeat_schemas=False,
        use_statistics=False,
        use_summary_offsets=False,
    )
    assert numbers(path) == list(range(40))


@pytest.mark.parametrize("profiles", [True, False])
def test_sqlite_of_every_distro_is_read_and_not_written(tmp_path, profiles):
    path = db3(tmp_path / "bag/bag_0.db3", profiles=profiles)
    before = path.read_bytes()
    assert numbers(path) == numbers(path.parent) == [0, 1, 2]
    assert bag_topics(path)["/b"] == ("std_msgs/msg/String", 0)
    assert path.read_bytes() == before and [f.name for f in path.parent.iterdir()] == ["bag_0.db3"]


@pytest.mark.parametrize("write, suffix", [(mcap, "mcap"), (db3, "db3")])
@pytest.mark.parametrize("listed", [None, "names", "with the folder", "renamed"])
def test_split_files_are_one_bag_in_order(tmp_path, write, suffix, listed):
    folder = tmp_path / "bag"
    for i in range(12):  # 10 comes after 9, not after 1
        write(folder / f"bag_{i}.{suffix}", range(2 * i, 2 * i + 2))
    before = "bag/" if listed == "with the folder" else "old" if listed == "renamed" else ""
    if listed:
        metadata(folder, [f"{before}bag_{i}.{suffix}" for i in range(12)], 3 if before == "bag/" else 9)
    assert numbers(folder) == list(range(24)) and bag_topics(folder)["/a"][1] == 24


def test_files_with_disordered_names_are_in_the_order_of_time(tmp_path):
    for name, start in (("x_0", 20), ("x_1", 0), ("x_2", 10)):
        mcap(tmp_path / f"bag/{name}.mcap", range(start, start + 2))
    assert numbers(tmp_path / "bag") == [0, 1, 10, 11, 20, 21]


def test_compressed_files_are_unpacked_whatever_metadata_says(tmp_path):
    for i in range(2):
        packed(mcap(tmp_path / f"bag/bag_{i}.mcap", range(3 * i, 3 * i + 3)))
    assert numbers(tmp_path / "bag") == list(range(6))
    metadata(tmp_path / "bag", ["bag_0.mcap", "bag_1.mcap"])
    assert numbers(tmp_path / "bag") == list(range(6))
    metadata(
        tmp_path / "bag", ["bag_0.mcap.zstd", "bag_1.mcap.zstd"], compression_mode="FILE", compression_format="zstd"
    )
    assert numbers(tmp_path / "bag") == list(range(6)) == numbers(tmp_path / "bag/metadata.yaml")


@pytest.mark.parametrize(
    "text", ["", "version 12", "offered_qos_profiles: numbers", "lies about the counts", "no topics"]
)
def test_what_metadata_says_of_the_topics_does_not_matter(tmp_path, text):
    mcap(tmp_path / "bag/bag_0.mcap")
    if text:
        row = {"message_count": 99, "topic_metadata": {"name": "/a", "offered_qos_profiles": "- history: 77"}}
        metadata(tmp_path / "bag", ["bag_0.mcap"], 12, topics_with_message_count=[row])
    else:
        (tmp_path / "bag/metadata.yaml").write_text("")  # after a power cut
    assert numbers(tmp_path / "bag") == [0, 1, 2] and bag_topics(tmp_path / "bag")["/a"][1] == 3


@pytest.mark.parametrize("name", ["x.bin", "noname", "x.db3", "x.mcap.bak"])
def test_a_file_is_known_by_its_content(tmp_path, name):
    path = mcap(tmp_path / name)
    assert is_bag(path) and numbers(path) == [0, 1, 2]


# -- what is refused by name -------------------------------------------------------------------------------------------

OTHERS = {
    "ROS 1": (b"#ROSBAG V2.0\nE\x00\x00\x00", "a ROS 1 bag; `rosbags-convert"),
    "ROS 1 old": (b"#ROSBAG V1.2\n", "a ROS 1 bag"),
    "LFS": (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 5\n", "a Git LFS pointer.*git lfs pull"),
    "annex": (b"/annex/objects/MD5E-s5--0.mcap\n", "git annex get"),
    "HTML": (b"<!DOCTYPE html><html>", "a web page"),
    "HDF5": (b"\x89HDF\r\n\x1a\n\0\0", "an HDF5 file"),
    "zip": (b"PK\x03\x04\x14\0", "an archive"),
    "gzip": (b"\x1f\x8b\x08\0", "an archive"),
    "tar": (b"\0" * 257 + b"ustar\x0000", "an archive"),
    "lz4": (b"\x04\x22\x4d\x18\x64", "compressed by lz4"),
    "empty": (b"", "0 bytes, must be an MCAP or SQLite file"),
    "noise": (b"\x07\x06\x05", "begins with b'.x07.x06.x05', must be"),
    "text": (b"camera_frame: c\n", "must be an MCAP or SQLite file"),
    "zstd of noise": (zstandard.compress(b"hello, hello"), "begins with b'hello"),
    "zstd twice": (zstandard.compress(zstandard.compress(b"x" * 99)), "compressed twice"),
}


@pytest.mark.parametrize("what", OTHERS)
@pytest.mark.parametrize("form", ["file", "folder", "with metadata"])
def test_what_is_no_bag_is_named_as_what_it_is(tmp_path, what, form, capsys):
    data, words = OTHERS[what]
    path = tmp_path / "bag/bag_0.mcap"
    path.parent.mkdir()
    path.write_bytes(data)
    if form == "with metadata":
        metadata(path.parent, [path.name])
    target = path if form == "file" else path.parent
    for read in (bag_topics, lambda p: list(read_bag(p)), lambda p: recover(p, tmp_path / "out")):
        with pytest.raises(InputError, match=f"bag .*bag.*{words}" if read is bag_topics else "bag .*bag") as error:
            read(target)
        assert "report issue" not in str(error.value) and "KeyError" not in str(error.value)
    for command in ("inspect", "replay", "recover", "calibrate"):
        assert main([command, str(target)]) == 2, command
        assert str(target) in capsys.readouterr().err.replace("\n", "")


def test_a_ros_1_bag_in_a_folder_is_named(tmp_path):
    (tmp_path / "run.bag").write_bytes(OTHERS["ROS 1"][0])
    assert is_bag(tmp_path) and is_bag(tmp_path / "run.bag")
    with pytest.raises(InputError, match="run.bag is a ROS 1 bag"):
        bag_topics(tmp_path)
    with pytest.raises(InputError, match="run.bag: a ROS 1 bag"):
        bag_topics(tmp_path / "run.bag")


def test_a_pointer_in_place_of_a_text_file_is_named(tmp_path):
    from uma_ros.calibration.files import load_calibration

    (tmp_path / "c.yaml").write_bytes(OTHERS["LFS"][0])
    with pytest.raises(InputError, match="c.yaml: a Git LFS pointer"):
        load_calibration(tmp_path / "c.yaml")
    mcap(tmp_path / "bag/bag_0.mcap")
    (tmp_path / "bag/metadata.yaml").write_bytes(OTHERS["LFS"][0])
    with pytest.raises(InputError, match="metadata.yaml: a Git LFS pointer"):
        bag_topics(tmp_path / "bag")


@pytest.mark.parametrize("name", ["a.png", "a.depth.png", "a.depth.npy"])
def test_a_pointer_in_place_of_an_image_is_named(tmp_path, name):
    from uma_ros.drivers.camera.folder import read_depth, read_image

    (tmp_path / name).write_bytes(OTHERS["LFS"][0])
    with pytest.raises(InputError, match=f"{name}: .*a Git LFS pointer"):
        (read_image if name == "a.png" else read_depth)(tmp_path / name)


@pytest.mark.parametrize(
    "make, words",
    [
        (lambda p: None, "no such file or folder"),
        (lambda p: p.mkdir(), "no metadata.yaml, no MCAP file and no .db3 file"),
        (lambda p: mcap(p / "run/run_0.mcap"), "no metadata.yaml.*below it: run"),
        (lambda p: (mcap(p / "a_0.mcap"), mcap(p / "b_0.mcap")), "files of 2 bags: a, b"),
        (lambda p: (mcap(p / "a_0.mcap"), metadata(p, ["a_0.mcap", "a_1.mcap"])), "lists a_1.mcap, which the folder"),
        (lambda p: (mcap(p / "a_0.mcap"), metadata(p, [])), "relative_file_paths: must be a list"),
        (lambda p: (mcap(p / "a_0.mcap"), metadata(p, [{"a": 1}])), "relative_file_paths: must be a list"),
        (lambda p: (mcap(p / "a_0.mcap"), (p / "metadata.yaml").write_text("[1]")), "relative_file_paths"),
        (lambda p: (mcap(p / "a_0.mcap"), (p / "metadata.yaml").write_text("a: [")), "metadata.yaml: no YAML"),
        (lambda p: (mcap(p / "a_0.mcap"), (p / "metadata.yaml").write_bytes(b"\xff\xfe")), "metadata.yaml"),
    ],
)
def test_a_folder_that_is_no_single_bag_is_refused(tmp_path, make, words):
    make(tmp_path / "bag")
    with pytest.raises(InputError, match=f"bag .*bag: .*{words}"):
        bag_topics(tmp_path / "bag")


def test_a_path_in_metadata_cannot_leave_the_folder(tmp_path):
    mcap(tmp_path / "secret.mcap")
    mcap(tmp_path / "bag/bag_0.mcap")
    metadata(tmp_path / "bag", ["../secret.mcap", "bag_0.mcap"])
    with pytest.raises(InputError, match="lists secret.mcap, which the folder lacks"):
        bag_topics(tmp_path / "bag")


@pytest.mark.parametrize("suffix", ["-wal", "-journal"])
def test_an_unclosed_sqlite_file_is_named(tmp_path, suffix):
    path = db3(tmp_path / "x.db3")
    path.with_name(f"x.db3{suffix}").write_bytes(b"x")
    with pytest.raises(InputError, match="x.db3 is not closed: .*sqlite3 x.db3 vacuum"):
        bag_topics(path)


@pytest.mark.parametrize("cut", [100, 5000, -1])
def test_a_damaged_sqlite_file_is_named(tmp_path, cut):
    path = db3(tmp_path / "x.db3", range(500))
    path.write_bytes(path.read_bytes()[:cut] if cut > 0 else path.read_bytes().replace(b"messages", b"massages"))
    with pytest.raises(InputError, match="bag .*x.db3: "):
        bag_topics(path)
        numbers(path)
    other = tmp_path / "other.db3"
    sqlite3.connect(other).executescript("CREATE TABLE notes(a); INSERT INTO notes VALUES(1)")
    with pytest.raises(InputError, match="tables notes, must be rosbag2's topics and messages"):
        bag_topics(other)


def test_sizes_beyond_the_memory_are_refused(tmp_path, monkeypatch):
    path = of_rosbags(tmp_path / "bag", StoragePlugin.SQLITE3, CompressionMode.MESSAGE)
    monkeypatch.setattr(tables, "MAX_CHUNK", 4)
    with pytest.raises(InputError, match="bag .*a message of 10 bytes, limit 4"):
        numbers(path)


# -- channels that are not ROS 2's -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "schema, encoding, words",
    [
        (None, "cdr", "schemaless"),
        (None, "json", "schemaless"),
        ("jsonschema", "json", "messages in json"),
        ("protobuf", "protobuf", "messages in protobuf"),
        ("flatbuffer", "flatbuffer", "messages in flatbuffer"),
        ("ros1msg", "ros1", "ROS 1 messages"),
        ("ros2msg", "", "messages in an unnamed encoding"),
        ("protobuf", "cdr", "types in protobuf"),
    ],
)
def test_a_foreign_channel_is_named_and_others_are_read(tmp_path, schema, encoding, words, capsys):
    mcap(tmp_path / "bag/bag_0.mcap")
    mcap(tmp_path / "bag/bag_1.mcap", range(3, 6), "/odd", schema, encoding)
    assert numbers(tmp_path / "bag") == [0, 1, 2]
    with pytest.raises(InputError, match=f"/odd: {words}.*; must be std_msgs/msg/String"):
        numbers(tmp_path / "bag", "/odd")
    assert main(["inspect", str(tmp_path / "bag")]) == 0
    assert words in capsys.readouterr().out
    assert len(list(read_bag(tmp_path / "bag"))) == 6, "as bytes all are read"


def test_types_in_idl_are_ros_2s(tmp_path):
    assert numbers(mcap(tmp_path / "x.mcap", schema="ros2idl")) == [0, 1, 2]


def test_one_topic_of_two_types_has_none(tmp_path):
    mcap(tmp_path / "bag/bag_0.mcap")
    with open(tmp_path / "bag/bag_1.mcap", "wb") as file:
        writer = Writer(file)
        writer.start("ros2")
        channel = writer.register_channel(
            "/a", "cdr", writer.register_schema("std_msgs/msg/Int8", "ros2msg", b"int8 a")
        )
        writer.add_message(channel, T0 + 9, b"\0\1\0\0\5", T0 + 9)
        writer.finish()
    assert bag_topics(tmp_path / "bag")["/a"] == ("", 4) and len(bag_channels(tmp_path / "bag")) == 2
    with pytest.raises(InputError, match="/a: std_msgs/msg/Int8, must be std_msgs/msg/String"):
        numbers(tmp_path / "bag")


# -- recovery ----------------------------------------------------------------------------------------------------------


def test_a_split_bag_with_a_torn_last_file_is_recovered_as_one(tmp_path):
    for i in range(3):
        mcap(tmp_path / f"bag/bag_{i}.mcap", range(5 * i, 5 * i + 5), chunk_size=9)
    last = tmp_path / "bag/bag_2.mcap"
    last.write_bytes(last.read_bytes()[: last.stat().st_size // 2])
    mcap(tmp_path / "bag/bag_1.mcap", range(5, 10), "/json", None, "json")
    left = {}
    count, first, _ = recover(tmp_path / "bag", tmp_path / "out", left_out=left.__setitem__)
    kept = numbers(tmp_path / "out")
    assert kept[:5] == [0, 1, 2, 3, 4] and kept[5:] and kept[5:] == list(range(10, 10 + len(kept) - 5))
    assert count == len(kept) and first == T0 and list(left) == ["/json"] and "schemaless" in left["/json"]


def test_sqlite_and_compressed_files_need_no_recovery(tmp_path):
    for path, words in ((db3(tmp_path / "x.db3"), "SQLite keeps"), (packed(mcap(tmp_path / "y.mcap")), "unzstd")):
        with pytest.raises(InputError, match=f"{path.name}: there is nothing to recover.*{words}"):
            recover(path, tmp_path / "out")


FOXY = """- history: 3
  depth: 0
  reliability: 1
  durability: 2
  deadline:
    sec: 2147483647
    nsec: 4294967295
  lifespan: {sec: 2147483647, nsec: 4294967295}
  liveliness: 1
  liveliness_lease_duration: {sec: 2147483647, nsec: 4294967295}
  avoid_ros_namespace_conventions: false
"""


@pytest.mark.parametrize(
    "text, field, value",
    [
        (FOXY, "durability", "volatile"),
        (FOXY, "history", "unknown"),
        (FOXY.replace("durability: 2", "durability: 1"), "durability", "transient_local"),
        (dump(profiles_of(LATCHED)), "durability", "transient_local"),
        ("- {history: keep_last, depth: 5, reliability: best_effort}", "reliability", "best_effort"),
        ("- {history: KEEP_ALL}", "history", "keep_all"),
        ("- {reliability: best_available}", "reliability", "best_available"),
        ("- {reliability: 99, depth: many}", "reliability", "reliable"),
        ("- {history: null, deadline: 5}", "deadline", {"sec": 9223372036, "nsec": 854775807}),
        ("[{}]", "liveliness", "automatic"),
    ],
)
def test_profiles_of_every_distro_are_read(text, field, value):
    (profile,) = parse_profiles(text)
    assert profile[field] == value and set(profile) == set(profiles_of(STATUS)[0])
    assert parse_profiles(dump([profile])) == [profile]


@pytest.mark.parametrize("text", ["[1]", "{a: 1}", "a: [", "5", "\0"])
def test_unreadable_profiles_do_not_stop_a_recovery(text):
    assert profiles_or_none(text) == []


# -- topics of other names ---------------------------------------------------------------------------------------------


def channels(*rows):
    return [Channel(i, topic, kind, count) for i, (topic, kind, count) in enumerate(rows)]


IMAGE, INFO = "sensor_msgs/msg/Image", "sensor_msgs/msg/CameraInfo"
REALSENSE = channels(
    ("/camera/camera/aligned_depth_to_color/camera_info", INFO, 90),
    ("/camera/camera/aligned_depth_to_color/image_raw", IMAGE, 90),
    ("/camera/camera/color/camera_info", INFO, 90),
    ("/camera/camera/color/image_raw", IMAGE, 90),
    ("/camera/camera/depth/image_rect_raw", IMAGE, 200),
    ("/camera/camera/infra1/image_rect_raw", IMAGE, 90),
    ("/color/compressed", "sensor_msgs/msg/CompressedImage", 90),
    ("/franka/joint_states", "sensor_msgs/msg/JointState", 900),
    ("/franka_robot_state_broadcaster/current_pose", "geometry_msgs/msg/PoseStamped", 900),
    ("/unused", IMAGE, 0),
)


def test_candidates_of_a_foreign_bag_are_found_by_type():
    found = candidates(REALSENSE)
    assert found["depth"][0] == "/camera/camera/aligned_depth_to_color/image_raw"
    assert found["rgb"][0] == "/camera/camera/color/image_raw" and "/unused" not in found["rgb"]
    assert found["camera_info"] == ["/camera/camera/color/camera_info"]
    assert found["robot_pose"] == ["/franka_robot_state_broadcaster/current_pose"]
    text = describe(REALSENSE)
    assert "use them with --topic rgb=" in text and "compressed images are not read: /color/compressed" in text
    t = Topics()
    own = [(t.rgb, IMAGE, 9), (t.depth, IMAGE, 9), (t.camera_info, INFO, 9), ("/other", IMAGE, 9)]
    assert candidates(channels(*own)) == {} and describe([]) == "(no topics)"


@pytest.mark.parametrize(
    "words, name, topic",
    [
        (["rgb=/a"], "rgb", "/a"),
        (["colour=/a"], "rgb", "/a"),
        (["color=/a", "depth=/b"], "depth", "/b"),
        (["pose=/p"], "robot_pose", "/p"),
        ([], "rgb", Topics().rgb),
    ],
)
def test_topics_are_chosen_by_name(words, name, topic):
    assert getattr(chosen_topics(words), name) == topic


@pytest.mark.parametrize("word", ["rgb", "rgb=", "rgb=a", "image=/a", "=/a", "rgb=/a "])
def test_a_malformed_choice_of_topics_is_refused(word):
    with pytest.raises(InputError, match="topic: "):
        chosen_topics([word])


def test_calibrate_and_replay_take_topics_of_other_names(tmp_path, capsys):
    from sensor_msgs.msg import Image

    bag = BagWriter(tmp_path / "bag")
    bag.add_topic("/camera/color/image_raw", Image, STATUS)
    bag.write("/camera/color/image_raw", T0, serialize_message(Image()))
    bag.close()
    assert main(["calibrate", str(tmp_path / "bag"), "--topic", "rgb=/camera/color/image_raw"]) == 2
    assert f"no message on {Topics().camera_info}" in capsys.readouterr().err
    assert main(["replay", str(tmp_path / "bag"), "--topic", "rgb=/camera/color/image_raw", "depth=/d"]) == 2
    assert "must have at least one" in capsys.readouterr().err
    assert main(["replay", str(tmp_path / "bag"), "--topic", "picture=/d"]) == 2
    assert "picture=/d" in capsys.readouterr().err
    assert main(["inspect", str(tmp_path / "bag")]) == 0
    assert "use them with --topic rgb=/camera/color/image_raw" in capsys.readouterr().out


def test_a_stream_of_zeros_between_records_is_refused(tmp_path):
    path = mcap(tmp_path / "x.mcap", range(40), compression=CompressionType.NONE)
    data = bytearray(path.read_bytes())
    data[len(data) // 2 : len(data) // 2 + 50] = bytes(50)
    path.write_bytes(data)
    with pytest.raises(InputError, match="bag .*x.mcap"):
        bag_topics(path)
        numbers(path)


@pytest.mark.parametrize("chunk_size", [1, 60, 200, 10**6])
def test_overlapping_chunks_come_in_the_order_of_time(tmp_path, chunk_size):
    times = [5, 1, 3, 3, 9, 2, 0, 7, 7, 4, 6, 8, 1]
    with open(tmp_path / "x.mcap", "wb") as file:
        writer = Writer(file, chunk_size=chunk_size)
        writer.start("ros2")
        channel = writer.register_channel("/a", "cdr", writer.register_schema("std_msgs/msg/String", "ros2msg", b""))
        for i, t in enumerate(times):
            writer.add_message(channel, T0 + t, cdr(str(i)), T0 + t)
        writer.finish()
    found = [(t - T0, int(m.data)) for _, t, m in read_bag(tmp_path / "x.mcap", {"/a": String})]
    assert found == sorted((t, i) for i, t in enumerate(times)), "of equal times, in the order of writing"
