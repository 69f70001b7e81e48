"""The ways from the end effector to the places that the task tokens state."""

import dataclasses

import torch
from model_inputs import inputs, scrambled

from uma.model.config import LanguageConfig, tiny
from uma.model.encoders import EndEffectorBatch
from uma.model.waypoints import at_phases
from uma.model.ways import NEAR_M, features


def model_with_ways():
    config = dataclasses.replace(tiny(), ways=True, language=LanguageConfig(kind="words", embedding=16))
    return scrambled(config)


def ways_of(model, place, ee):
    """The features that the additions get, by a hook on the first of them."""
    seen = []
    hook = model.ways.each.register_forward_pre_hook(lambda _, x: seen.append(x[0]))
    model.ways(place, ee)
    hook.remove()
    return seen[0]


def test_task_tokens_state_the_place_at_their_phase():
    model, (points, _, reference, _, _) = model_with_ways(), inputs()
    task, n = model.encode_task(points, reference), model.normalization
    assert task.shape[-1] == model.config.task_width == model.config.width + 3
    wanted = at_phases(reference.position, reference.phase, reference.is_valid, model.config.task_tokens)
    place = task[..., -3:] * n.point_scale + torch.tensor(n.point_center)
    assert torch.allclose(place, wanted, atol=1e-6)


def test_a_way_leads_from_the_end_effector_to_the_place():
    model, (points, ee, reference, _, _) = model_with_ways(), inputs()
    place = model.encode_task(points, reference)[..., -3:]
    wanted = at_phases(reference.position, reference.phase, reference.is_valid, model.config.task_tokens)
    way = ways_of(model, place, ee)[..., :3] * model.normalization.local_scale
    assert torch.allclose(way, wanted - ee.pose[:, None, :3, 3], atol=1e-5)


def test_a_step_of_the_hand_changes_the_way_by_that_step():
    model, (points, ee, reference, _, _) = model_with_ways(), inputs()
    place, step, pose = model.encode_task(points, reference)[..., -3:], torch.tensor([0.01, -0.02, 0.03]), ee.pose
    moved = pose.clone()
    moved[:, :3, 3] += step
    before, after = (ways_of(model, place, EndEffectorBatch(p, ee.gripper))[..., :3] for p in (pose, moved))
    assert torch.allclose((before - after) * model.normalization.local_scale, step.expand_as(before), atol=1e-5)


def test_without_a_robot_there_is_no_way():
    model, (points, ee, reference, _, _) = model_with_ways(), inputs()
    place = model.encode_task(points, reference)[..., -3:]
    unknown = EndEffectorBatch(ee.pose, ee.gripper, torch.zeros(len(ee.pose), dtype=torch.bool))
    assert not ways_of(model, place, unknown).any()


def test_texts_state_places_of_the_same_shape():
    model = model_with_ways()
    assert model.encode_instruction(["lift the mug"]).shape[1:] == (model.config.task_tokens, model.config.task_width)


def test_features_resolve_the_last_centimetres():
    way = torch.tensor([[0.001, 0.0, 0.0]])
    fine = features(way, 0.2)[0, 3 * len(NEAR_M)]
    assert abs(float(fine) - 0.001 / NEAR_M[-1]) < 1e-4 and features(way * 1e3, 0.2).abs().max() <= 5.0
