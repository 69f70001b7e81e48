"""Invariants of the model for any weights: masks, padding, permutation, caching, gradients."""

import dataclasses
import math

import pytest
import torch
from model_inputs import T, inputs, run, scrambled

from uma.model import flow
from uma.model.attention import SelfAttention, attend
from uma.model.config import PRESETS, ImageConfig, LanguageConfig, ModelConfig, base, block_layout, tiny
from uma.model.encoders import ReferenceBatch
from uma.model.inputs import ACTION_DIM, Normalization
from uma.model.masks import MaskMix, pattern
from uma.model.summary import PARTS, parameter_counts
from uma.model.uma import TokenGrid, Uma


@pytest.mark.parametrize("mode", ["control", "joint", "dynamics", "inverse", "prefix"])
def test_given_tokens_are_bit_identical_after_sampling(mode):
    model = scrambled()
    points, ee, reference, grid, noise = inputs()
    mask = pattern(
        2,
        T,
        3,
        action_target=mode != "dynamics",
        motion_target=mode in ("joint", "dynamics", "prefix"),
        prefix=4 if mode == "prefix" else 0,
    )
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
    action16, motion16 = run(
        model,
        points,
        ee,
        reference,
        wide,
        (noise[0], pad(noise[1], 2)),
        pattern(2, T, 16, action_target=True, motion_target=True),
    )
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


def test_task_ignores_padding_and_order_of_the_reference():
    model = scrambled()
    points, _, reference, _, _ = inputs()
    task = model.encode_task(points, reference)
    shuffled = ReferenceBatch(*(getattr(reference, f.name).flip(1) for f in dataclasses.fields(reference)))
    assert torch.allclose(task, model.encode_task(points, shuffled), atol=1e-4)
    padded = ReferenceBatch(
        *(
            torch.cat(
                [getattr(reference, f.name), torch.ones_like(getattr(reference, f.name)) * (f.name != "is_valid")], 1
            )
            for f in dataclasses.fields(reference)
        )
    )
    padded = dataclasses.replace(padded, is_valid=padded.is_valid.bool())
    assert torch.allclose(task, model.encode_task(points, padded), atol=1e-4)
    other = dataclasses.replace(reference, position=reference.position + 0.3)
    assert not torch.allclose(task, model.encode_task(points, other), atol=1e-3)


def test_task_tokens_differ_as_much_as_observation_tokens():
    """A task encoder whose output starts nearly constant collapsed in training: everything then ignored the task."""
    torch.manual_seed(0)
    model = Uma(tiny(), Normalization())
    points, ee, reference, _, _ = inputs(B=32)
    task, observation = model.encode_task(points, reference), model.observation_encoder(points, ee)
    assert task.std(0).mean() > 0.5 * observation.std(0).mean()
    assert task.std(0).mean() > 0.2 * task.std()


def test_target_and_given_tokens_have_their_own_modulation():
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


def test_new_model_predicts_zero_velocity():
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
    for name, share in (
        ("joint", all_action & all_motion),
        ("dynamics", no_action & all_motion),
        ("inverse", all_action & no_motion),
    ):
        assert 0.03 < share.float().mean() < 0.7, name
    prefixed = ~mask.action[:, 1] & mask.action[:, 6:].all(1) & all_motion
    assert 0.03 < prefixed.float().mean() < 0.5
    control = MaskMix().draw(100, T, 0, g)
    assert control.motion.shape == (100, T, 0) and control.action[:, 6:].all()


def test_presets():
    paper = base()
    assert (paper.width, paper.layers, paper.heads, paper.horizon, paper.max_keypoints) == (768, 6, 12, 16, 16)
    with pytest.raises(ValueError, match="multiple of heads"):
        ModelConfig(width=100, heads=12)


