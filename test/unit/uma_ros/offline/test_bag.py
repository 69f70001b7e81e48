"""A demo recorded with a real (untrained) checkpoint: what it leaves, bags that others can read, and a replay that is
bit-equal."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import yaml
from PIL import Image as Picture

from uma.types import InputError
from uma_ros.bags.reader import bag_topics
from uma_ros.bags.writer import BagWriter
from uma_ros.offline import replay as bags
from uma_ros.offline.recording import read_recording
from uma_ros.runtime.topics import TASK_IN, Topics

ROOT = Path(__file__).resolve().parents[4]
TOPICS = Topics().in_namespace()


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    import torch

    from uma.checkpoint.bundle import Contract, save_bundle
    from uma.model.config import tiny
    from uma.model.inputs import Normalization
    from uma.model.uma import Uma

    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("checkpoint") / "tiny"
    save_bundle(
        path,
        Uma(tiny(), Normalization()),
        Contract(),
        training={"command": "none: random weights"},
        card="For a test.\n",
    )
    return path


@pytest.fixture(scope="module")
def run(tmp_path_factory, checkpoint):
    """Folder, exit code and output of `uma demo`."""
    folder = tmp_path_factory.mktemp("demo") / "run"
    words = [
        sys.executable,
        "-m",
        "uma.cli",
        "demo",
        "--seed",
        "3",
        "--limit",
        "3",
        "--checkpoint",
        str(checkpoint),
        "--out",
        str(folder),
    ]
    done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, timeout=280)
    return folder, done.returncode, done.stdout + done.stderr


@pytest.mark.slow
def test_failed_insertion_is_reported_apart_from_the_stack(run):
    folder, code, output = run
    assert code == 0, output
    assert "Insertion: failure" in output and "Stack: worked" in output
    assert "policy RUNNING" in output and "latency" in output and "cm from the reference's end" in output


def test_what_a_demo_leaves(run):
    folder, _, output = run
    summary = json.loads((folder / "summary.json").read_text())
    assert summary["result"] == "failure" and summary["why"] and summary["stack"] == "worked"
    assert summary["chunks"] >= 4 and summary["latency_ms"]["total"]["p50"] > 0
    targets = read_recording(folder / "bag").targets
    assert (
        summary["rates"]["targets_hz"] == pytest.approx((len(targets) - 1) / (targets[-1] - targets[0]), abs=0.1)
        and summary["rates"]["action_hz"] == 15.0
    )
    assert {"controller", "policy", "station", "camera"} <= set(summary["nodes"]) and "overruns" in summary["nodes"][
        "controller"
    ]
    assert "failure" in (folder / "summary.md").read_text()
    sheet = np.asarray(Picture.open(folder / "contact_sheet.png"))
    blue = (np.abs(sheet.astype(int) - [30, 110, 255]).sum(-1) < 30).sum()
    orange = (np.abs(sheet.astype(int) - [255, 140, 0]).sum(-1) < 30).sum()
    assert blue > 500 and orange > 50, "reference and predicted motion are drawn in"
    assert Picture.open(folder / "motion.png").size[0] > 800
    configuration = yaml.safe_load((folder / "configuration.yaml").read_text())
    assert configuration["policy"]["parameters"]["seed"] == 0 and configuration["station"]["parameters"]["seed"] == 3
    assert configuration["policy"]["checkpoint_id"] == summary["checkpoint_id"]
    assert yaml.safe_load((folder / "reference.yaml").read_text())["keypoints"]


def test_rosbags_and_metadata_agree(run):
    topics = bag_topics(run[0] / "bag")
    for topic, kind in (
        (TOPICS.rgb, "sensor_msgs/msg/Image"),
        (TOPICS.action_chunk, "uma_ros/msg/ActionChunk"),
        ("/tf_static", "tf2_msgs/msg/TFMessage"),
        ("/tf", "tf2_msgs/msg/TFMessage"),
        (TOPICS.robot_description, "std_msgs/msg/String"),
    ):
        assert topics[topic][0] == kind and topics[topic][1] > 0
    metadata = yaml.safe_load((run[0] / "bag/metadata.yaml").read_text())["rosbag2_bagfile_information"]
    assert metadata["storage_identifier"] == "mcap" and metadata["message_count"] == sum(n for _, n in topics.values())
    listed = {t["topic_metadata"]["name"]: t["topic_metadata"] for t in metadata["topics_with_message_count"]}
    assert listed["/tf_static"]["offered_qos_profiles"][0]["durability"] == "transient_local"
    assert listed[TOPICS.action_chunk]["type_description_hash"].startswith("RIHS01_")


def test_type_hashes_in_the_bag_are_those_of_ros(run):
    from uma_ros.msg import ActionChunk, PolicyStatus

    from uma_ros.bags.reader import typestore
    from uma_ros.deployment.schema import NODES  # noqa: F401

    for kind in (ActionChunk, PolicyStatus):
        stored = typestore().hash_rihs01(f"uma_ros/msg/{kind.__name__}")
        described = json.loads(next(Path(sys.prefix).glob(f"share/uma_ros/msg/{kind.__name__}.json")).read_text())
        real = next(
            t["hash_string"] for t in described["type_hashes"] if t["type_name"] == f"uma_ros/msg/{kind.__name__}"
        )
        assert stored == real


def test_mcap_reads_it_with_our_own_messages(run):
    from mcap.reader import make_reader
    from mcap_ros2.decoder import DecoderFactory

    path = next((run[0] / "bag").glob("*.mcap"))
    counts, last = {}, 0
    with path.open("rb") as f:
        for _, channel, message, decoded in make_reader(f, decoder_factories=[DecoderFactory()]).iter_decoded_messages(
            topics=[TOPICS.action_chunk, TOPICS.depth]
        ):
            counts[channel.topic] = counts.get(channel.topic, 0) + 1
            assert message.log_time >= last
            last = message.log_time
            if channel.topic == TOPICS.action_chunk:
                assert len(decoded.poses) == 16 and decoded.ee_frame == "robotiq_2f85_tcp"
    assert (
        counts[TOPICS.action_chunk] == bag_topics(run[0] / "bag")[TOPICS.action_chunk][1] and counts[TOPICS.depth] > 30
    )


def test_the_first_observation_and_the_configuration_are_in_it(run):
    episode = read_recording(run[0] / "bag")
    asked, (first, chunk) = episode.references[0][0], episode.chunks[0]
    # On a busy machine the recorder may start too late for the first chunk, because the topic keeps only one.
    assert len(episode.references) == 1 and (first == asked if chunk.sequence == 0 else first > asked)
    assert {"station", "policy", "controller", "extrinsics", "camera", "recorder"} <= set(episode.configuration)


def test_replay_is_bit_equal_and_reports_it(run, tmp_path, capsys):
    code = bags.main([str(run[0] / "bag"), "--out", str(tmp_path)])
    text = capsys.readouterr().out
    assert code == 0, text
    rows, episode, _ = bags.replay(run[0] / "bag")
    assert len(rows) == len(episode.chunks) >= 4
    # Robot states are best effort: on a busy machine the policy may have missed one of the bag. Of the other chunks a
    # few differ by rounding, 4e-14 m in one run, for a reason that is not known.
    equal = [row for row in rows if row.equal]
    same = [row for row in rows if row.position_m < 1e-9 and row.rotation_rad < 1e-6]
    assert len(same) >= 0.8 * len(rows) and len(equal) >= 0.5 * len(rows), [row for row in rows if not row.equal]
    assert (
        all(row.position_m == 0.0 and row.rotation_rad < 1e-6 for row in equal)
        and max(row.position_m for row in rows) < 0.05
    )
    assert all(np.isfinite(row.executed_m) for row in rows)
    assert f"{len(equal)} of {len(rows)} chunks bit-equal" in text and (tmp_path / "replay.png").exists()


def test_replay_shows_a_difference_where_there_is_one(run, checkpoint):
    from uma.policy import Policy

    rows, _, _ = bags.replay(
        run[0] / "bag",
        load=lambda s: (
            Policy.load(s.checkpoint, seed=s.seed + 1, num_steps=s.num_steps, num_samples=s.num_samples),
            None,
        ),
    )
    assert not any(row.equal for row in rows) and min(row.position_m for row in rows) > 1e-6


@pytest.mark.parametrize("make", [lambda p: None, lambda p: p.mkdir()])
def test_what_is_no_bag_is_refused_by_name(tmp_path, make, capsys):
    make(tmp_path / "none")
    from uma.cli import main

    assert main(["replay", str(tmp_path / "none")]) == 2
    assert "none" in capsys.readouterr().err


def test_bag_without_chunks_is_an_error(tmp_path):
    from std_msgs.msg import String

    bag = BagWriter(tmp_path / "bag")
    bag.add_topic("/uma/instruction", String, TASK_IN)
    bag.close()
    with pytest.raises(InputError, match="no message on /uma/action_chunk"):
        bags.replay(tmp_path / "bag")


@pytest.mark.slow
def test_a_broken_checkpoint_is_a_broken_stack(tmp_path):
    (tmp_path / "empty").mkdir()
    words = [
        sys.executable,
        "-m",
        "uma.cli",
        "demo",
        "--checkpoint",
        str(tmp_path / "empty"),
        "--out",
        str(tmp_path / "run"),
    ]
    done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, timeout=120, env={**os.environ})
    assert done.returncode == 1, done.stdout
    assert "failed: node policy died" in done.stdout and "is missing" in (tmp_path / "run/log/policy.log").read_text()
    assert "Traceback" not in (tmp_path / "run/log/policy.log").read_text()
