"""Prompts that began at a text: the scene of their use completes their tokens."""

import dataclasses

import numpy as np
import pytest
import safetensors
import torch
from episodes import episode_folder
from scenes import reference, scene

from uma.checkpoint.bundle import Contract, save_bundle
from uma.checkpoint.prompt import Prompt, load_prompt, save_prompt
from uma.model.batches import point_batch
from uma.model.config import LanguageConfig, tiny
from uma.model.inputs import Normalization
from uma.model.uma import Uma
from uma.policy import Policy
from uma.types import InputError
from uma_train.data.mixtures import open_all, parse_sources
from uma_train.training.adapt import Adaptation, adapt, held_out_batches, held_out_loss
from uma_train.training.prompts import AdaptConfig, adapt_prompt

LANGUAGE = LanguageConfig(kind="words", embedding=16, scene=True)


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """(bundle, data) of a model whose texts see the scene."""
    folder = tmp_path_factory.mktemp("in_scene")
    torch.manual_seed(0)
    model = Uma(dataclasses.replace(tiny(), ways=True, language=LANGUAGE), Normalization())
    with torch.no_grad():
        for p in model.parameters():
            if (p == 0).all():
                p.normal_(0, 0.1)
    save_bundle(folder / "bundle", model, Contract(), training={}, card="# tiny\n")
    return folder / "bundle", episode_folder(folder / "data", text="lift the stick")


def test_adaptation_in_the_scene_lowers_the_loss(made):
    model = Policy.load(made[0]).model
    windows = open_all(parse_sources([str(made[1])]))

    def draw(size, keypoints, rng):
        return windows.draw(size, keypoints, model.normalization, rng, windows_per_task=2)

    how = Adaptation(steps=30, batch_size=8, lr=0.1)
    batches = held_out_batches(draw, how)
    start = model.language_encoder(["lift the stick"])[0].detach()
    found = adapt(model, draw, start, how, held_out=batches, in_scene=True)
    assert found.best[1] < found.held_out[0][1]


def test_every_sample_is_completed_by_its_own_scene(made):
    model = Policy.load(made[0]).model
    windows = open_all(parse_sources([str(made[1])]))
    start = model.language_encoder(["lift the stick"])[0].detach()
    losses = []
    for seed in range(2):
        rng = np.random.default_rng(seed)
        one = windows.draw(2, 0, model.normalization, rng, windows_per_task=2)  # both windows of one scene
        fixed = model.in_scene(start[None], one.initial_points)[0].detach()
        found, wanted, before = (
            held_out_loss(model, c, [one], Adaptation(), in_scene)
            for c, in_scene in ((start, True), (fixed, False), (start, False))
        )
        assert found == pytest.approx(wanted, rel=1e-5) and found != pytest.approx(before, rel=1e-5)
        losses.append(found)
    assert losses[0] != losses[1]


def test_the_scene_completes_a_prompt_from_a_text(made, tmp_path):
    bundle, data = made
    out, policy = tmp_path / "p.safetensors", Policy.load(bundle)
    how = Adaptation(steps=4, batch_size=8)
    prompt = adapt_prompt(AdaptConfig(str(bundle), (str(data),), str(out), start="text", adaptation=how))
    assert prompt.in_scene and load_prompt(out).in_scene
    with safetensors.safe_open(out, "pt") as f:
        assert f.metadata()["schema"] == "2", "older versions refuse it"
    policy.check_prompt(out)
    with pytest.raises(InputError, match="no image yet, this prompt needs one"):
        policy.load_prompt(out)
    one, other = scene(), scene(x=0.3)
    points = point_batch([policy.perceive(one, prepare=True)])
    assert torch.allclose(policy.load_prompt(out, one).tokens, policy.model.in_scene(prompt.tokens[None], points)[0])
    assert not torch.allclose(policy.load_prompt(out, one).tokens, policy.load_prompt(out, other).tokens)


def test_other_starts_give_fixed_tokens(made, tmp_path):
    bundle, data = made
    out, how = tmp_path / "p.safetensors", Adaptation(steps=2, batch_size=8)
    prompt = adapt_prompt(AdaptConfig(str(bundle), (str(data),), str(out), start="mean", adaptation=how))
    assert not prompt.in_scene and torch.equal(Policy.load(bundle).load_prompt(out).tokens, prompt.tokens)


def test_a_checkpoint_without_scenes_refuses_such_a_prompt(tmp_path):
    model = Uma(tiny(), Normalization())
    save_bundle(tmp_path / "bundle", model, Contract(), training={}, card="# tiny\n")
    policy = Policy.load(tmp_path / "bundle")
    task = policy.encode_task(scene(), reference())
    save_prompt(tmp_path / "p", Prompt(task.tokens, policy.checkpoint_id, in_scene=True))
    with pytest.raises(InputError, match="needs a scene, this checkpoint has no language.scene"):
        policy.load_prompt(tmp_path / "p", scene())
    with pytest.raises(ValueError, match="language.scene: off, must be on"):
        model.in_scene(task.tokens[None], None)
