"""Where the task of a closed-loop episode comes from: a reference, words, a prompt, or candidates that are compared."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch

from uma.policy.policy import Task
from uma.types import HORIZON, ActionChunk, InputError, MotionPrediction
from uma_sim.tasks import make_station
from uma_train.evaluation.actors import actor_of
from uma_train.evaluation.benchmark_config import BenchmarkConfig


@pytest.fixture(scope="module")
def station():
    opened = make_station(0, "intents/lift")
    yield opened
    opened.close()


class Recorder:
    """A policy that keeps what it was asked, and draws candidates that rise by 1 mm more each."""

    def __init__(self):
        self.asked = []

    def encode_task(self, observation, reference):
        self.asked.append("reference")
        self.keypoints = np.stack([w[0] for w in reference.waypoints])
        return Task(torch.zeros(1), self.keypoints, np.stack([w[-1] for w in reference.waypoints]))

    def encode_instruction(self, text, observation=None):
        self.asked.append(text)
        return "words"

    def load_prompt(self, path, observation):
        assert observation is not None
        self.asked.append(path)
        return "prompt"

    def predict(self, o, task, **_):
        return SimpleNamespace(chunk=task)

    def predict_candidates(self, o, task, count, *, sequence):
        poses = np.repeat(o.T_cam_ee[None], HORIZON, 0)
        return [ActionChunk(poses, np.full(HORIZON, i / 10), o.stamp, o.camera.frame, "tcp") for i in range(count)]

    def predict_motions(self, o, task, chunks, *, sequence, keypoints):
        """Each candidate goes one tenth farther to the end, but the third goes all the way."""
        ends = [task.goals if i == 2 else self.keypoints + i / 100 for i in range(len(chunks))]
        return [MotionPrediction(np.stack([self.keypoints] * HORIZON + [end]), o.stamp, o.camera.frame) for end in ends]


def acted(station, monkeypatch, name: str, **options):
    policy = Recorder()
    monkeypatch.setattr("uma_train.execution.driving.policy_of", lambda *_: policy)
    config = BenchmarkConfig(task="intents/lift", policies=(name,), **options)
    o = station.observe()
    return actor_of(config, name, 0, station, o)(o, 0), policy


def test_words_alone_specify_the_task(station, monkeypatch):
    chunk, policy = acted(station, monkeypatch, "uma_text")
    assert chunk == "words" and policy.asked == [station.task.instruction(station, station.scene.goal)]
    assert policy.asked[0].startswith("lift the ")


def test_a_prompt_specifies_the_task(station, monkeypatch):
    chunk, policy = acted(station, monkeypatch, "uma_prompt", prompt="runs/lift.safetensors")
    assert chunk == "prompt" and policy.asked == ["runs/lift.safetensors"]


@pytest.mark.parametrize("options", [{"policies": ("uma_prompt",)}, {"policies": ("uma",), "prompt": "a"}])
def test_a_prompt_goes_with_its_policy(options):
    with pytest.raises(ValueError, match="prompt: '.*', must be a file with the policy uma_prompt"):
        BenchmarkConfig(**options)


def test_the_best_of_the_candidates_is_taken(station, monkeypatch):
    chunk, policy = acted(station, monkeypatch, "uma_mpc", candidates=5)
    assert policy.asked == ["reference"] and chunk.gripper[0] == pytest.approx(0.2)


def test_words_without_an_encoder_are_refused(station, monkeypatch):
    def refuse(self, text, observation=None):
        raise InputError("no language encoder")

    monkeypatch.setattr(Recorder, "encode_instruction", refuse)
    with pytest.raises(InputError, match="no language encoder"):
        acted(station, monkeypatch, "uma_text")
