"""UWM's mechanisms on an untrained network with random weights, and what breaks each of them."""

from dataclasses import replace

import pytest
import torch

from uma.model.config import tiny
from uma.model.inputs import Normalization
from uma_train.baselines.pixels.tokeniser import TokeniserConfig
from uma_train.baselines.uwm.network import MODES, Steps, UwmConfig, UwmNetwork
from uma_train.studies import pixel_world, uwm_checks

LAYOUT = pixel_world.LAYOUT
CONFIG = UwmConfig(
    LAYOUT,
    replace(tiny(), width=32, heads=4),
    TokeniserConfig(LAYOUT, (8, 8), 4),
    width=32,
    layers=1,
    heads=4,
    registers=2,
    inference_steps=3,
)


def network(config: UwmConfig = CONFIG) -> UwmNetwork:
    torch.manual_seed(0)
    model = UwmNetwork(config, Normalization()).eval()
    with torch.no_grad():
        for p in model.parameters():
            p.add_(0.05 * torch.randn(p.shape))
    return model


def holds(findings) -> list[bool]:
    return [f.holds for f in findings if f.holds is not None]


def test_hidden_actions_do_not_count_and_steps_are_independent():
    assert all(holds(uwm_checks.action_free(network(), 8)))


def test_one_step_for_both_is_found():
    assert not all(holds(uwm_checks.action_free(network(replace(CONFIG, shared_step=True)), 8)))


def test_hidden_actions_that_count_are_found(monkeypatch):
    model = network()
    monkeypatch.setattr(
        model, "losses", lambda batch, g: {"total": UwmNetwork.losses(model, batch, g)["total"] + batch.action.sum()}
    )
    assert not all(holds(uwm_checks.action_free(model, 8)))


def test_videos_have_the_action_s_step_at_the_end():
    has_action = torch.arange(1000) % 2 == 0
    steps = network().draw_steps(has_action, torch.Generator().manual_seed(0))
    T = CONFIG.diffusion_steps
    assert (steps.action[~has_action] == T).all() and len(steps.action[has_action].unique()) > 80
    assert steps.image.min() == 0 and steps.image.max() == T


@pytest.mark.parametrize("mode", MODES)
def test_a_mode_keeps_what_it_is_given_and_draws_the_rest(mode):
    model, given = network(), uwm_checks.scenes(network(), 2)
    action, patches = model.sample(given, mode, 1, torch.Generator().manual_seed(0))
    assert torch.equal(action, given.action) == (mode == "forward")
    assert torch.equal(patches, model.patches(given.future)) == (mode == "inverse")
    other = replace(given, future=torch.rand(given.future.shape), action=torch.randn(given.action.shape))
    again = model.sample(other, mode, 1, torch.Generator().manual_seed(0))
    reads = {"forward": (True, True), "inverse": (True, True)}.get(mode, (False, False))
    assert (not torch.equal(action, again[0]), not torch.equal(patches, again[1])) == reads


def test_an_image_that_was_not_seen_has_no_loss():
    model, batch = network(), uwm_checks.scenes(network(), 4)
    unseen = replace(batch, is_seen=torch.tensor([[True, False]] * 4))
    g = lambda: torch.Generator().manual_seed(0)  # noqa: E731
    model.zero_grad()
    model.losses(unseen, g())["video"].backward()
    c = CONFIG.tokeniser.latent
    assert model.patch_out.bias.grad[:c].abs().sum() > 0 and not model.patch_out.bias.grad[c:].any()


def test_both_noise_steps_and_the_task_reach_the_output():
    model, batch = network(), uwm_checks.scenes(network(), 1)
    action, image = batch.action, model.patches(batch.future)

    def out(ta: int = 5, ti: int = 7, task: float = 0.0):
        observed = model.observe(replace(batch, task=batch.task + task))
        return model.velocity(action, image, Steps(torch.tensor([ta]), torch.tensor([ti])), observed)

    first = out()
    for other in (out(ta=50), out(ti=70), out(task=1.0)):
        assert not torch.allclose(first[0], other[0], atol=1e-6) and not torch.allclose(first[1], other[1], atol=1e-6)


def test_task_tokens_with_stated_places_are_read():
    uma = replace(CONFIG.uma, waypoints=True, ways=True, lines=True)
    model = network(replace(CONFIG, uma=uma))
    batch = uwm_checks.scenes(model, 2)
    tasks = torch.randn(2, 2, uma.task_tokens, uma.task_width)
    first, second = (model.act(replace(batch, task=task), 1, 1, torch.Generator().manual_seed(0)) for task in tasks)
    assert not torch.equal(first, second)
