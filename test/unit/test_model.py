"""What must hold of the model whatever its weights: masks, padding, permutation, caching, gradients."""

import dataclasses

import pytest
import torch

from uma.model.config import PRESETS, ModelConfig, base, tiny
from uma.model.encoders import EndEffectorBatch, PointBatch, ReferenceBatch
from uma.model.inputs import ACTION_DIM, Normalization
from uma.model.masks import MaskMix, pattern
from uma.model.uma import TokenGrid, Uma

T = 17


def scrambled() -> Uma:
    """A model whose zero-initialised parts are not zero."""
    torch.manual_seed(0)
    model = Uma(tiny(), Normalization())
    with torch.no_grad():
        for p in model.parameters():
            if (p == 0).all():
                p.normal_(0, 0.1)
    return model.eval()


def inputs(B: int = 2, K: int = 3, seed: int = 0):
    g = torch.Generator().manual_seed(seed)
    N = tiny().points.total

    def randn(*shape):
        return torch.randn(*shape, generator=g)

    points = PointBatch(randn(B, N, 3) * 0.2 + torch.tensor([0, 0, 0.9]), torch.rand(B, N, 3, generator=g), torch.rand(B, N, generator=g) * 0.1)
    ee = EndEffectorBatch(torch.eye(4).repeat(B, 1, 1), torch.rand(B, generator=g))
    reference = ReferenceBatch(randn(B, 8, 3), randn(B, 8, 3), torch.rand(B, 8, generator=g), torch.ones(B, 8, dtype=torch.bool))
    grid = TokenGrid(randn(B, T, ACTION_DIM), randn(B, T, K, 3), randn(B, K, 3), torch.ones(B, K, dtype=torch.bool))
    noise = (randn(B, T, ACTION_DIM), randn(B, T, K, 3))
    return points, ee, reference, grid, noise


def run(model, points, ee, reference, grid, noise, mask, steps=3):
    cache = model.prepare_context(points, ee, model.encode_task(points, reference))
    return model.sample(grid, mask, cache, noise, steps)


@pytest.mark.parametrize("mode", ["control", "joint", "dynamics", "inverse", "prefix"])
def test_given_tokens_are_bit_identical_after_sampling(mode):
    model = scrambled()
    points, ee, reference, grid, noise = inputs()
    mask = pattern(2, T, 3, action_target=mode != "dynamics", motion_target=mode in ("joint", "dynamics", "prefix"), prefix=4 if mode == "prefix" else 0)
    action, motion = run(model, points, ee, reference, grid, noise, mask)
    assert torch.equal(action[~mask.action], grid.action[~mask.action])
    assert torch.equal(motion[~mask.motion], grid.motion[~mask.motion])
    assert not torch.equal(action[mask.action], grid.action[mask.action]) or mode == "dynamics"
    assert not mask.action[:, 0].any() and (mode != "prefix" or not mask.action[:, :5].any())


def test_padded_keypoints_change_nothing():
    model = scrambled()
    points, ee, reference, grid, noise = inputs(K=3)
    mask = pattern(2, T, 3, action_target=True, motion_target=True)
    action, motion = run(model, points, ee, reference, grid, noise, mask)

    def pad(x, dim):
        shape = list(x.shape)
        shape[dim] = 13
        return torch.cat([x, torch.randn(shape)], dim)

    valid = torch.arange(16)[None].expand(2, 16) < 3
    wide = TokenGrid(grid.action, pad(grid.motion, 2), pad(grid.identity, 1), valid)
    action16, motion16 = run(model, points, ee, reference, wide, (noise[0], pad(noise[1], 2)), pattern(2, T, 16, action_target=True, motion_target=True))
    assert torch.allclose(action, action16, atol=1e-4)
    assert torch.allclose(motion, motion16[:, :, :3], atol=1e-4)


def test_keypoint_permutation_permutes_the_motion():
    model = scrambled()
    points, ee, reference, grid, noise = inputs(K=3)
    order = [2, 0, 1]
    mask = pattern(2, T, 3, action_target=True, motion_target=True)
    action, motion = run(model, points, ee, reference, grid, noise, mask)
    swapped = TokenGrid(grid.action, grid.motion[:, :, order], grid.identity[:, order], grid.is_valid)
    action2, motion2 = run(model, points, ee, reference, swapped, (noise[0], noise[1][:, :, order]), mask)
    assert torch.allclose(action, action2, atol=1e-4)
    assert torch.allclose(motion[:, :, order], motion2, atol=1e-4)


def test_task_depends_on_the_reference_but_not_on_its_padding_or_order():
    model = scrambled()
    points, _, reference, _, _ = inputs()
    task = model.encode_task(points, reference)
    shuffled = ReferenceBatch(*(getattr(reference, f.name).flip(1) for f in dataclasses.fields(reference)))
    assert torch.allclose(task, model.encode_task(points, shuffled), atol=1e-4)
    padded = ReferenceBatch(
        *(
            torch.cat([getattr(reference, f.name), torch.ones_like(getattr(reference, f.name)) * (f.name != "is_valid")], 1)
            for f in dataclasses.fields(reference)
        )
    )
    padded = dataclasses.replace(padded, is_valid=padded.is_valid.bool())
    assert torch.allclose(task, model.encode_task(points, padded), atol=1e-4)
    other = dataclasses.replace(reference, position=reference.position + 0.3)
    assert not torch.allclose(task, model.encode_task(points, other), atol=1e-3)