@pytest.mark.parametrize(
    ("name", "millions"), [("paper_150m", 150), ("paper_300m", 300), ("paper_600m", 600), ("small", 3.6)]
)
def test_presets_have_their_documented_size(name, millions):
    counts = parameter_counts(PRESETS[name]())
    assert sum(counts[part] for part in PARTS) / 1e6 == pytest.approx(millions, rel=0.08)


def test_layouts_of_the_block_order():
    """A reads "alternating" within a layer, B as three blocks a layer, C as blocks that take turns; dense has A's
    size."""
    orders = {name: block_layout(base(), name) for name in ("A", "B", "C", "dense")}
    sublayers = {name: [kind for _ in range(c.layers) for kind in c.block_order] for name, c in orders.items()}
    assert [sublayers[n].count("ffn") for n in ("A", "B", "C")] == [6, 18, 6]
    assert [sublayers[n].count("spatial") for n in ("A", "B", "C")] == [6, 6, 2]
    size = {name: sum(parameter_counts(c)[part] for part in PARTS) for name, c in orders.items()}
    assert size["dense"] == pytest.approx(size["A"], rel=0.03)
    with pytest.raises(ValueError, match="layers 4: must be a multiple of 3 for layout C"):
        block_layout(PRESETS["small"](), "C")


@pytest.mark.slow
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


VARIANTS = {
    "layout B": block_layout(tiny(), "B"),
    "layout C": block_layout(dataclasses.replace(tiny(), layers=3), "C"),
    "dense": block_layout(tiny(), "dense"),
    "separate heads": dataclasses.replace(tiny(), separate_layers=1),
    "index identity": dataclasses.replace(tiny(), keypoint_identity="index"),
    "both identities": dataclasses.replace(tiny(), keypoint_identity="both"),
    "history": dataclasses.replace(tiny(), history=3),
    "orientation": dataclasses.replace(tiny(), orientation=True),
    "heights": dataclasses.replace(tiny(), heights=True),
    "places": dataclasses.replace(tiny(), places=True),
    "waypoints": dataclasses.replace(tiny(), waypoints=True),
    "ways": dataclasses.replace(tiny(), ways=True),
    "lines": dataclasses.replace(tiny(), lines=True),
    "ways and lines": dataclasses.replace(tiny(), ways=True, lines=True, waypoints=True),
    "context layers": dataclasses.replace(tiny(), context_layers=2),
    "image features": dataclasses.replace(tiny(), image=ImageConfig(kind="small", height=48, width=80, features=8)),
}


@pytest.mark.parametrize("name", VARIANTS)
def test_every_variant_keeps_the_invariants(name):
    model = scrambled(VARIANTS[name])
    points, ee, reference, grid, noise = inputs(K=3)
    mask = pattern(2, T, 3, action_target=True, motion_target=True, tracked=True)
    action, motion = run(model, points, ee, reference, grid, noise, mask)
    assert torch.equal(motion[:, 0], grid.motion[:, 0])
    valid = torch.tensor([[True, True, True, False]]).expand(2, 4)
    wide = TokenGrid(
        grid.action,
        torch.cat([grid.motion, torch.randn(2, T, 1, 3)], 2),
        torch.cat([grid.identity, torch.randn(2, 1, 3)], 1),
        valid,
    )
    noise4 = (noise[0], torch.cat([noise[1], torch.randn(2, T, 1, 3)], 2))
    action4, motion4 = run(
        model,
        points,
        ee,
        reference,
        wide,
        noise4,
        pattern(2, T, 4, action_target=True, motion_target=True, tracked=True),
    )
    assert torch.allclose(action, action4, atol=1e-4)
    assert torch.allclose(motion, motion4[:, :, :3], atol=1e-4)
    losses = model.flow_losses(
        grid,
        mask,
        model.prepare_context(points, ee, model.encode_task(points, reference)),
        torch.Generator().manual_seed(0),
    )
    (losses["action"] + losses["motion"]).backward()
    assert not [n for n, p in model.named_parameters() if p.grad is None]


