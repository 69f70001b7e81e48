"""Dependencies of the model, its losses and its masks. A disconnected part would train without an error."""

import dataclasses

import numpy as np
import pytest
import torch
from episodes import episode

from uma.model.config import tiny
from uma.model.contrastive import ProjectionHead
from uma.model.dit import DualModulation
from uma.model.inputs import Normalization
from uma.model.masks import MaskMix, MaskPattern, pattern
from uma.model.pointnet import SetAbstraction
from uma.model.uma import Uma
from uma_train.data.batch import Batch
from uma_train.data.windows import Windows
from uma_train.training.objectives import Objective, losses
from uma_train.training.views import ViewSampling

B, K = 3, 4

FELT = 5e-4
"""A part that counts changes some velocity by more than this, at least by 0.004; one that is cut off, by rounding."""


def perturbed(keypoint_identity: str = "position") -> Uma:
    """A model none of whose parts is shut: new ones have gates and heads of zero."""
    torch.manual_seed(0)
    model = Uma(dataclasses.replace(tiny(), keypoint_identity=keypoint_identity), Normalization())
    with torch.no_grad():
        for p in model.parameters():
            p.add_(0.1 * torch.randn_like(p))
    return model


@pytest.fixture
def batch() -> Batch:
    windows = Windows([episode(i) for i in range(B)])
    return windows.draw(B, K, Normalization(), np.random.default_rng(0), np.array([2, 14, 26]))


def all_targets(batch: Batch) -> MaskPattern:
    """Return a mask without given tokens, not even the measured action: all steps differ only by their index."""
    grid = batch.grid
    return MaskPattern(*(torch.ones_like(part[..., 0], dtype=torch.bool) for part in (grid.action, grid.motion)))


def velocity(model: Uma, batch: Batch, *, time: float = 0.4, mask=None, state=None, task=None) -> tuple:
    """Velocities of actions and motion; what is not given is the batch's, and every token a target."""
    grid = batch.grid
    mask = mask or all_targets(batch)
    task = model.encode_task(batch.initial_points, batch.reference) if task is None else task
    cache = model.prepare_context(batch.points, batch.ee, task)
    state = (grid.action, grid.motion) if state is None else state
    return model.velocity(state, grid.identity, grid.is_valid, mask, torch.full((B,), time), cache)


def changes(one: torch.Tensor, other: torch.Tensor) -> float:
    """The largest difference."""
    return (one - other).abs().max().item()


def test_the_velocity_depends_on_flow_time(batch):
    model = perturbed()
    early, late = (velocity(model, batch, time=t) for t in (0.1, 0.9))
    assert changes(early[0], late[0]) > FELT and changes(early[1], late[1]) > FELT


def test_the_velocity_depends_on_which_step_a_token_is(batch):
    """Without a step embedding, reordered steps would have reordered velocities."""
    model, (action, motion) = perturbed(), (batch.grid.action, batch.grid.motion)
    before, after = velocity(model, batch), velocity(model, batch, state=(action.flip(1), motion.flip(1)))
    assert changes(before[0].flip(1), after[0]) > FELT and changes(before[1].flip(1), after[1]) > FELT


@pytest.mark.parametrize("kind", ["position", "index", "both"])
def test_keypoints_at_one_place_differ(batch, kind):
    """Their tokens differ in nothing but which keypoint they are."""
    state = (batch.grid.action, batch.grid.motion[:, :, :1].expand(-1, -1, K, -1))
    motion = velocity(perturbed(kind), batch, state=state)[1]
    assert changes(motion[:, :, 0], motion[:, :, 1]) > FELT


@pytest.mark.parametrize("field", ["xyz", "rgb", "height"])
def test_the_velocity_depends_on_the_observed_cloud(batch, field):
    model = perturbed()
    other = dataclasses.replace(batch.points, **{field: getattr(batch.points, field).roll(1, 0)})
    before, after = (velocity(model, dataclasses.replace(batch, points=points)) for points in (batch.points, other))
    assert changes(before[0], after[0]) > FELT and changes(before[1], after[1]) > FELT


