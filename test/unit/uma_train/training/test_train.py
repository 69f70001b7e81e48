"""The training loop on small data made here: precision, resuming, the card, and what a step computes."""

import dataclasses
import json

import numpy as np
import pytest
import torch
from episodes import episode

from uma.checkpoint.bundle import load_bundle
from uma.model.config import ImageConfig, tiny
from uma.model.contrastive import ProjectionHead
from uma.model.inputs import Normalization
from uma.model.masks import MaskMix
from uma.model.uma import TokenGrid, Uma
from uma_train.data.episode import EpisodeError, save_episode
from uma_train.data.windows import Windows
from uma_train.training import trainer
from uma_train.training.config import ModelChoice, TrainConfig
from uma_train.training.loop import changed_flags, train
from uma_train.training.objectives import Objective, losses


@pytest.mark.parametrize(
    ("flags", "has"),
    [
        ("fma avx2", False),
        ("avx512f avx512_bf16 avx512_vnni", True),
        ("amx_bf16 amx_tile", True),
        ("asimd bf16 i8mm", True),
        ("avx512f", False),
    ],
)
def test_bfloat16_needs_a_processor_that_multiplies_in_it(monkeypatch, flags, has):
    monkeypatch.setattr("pathlib.Path.read_text", lambda self: f"flags\t\t: fpu {flags}\n")
    assert trainer.multiplies_bfloat16("cpu") is has and trainer.multiplies_bfloat16("cuda")


@pytest.mark.slow
@pytest.mark.parametrize("optimizer", ["adamw", "muon"])
def test_a_run_resumes_where_it_was_killed(tmp_path, monkeypatch, optimizer):
    data = tmp_path / "data"
    data.mkdir()
    for i in range(5):
        save_episode(data / f"{i}.npz", episode(i))
    common = dict(
        data=(str(data),),
        preset="tiny",
        optimizer=optimizer,
        batch_size=8,
        micro_batch=8,
        steps=12,
        save_every=6,
        validate_every=12,
        validation_episodes=1,
        validation_windows=8,
        warmup=2,
        bf16=False,
        threads=1,
    )
    whole = train(TrainConfig(out=str(tmp_path / "whole"), **common))
    cut = TrainConfig(out=str(tmp_path / "cut"), **common)
    save = trainer.Trainer.save

    def save_and_die(self, path):
        save(self, path)
        if self.step == 6:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(trainer.Trainer, "save", save_and_die)
        train(cut)
    resumed = train(cut)
    a, b = load_bundle(whole), load_bundle(resumed)
    assert a.checkpoint_id == b.checkpoint_id
    assert all(torch.equal(x, y) for x, y in zip(a.model.state_dict().values(), b.model.state_dict().values()))
    rows = [json.loads(line) for line in (tmp_path / "whole" / "log.jsonl").read_text().splitlines()]
    assert rows[-1]["validation"]["dynamics"]["motion_mm"] > 0
    with pytest.raises(ValueError, match="lr was 0.001, now 0.01"):
        train(dataclasses.replace(cut, lr=0.01))


def test_the_card_s_command_makes_the_same_configuration():
    import tyro

    config = TrainConfig(steps=7, lr=4e-4, objective=Objective(contrastive_weight=0.0, masks=MaskMix(control=0.7)))
    flags = changed_flags(config, TrainConfig())
    assert "--objective.masks.control 0.7" in flags and len(flags) == 4
    assert tyro.cli(TrainConfig, args=" ".join(flags).split()) == config


def test_no_data_is_a_clear_error(tmp_path):
    with pytest.raises(EpisodeError, match="no episode"):
        train(TrainConfig(data=(str(tmp_path),), out=str(tmp_path / "o")))


def test_image_features_need_an_image_of_every_frame(tmp_path):
    e = episode()
    for i in range(4):
        some = dataclasses.replace(e, images=np.zeros((1, 9, 16, 3), np.uint8), image_frame=np.zeros(1, np.int32))
        save_episode(tmp_path / f"{i}.npz", some)
    config = TrainConfig(
        data=(str(tmp_path),),
        out=str(tmp_path / "o"),
        preset="tiny",
        model=ModelChoice(image=ImageConfig(kind="small")),
    )
    with pytest.raises(ValueError, match="3 of 36 frames have an image; image features need all"):
        train(config)


def test_several_draws_are_the_mean_and_share_one_encoding():
    """`control_draws` 3 equals the batch repeated three times, with one encoding of its points."""
    model = Uma(tiny(), Normalization())
    torch.manual_seed(0)
    with torch.no_grad():
        for p in model.parameters():
            p.add_(0.02 * torch.randn_like(p))
    windows, head = Windows([episode(i) for i in range(4)]), ProjectionHead(model.config)
    batch = windows.draw(4, 0, model.normalization, np.random.default_rng(0), windows_per_task=2)
    config = Objective(contrastive_weight=0.0, task_dropout=0.0, control_draws=3)
    calls = []
    model.observation_encoder.register_forward_hook(lambda module, given, out: calls.append(len(out)))
    out = losses(model, head, batch, config, torch.Generator().manual_seed(5))
    assert calls == [4]
    g = torch.Generator().manual_seed(5)
    torch.rand(4, generator=g)  # the task's dropout
    task = model.encode_task(batch.initial_points, batch.reference).repeat_interleave(2, 0)
    cache = model.prepare_context(batch.points, batch.ee, task)
    thrice = torch.arange(4).repeat_interleave(3)
    grid = TokenGrid(
        *(
            None if v is None else v[thrice]
            for v in (getattr(batch.grid, f.name) for f in dataclasses.fields(TokenGrid))
        )
    )
    blocks = [[(k[thrice], v[thrice]) for k, v in block] for block in cache.blocks]
    expected = model.flow_losses(grid, config.masks.draw(12, 17, 0, g), cache._replace(blocks=blocks), g)
    assert torch.allclose(out["action"], expected["action"], atol=1e-6) and out["action"] > 0.1
    with_motion = windows.draw(4, 2, model.normalization, np.random.default_rng(0), windows_per_task=2)
    once = [
        losses(
            model, head, with_motion, dataclasses.replace(config, control_draws=n), torch.Generator().manual_seed(5)
        )["total"]
        for n in (1, 3)
    ]
    assert once[0] == once[1], "with motion tokens the denoiser is what costs"
    with pytest.raises(ValueError, match="control_draws: 0, must be at least 1"):
        Objective(control_draws=0)