def test_separate_heads_cut_the_coupling_and_one_trunk_has_it():
    """With separate layers only, the motion is independent of the action; with one trunk it depends on it."""
    points, ee, reference, grid, noise = inputs()
    mask = pattern(2, T, 3, action_target=False, motion_target=True)
    other = dataclasses.replace(grid, action=grid.action.flip(0))
    for layers, same in ((0, False), (2, True)):
        model = scrambled(dataclasses.replace(tiny(), separate_layers=layers))
        motion, motion2 = (run(model, points, ee, reference, g, noise, mask)[1] for g in (grid, other))
        assert torch.allclose(motion, motion2, atol=1e-5) == same


def test_history_counts_and_a_grid_without_it_is_plain():
    model = scrambled(VARIANTS["history"])
    points, ee, reference, grid, noise = inputs()
    g = torch.Generator().manual_seed(1)
    past = (torch.randn(2, 3, ACTION_DIM, generator=g), torch.randn(2, 3, 3, 3, generator=g))
    long = dataclasses.replace(
        grid, action=torch.cat([past[0], grid.action], 1), motion=torch.cat([past[1], grid.motion], 1)
    )
    noise_long = tuple(torch.cat([p, n], 1) for p, n in zip(past, noise, strict=True))
    mask = pattern(2, T + 3, 3, action_target=True, motion_target=True, history=3, tracked=True)
    assert not mask.action[:, :4].any() and not mask.motion[:, :4].any() and mask.action[:, 4:].all()
    action, motion = run(model, points, ee, reference, long, noise_long, mask)
    assert torch.equal(action[:, :4], long.action[:, :4]) and torch.equal(motion[:, :3], past[1])
    moved = dataclasses.replace(long, action=torch.cat([past[0] + 1, grid.action], 1))
    assert not torch.allclose(
        run(model, points, ee, reference, moved, noise_long, mask)[0][:, 4:], action[:, 4:], atol=1e-3
    )
    short, _ = run(model, points, ee, reference, grid, noise, pattern(2, T, 3, action_target=True, motion_target=True))
    assert short.shape[1] == T
    # A model without history and with the same weights answers the short grid alike.
    plain = Uma(tiny(), Normalization())
    plain.load_state_dict({k: v[3:] if k == "step" else v for k, v in model.state_dict().items()})
    same, _ = run(
        plain.eval(), points, ee, reference, grid, noise, pattern(2, T, 3, action_target=True, motion_target=True)
    )
    assert torch.equal(short, same)


def test_action_free_samples_are_independent_of_action_tokens():
    model = scrambled()
    points, ee, reference, grid, noise = inputs()
    free = dataclasses.replace(grid, is_supervised_action=torch.zeros(2, dtype=torch.bool))
    mask = pattern(2, T, 3, action_target=True, motion_target=True)
    cache = model.prepare_context(points, ee, model.encode_task(points, reference))
    losses = model.flow_losses(free, mask, cache, torch.Generator().manual_seed(0))
    (losses["action"] + losses["motion"]).backward()
    assert losses["action"] == 0 and losses["motion"] > 0
    for module in (model.final.action, model.action_in):
        assert all(p.grad is None or not p.grad.any() for p in module.parameters())
    assert model.final.motion.weight.grad.any()
    other = dataclasses.replace(free, action=torch.randn_like(free.action))
    assert torch.equal(
        run(model, points, ee, reference, free, noise, mask)[1],
        run(model, points, ee, reference, other, (noise[0] + 1, noise[1]), mask)[1],
    )


