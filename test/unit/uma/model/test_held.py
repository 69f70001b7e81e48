"""What is left of way and turn for a held object."""

import dataclasses

import torch
from model_inputs import inputs, scrambled
from scipy.spatial.transform import Rotation

from uma.model.config import LanguageConfig, tiny
from uma.model.encoders import EndEffectorBatch
from uma.model.held import rotation, turn_features
from uma.model.ways import NEAR_M


def held_model():
    language = LanguageConfig(kind="words", embedding=16)
    return scrambled(dataclasses.replace(tiny(), ways=True, lines=True, held=True, language=language))


def rotations(count=6, most=2.5):
    vector = torch.nn.functional.normalize(torch.randn(count, 3, generator=torch.Generator().manual_seed(3)), dim=-1)
    angle = torch.linspace(0.1, most, count)[:, None]
    return torch.tensor(Rotation.from_rotvec((vector * angle).numpy()).as_matrix(), dtype=torch.float32)


def motion(R, p):
    T = torch.eye(4)
    T[:3, :3], T[:3, 3] = R, torch.tensor(p)
    return T[None]


def test_a_rotation_survives_its_features():
    R = rotations()
    assert torch.allclose(rotation(turn_features(R)), R, atol=5e-3)
    assert rotation(torch.zeros(1, 4)).abs().max() < 1e-3, "an unknown turn is no rotation"


def test_zeroed_tokens_have_finite_gradients():
    turn = torch.zeros(1, 4, requires_grad=True)
    rotation(turn).sum().backward()
    assert torch.isfinite(turn.grad).all()


def test_nothing_is_left_once_the_hand_has_made_the_motion():
    model, R, p = held_model(), rotations(1)[0], [0.1, -0.2, 0.05]
    start, n = torch.tensor([0.3, 0.1, 0.4]), model.normalization
    end = R @ start + torch.tensor(p)
    M = model.config.task_tokens
    place = (torch.stack([start] + [end] * (M - 1))[None] - torch.tensor(n.point_center)) / n.point_scale
    turn = torch.cat([torch.tensor([[0.0, 0.0, 0.0, 1.0]]), turn_features(R[None]).expand(M - 1, 4)])[None]
    before, after = (model.held.left(place, turn, T)[0, -1] for T in (motion(torch.eye(3), [0.0] * 3), motion(R, p)))
    assert torch.allclose(before[:3] * n.local_scale, end - start, atol=1e-5)
    assert torch.allclose(before[-4:], turn_features(R), atol=5e-3)
    assert after[:3].abs().max() < 1e-5 and after[-4:-1].abs().max() < 5e-3 and after[-1] > 0.99


def test_half_of_the_turn_leaves_half_of_it():
    model = held_model()
    full, half = (torch.tensor(Rotation.from_rotvec([0, 0, a]).as_matrix(), dtype=torch.float32) for a in (1.2, 0.6))
    turn = turn_features(full[None]).expand(1, model.config.task_tokens, 4)
    left = model.held.left(torch.zeros(1, model.config.task_tokens, 3), turn, motion(half, [0.0] * 3))
    assert torch.allclose(left[0, -1, -4:], turn_features(half), atol=5e-3)


def test_an_open_hand_or_an_unknown_grasp_adds_nothing():
    model, (points, ee, reference, _, _) = held_model(), inputs()
    task = model.encode_task(points, reference)
    place, turn = task[..., -13:-10], task[..., -4:]
    carried = torch.eye(4).repeat(2, 1, 1)
    opened = EndEffectorBatch(ee.pose, ee.gripper, None, carried, torch.zeros(2, dtype=torch.bool))
    closed = dataclasses.replace(opened, holds=torch.ones(2, dtype=torch.bool))
    unknown = EndEffectorBatch(ee.pose, ee.gripper)
    for each, together in (model.held(place, turn, unknown), model.held(place, turn, opened)):
        assert not each.any() and not together.any()
    assert all(v.any() for v in model.held(place, turn, closed))


def test_texts_state_turns_of_the_same_shape():
    model = held_model()
    assert model.encode_instruction(["turn the spoon"]).shape[-1] == model.config.task_width == model.config.width + 13
    assert NEAR_M[0] > NEAR_M[1]
