"""What is left for a held object, and the actions that follow from it."""

import dataclasses

import numpy as np
import pytest
import torch
from model_inputs import inputs, scrambled
from scipy.spatial.transform import Rotation

from uma.model.config import LanguageConfig, tiny
from uma.model.encoders import EndEffectorBatch
from uma.model.follow import LEAD, PACE, WAY_M, Guess, ahead
from uma.model.inputs import decode_actions
from uma.model.masks import pattern


def follower():
    language = LanguageConfig(kind="words", embedding=16)
    return scrambled(dataclasses.replace(tiny(), ways=True, follow=True, language=language))


def rotation(vector):
    return torch.tensor(Rotation.from_rotvec(vector).as_matrix(), dtype=torch.float32)


def motion(R, p):
    T = torch.eye(4)
    T[:3, :3], T[:3, 3] = R, torch.as_tensor(p)
    return T


def stated(model, motions, points):
    """Places and products of a reference that moves ``points`` by ``motions``, evenly spaced in phase."""
    n, middle = model.normalization, points.mean(0)
    around = points - middle
    places = torch.stack([T[:3, :3] @ middle + T[:3, 3] for T in motions])
    H = [((around @ T[:3, :3].mT)[:, :, None] * around[:, None]).mean(0).flatten() for T in motions]
    H = torch.stack(H) / around.square().sum(-1).mean()
    return ((places - torch.tensor(n.point_center)) / n.point_scale)[None], H[None]


POINTS = torch.randn(6, 3, generator=torch.Generator().manual_seed(4)) * 0.03 + torch.tensor([0.4, 0.1, 0.05])
HAND = torch.tensor([[0.42, 0.1, 0.1]])


def guesses(model, reference, done):
    """The paced and the last guess after the motion ``done``, as poses for the hand at HAND with identity rotation."""
    place, H = stated(model, reference, POINTS)
    now, way, left = model.follow.left(place, H, done[None])
    features = model.follow.guesses(now, way, left, HAND)[0].detach().numpy()
    T = motion(torch.eye(3), HAND[0]).numpy()
    closed = np.ones((len(features), 1))
    return [decode_actions(np.hstack([features[:, k : k + 9], closed]), T, model.normalization)[0] for k in (0, 9)]


def lift(metres, M):
    return [motion(torch.eye(3), [0.0, 0.0, metres * m / (M - 1)]) for m in range(M)]


def test_a_lift_goes_up_at_the_pace_and_ends_at_its_height():
    model = follower()
    paced, last = guesses(model, lift(0.15, model.config.task_tokens), torch.eye(4))
    height = np.minimum(WAY_M * (LEAD + PACE * np.arange(len(paced))), 0.15)
    assert np.allclose(paced[:, 2, 3] - 0.1, height, atol=1e-3)
    assert np.allclose(last[:, :3, 3], HAND.numpy() + [0, 0, 0.15], atol=1e-3)
    assert np.allclose(paced[:, :3, :3], np.eye(3), atol=1e-3)


def test_what_the_hand_has_done_is_not_repeated():
    model = follower()
    reference = lift(0.15, model.config.task_tokens)
    paced, last = guesses(model, reference, motion(torch.eye(3), [0.0, 0.0, 0.12]))
    assert np.allclose(last[:, 2, 3] - 0.1, 0.03, atol=1e-3) and np.allclose(paced[-1], last[-1], atol=1e-3)
    for guess in guesses(model, reference, reference[-1]):
        assert np.allclose(guess, guess[:1] * 0 + motion(torch.eye(3), HAND[0]).numpy(), atol=1e-3), "done is still"


@pytest.mark.parametrize("axis", [(0, 0, 1), (0.6, 0, 0.8)])
def test_a_turn_moves_the_hand_about_the_object(axis):
    model, middle = follower(), POINTS.mean(0)
    M, angle = model.config.task_tokens, 0.8
    turns = [rotation(np.array(axis) * angle * m / (M - 1)) for m in range(M)]
    reference = [motion(R, middle - R @ middle) for R in turns]
    _, last = guesses(model, reference, torch.eye(4))
    found = Rotation.from_matrix(last[-1, :3, :3]).as_rotvec()
    assert np.linalg.norm(found - np.array(axis) * angle) < 0.12, "at most the share of uma.model.turn.LEAST"
    there = rotation(found).numpy() @ (HAND[0] - middle).numpy() + middle.numpy()
    assert np.allclose(last[-1, :3, 3], there, atol=2e-3)


