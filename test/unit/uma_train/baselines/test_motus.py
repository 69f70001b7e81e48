"""Motus's mechanisms on an untrained network with random weights, and what breaks each of them."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from uma.model.config import tiny
from uma.model.inputs import Normalization
from uma.types import InputError
from uma_train.baselines.motus import network as module
from uma_train.baselines.motus.config import MODES, MotusConfig
from uma_train.baselines.motus.network import MotusNetwork
from uma_train.baselines.pixels.tokeniser import TokeniserConfig
from uma_train.data.clips import Layout
from uma_train.data.windows import Windows
from uma_train.studies import motus_checks, pixel_world

LAYOUT = pixel_world.LAYOUT
CONFIG = MotusConfig(
    LAYOUT,
    replace(tiny(), width=32, heads=4),
    TokeniserConfig(LAYOUT, (8, 8), 4),
    width=32,
    action_width=24,
    task_width=16,
    layers=2,
    heads=4,
    inference_steps=3,
)


def network(config: MotusConfig = CONFIG) -> MotusNetwork:
    torch.manual_seed(0)
    model = MotusNetwork(config, Normalization()).eval()
    with torch.no_grad():
        for p in model.parameters():
            p.add_(0.05 * torch.randn(p.shape))
    return model


@pytest.fixture(scope="module")
def model() -> MotusNetwork:
    return network()


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def failed(findings) -> list[str]:
    return [f.what for f in findings if f.holds is False]


def exact(findings):
    """The findings that training does not change."""
    return [f for f in findings if f.limit.startswith("= ")]


def test_experts_have_weights_and_gradients_of_their_own(model):
    assert not failed(motus_checks.separate_weights(model, 4))


def test_a_weight_of_two_experts_is_found():
    other = network(replace(CONFIG, action_width=32))
    experts = other.layers[0].experts
    experts["action"].qkv = experts["video"].qkv
    assert "weights of two experts, or of none" in failed(motus_checks.separate_weights(other, 4))


def test_an_action_expert_in_the_first_stage_is_found(model, monkeypatch):
    whole = MotusNetwork.losses
    monkeypatch.setattr(MotusNetwork, "losses", lambda m, b, g, stage, cut: whole(m, b, g, "action", cut))
    assert "stage 1: gradient of the action expert" in failed(motus_checks.separate_weights(model, 4))


def test_a_cut_that_cuts_nothing_is_found(model, monkeypatch):
    monkeypatch.setattr(MotusNetwork, "_may", lambda *_: None)
    wrong = failed(motus_checks.separate_weights(model, 4))
    assert "images' loss, action tokens cut: gradient of the action expert" in wrong
    assert failed(exact(motus_checks.wiring(model, 4))) == [
        "task cut: largest change of the policy's actions by the other side's tokens"
    ]


def test_without_the_task_s_tokens_its_side_is_unknown(model):
    assert exact(motus_checks.wiring(model, 4)) and not failed(exact(motus_checks.wiring(model, 4)))


def test_an_action_loss_on_videos_is_found(model, monkeypatch):
    def losses(m, batch, g, stage="action", cut=frozenset()):
        return whole(m, replace(batch, has_action=torch.ones_like(batch.has_action)), g, stage, cut)

    whole = MotusNetwork.losses
    monkeypatch.setattr(MotusNetwork, "losses", losses)
    assert "videos without actions: gradient of their actions' loss" in failed(motus_checks.separate_weights(model, 4))


def test_flow_times_are_drawn_apart(model):
    assert not failed(motus_checks.independent_times(model))
    assert failed(motus_checks.independent_times(network(replace(CONFIG, shared_time=True))))
    t = model.draw_times(torch.ones(2000, dtype=torch.bool), generator())
    assert all(float(v.min()) == 0 and float(v.max()) == 1 for v in t)


def test_video_mode_does_not_read_the_chunk(model, monkeypatch):
    assert not failed(exact(motus_checks.modes(model, 4)))
    monkeypatch.setitem(MODES, "video", ("clean", "falls"))
    assert failed(exact(motus_checks.modes(model, 4))) == ["video (VGM): largest change by another chunk"]


@pytest.mark.parametrize("mode", MODES)
def test_a_mode_keeps_what_it_is_given_and_draws_the_rest(model, mode):
    given = motus_checks.scenes(model, 2)
    action, patches = model.sample(given, mode, 1, generator())
    assert torch.equal(action, given.action) == (mode == "world")
    assert torch.equal(patches, model.patches(given.future)) == (mode == "inverse")
    other = replace(given, future=torch.rand(given.future.shape), action=torch.randn(given.action.shape))
    again = model.sample(other, mode, 1, generator())
    reads = {"world": (True, True), "inverse": (True, True)}.get(mode, (False, False))
    assert (not torch.equal(action, again[0]), not torch.equal(patches, again[1])) == reads


def test_euler_steps_along_the_true_velocity_return_the_data(model, monkeypatch):
    """x_0 + tau eps is straight, with the velocity eps - x_0: data at time 0."""
    batch = motus_checks.scenes(model, 3)
    clean = model.patches(batch.future)

    def velocity(action, image, times, given, cut):
        a, b = (t[:, None, None].clamp_min(1e-6) for t in times)
        return (action - batch.action) / a, (image - clean) / b

    monkeypatch.setattr(model, "velocity", velocity)
    action, patches = model.sample(batch, "joint", 10, generator())
    assert torch.allclose(action, batch.action, atol=1e-5) and torch.allclose(patches, clean, atol=1e-5)


def test_the_target_is_noise_minus_data(model, monkeypatch):
    batch = motus_checks.scenes(model, 4)
    clean = model.patches(batch.future)

    def velocity(action, image, times, given, cut):
        a, b = (t[:, None, None] for t in times)
        return (action - batch.action) / a.clamp_min(1e-6), (image - clean) / b.clamp_min(1e-6)

    monkeypatch.setattr(model, "velocity", velocity)
    monkeypatch.setattr(model, "draw_times", lambda has, g: (torch.full((4,), 0.3), torch.full((4,), 0.8)))
    assert model.losses(batch, generator())["total"].item() < 1e-9


def test_images_come_back_from_their_patches():
    for layout, channels in ((LAYOUT, (8, 8)), (Layout(height=18, width=36), (8, 8)), (Layout(), (8, 8, 8))):
        small = MotusConfig(layout, CONFIG.uma, TokeniserConfig(layout, channels, 4), 32, 24, 16, 1, 4, patch=2)
        other, images = network(small), torch.rand(2, 2, 3, layout.height, layout.width)
        rows, columns = small.grid
        patches = other.patches(images)
        assert patches.shape == (2, 2 * rows * columns, 16)
        assert torch.allclose(other.images(patches), other.tokeniser.decode(other.tokeniser.encode(images)), atol=1e-5)


def test_what_is_given_and_both_times_reach_the_output(model):
    batch = motus_checks.scenes(model, 1)
    given, image = model.given(batch), model.patches(batch.future)

    def out(ta=0.1, ti=0.2, given=given):
        return model.velocity(batch.action, image, (torch.tensor([ta]), torch.tensor([ti])), given)

    first = out()
    others = [out(ta=0.5), out(ti=0.7), out(given=replace(given, task=given.task + 1.0))]
    others += [out(given=replace(given, now=given.now + 1.0)), out(given=replace(given, has_state=~given.has_state))]
    for other in others:
        assert all(not torch.allclose(a, b, atol=1e-6) for a, b in zip(first, other, strict=True))


def test_the_state_of_latent_actions_and_videos_is_not_read(model):
    batch = motus_checks.scenes(model, 2)
    other = replace(batch, state=batch.state + 3.0)

    @torch.no_grad()
    def total(batch, stage):
        return float(model.losses(batch, generator(), stage)["total"])

    assert total(batch, "latent") == total(other, "latent") and total(batch, "action") != total(other, "action")
    videos = [replace(b, has_action=torch.zeros(2, dtype=torch.bool)) for b in (batch, other)]
    assert total(videos[0], "action") == total(videos[1], "action")


def test_an_image_that_was_not_seen_has_no_loss(model):
    batch = motus_checks.scenes(model, 4)
    unseen = replace(batch, is_seen=torch.tensor([[True, False]] * 4))
    darker = replace(unseen, future=batch.future * torch.tensor([1.0, 0.0])[None, :, None, None, None])
    cut = module.WHOLE_CUT | {("future", "future")}
    first, second, seen = (model.losses(b, generator(), cut=cut)["video"].item() for b in (unseen, darker, batch))
    assert first == second != seen


def test_images_and_actions_are_of_their_steps():
    assert not failed(motus_checks.rates())


def test_an_image_one_step_late_is_found(monkeypatch):
    draw = Windows.draw
    late = lambda w, *a, clip, **k: draw(w, *a, clip=tuple(s + 1 if s else 0 for s in clip), **k)  # noqa: E731
    monkeypatch.setattr(Windows, "draw", late)
    assert "images at 8, 4 and 2 actions each: largest error of a step" in failed(motus_checks.rates())


def test_actions_at_the_images_rate_are_found(monkeypatch):
    draw = Windows.draw

    def sparse(windows, *args, clip, **options):
        batch = draw(windows, *args, clip=clip, **options)
        every = 2 if 2 in clip else 1
        index = np.minimum(every * np.arange(17), 16)
        return replace(batch, grid=replace(batch.grid, action=batch.grid.action[:, index]))

    monkeypatch.setattr(Windows, "draw", sparse)
    wrong = failed(motus_checks.rates())
    assert len(wrong) == 2 and "largest change of the actions by the images' rate" in wrong


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"heads": 5}, "width: 32, must be a multiple of the 5 heads"),
        ({"action_width": 25}, "action_width: 25, must be even"),
        ({"patch": 0}, "patch: 0, must be 1 to 8"),
    ],
)
def test_a_configuration_that_does_not_fit_is_named(change, message):
    with pytest.raises(InputError, match=message):
        replace(CONFIG, **change)


def test_samples_differ_and_repeat_with_their_seed(model):
    batch = motus_checks.scenes(model, 2)
    a, b, c = (model.act(batch, 2, 3, generator(s)) for s in (0, 0, 1))
    assert a.shape == (2, 3, 16, 10) and torch.equal(a, b) and not torch.equal(a, c)
    assert not np.allclose(a[:, 0], a[:, 1])