@pytest.mark.parametrize("field", ["pose", "gripper"])
def test_the_velocity_depends_on_the_measured_hand(batch, field):
    model, pose = perturbed(), batch.ee.pose.clone()
    pose[:, :3, 3] += 0.05
    changed = {"pose": pose, "gripper": 1 - batch.ee.gripper}[field]
    other = dataclasses.replace(batch.ee, **{field: changed})
    before, after = (velocity(model, dataclasses.replace(batch, ee=ee)) for ee in (batch.ee, other))
    assert changes(before[0], after[0]) > FELT and changes(before[1], after[1]) > FELT


def test_the_velocity_depends_on_the_task(batch):
    model = perturbed()
    task = model.encode_task(batch.initial_points, batch.reference)
    before, after = (velocity(model, batch, task=c) for c in (task, task.roll(1, 0)))
    assert changes(before[0], after[0]) > FELT and changes(before[1], after[1]) > FELT


def test_actions_motion_and_steps_see_each_other(batch):
    """Within a step and along the steps: what stands at one token moves the velocity of all others."""
    model, (action, motion) = perturbed(), (batch.grid.action, batch.grid.motion)
    before = velocity(model, batch)
    pushed = action.clone()
    pushed[:, 5] += 1.0
    after = velocity(model, batch, state=(pushed, motion))
    assert changes(before[1][:, 5], after[1][:, 5]) > FELT, "an action moves the keypoints of its step"
    assert changes(before[0][:, 12], after[0][:, 12]) > FELT, "and the actions of other steps"
    pushed = motion.clone()
    pushed[:, 5, 0] += 1.0
    after = velocity(model, batch, state=(action, pushed))
    assert changes(before[0][:, 5], after[0][:, 5]) > FELT, "a keypoint moves the action of its step"
    assert changes(before[1][:, 12, 0], after[1][:, 12, 0]) > FELT, "and itself at other steps"


@pytest.mark.parametrize("field", ["xyz", "rgb", "height"])
def test_task_tokens_depend_on_the_cloud(batch, field):
    """The reference alone does not determine the moved object."""
    model = perturbed()
    other = dataclasses.replace(batch.initial_points, **{field: getattr(batch.initial_points, field).roll(1, 0)})
    assert changes(*(model.encode_task(points, batch.reference) for points in (batch.initial_points, other))) > FELT


def test_points_are_grouped_with_their_nearest_neighbours():
    """Five points on a line, groups of two around the first three: only these change what is pooled."""
    torch.manual_seed(0)
    layer = SetAbstraction(1, 64, centres=3, group_size=2)
    xyz = torch.zeros(1, 5, 3)
    xyz[0, :, 0] = torch.tensor([0.0, 1.0, 0.4, 0.8, 0.1])
    features = torch.zeros(1, 5, 1)
    _, before = layer(xyz, features)
    felt = torch.zeros(3, 5, dtype=torch.bool)
    for point in range(5):
        for push in (-10.0, 10.0):
            moved = features.clone()
            moved[0, point] = push
            felt[:, point] |= (layer(xyz, moved)[1] != before)[0].any(-1)
    assert [row.nonzero()[:, 0].tolist() for row in felt] == [[0, 4], [1, 3], [2, 4]]


def test_group_is_relative_to_its_centre():
    """A shape has the same tokens at any place, without other features."""
    torch.manual_seed(0)
    layer, xyz = SetAbstraction(1, 16, centres=3, group_size=3), torch.randn(1, 8, 3)
    here, there, elsewhere = (layer(x, torch.zeros(1, 8, 1))[1] for x in (xyz, xyz + 0.5, 1.5 * xyz))
    assert changes(here, there) < 1e-4 and changes(here, elsewhere) > 0.1


