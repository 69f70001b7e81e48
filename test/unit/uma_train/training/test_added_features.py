"""Features and layers that a trained model is given afterwards (`TrainConfig.init`) change nothing at first, and count
once they are trained."""

import dataclasses

import pytest
import torch
from episodes import episode_folder
from model_inputs import inputs, run, scrambled

from uma.checkpoint.bundle import Contract, load_bundle, save_bundle
from uma.model.config import LanguageConfig
from uma.model.inputs import Normalization
from uma.model.masks import pattern
from uma.types import InputError
from uma_train.training.config import ModelChoice, TrainConfig
from uma_train.training.loop import train
from uma_train.training.recipe import recipe_of, started

ADDITIONS = {
    "orientation": (True, lambda m: [a[-1] for a in (m.observation_encoder.fingers, *m.task_encoder.turn)]),
    "heights": (True, lambda m: [a[-1] for a in (m.observation_encoder.height, *m.task_encoder.height)]),
    "places": (True, lambda m: [a[-1] for a in (m.observation_encoder.place, *m.task_encoder.place)]),
    "waypoints": (True, lambda m: [m.task_encoder.along[-1]]),
    "ways": (True, lambda m: [m.ways.each[-1], m.ways.together[-1]]),
    "lines": (True, lambda m: [m.lines.each[-1], m.lines.together[-1]]),
    "follow": (
        True,
        lambda m: [m.follow.each[-1], m.follow.guess[-1], m.follow.gate],
    ),
    "context_layers": (
        2,
        lambda m: [last for a, f in zip(m.context.attention, m.context.ffn, strict=True) for last in (a.out, f[-1])],
    ),
}
"""name -> (its value, the layers that begin at zero)."""

NEEDS = {"follow": {"ways": True}}


@pytest.mark.parametrize("name", ADDITIONS)
def test_added_features_change_nothing_before_training(name, tmp_path):
    model, (value, zeroed) = scrambled(), ADDITIONS[name]
    save_bundle(tmp_path / "plain", model, Contract(), training={}, card="")
    chosen = {name: value} | NEEDS.get(name, {})
    config = TrainConfig(preset="tiny", init=str(tmp_path / "plain"), model=ModelChoice(**chosen))
    wider = started(config).eval()
    assert wider.config == dataclasses.replace(model.config, **chosen)
    points, ee, reference, grid, noise = inputs()
    mask = pattern(2, 17, 3, action_target=True, motion_target=True)
    before, after = (run(m, points, ee, reference, grid, noise, mask)[0] for m in (model, wider))
    assert torch.equal(before, after)
    with torch.no_grad():
        for layer in zeroed(wider):
            layer.weight.normal_(0, 0.3)
            assert not torch.allclose(
                after, after := run(wider, points, ee, reference, grid, noise, mask)[0], atol=1e-5
            )
    assert not getattr(started(dataclasses.replace(config, model=ModelChoice())).config, name)


def test_what_a_model_has_is_kept_when_it_is_given_more(tmp_path):
    save_bundle(
        tmp_path / "high",
        scrambled(dataclasses.replace(scrambled().config, heights=True)),
        Contract(),
        training={},
        card="",
    )
    both = started(TrainConfig(preset="tiny", init=str(tmp_path / "high"), model=ModelChoice(orientation=True)))
    assert both.config.heights and both.config.orientation


def test_a_model_without_words_can_be_given_them(tmp_path):
    model = scrambled()
    save_bundle(tmp_path / "plain", model, Contract(), training={}, card="")
    choice = ModelChoice(language=LanguageConfig(kind="words", embedding=16))
    wider = started(TrainConfig(preset="tiny", init=str(tmp_path / "plain"), model=choice)).eval()
    assert wider.encode_instruction(["lift the mug"]).shape[0] == 1
    points, ee, reference, grid, noise = inputs()
    mask = pattern(2, 17, 3, action_target=True, motion_target=True)
    before, after = (run(m, points, ee, reference, grid, noise, mask)[0] for m in (model, wider))
    assert torch.equal(before, after)


def test_only_the_named_modules_are_trained(tmp_path):
    model = scrambled()
    save_bundle(tmp_path / "plain", model, Contract(), training={}, card="")
    config = TrainConfig(
        data=(str(episode_folder(tmp_path / "data")),),
        out=str(tmp_path / "run"),
        preset="tiny",
        init=str(tmp_path / "plain"),
        model=ModelChoice(carry=True),
        only=("carry",),
        optimizer="muon",
        batch_size=8,
        micro_batch=8,
        steps=12,
        warmup=1,
        bf16=False,
        threads=1,
        validate_every=100,
        validation_episodes=1,
        validation_windows=8,
        tensorboard=False,
    )
    before, after = model.state_dict(), load_bundle(train(config)).model.state_dict()
    assert all(torch.equal(after[name], value) for name, value in before.items())
    added = {name for name in after if name not in before}
    assert added and all(name.startswith("carry.") for name in added)
    assert any(after[name].any() for name in ("carry.weigh.weight", "carry.offset.weight"))


def test_an_unknown_module_is_refused(tmp_path):
    save_bundle(tmp_path / "plain", scrambled(), Contract(), training={}, card="")
    with pytest.raises(InputError, match="only: hands, must be of action_in, blocks, final"):
        recipe_of(TrainConfig(preset="tiny", init=str(tmp_path / "plain"), only=("blocks", "hands")), Normalization())


@pytest.mark.parametrize("options", [{}, {"init": "models/uma-small", "system": "coil"}])
def test_modules_alone_need_weights_to_keep(options):
    with pytest.raises(ValueError, match="only: carry, needs the system 'uma' and init"):
        TrainConfig(only=("carry",), **options)
