"""COIL's training: UMA's network with actions as its only targets."""

import json

import numpy as np
import pytest
import torch
from episodes import episode, episode_folder

from uma.checkpoint.contract import Contract
from uma.checkpoint.folder import read_bundle, write_bundle
from uma.model.inputs import Normalization
from uma.types import InputError
from uma_train.data.windows import Windows
from uma_train.training.config import TrainConfig
from uma_train.training.loop import train
from uma_train.training.objectives import Objective
from uma_train.training.recipe import recipe_of
from uma_train.training.trainer import Trainer


def config(**changes) -> TrainConfig:
    return TrainConfig(system="coil", preset="tiny", objective=Objective(contrastive_weight=0.5), **changes)


def test_no_motion_token_is_drawn_and_no_motion_weight_learns():
    recipe = recipe_of(config(), Normalization())
    assert {recipe.options(np.random.default_rng(i))["keypoints"] for i in range(50)} == {0}
    with torch.no_grad():  # gates and final layers start at zero
        for p in recipe.model.parameters():
            p.add_(0.05 * torch.randn(p.shape, generator=torch.Generator().manual_seed(1)))
    batch = Windows([episode(i) for i in range(3)]).draw(
        4, norm=Normalization(), rng=np.random.default_rng(0), **recipe.options(np.random.default_rng(0))
    )
    out = recipe.losses(batch, torch.Generator().manual_seed(0))
    assert set(out) == {"action", "total"} and out["total"] == 2 * out["action"]
    out["total"].backward()
    learns = {name for name, p in recipe.model.named_parameters() if p.grad is not None and p.grad.abs().sum() > 0}
    assert "action_in.weight" in learns and not any(name.startswith("motion_in") for name in learns)


def test_uma_with_the_same_seed_starts_from_the_same_weights():
    windows = Windows([episode(i) for i in range(3)])
    coil, uma = (
        Trainer(TrainConfig(system=system, preset="tiny", batch_size=4), windows, Normalization())
        for system in ("coil", "uma")
    )
    for a, b in zip(coil.model.state_dict().values(), uma.model.state_dict().values(), strict=True):
        assert torch.equal(a, b)


def test_a_run_starts_from_a_bundle_of_its_own_system_only(tmp_path):
    first = recipe_of(config(), Normalization())
    write_bundle(tmp_path / "coil", "coil", first.model, Contract(), training={}, card="")
    again = recipe_of(config(init=str(tmp_path / "coil")), Normalization())
    for a, b in zip(first.model.state_dict().values(), again.model.state_dict().values(), strict=True):
        assert torch.equal(a, b)
    with pytest.raises(InputError, match="of system 'coil', must be of 'uma'"):
        recipe_of(TrainConfig(init=str(tmp_path / "coil")), Normalization())


def test_a_trained_bundle_names_its_system(tmp_path):
    data = episode_folder(tmp_path / "data", 5)
    bundle = train(
        config(
            data=(str(data),),
            out=str(tmp_path / "out"),
            steps=2,
            batch_size=4,
            validation_episodes=1,
            validation_windows=4,
            threads=1,
            tensorboard=False,
        )
    )
    stored = read_bundle(bundle)
    assert stored.system == "coil" and stored.training["command"].startswith("uma train")
    assert "--system coil" in stored.training["command"]
    assert (bundle / "README.md").read_text().startswith("# tiny: a checkpoint of coil")
    log = [json.loads(line) for line in (tmp_path / "out/log.jsonl").read_text().splitlines()]
    assert set(log[-1]["validation"]) == {"control"}
