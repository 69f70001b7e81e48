"""Motus's checks on a briefly trained network: those that hold early, and what breaks them.

`uma mechanisms --system motus` trains longer, for the checks of the modes joint and inverse.
"""

import pytest
import torch
from rich.console import Console

from uma_train.baselines.motus.config import MODES
from uma_train.baselines.motus.network import MotusNetwork
from uma_train.studies import motus_checks, motus_world, pixel_world
from uma_train.studies.motus_study import settings
from uma_train.studies.motus_training import build, train_stage
from uma_train.studies.pixel_training import toy_tokeniser
from uma_train.studies.system_checks import TOKENISER

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]

EARLY = ("policy (VLA)", "world model", "video (VGM)", "policy: change")
"""The modes that a short training brings."""


@pytest.fixture(scope="module")
def model() -> MotusNetwork:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    quiet = Console(quiet=True)
    tokeniser = toy_tokeniser(pixel_world.LAYOUT, 150, quiet, channels=TOKENISER.channels)
    trained = train_stage(build(settings(TOKENISER), tokeniser), "action", 700, quiet)
    torch.set_num_threads(threads)
    return trained


def failed(findings) -> list[str]:
    return [f"{f.what}: {f.text()}, must be {f.limit}" for f in findings if f.holds is False]


def early(model):
    return [f for f in motus_checks.modes(model, 64) if f.what.startswith(EARLY)]


def test_the_early_modes_and_the_wiring_hold(model):
    assert len(early(model)) == 4 and not failed(early(model))
    assert not failed(motus_checks.wiring(model, 64))


def test_images_follow_the_clock(model, monkeypatch):
    assert not failed(motus_checks.follows_the_clock(model, 64))
    monkeypatch.setattr(model, "frame_steps", lambda: [16, 8])
    assert not failed(motus_checks.follows_the_clock(model, 64)), "steps exchanged: so are the images"
    monkeypatch.undo()
    images = model.images
    monkeypatch.setattr(model, "images", lambda patches: images(patches).flip(1))
    assert len(failed(motus_checks.follows_the_clock(model, 64))) == 2


def test_a_world_model_without_its_chunk_is_found(model, monkeypatch):
    monkeypatch.setitem(MODES, "world", ("noise", "falls"))
    assert any(text.startswith("world model: images") for text in failed(early(model)))


def test_a_policy_of_one_side_is_found(model, monkeypatch):
    sample = model.sample

    def one_sided(batch, mode, *args, **options):
        action, patches = sample(batch, mode, *args, **options)
        return (action * action[:, -1:, :1].sign() if mode == "policy" else action), patches

    monkeypatch.setattr(model, "sample", one_sided)
    assert any("the rarer side" in text for text in failed(early(model)))


def test_a_task_that_does_not_reach_the_actions_is_found(model, monkeypatch):
    monkeypatch.setattr(motus_world, "task_of", lambda side, width: torch.zeros(len(side), 4, width))
    wrong = failed(motus_checks.wiring(model, 64))
    assert len(wrong) == 2 and all("told side" in text for text in wrong)