def test_task_tokens_differ_between_tasks_as_much_as_observation_tokens_do():
    """A task encoder whose output starts nearly constant collapsed in training: everything then ignored the task."""
    torch.manual_seed(0)
    model = Uma(tiny(), Normalization())
    points, ee, reference, _, _ = inputs(B=32)
    task, observation = model.encode_task(points, reference), model.observation_encoder(points, ee)
    assert task.std(0).mean() > 0.5 * observation.std(0).mean()
    assert task.std(0).mean() > 0.2 * task.std()


def test_target_and_given_tokens_are_modulated_by_their_own_parameters():
    model = scrambled()
    points, ee, reference, grid, noise = inputs()
    mask = pattern(2, T, 3, action_target=True, motion_target=False)
    before = run(model, points, ee, reference, grid, noise, mask)[0]
    d = model.config.width
    with torch.no_grad():  # the given half of one block's modulation
        block = model.blocks[0].modulation
        block.linear.bias.view(block.sublayers, 2, block.parts * d)[:, 1] += 0.5
    assert not torch.allclose(before, run(model, points, ee, reference, grid, noise, mask)[0], atol=1e-4)
    everything = pattern(2, T, 3, action_target=True, motion_target=True)
    everything.action[:, 0] = True  # no given token at all: its parameters cannot matter
    before = run(model, points, ee, reference, grid, noise, everything)
    with torch.no_grad():
        block.linear.bias.view(block.sublayers, 2, block.parts * d)[:, 1] += 0.5
    after = run(model, points, ee, reference, grid, noise, everything)
    assert torch.equal(before[0], after[0]) and torch.equal(before[1], after[1])


def test_a_new_model_predicts_zero_velocity_and_its_gates_are_shut():
    torch.manual_seed(0)
    model = Uma(tiny(), Normalization())
    points, ee, reference, grid, noise = inputs()
    mask = pattern(2, T, 3, action_target=True, motion_target=True)
    action, _ = run(model, points, ee, reference, grid, noise, mask)
    assert torch.allclose(action[:, 1:], noise[0][:, 1:])


def test_action_free_samples_give_the_action_head_no_gradient():
    model = scrambled().train()
    points, ee, reference, grid, _ = inputs(B=4)
    free = dataclasses.replace(grid, is_supervised_action=torch.zeros(4, dtype=torch.bool))
    cache = model.prepare_context(points, ee, model.encode_task(points, reference))
    g = torch.Generator().manual_seed(0)
    losses = model.flow_losses(free, MaskMix().draw(4, T, 3, g), cache, g)
    (losses["action"] + losses["motion"]).backward()
    assert losses["action"].item() == 0 and losses["motion"].item() > 0
    assert all(p.grad is None or not p.grad.any() for p in model.final.action.parameters())
    assert any(p.grad.any() for p in model.final.motion.parameters())


def test_mask_mix_draws_every_regime():
    g = torch.Generator().manual_seed(0)
    mask = MaskMix(random=0.2).draw(4000, T, 3, g)
    assert not mask.action[:, 0].any()
    all_action, no_action = mask.action[:, 1:].all(1), ~mask.action.any(1)
    all_motion, no_motion = mask.motion[:, 1:].flatten(1).all(1), ~mask.motion[:, 1:].flatten(1).any(1)
    for name, share in (("joint", all_action & all_motion), ("dynamics", no_action & all_motion), ("inverse", all_action & no_motion)):
        assert 0.03 < share.float().mean() < 0.7, name
    prefixed = ~mask.action[:, 1] & mask.action[:, 6:].all(1) & all_motion
    assert 0.03 < prefixed.float().mean() < 0.5
    control = MaskMix().draw(100, T, 0, g)
    assert control.motion.shape == (100, T, 0) and control.action[:, 6:].all()


def test_presets():
    paper = base()
    assert (paper.width, paper.layers, paper.heads, paper.horizon, paper.max_keypoints) == (768, 6, 12, 16, 16)
    with torch.device("meta"):
        count = sum(p.numel() for p in Uma(paper, Normalization()).blocks.parameters())
    assert count > 100e6  # 6 blocks of three attentions, a feed-forward and the dual modulation at width 768
    assert set(PRESETS) == {"tiny", "small", "base"}
    with pytest.raises(ValueError, match="multiple of heads"):
        ModelConfig(width=100, heads=12)


def test_few_steps_on_one_batch_lower_the_loss():
    torch.manual_seed(0)
    model = Uma(tiny(), Normalization())
    points, ee, reference, grid, _ = inputs(B=8)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2)

    def loss(seed):
        g = torch.Generator().manual_seed(seed)
        cache = model.prepare_context(points, ee, model.encode_task(points, reference))
        out = model.flow_losses(grid, pattern(8, T, 3, action_target=True, motion_target=True), cache, g)
        return out["action"] + out["motion"]

    first = loss(0).item()
    for i in range(120):
        optimizer.zero_grad()
        loss(i).backward()
        optimizer.step()
    assert loss(0).item() < 0.8 * first