def gradients(model: Uma, head: ProjectionHead, batch: Batch, **weights: float) -> dict[str, torch.Tensor]:
    """Gradients of the total under some weights: of the two output heads and of the contrastive head."""
    objective = Objective(task_dropout=0.0, views=ViewSampling(views=1), masks=MaskMix(control=0.0), **weights)
    parameters = model.final.action.weight, model.final.motion.weight, head.layers[0].weight
    total = losses(model, head, batch, objective, torch.Generator().manual_seed(1))["total"]
    return dict(zip(WEIGHTS, torch.autograd.grad(total, parameters), strict=True))


WEIGHTS = {"action_weight": 2.0, "motion_weight": 3.0, "contrastive_weight": 0.5}


@pytest.mark.parametrize("weight", WEIGHTS)
def test_a_loss_weight_scales_its_own_term_alone(batch, weight):
    model, head = perturbed(), ProjectionHead(tiny())
    once = gradients(model, head, batch, **WEIGHTS)
    thrice = gradients(model, head, batch, **{**WEIGHTS, weight: 3 * WEIGHTS[weight]})
    for name in WEIGHTS:
        assert once[name].abs().max() > 1e-6
        assert torch.allclose(thrice[name], once[name] * (3 if name == weight else 1), rtol=1e-3, atol=1e-7), name


def test_the_total_is_the_weighted_sum_of_the_terms(batch):
    model, head = perturbed(), ProjectionHead(tiny())
    objective = Objective(task_dropout=0.0, views=ViewSampling(views=1), masks=MaskMix(control=0.0), **WEIGHTS)
    out = losses(model, head, batch, objective, torch.Generator().manual_seed(1))
    expected = 2 * out["action"] + 3 * out["motion"] + 0.5 * out["contrastive"]
    assert out["total"].item() == pytest.approx(expected.item(), rel=1e-5)


def test_the_default_weights_are_the_papers():
    assert (Objective().action_weight, Objective().motion_weight, Objective().contrastive_weight) == (2.0, 1.0, 0.001)


def test_the_flow_target_is_data_minus_noise(batch):
    """A model that answers with it has no loss, and one that answers nothing has its mean square."""
    grid, model, mask = batch.grid, Uma(tiny(), Normalization()), all_targets(batch)
    seen = []

    def perfect(state, identity, is_valid, given, time, cache, has_action=None):
        seen.append(time)
        t = time[:, None, None]
        return (grid.action - state[0]) / (1 - t), (grid.motion - state[1]) / (1 - t[..., None])

    model.velocity = perfect
    out = model.flow_losses(grid, mask, [], torch.Generator().manual_seed(0))
    assert out["action"] < 1e-6 and out["motion"] < 1e-6 and 0 <= seen[0].min() and seen[0].max() < 1
    model.velocity = lambda state, *rest: tuple(torch.zeros_like(v) for v in state)
    out = model.flow_losses(grid, mask, [], torch.Generator().manual_seed(0))
    # Data and noise are independent, so that their mean squares add up.
    assert out["action"].item() == pytest.approx(1 + grid.action.square().mean().item(), rel=0.15)
    assert out["motion"].item() == pytest.approx(1 + grid.motion.square().mean().item(), rel=0.15)


def modulations(model: Uma) -> list[DualModulation]:
    """Those of the blocks, and last the final layer's."""
    return [*(block.modulation for block in model.blocks), model.final.modulation]


def drawn_at_random(T: int = 17, keypoints: int = 5) -> MaskPattern:
    mix = MaskMix(control=0.0, joint=0.0, dynamics=0.0, inverse=0.0, random=1.0, tracked=0.0)
    return mix.draw(400, T, keypoints, torch.Generator().manual_seed(0))


def mixed(values: torch.Tensor, axis: int) -> float:
    """Share of the rows along an axis that hold targets and given tokens."""
    return (values.any(axis) & ~values.all(axis)).float().mean().item()


def test_random_masks_vary_over_space_time_and_samples():
    """A sample's chance of a target is uniform: 2/3 of the rows of five tokens and 15/17 of sixteen are mixed."""
    motion = drawn_at_random().motion[:, 1:]
    assert mixed(motion, 2) > 0.5, "keypoints of one step"
    assert mixed(motion, 1) > 0.75, "steps of one keypoint"
    assert motion.float().mean((1, 2)).std() > 0.2, "shares of the samples"


