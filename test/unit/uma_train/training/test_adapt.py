"""Soft prompts: only the tokens change, both kinds of supervision lower their loss, and any deployment loads the
file."""

import dataclasses
import json

import numpy as np
import pytest
import torch
from episodes import episode_folder

from uma.checkpoint.bundle import load_bundle
from uma.checkpoint.prompt import load_prompt
from uma.policy import Policy
from uma_train import cli
from uma_train.data.mixtures import open_all, parse_sources
from uma_train.training.adapt import Adaptation, adapt, held_out_batches, held_out_loss, weights_hash
from uma_train.training.config import TrainConfig
from uma_train.training.loop import train


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """(bundle, data) of a short run."""
    folder = tmp_path_factory.mktemp("adapt")
    data = episode_folder(folder / "data")
    config = TrainConfig(
        data=(str(data),),
        out=str(folder / "run"),
        preset="tiny",
        batch_size=8,
        micro_batch=8,
        steps=40,
        warmup=2,
        bf16=False,
        threads=1,
        validate_every=100,
        validation_episodes=1,
        validation_windows=8,
        tensorboard=True,
    )
    return train(config), data


def test_tensorboard_and_json_agree(trained):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    run = trained[0].parent
    rows = [json.loads(line) for line in (run / "log.jsonl").read_text().splitlines()]
    board = EventAccumulator(str(run / "tensorboard"))
    board.Reload()
    logged = {e.step: e.value for e in board.Scalars("total")}
    assert (
        logged == {row["step"]: pytest.approx(row["total"], rel=1e-5) for row in rows if "total" in row}
        and 25 in logged
    )
    assert board.Scalars("validation/dynamics/motion_mm")[-1].value == pytest.approx(
        rows[-1]["validation"]["dynamics"]["motion_mm"], rel=1e-5
    )


@pytest.mark.slow
@pytest.mark.parametrize("action_weight", [2.0, 0.0])
def test_adaptation_moves_the_tokens_and_nothing_else(trained, action_weight):
    bundle, data = trained
    model = load_bundle(bundle).model
    windows = open_all(parse_sources([str(data)]))
    before = weights_hash(model)

    def draw(size, keypoints, rng):
        return windows.draw(size, keypoints, model.normalization, rng)

    start = torch.randn(4, 32, generator=torch.Generator().manual_seed(0))
    free = adapt(model, draw, start, Adaptation(steps=60, batch_size=16, lr=0.1, action_weight=action_weight))
    tokens, loss = free.tokens, free.losses
    assert weights_hash(model) == before and all(p.requires_grad and p.grad is None for p in model.parameters())
    assert not torch.equal(tokens, start) and np.mean(loss[-15:]) < np.mean(loss[:15])
    held = adapt(
        model, draw, start, Adaptation(steps=60, batch_size=16, lr=0.1, action_weight=action_weight, prior_weight=100.0)
    ).tokens
    assert (held - start).norm() < 0.3 * (tokens - start).norm()  # lambda'_c holds it at c_0


def test_motion_supervision_never_sees_an_action(trained):
    """The gradient is the same whatever the actions of the demonstrations are."""
    bundle, data = trained
    model = load_bundle(bundle).model
    windows = open_all(parse_sources([str(data)]))

    def draw(size, keypoints, rng, change=0.0):
        batch = windows.draw(size, keypoints, model.normalization, rng)
        return dataclasses.replace(
            batch,
            grid=dataclasses.replace(
                batch.grid, action=batch.grid.action + change * torch.randn_like(batch.grid.action)
            ),
        )

    config = Adaptation(steps=3, batch_size=8, action_weight=0.0)
    a = adapt(model, draw, torch.zeros(4, 32), config).tokens
    b = adapt(model, lambda *args: draw(*args, change=1.0), torch.zeros(4, 32), config).tokens
    assert torch.equal(a, b)


def test_the_step_is_chosen_on_held_out_windows(trained, monkeypatch):
    bundle, data = trained
    model = load_bundle(bundle).model
    windows = open_all(parse_sources([str(data)]))

    def draw(size, keypoints, rng):
        return windows.draw(size, keypoints, model.normalization, rng)

    values, seen = iter([1.0, 0.5, 0.8, 0.6, 0.7, 0.1]), []

    def rated(model, tokens, batches, config, in_scene):
        seen.append(tokens.clone())
        return next(values)

    monkeypatch.setattr("uma_train.training.adapt.held_out_loss", rated)
    config = Adaptation(steps=20, batch_size=8, check_every=2, patience=3)
    found = adapt(model, draw, torch.zeros(4, 32), config, held_out=held_out_batches(draw, config))
    assert [step for step, _ in found.held_out] == [0, 2, 4, 6, 8], "it ends after three worse evaluations"
    assert found.best == (2, 0.5) and torch.equal(found.tokens, seen[1]) and not torch.equal(seen[1], seen[2])


