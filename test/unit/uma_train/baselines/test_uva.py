"""UVA's mechanisms on an untrained network with random weights, and what breaks each of them."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from uma.model.config import tiny
from uma.model.inputs import Normalization
from uma.types import InputError
from uma_train.baselines.pixels.tokeniser import TokeniserConfig
from uma_train.baselines.uva.masks import MODES, VIDEO_ONLY, Given, draw, masked_share
from uma_train.baselines.uva.network import UvaConfig, UvaNetwork
from uma_train.data.clips import Layout
from uma_train.studies import pixel_world, uva_checks

LAYOUT = pixel_world.LAYOUT
CONFIG = UvaConfig(
    LAYOUT,
    replace(tiny(), width=32, heads=4),
    TokeniserConfig(LAYOUT, (8, 8), 4),
    width=32,
    layers=1,
    heads=4,
    head_width=32,
    head_layers=1,
    inference_steps=2,
)


def built(config: UvaConfig = CONFIG) -> UvaNetwork:
    """Random weights everywhere, also where training starts from zero."""
    torch.manual_seed(0)
    model = UvaNetwork(config, Normalization()).eval()
    with torch.no_grad():
        for p in model.parameters():
            p.add_(0.05 * torch.randn(p.shape))
    return model


@pytest.fixture(scope="module")
def network() -> UvaNetwork:
    return built()


def holds(findings) -> dict[str, bool]:
    return {f.what: f.holds for f in findings if f.holds is not None}


def test_the_policy_reads_no_future_no_chunk_no_video_head(network):
    assert all(holds(uva_checks.no_leak(network, 4)).values())


def test_a_policy_that_sees_the_future_is_found(network, monkeypatch):
    monkeypatch.setitem(MODES, "policy", replace(MODES["policy"], future=True))
    assert not all(holds(uva_checks.no_leak(network, 4)).values())


def test_a_policy_that_sees_the_chunk_is_found(network, monkeypatch):
    monkeypatch.setitem(MODES, "policy", replace(MODES["policy"], action=True))
    assert not all(holds(uva_checks.no_leak(network, 4)).values())


def test_acting_takes_one_pass_and_no_video(network):
    assert all(holds(uva_checks.light_acting(network)).values())


def test_acting_by_imagining_first_is_found(network, monkeypatch):
    def act(batch, num_steps, samples, generator, mode="policy"):
        return network.imagine(batch, num_steps, generator, "joint")[1][:, None]

    monkeypatch.setattr(network, "act", act)
    assert not all(holds(uva_checks.light_acting(network)).values())


def test_a_video_teaches_everything_but_the_action_head(network):
    assert all(holds(uva_checks.action_free(network, 4)).values())


def test_an_action_loss_on_videos_is_found(network, monkeypatch):
    whole = uva_checks.scenes
    monkeypatch.setattr(
        uva_checks, "scenes", lambda m, n, has_action: replace(whole(m, n), has_action=torch.ones(n, dtype=torch.bool))
    )
    assert not all(holds(uva_checks.action_free(network, 16)).values())


def test_modes_are_drawn_evenly_and_videos_without_actions():
    has_action = torch.arange(4000) % 2 == 0
    g = draw(has_action, 12, torch.Generator().manual_seed(0))
    assert not g.action[~has_action].any() and not g.action_loss[~has_action].any() and g.video_loss[~has_action].all()
    kinds = list(zip(g.action.tolist(), g.future.all(1).tolist(), g.video_loss.tolist(), g.action_loss.tolist()))
    wanted = {(m.action, m.future, m.video_loss, m.action_loss): name for name, m in MODES.items()}
    counts = {name: 0 for name in MODES}
    for kind, has in zip(kinds, has_action.tolist()):
        counts[wanted[kind]] += has
    assert all(300 < n < 500 for n in counts.values()), counts
    videos = draw(has_action, 12, torch.Generator().manual_seed(0), (VIDEO_ONLY,))
    assert videos.video_loss.all() and not videos.action_loss.any()


def test_at_least_seven_tenths_of_the_future_are_masked():
    share = masked_share(5000, torch.Generator().manual_seed(0))
    assert 0.7 <= share.min() and share.max() <= 1.0 and 0.84 < share.mean() < 0.90


def test_given_places_are_the_same_in_every_image(network):
    """A given position changes no loss weight of others, and ungiven latents change nothing."""
    batch = uva_checks.scenes(network, 2)
    latents = network.tokeniser.encode(batch.future)
    known = torch.zeros(2, network.config.tokeniser.tokens, dtype=torch.bool)
    known[:, 3] = True
    yes = torch.ones(2, dtype=torch.bool)
    g = Given(~yes, known, yes, ~yes)
    z = network.join(batch, latents, g)
    hidden = latents.clone()
    hidden[:, :, 4:] = 9.0
    assert torch.equal(z, network.join(batch, hidden, g))
    hidden[:, 1, 3] += 1.0
    assert not torch.equal(z, network.join(batch, hidden, g))


def test_every_imagined_position_is_filled_in_any_passes(network):
    batch = uva_checks.scenes(network, 2)
    for passes in (1, 4):
        future, action = network.imagine(batch, 2, torch.Generator().manual_seed(0), passes=passes)
        assert future.shape == (2, 2, network.config.tokeniser.tokens, 4) and not (future == 0).all(-1).any()
        assert not action.any()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"layout": Layout(past=1, future=2)}, "layout.past, layout.future: 1 and 2, .* must be equal"),
        ({"layout": Layout(past=3, future=3)}, "3 and 3, .* divide the 16 actions"),
        ({"width": 48}, "width: 48, must be that of the task tokens, 32"),
    ],
)
def test_a_configuration_that_does_not_fit_is_named(change, message):
    with pytest.raises(InputError, match=message):
        replace(CONFIG, **change)


def test_samples_differ_and_repeat_with_their_seed(network):
    batch = uva_checks.scenes(network, 2)
    a, b, c = (network.act(batch, 2, 3, torch.Generator().manual_seed(s)) for s in (0, 0, 1))
    assert a.shape == (2, 3, 16, 10) and torch.equal(a, b) and not torch.equal(a, c)
    assert not np.allclose(a[:, 0], a[:, 1])


def test_task_tokens_with_stated_places_are_read():
    uma = replace(CONFIG.uma, waypoints=True, ways=True, lines=True)
    model = built(replace(CONFIG, uma=uma))
    batch = uva_checks.scenes(model, 2)
    tasks = torch.randn(2, 2, uma.task_tokens, uma.task_width)
    first, second = (model.act(replace(batch, task=task), 1, 1, torch.Generator().manual_seed(0)) for task in tasks)
    assert not torch.equal(first, second)