def test_random_masks_vary_over_modality():
    mask = drawn_at_random()
    action, motion = mask.action[:, 1:, None], mask.motion[:, 1:]
    assert mixed(mask.action[:, 1:], 1) > 0.75, "steps of the action"
    assert (action & ~motion).any(1).float().mean() > 0.5 and (~action & motion).any(1).float().mean() > 0.5


@pytest.mark.parametrize("told_by", ["embedding", "modulation", "nothing"])
def test_velocity_depends_on_a_tokens_role(batch, told_by):
    """The state is equal for both masks, so that only the role can change the velocity."""
    model = perturbed()
    with torch.no_grad():
        if told_by != "embedding":
            model.role.zero_()
        for part in modulations(model) if told_by != "modulation" else []:
            for values in (part.linear.bias, part.linear.weight):
                halves = values.view(part.sublayers, 2, -1)
                halves[:, 1] = halves[:, 0]
    T = batch.grid.action.shape[1]
    joint, dynamics = (pattern(B, T, K, action_target=target, motion_target=True) for target in (True, False))
    before, after = (velocity(model, batch, mask=mask) for mask in (joint, dynamics))
    assert (changes(before[1], after[1]) > FELT) == (told_by != "nothing")


def test_in_training_both_roles_are_learned(batch):
    """The given tokens of a training step are marked as given."""
    model = perturbed().train()
    mask = pattern(B, batch.grid.action.shape[1], K, action_target=False, motion_target=True)
    cache = model.prepare_context(batch.points, batch.ee, model.encode_task(batch.initial_points, batch.reference))
    model.flow_losses(batch.grid, mask, cache, torch.Generator().manual_seed(0))["motion"].backward()
    assert (model.role.grad.abs().amax(1) > 1e-6).all()
    for part in modulations(model)[:-1]:
        assert (part.linear.bias.grad.view(part.sublayers, 2, -1).abs().amax(2) > 1e-6).any(0).all()


def test_training_and_inference_have_one_velocity(batch):
    model = perturbed()
    mask = pattern(B, batch.grid.action.shape[1], K, action_target=False, motion_target=True)
    answers = [velocity(m, batch, mask=mask) for m in (model.train(), model.eval())]
    assert all(torch.equal(a, b) for a, b in zip(*answers, strict=True))


def test_the_contrastive_term_pulls_at_every_view(batch, monkeypatch):
    """At the unaugmented one too, which alone conditions the denoiser."""
    model, encoded = perturbed(), []
    encode = model.encode_task
    monkeypatch.setattr(model, "encode_task", lambda *parts: encoded.append(encode(*parts)) or encoded[-1])
    views = ViewSampling(views=2, hard_negatives=1)
    objective = Objective(action_weight=0.0, motion_weight=0.0, contrastive_weight=1.0, task_dropout=0.0, views=views)
    total = losses(model, ProjectionHead(tiny()), batch, objective, torch.Generator().manual_seed(0))["total"]
    pulls = torch.autograd.grad(total, encoded, allow_unused=True)
    assert len(pulls) == 4 and all(pull is not None and pull.abs().max() > 1e-6 for pull in pulls)


@pytest.mark.parametrize("term", ["action_weight", "motion_weight"])
def test_the_flow_loss_teaches_every_encoder(batch, term):
    model = perturbed()
    weights = {"action_weight": 0.0, "motion_weight": 0.0, "contrastive_weight": 0.0, term: 1.0}
    objective = Objective(task_dropout=0.0, masks=MaskMix(control=0.0), **weights)
    losses(model, ProjectionHead(tiny()), batch, objective, torch.Generator().manual_seed(0))["total"].backward()
    encoders = [*model.task_encoder.named_parameters(), *model.observation_encoder.named_parameters()]
    assert not [name for name, p in encoders if p.grad is None or not p.grad.any()]