def test_unseen_keypoints_are_neither_given_nor_supervised():
    model = scrambled()
    points, ee, reference, grid, _ = inputs()
    seen = torch.ones(2, T, 3, dtype=torch.bool)
    seen[:, 4:9, 1] = False
    grid = dataclasses.replace(grid, is_tracked=seen)
    changed = dataclasses.replace(
        grid, motion=torch.where(seen[..., None], grid.motion, torch.full_like(grid.motion, 7.0))
    )
    cache = model.prepare_context(points, ee, model.encode_task(points, reference))
    # Given or target, what stands at an unseen place is drowned by noise at flow time 0 and carries no weight.
    for motion_target in (True, False):
        mask = pattern(2, T, 3, action_target=True, motion_target=motion_target)
        drawn = [_losses_at_zero(model, g, mask, cache) for g in (grid, changed)]
        assert drawn[0] == drawn[1]


def _losses_at_zero(model, grid, mask, cache):
    """The losses with every flow time at 0, where targets are pure noise."""
    from unittest import mock

    with mock.patch("uma.model.flow.draw_flow_time", lambda batch, kind, generator: torch.zeros(batch)):
        out = model.flow_losses(grid, mask, cache, torch.Generator().manual_seed(0))
    return out["action"].item(), out["motion"].item()


def test_without_a_robot_in_view_its_pose_is_not_seen():
    model = scrambled()
    points, ee, _, _, _ = inputs()
    unknown = dataclasses.replace(ee, is_known=torch.zeros(2, dtype=torch.bool))
    elsewhere = dataclasses.replace(unknown, pose=unknown.pose + 0.1 * torch.eye(4), gripper=unknown.gripper + 1)
    assert torch.equal(model.observation_encoder(points, unknown), model.observation_encoder(points, elsewhere))
    assert not torch.equal(model.observation_encoder(points, unknown), model.observation_encoder(points, ee))


def test_heun_is_second_order_and_euler_first():
    """On dx/dt = x the errors of n and 2n steps stand as 1:2 for Euler and 1:4 for Heun."""
    one = torch.ones(1, 1, 1, dtype=torch.float64)
    start, is_target = (one, one[..., None]), (one.bool(), one[..., None].bool())
    error = {
        (method, n): abs(flow.sample(lambda x, t: x, start, start, is_target, n, method)[0].item() - math.e)
        for method in flow.METHODS
        for n in (8, 16)
    }
    assert error["euler", 8] / error["euler", 16] == pytest.approx(2, rel=0.1)
    assert error["heun", 8] / error["heun", 16] == pytest.approx(4, rel=0.1)
    with pytest.raises(ValueError, match="method 'rk4'"):
        flow.sample(lambda x, t: x, start, start, is_target, 2, "rk4")


def test_language_makes_the_same_kind_of_tokens_as_the_reference():
    model = scrambled(dataclasses.replace(tiny(), language=LanguageConfig(kind="words", embedding=16)))
    points, ee, reference, grid, noise = inputs()
    said = model.encode_instruction(["put the spoon into the cup", "sweep the paper"])
    assert said.shape == model.encode_task(points, reference).shape
    mask = pattern(2, T, 3, action_target=True, motion_target=True)
    answers = [
        model.sample(grid, mask, model.prepare_context(points, ee, c), noise, 2)[0] for c in (said, said.flip(0))
    ]
    assert not torch.allclose(*answers, atol=1e-4)


@pytest.mark.parametrize("is_valid", [True, False])
def test_attention_to_one_token_equals_the_softmax(is_valid):
    torch.manual_seed(0)
    layer, z = SelfAttention(32, 4).double(), torch.randn(5, 1, 32, dtype=torch.float64)
    q, k, v = layer.qkv(z).view(5, 1, 3, 4, 8).permute(2, 0, 3, 1, 4)
    expected = layer.out(attend(q, k, v, torch.full((5, 1), is_valid)).transpose(1, 2).reshape(5, 1, 32))
    got = layer(z, torch.full((5, 1), is_valid))
    assert torch.allclose(got, expected, atol=1e-12)
    for out in (expected, got):
        layer.zero_grad()
        out.square().sum().backward()
        gradient = layer.qkv.weight.grad.clone()
        assert gradient[:64].abs().max() < 1e-12 < gradient[64:].abs().max(), "queries and keys play no part"
