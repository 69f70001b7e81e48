"""Damaged recordings: bags, episodes and shards."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from hypothesis import strategies as st

from robustness.fuzz.files import as_json, as_yaml, folder, reader
from robustness.fuzz.mutations import PATCHES, damaged, trees
from robustness.fuzz.target import Target, expect
from uma.types import InputError

# -- bags --------------------------------------------------------------------------------------------------------------


def _bag_targets() -> list[Target]:
    from rclpy.serialization import serialize_message
    from std_msgs.msg import String

    from robustness.fuzz import messages as m
    from uma_ros.bags.reader import bag_topics
    from uma_ros.bags.writer import BagWriter
    from uma_ros.offline.recording import TOPICS, read_recording
    from uma_ros.offline.replay import recorded_settings
    from uma_ros.runtime.topics import STATUS

    said = {"node": "policy", "parameters": {"seed": 1, "num_steps": 8}, "checkpoint_id": "x"}
    messages = {
        TOPICS.action_chunk: m.chunk(m.CAMERA),
        TOPICS.predicted_motion: m.motion(),
        TOPICS.active_reference: m.reference(),
        TOPICS.robot_pose: m.pose(),
        "/tf_static": m.transforms(),
        TOPICS.configuration: String(data=yaml.safe_dump(said)),
        TOPICS.camera_info: m.info(),
        TOPICS.joint_states: m.joints(),
        TOPICS.sim_outcome: String(data="verdict: success\n"),
    }

    def make(path: Path, change: dict[str, Any] | None = None) -> None:
        bag = BagWriter(path)
        for topic, msg in messages.items():
            bag.add_topic(topic, type(msg), STATUS)
        for i in range(3):
            for topic, msg in {**messages, **(change or {})}.items():
                bag.write(
                    topic, 1_700_000_000_000_000_000 + i, msg if isinstance(msg, bytes) else serialize_message(msg)
                )
        bag.close()

    make(folder() / "bag")
    files = {p.name: p.read_bytes() for p in (folder() / "bag").iterdir()}

    def read(path: Path) -> bool:
        try:
            bag_topics(path)
            recorded_settings(read_recording(path))
        except InputError as error:
            expect(
                "bag" in str(error) or "configuration" in str(error) or ":" in str(error), f"nothing is named: {error}"
            )
            expect("MemoryError" not in str(error), f"memory was requested: {error}")
            return False
        return True

    def run_file(case: tuple[str, bytes]) -> bool:
        path = folder() / "broken_bag"
        path.mkdir(exist_ok=True)
        for name, data in {**files, case[0]: case[1]}.items():
            (path / name.replace("bag", "broken_bag") if name.endswith(".mcap") else path / name).write_bytes(data)
        meta = (path / "metadata.yaml").read_bytes().replace(b"bag.mcap", b"broken_bag.mcap")
        (path / "metadata.yaml").write_bytes(meta)
        return read(path)

    def run_content(case: tuple[str, bytes]) -> bool:
        import shutil

        shutil.rmtree(folder() / "odd_bag", ignore_errors=True)
        make(folder() / "odd_bag", {case[0]: case[1]})
        return read(folder() / "odd_bag")

    metadata = yaml.safe_load(files["metadata.yaml"])
    in_files = st.one_of(
        *(st.tuples(st.just(name), damaged(data)) for name, data in files.items()),
        st.tuples(st.just("metadata.yaml"), trees(metadata).map(as_yaml)),
    )
    words = st.one_of(st.sampled_from(PATCHES), trees(said).map(lambda t: as_yaml(t).decode())).map(
        lambda text: serialize_message(String(data=text.replace("\0", " ")))
    )
    in_messages = st.one_of(
        st.sampled_from(sorted(messages)).flatmap(
            lambda topic: st.tuples(st.just(topic), damaged(serialize_message(messages[topic])))
        ),
        st.tuples(st.just(TOPICS.configuration), words),
    )
    return [
        Target("bag, its files", in_files, run_file, 0.4),
        Target("bag, its messages", in_messages, run_content, 0.12),
    ]


# -- training data -----------------------------------------------------------------------------------------------------


def _episode_targets() -> list[Target]:
    from episodes import episode

    from uma_train.data import shards
    from uma_train.data.episode import EpisodeError, load_episode, save_episode

    home = folder() / "episodes"
    home.mkdir()
    save_episode(home / "a.npz", episode(0))
    archive = (home / "a.npz").read_bytes()
    shards.pack(home, folder() / "packed")
    files = {p.name: p.read_bytes() for p in (folder() / "packed").iterdir() if p.suffix in (".npy", ".json")}
    index = json.loads(files["index.json"])

    def run(case: tuple[str, bytes]) -> bool:
        path = folder() / "shards"
        path.mkdir(exist_ok=True)
        for name, data in {**files, case[0]: case[1]}.items():
            (path / name).write_bytes(data)
        try:
            store = shards.open_shards(path)
            _ = [store[i] for i in range(len(store))]
        except EpisodeError as error:
            expect(len(str(error)) < 4000, f"a message of {len(str(error))} characters")
            return False
        return True

    def odd_meta(tree: Any) -> bytes:
        from io import BytesIO

        out = BytesIO()
        with np.load(home / "a.npz") as z:
            np.savez(out, **{k: z[k] for k in z.files if k != "meta"}, meta=np.frombuffer(as_json(tree), np.uint8))
        return out.getvalue()

    with np.load(home / "a.npz") as z:
        meta = json.loads(bytes(z["meta"]))
    names = sorted(n for n in files if n != "index.json")
    in_shards = st.one_of(
        st.tuples(st.just("index.json"), st.one_of(trees(index).map(as_json), damaged(files["index.json"]))),
        st.sampled_from(names).flatmap(lambda n: st.tuples(st.just(n), damaged(files[n][:4000]))),
    )
    return [
        Target(
            "episode",
            st.one_of(damaged(archive), trees(meta).map(odd_meta)),
            reader("e.npz", load_episode, EpisodeError),
            1.0,
        ),
        Target("shards", in_shards, run, 1.0),
    ]


def recording_targets() -> list[Target]:
    """Return the entry points for bags, episodes and shards."""
    return [*_bag_targets(), *_episode_targets()]
