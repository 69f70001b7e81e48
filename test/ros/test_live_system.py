"""Every system beside UMA drives the simulated station through the node graph, and answers a replay of the recording.

The weights are untrained: a chunk is small random motion, which the safety filter judges as any other."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from harness import TOPICS, Graph
from uma_ros.msg import PolicyStatus

from uma.checkpoint.contract import Contract
from uma.checkpoint.folder import read_bundle, write_bundle
from uma.model.inputs import Normalization
from uma.types import InputError
from uma_ros.bags.reader import bag_topics
from uma_ros.offline.replay import main, replay
from uma_ros.policy.settings import PolicySettings, load_policy
from uma_train.data.clips import Layout
from uma_train.evaluation.compare.config import known_systems
from uma_train.training.choices import PixelChoice
from uma_train.training.config import TrainConfig
from uma_train.training.recipe import recipe_of

SYSTEMS = [name for name in known_systems() if name != "uma"]
SMALL = Normalization(position_scale=0.005, rotation_scale=0.01)
PIXELS = PixelChoice(Layout(18, 32, 2, 2, 4), channels=(8, 8), latent=4, layers=1, heads=2, width=32, head_width=32)


def bundle_of(system: str, folder: Path) -> str:
    """A small checkpoint without training."""
    tokeniser, pixels = folder / "tokeniser", replace(PIXELS, tokeniser=str(folder / "tokeniser"))
    for name, choice in (("tokeniser", PIXELS), (system, pixels)):
        config = TrainConfig(system=name, preset="tiny", pixels=choice)
        model = recipe_of(config, SMALL).model
        write_bundle(tokeniser if name == "tokeniser" else folder / name, name, model, Contract(), training={}, card="")
    return str(folder / system)


def place(client) -> np.ndarray:
    p = client.poses[-1][1].pose.position
    return np.array([p.x, p.y, p.z])


@pytest.fixture(scope="module", params=SYSTEMS)
def recorded(request, tmp_path_factory) -> tuple[str, str, Path]:
    """The system, its checkpoint, and the bag of an episode in which it has moved the arm."""
    system, folder = request.param, tmp_path_factory.mktemp(request.param)
    checkpoint = bundle_of(system, folder)
    changes = {"policy": {"checkpoint": checkpoint, "system": system}}
    g = Graph(folder, scripted=False, changes=changes, record=str(folder / "bag"))
    c = g.client
    try:
        c.wait(lambda: c.state("recorder") == PolicyStatus.RUNNING, 90.0, "the recorder")
        g.begin()
        chunks, start, targets = len(c.base_chunks), place(c), len(c.targets)
        c.wait(lambda: len(c.base_chunks) >= chunks + 8, 120.0, "chunks to record")
        c.wait(lambda: np.linalg.norm(place(c) - start) > 1e-3, 60.0, "motion of the arm")
        assert len(c.targets) > targets
    finally:
        codes = g.close()
    assert set(codes.values()) == {0}, codes
    return system, checkpoint, folder / "bag"


def test_a_replay_gives_the_recorded_chunks_again(recorded):
    system, checkpoint, bag = recorded
    rows, recording, policy = replay(bag)
    assert recording.configuration["policy"]["checkpoint_id"] == policy.checkpoint_id
    assert policy.checkpoint_id == read_bundle(checkpoint).checkpoint_id
    assert read_bundle(checkpoint).system == system and {TOPICS.action_chunk, TOPICS.rgb} <= set(bag_topics(bag))
    assert len(rows) >= 5 and not [row.missing for row in rows if row.missing]
    equal = sum(row.equal for row in rows)
    # A system that remembers images may have seen one whose chunk came too late to be recorded.
    assert equal == len(rows) if system == "coil" else equal > len(rows) / 2


def test_the_command_answers(recorded, tmp_path, capsys):
    assert main([str(recorded[2]), "--out", str(tmp_path)]) == 0
    assert "chunks bit-equal" in capsys.readouterr().out and (tmp_path / "replay.png").exists()


def test_another_system_is_refused(recorded):
    system, checkpoint, _ = recorded
    with pytest.raises(InputError, match=f"is of system '{system}'"):
        load_policy(PolicySettings(checkpoint=checkpoint, system="uma"))
