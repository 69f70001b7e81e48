"""Demonstrate, adapt, deploy on one running graph: no node is started again."""

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from harness import Graph
from PIL import Image
from uma_ros.msg import PolicyStatus
from uma_ros.srv import Episode

from uma.checkpoint.prompt import Prompt, load_prompt, save_prompt
from uma_ros.bags.reader import bag_topics
from uma_ros.deployment.graph import insertion
from uma_ros.runtime.topics import Topics
from uma_train.data.episode import load_episode

pytestmark = pytest.mark.slow
TOPICS = Topics().in_namespace()


def uma(*words: str, code: int = 0) -> str:
    """Run a command beside the graph, and return what it printed."""
    done = subprocess.run([sys.executable, "-m", "uma.cli", *words], capture_output=True, text=True, timeout=500)
    assert done.returncode == code, f"uma {' '.join(words)}: {done.returncode}\n{done.stdout}\n{done.stderr}"
    return done.stdout + done.stderr


def command(c, word: str, text: str = "") -> Episode.Response:
    return c.call("/uma/episode", Episode, Episode.Request(command=word, text=text))


@pytest.mark.timeout(1500)
def test_demonstrate_adapt_deploy_and_go_back(tmp_path):
    folder = tmp_path / "demonstrations"
    g = Graph(
        tmp_path,
        graph=lambda options: insertion(replace(options, demonstrations=str(folder))),
        changes={"policy": {"finish_after_s": 0.0}},
        scripted=False,
    )
    c, pids = g.client, {name: process.pid for name, process in g.supervisor.processes.items()}
    try:
        refused_before_the_start(c)
        record(c, folder)
        c.call("/uma/stop")  # the arm holds meanwhile, and the computer is free
        prompt = import_and_adapt(folder, tmp_path)
        c.call("/uma/start")
        deploy_and_go_back(c, prompt, tmp_path)
        assert {name: process.pid for name, process in g.supervisor.processes.items()} == pids
        assert g.alive() == set(pids), "no node ended"
    finally:
        codes = g.close()
    assert set(codes.values()) == {0}, codes


def refused_before_the_start(c) -> None:
    c.wait(lambda: c.state("policy") == c.state("controller") == PolicyStatus.READY and c.scene, 120.0, "READY")
    c.wait(lambda: c.state("recorder") == PolicyStatus.RUNNING, 60.0, "the recorder")
    for word in ("success", "discard_last", "explode"):
        answer = command(c, word)
        assert not answer.success and answer.message.startswith((word, "command: 'explode'")) and answer.episode == 0
    assert not (c.call("/uma/previous_task").success), "there is no task to go back to"


def record(c, folder: Path) -> None:
    """One demonstration by the policy itself, and one that is discarded."""
    answer = command(c, "start", "put the utensil into the holder")
    assert answer.success and answer.episode == 1 and answer.is_recording, answer
    assert not command(c, "start").success, "an episode runs"
    c.send(c.scene, 2)
    c.wait(lambda: c.state("policy") == c.state("controller") == PolicyStatus.RUNNING, 60.0, "RUNNING")
    began, start = c.ros_time(), c.ee()[:3, 3]
    c.wait(lambda: c.ros_time() > began + 5.0, 240.0, "five simulated seconds")
    assert np.linalg.norm(c.ee()[:3, 3] - start) > 0.1, "the arm has moved"
    assert "episode 1 runs" in c.status["recorder"].reason
    answer = command(c, "success")
    assert answer.success and (answer.num_success, answer.is_recording) == (1, False), answer
    c.wait(lambda: "1 success" in c.status["recorder"].reason, 10.0, "the counts in the status")

    assert command(c, "start").episode == 2
    c.spin(1.0)
    answer = command(c, "discard_last")
    assert answer.success and (answer.num_success, answer.num_discarded) == (1, 1), answer
    assert (folder / "discarded" / "episode_0002").is_dir() and not (folder / "episode_0002").exists()
    assert "1 success, 0 failure, 0 unmarked, 1 discarded" in uma("demonstrate", "status")

    bag = folder / "episode_0001"
    assert json.loads((bag / "episode.json").read_text())["outcome"] == "success"
    found = bag_topics(bag)
    assert all(found[name][1] for name in (TOPICS.rgb, TOPICS.tf_static, TOPICS.configuration, TOPICS.keypoints))
    for name in ("first.png", "last.png"):
        assert Image.open(bag / name).size == (160, 90)


def import_and_adapt(folder: Path, tmp_path: Path) -> Path:
    data, prompt = tmp_path / "data", tmp_path / "prompt.safetensors"
    uma("import", "bag", str(folder), "--out", str(data))
    card = json.loads((data / "card.json").read_text())
    assert (card["kept"], card["tried"]) == (1, 1) and card["texts"]["present"] == 1, card
    assert card["actions"] == {"commanded pose, commanded gripper": 1}
    assert card["tracks"] in ({"policy": 1}, {"tracker": 1}), "by the policy, or where it was too busy, of its task"
    episode = load_episode(data / "episode_0001.npz")
    assert len(episode.pose) >= 60 and episode.meta["text"] == "put the utensil into the holder"
    few = ("--adaptation.steps", "3", "--adaptation.batch-size", "4", "--start", "mean")
    uma("adapt", "--data", str(data), "--out", str(prompt), *few)
    assert load_prompt(prompt).training["demonstrations"] == 1
    return prompt


def deploy_and_go_back(c, prompt: Path, tmp_path: Path) -> None:
    uma("prompt", str(prompt))
    c.wait(lambda: not c.active.keypoints and not c.active.object_label, 20.0, "the prompt's echo")
    chunks_continue(c)

    foreign = tmp_path / "foreign.safetensors"
    save_prompt(foreign, Prompt(torch.zeros_like(load_prompt(prompt).tokens), "another"))
    for path, words in ((foreign, "made for checkpoint another"), (tmp_path / "none", "none: no such file")):
        assert words in uma("prompt", str(path), code=1)
        assert not c.active.keypoints and c.state("policy") == PolicyStatus.RUNNING, "the prompt stays"
    chunks_continue(c)

    assert "back to" in uma("prompt", "--back")
    c.wait(lambda: len(c.active.keypoints) == len(c.scene.keypoints), 20.0, "the reference's echo")
    chunks_continue(c)
    assert "back to the stored prompt" in uma("prompt", "--back")
    c.wait(lambda: not c.active.keypoints, 20.0, "the prompt again")


def chunks_continue(c) -> None:
    seen = len(c.base_chunks)
    c.wait(lambda: len(c.base_chunks) > seen + 3, 60.0, "chunks")
