"""Bags whose recorder was killed: what had come to the disk is read again, and nothing that a torn file holds does
harm."""

import random
import subprocess
import sys

import pytest
from harness import ROOT
from std_msgs.msg import String

from uma.types import InputError
from uma_ros.bags.reader import bag_topics, read_bag
from uma_ros.bags.recover import main, recover

KILLED = """
import os, signal, sys
from rclpy.serialization import serialize_message
from std_msgs.msg import String
from uma_ros.bags.writer import BagWriter
from uma_ros.runtime.topics import LATCHED, STATUS
bag = BagWriter(sys.argv[1])
bag.add_topic("/a", String, STATUS)
bag.add_topic("/latched", String, LATCHED)
bag.write("/latched", 10**18 - 1, serialize_message(String(data="task")))
for i in range(200):
    bag.write("/a", 10**18 + i, serialize_message(String(data=os.urandom(20_000).hex())))
os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.fixture(scope="module")
def torn(tmp_path_factory):
    path = tmp_path_factory.mktemp("torn") / "bag"
    assert subprocess.run([sys.executable, "-c", KILLED, str(path)], cwd=ROOT, timeout=120).returncode == -9
    return path


def numbers(path):
    return [t - 10**18 for topic, t, _ in read_bag(path, {"/a": String}) if topic == "/a"]


def test_what_had_come_to_the_disk_is_read_again(torn, tmp_path, capsys):
    with pytest.raises(InputError, match="not closed.*uma recover"):
        bag_topics(torn)
    before = next(torn.glob("*.mcap")).read_bytes()
    assert main([str(torn), "--out", str(tmp_path / "out")]) == 0
    kept = numbers(tmp_path / "out")
    assert kept == list(range(len(kept))) and 200 - 2**20 // 40_000 - 1 <= len(kept) < 200, (
        "all but the last chunk, which was not full"
    )
    assert f"{len(kept) + 1} messages" in capsys.readouterr().out
    assert [m.data for _, _, m in read_bag(tmp_path / "out", {"/latched": String})] == ["task"]
    assert "transient_local" in (tmp_path / "out/metadata.yaml").read_text(), "a player offers it as it was offered"
    assert next(torn.glob("*.mcap")).read_bytes() == before


def test_a_file_torn_anywhere_gives_its_beginning_or_is_refused(torn, tmp_path):
    whole, rng, lengths = next(torn.glob("*.mcap")).read_bytes(), random.Random(0), []
    for i in range(25):
        file = tmp_path / f"{i}.mcap"
        data = bytearray(whole[: rng.randrange(len(whole))])
        if i % 2 and data:
            for _ in range(5):
                data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
        file.write_bytes(data)
        try:
            recover(file, tmp_path / f"out{i}")
        except InputError as error:
            assert str(file) in str(error) and not (tmp_path / f"out{i}").exists()
            continue
        if not i % 2:
            kept = numbers(tmp_path / f"out{i}")
            assert kept == list(range(len(kept)))
            lengths.append(len(kept))
    assert len(set(lengths)) > 3
    assert not list(tmp_path.glob("*.part-*"))


def test_what_is_whole_or_would_be_overwritten_is_refused(torn, tmp_path):
    recover(torn, tmp_path / "out")
    with pytest.raises(InputError, match="complete, there is nothing to recover"):
        recover(tmp_path / "out", tmp_path / "again")
    with pytest.raises(InputError, match="exists"):
        recover(torn, tmp_path / "out")
    with pytest.raises(InputError, match="no metadata.yaml, no MCAP file and no .db3 file"):
        recover(tmp_path, tmp_path / "again")
    with pytest.raises(InputError, match="bag .*none.mcap"):
        recover(tmp_path / "none.mcap", tmp_path / "again")
    assert not (tmp_path / "again").exists()
