"""Bags of every form on the disk, and what is no bag, named as what it is."""

import sqlite3

import pytest
import zstandard
from bag_files import db3, mcap, metadata, numbers, of_rosbags, packed
from mcap.writer import CompressionType
from rosbags.rosbag2 import CompressionMode, StoragePlugin

from uma.cli import main
from uma.types import InputError
from uma_ros.bags import tables
from uma_ros.bags.reader import bag_topics, read_bag
from uma_ros.bags.recover import recover
from uma_ros.bags.storage import is_bag

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
