"""The direction of the keypoints, in the frame of the end effector."""

import dataclasses

import torch
from model_inputs import inputs, scrambled
from scipy.spatial.transform import Rotation

from uma.model.config import LanguageConfig, tiny
from uma.model.encoders import EndEffectorBatch, ReferenceBatch
from uma.model.lines import in_frame
from uma.model.orientation import axis


def model_with_lines():
    language = LanguageConfig(kind="words", embedding=16)
    return scrambled(dataclasses.replace(tiny(), ways=True, lines=True, language=language))


def rotations(count=5):
    return torch.tensor(Rotation.random(count, random_state=0).as_matrix(), dtype=torch.float32)


def stick(direction, turned):
    """A reference of keypoints in a row along a direction, turned about its middle by a rotation."""
    places = torch.linspace(-0.04, 0.04, 5)[:, None] * direction
    position = torch.stack([places, places @ turned.T], 1).flatten(0, 1)[None]
    start, phase = places.repeat_interleave(2, 0)[None], torch.tensor([0.0, 1.0]).repeat(5)[None]
    return ReferenceBatch(position, start, phase, torch.ones_like(phase, dtype=torch.bool))


def test_a_line_in_a_frame_is_the_line_of_the_direction_there():
    direction = torch.nn.functional.normalize(torch.randn(5, 3, generator=torch.Generator().manual_seed(1)), dim=-1)
    R = rotations()
    found = in_frame(axis(direction)[:, None], R)[:, 0]
    assert torch.allclose(found, axis((direction[:, None] @ R)[:, 0]), atol=1e-6)


def test_task_tokens_state_the_line_at_their_phase():
    model, (points, *_) = model_with_lines(), inputs()
    turned = torch.tensor(Rotation.from_euler("z", 70, degrees=True).as_matrix(), dtype=torch.float32)
    x = torch.tensor([1.0, 0.0, 0.0])
    one = dataclasses.replace(points, **{n: getattr(points, n)[:1] for n in ("xyz", "rgb", "height")})
    line = model.encode_task(one, stick(x, turned))[0, :, -6:]
    for found, direction in ((line[0], x), (line[-1], turned @ x)):
        assert torch.allclose(found / found[:3].sum(), axis(direction), atol=1e-4) and found[:3].sum() > 0.8


def test_turning_hand_and_line_together_changes_nothing():
    model, (_, ee, *_), R = model_with_lines(), inputs(), rotations(1)[0]
    line = torch.rand(2, model.config.task_tokens, 6, generator=torch.Generator().manual_seed(2))
    pose = ee.pose.clone()
    pose[:, :3, :3] = R @ pose[:, :3, :3]
    moved = in_frame(line, R.T.expand(2, 3, 3))
    for before, after in zip(
        model.lines(line, ee), model.lines(moved, EndEffectorBatch(pose, ee.gripper)), strict=True
    ):
        assert torch.allclose(before, after, atol=1e-5)


def test_without_a_robot_the_lines_do_not_count():
    model, (_, ee, *_) = model_with_lines(), inputs()
    unknown = EndEffectorBatch(ee.pose, ee.gripper, torch.zeros(2, dtype=torch.bool))
    line = torch.rand(2, model.config.task_tokens, 6)
    for some, none in zip(model.lines(line, unknown), model.lines(torch.zeros_like(line), ee), strict=True):
        assert torch.equal(some, none)


def test_texts_state_lines_of_the_same_shape():
    model = model_with_lines()
    c = model.encode_instruction(["turn the spoon"])
    assert c.shape[-1] == model.config.task_width == model.config.width + 9