def test_the_held_out_loss_is_the_same_again(trained):
    bundle, data = trained
    model = load_bundle(bundle).model
    windows = open_all(parse_sources([str(data)]))
    config = Adaptation(batch_size=8)
    batches = held_out_batches(lambda n, k, rng: windows.draw(n, k, model.normalization, rng), config)
    assert {b.grid.motion.shape[2] for b in batches} == {0, config.keypoints}
    c = torch.randn(4, 32, generator=torch.Generator().manual_seed(0))
    first, again, other = (held_out_loss(model, t, batches, config) for t in (c, c, 3 * c))
    assert first == again != other


def test_tokens_stay_in_their_trust_region(trained):
    bundle, data = trained
    model = load_bundle(bundle).model
    windows = open_all(parse_sources([str(data)]))
    start = torch.randn(4, 32, generator=torch.Generator().manual_seed(0))
    config = Adaptation(steps=10, batch_size=8, lr=1.0, trust=0.1)
    found = adapt(model, lambda n, k, rng: windows.draw(n, k, model.normalization, rng), start, config)
    limit = 0.1 * start.square().sum(-1).mean().sqrt()
    away = (found.tokens - start).norm(dim=-1)
    assert (away <= limit * 1.0001).all() and (away > 0.9 * limit).any()


def test_a_weight_that_changes_is_an_error(trained):
    bundle, data = trained
    model = load_bundle(bundle).model
    windows = open_all(parse_sources([str(data)]))

    def draw(size, keypoints, rng):
        model.kind.data += 1e-3
        return windows.draw(size, keypoints, model.normalization, rng)

    with pytest.raises(RuntimeError, match="weights: changed"):
        adapt(model, draw, torch.zeros(4, 32), Adaptation(steps=1, batch_size=4))


def test_the_command_writes_a_prompt_that_the_policy_loads(trained, tmp_path, capsys):
    bundle, data = trained
    out = tmp_path / "fold.safetensors"
    ask = [
        "--checkpoint",
        str(bundle),
        "--data",
        str(data),
        "--out",
        str(out),
        "--name",
        "fold",
        "--adaptation.steps",
        "10",
        "--adaptation.batch-size",
        "8",
    ]
    assert cli.adapt(ask) == 0
    assert "all weights unchanged" in " ".join(capsys.readouterr().out.split())
    prompt, policy = load_prompt(out), Policy.load(bundle)
    assert (
        prompt.name == "fold"
        and prompt.training["demonstrations"] == 8
        and prompt.training["start"] in ("mean", *(f"reference {i}" for i in range(4)))
        and out.stat().st_size < 8192
    )
    assert prompt.training["weights_sha256"] == weights_hash(policy.model)
    assert torch.equal(policy.load_prompt(out).tokens, prompt.tokens)
    assert cli.adapt([*ask, "--adaptation.action-weight", "0", "--adaptation.motion-weight", "0"]) == 2
    assert "must be >= 0 and not both 0" in " ".join(capsys.readouterr().err.replace("│", " ").split())


def test_a_start_from_text_needs_a_language_encoder(trained, tmp_path, capsys):
    bundle, data = trained
    ask = ["--checkpoint", str(bundle), "--data", str(data), "--out", str(tmp_path / "p"), "--start", "text"]
    assert cli.adapt(ask) == 2
    assert "start: 'text', but the checkpoint has no language encoder" in " ".join(capsys.readouterr().err.split())


def test_eval_prints_every_mode_and_the_retrieval(trained, tmp_path, capsys):
    bundle, data = trained
    out = tmp_path / "eval.json"
    assert (
        cli.evaluate(
            ["--checkpoint", str(bundle), "--data", str(data), "--held-out", "0", "--windows", "16", "--out", str(out)]
        )
        == 0
    )
    result = json.loads(out.read_text())
    assert {"control", "joint", "dynamics", "dynamics, keypoints given", "inverse"} <= set(
        result["modes"]
    ) and 0 <= result["retrieval"] <= 1
    still = result["modes"]["dynamics"]
    assert (
        still["motion_mse_m2"] > 0
        and np.isnan(result["modes"]["control"]["motion_mm"])
        and np.isnan(still["mean_position_mm"])
    )
    shown = capsys.readouterr().out
    assert "task retrieval by its latent" in shown and "inverse" in shown
