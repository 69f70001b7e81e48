"""Texts that speak of a scene: tokens that point to places in the cloud."""

import dataclasses

import pytest
import torch
from model_inputs import inputs, scrambled

from uma.model.config import LanguageConfig, ModelConfig, tiny
from uma.model.grounding import Grounding

LANGUAGE = LanguageConfig(kind="words", embedding=16, scene=True)
CONFIG = dataclasses.replace(tiny(), ways=True, lines=True, follow=True, language=LANGUAGE)


def test_tokens_of_a_text_depend_on_the_scene():
    model, points = scrambled(CONFIG), inputs()[0]
    c = model.encode_instruction(["lift the mug"] * 2, points)
    assert c.shape == (2, model.config.task_tokens, model.config.task_width)
    other = model.encode_instruction(["lift the mug"] * 2, dataclasses.replace(points, rgb=1 - points.rgb))
    assert not torch.allclose(c, other)
    assert not torch.allclose(c, model.encode_instruction(["turn the cup"] * 2, points))


def test_an_untrained_text_points_into_the_cloud():
    torch.manual_seed(0)
    config = dataclasses.replace(CONFIG, width=16)
    grounding, cloud = Grounding(config), torch.randn(2, 12, 16)
    centre = torch.rand(2, 12, 3)
    place = grounding(torch.randn(2, 4, config.task_width), cloud, centre)[..., 16:19]
    assert (place > centre.amin(1, keepdim=True)).all() and (place < centre.amax(1, keepdim=True)).all()


def test_training_leads_to_the_named_place():
    """Two texts name one of two kinds of tokens, which are elsewhere in every scene."""
    torch.manual_seed(0)
    config = dataclasses.replace(CONFIG, width=32)
    grounding, kinds, said = Grounding(config), torch.randn(2, 32), torch.randn(2, 4, config.task_width)
    optimizer = torch.optim.Adam(grounding.parameters(), lr=3e-3)

    def error(count: int) -> torch.Tensor:
        which, centre = torch.randint(2, (count,)), torch.rand(count, 2, 3)
        place = grounding(said[which], kinds.expand(count, -1, -1), centre)[..., 32:35]
        return (place - centre[torch.arange(count), which][:, None]).norm(dim=-1).mean()

    before = error(256).item()
    for _ in range(150):
        optimizer.zero_grad()
        error(64).backward()
        optimizer.step()
    assert error(256).item() < 0.1 * before


def test_a_text_without_a_scene_is_refused():
    with pytest.raises(ValueError, match="points: None, language.scene needs the initial scene"):
        scrambled(CONFIG).encode_instruction(["lift the mug"])


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: LanguageConfig(scene=True), "language.scene: on, needs a language.kind"),
        (lambda: ModelConfig(language=LANGUAGE), "language.scene: on, needs ways"),
    ],
)
def test_a_setting_that_does_not_fit_is_refused(make, words):
    with pytest.raises(ValueError, match=words):
        make()


def test_without_scene_the_tokens_are_as_before():
    config = dataclasses.replace(CONFIG, language=dataclasses.replace(LANGUAGE, scene=False))
    model = scrambled(config)
    assert model.grounding is None
    text = ["lift the mug"] * 2
    assert torch.equal(model.encode_instruction(text), model.encode_instruction(text, inputs()[0]))