def test_a_detour_is_not_cut_short():
    path = torch.tensor([[[0.0, 0.0], [0.0, 2.0], [2.0, 2.0], [2.0, 0.0]]])
    at, rest = ahead(path - torch.tensor([0.1, 1.0]), torch.tensor([0.0, 1.0, 2.0, 99.0]))
    assert torch.allclose(
        at + torch.tensor([0.1, 1.0]), torch.tensor([[[0.0, 1.0], [0.0, 2.0], [1.0, 2.0], [2.0, 0.0]]])
    )
    assert rest.item() == pytest.approx(5.0)


def test_without_any_motion_nothing_is_guessed():
    model = follower()
    for guess in guesses(model, [torch.eye(4)] * model.config.task_tokens, torch.eye(4)):
        assert np.allclose(guess[:, :3, 3], HAND.numpy(), atol=1e-4)
    zero = torch.zeros(1, model.config.task_tokens, 3), torch.zeros(1, model.config.task_tokens, 9, requires_grad=True)
    now, way, left = model.follow.left(*zero, torch.eye(4)[None])
    model.follow.guesses(now, way, left, HAND).sum().backward()
    assert torch.isfinite(zero[1].grad).all(), "zeroed tokens have finite gradients"


def test_an_open_hand_or_an_unknown_grasp_adds_nothing():
    model, (points, ee, reference, _, _) = follower(), inputs()
    task = model.encode_task(points, reference)
    place, products = task[..., -12:-9], task[..., -9:]
    carried = torch.eye(4).repeat(2, 1, 1)
    opened = EndEffectorBatch(ee.pose, ee.gripper, None, carried, torch.zeros(2, dtype=torch.bool))
    closed = dataclasses.replace(opened, holds=torch.ones(2, dtype=torch.bool))
    for ee_ in (EndEffectorBatch(ee.pose, ee.gripper), opened):
        each, guess = model.follow(place, products, ee_)
        assert not any(v.any() for v in (each, guess.added, guess.trust))
    each, guess = model.follow(place, products, closed)
    assert all(v.any() for v in (each, guess.added, guess.trust))


def test_the_guesses_reach_the_action_tokens_of_the_future_alone():
    model, (points, ee, reference, grid, _) = follower(), inputs()
    task, mask = model.encode_task(points, reference), pattern(2, 17, 3, action_target=True, motion_target=True)
    done = [motion(rotation([0.3, 0.1, s]), [0.0, 0.0, 0.1]).repeat(2, 1, 1) for s in (0.2, -0.4)]
    ees = [EndEffectorBatch(ee.pose, ee.gripper, None, T, torch.ones(2, dtype=torch.bool)) for T in done]
    one, other = (model.prepare_context(points, e, task) for e in ees)
    assert one.follow.added.shape == (2, model.config.horizon + 1, model.config.width)
    assert not one.follow.trust[:, 0].any() and one.follow.trust[:, 1:].all()
    state, t = (grid.action, grid.motion), torch.zeros(2)
    for name in ("added", "action"):
        mixed = one._replace(follow=one.follow._replace(**{name: getattr(other.follow, name)}))
        a, b = (model.velocity(state, grid.identity, grid.is_valid, mask, t, c)[0] for c in (one, mixed))
        assert not torch.allclose(a[:, 1:, :9], b[:, 1:, :9]), name


@pytest.mark.parametrize("t", [0.0, 0.5])
def test_an_open_gate_leads_to_the_guess(t):
    model, g = follower(), torch.Generator().manual_seed(1)
    with torch.no_grad():
        model.follow.gate.weight.zero_()
        model.follow.gate.bias.copy_(torch.tensor([20.0, 0.0]))
    z, velocity, action = (torch.randn(2, 17, n, generator=g) for n in (model.config.width, 10, 10))
    guess = Guess(z, torch.randn(2, 17, 9, generator=g), torch.ones(2, 17, 1))
    moved = model.follow.trusted(z, velocity, action, guess, t)
    assert torch.equal(moved[..., 3:], velocity[..., 3:]), "the gate of rotation is closed"
    before, after = (action[..., :3] + (1 - t) * v[..., :3] for v in (velocity, moved))
    assert torch.allclose(after, torch.lerp(before, guess.action[..., :3], 1 - t), atol=1e-5)


def test_texts_state_products_of_the_same_shape():
    model = follower()
    assert model.encode_instruction(["turn the spoon"]).shape[-1] == model.config.task_width == model.config.width + 12
