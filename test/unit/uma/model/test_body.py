"""Keypoints that move as one body with the first that moves."""

import dataclasses

import pytest
import torch
from model_inputs import inputs, scrambled
from scipy.spatial.transform import Rotation

from uma.model.body import one_body
from uma.model.config import tiny
from uma.model.encoders import ReferenceBatch

TOOL = torch.tensor([[0.4, -0.2, 0.02], [0.5, -0.2, 0.02], [0.45, -0.2, 0.10], [0.45, -0.22, 0.05]])
BITS = torch.tensor([[0.5, 0.05, 0.01], [0.52, 0.03, 0.01]])
STILL = torch.tensor([[0.45, 0.2, 0.0]])


def turned(points, degrees, shift):
    R = torch.tensor(Rotation.from_euler("z", degrees, degrees=True).as_matrix(), dtype=torch.float32)
    return (points - points.mean(0)) @ R.T + points.mean(0) + torch.tensor(shift)


def reference(*bodies, pinned=STILL):
    """A reference of bodies, each given by its ``(W, k, 3)`` places; pinned points have one waypoint."""
    tracks = [track for body in bodies for track in torch.stack(list(body)).transpose(0, 1)] + [p[None] for p in pinned]
    phases = [torch.linspace(0, 1, len(t)) if len(t) > 1 else torch.zeros(1) for t in tracks]
    start = torch.cat([t[:1].expand(len(t), -1) for t in tracks])
    position, phase = torch.cat(tracks), torch.cat(phases)
    owner = torch.cat([torch.full((len(t),), i) for i, t in enumerate(tracks)])
    return position[None], start[None], phase[None], torch.ones(1, len(phase), dtype=torch.bool), owner


def owners(*given):
    *arguments, owner = given
    kept = one_body(*arguments)[0]
    assert all(kept[owner == i].unique().numel() == 1 for i in owner.unique()), "all waypoints of a keypoint, or none"
    return sorted(owner[kept].unique().tolist())


SWEEP = [TOOL, turned(TOOL, 60, [0, 0.1, 0.06]), turned(TOOL, 60, [0, 0.1, 0.0]), turned(TOOL, 60, [0, 0.35, 0.0])]


def test_of_a_sweep_the_tool():
    bits = [BITS, BITS, BITS, BITS + torch.tensor([0.0, 0.2, 0.0])]
    assert owners(*reference(SWEEP, bits)) == [0, 1, 2, 3]
    assert owners(*reference(bits, SWEEP)) == [2, 3, 4, 5], "in any order"
    assert owners(*reference([bits[0], bits[-1]], [SWEEP[0], SWEEP[-1]])) == [2, 3, 4, 5], "without waypoints between"


@pytest.mark.parametrize("degrees", [0, 90, 180])
def test_of_a_rigid_motion_all_keypoints(degrees):
    assert owners(*reference([TOOL, turned(TOOL, degrees, [0.1, 0.1, 0.15])], pinned=[])) == [0, 1, 2, 3]


def test_a_persons_errors_do_not_split_a_body():
    rng = torch.Generator().manual_seed(0)
    places = [TOOL, *(p + 0.006 * torch.randn(p.shape, generator=rng) for p in SWEEP[1:])]
    assert owners(*reference(places)) == [0, 1, 2, 3]


def test_a_pinned_keypoint_does_not_belong_to_a_lift():
    assert owners(*reference([TOOL, TOOL + torch.tensor([0, 0, 0.15])])) == [0, 1, 2, 3]


def test_without_a_motion_all_keypoints_count():
    assert owners(*reference([TOOL, TOOL + 0.005])) == [0, 1, 2, 3, 4]


def test_padding_and_a_moved_frame_change_nothing():
    position, start, phase, valid, owner = reference(SWEEP, [BITS] * 4)
    R = torch.tensor(Rotation.from_euler("xyz", [20, 40, 70], degrees=True).as_matrix(), dtype=torch.float32)
    wanted = one_body(position, start, phase, valid)
    assert torch.equal(one_body(position @ R.T + 1, start @ R.T + 1, phase, valid), wanted)
    zero = torch.zeros(1, 3, 3)
    padded = torch.cat([position, zero], 1), torch.cat([start, zero], 1), torch.cat([phase, zero[..., 0]], 1)
    found = one_body(*padded, torch.cat([valid, torch.zeros(1, 3, dtype=torch.bool)], 1))
    assert torch.equal(found[:, :-3], wanted) and not found[:, -3:].any()


def test_the_tokens_state_the_place_of_the_body():
    model = scrambled(dataclasses.replace(tiny(), ways=True, follow=True))
    points, n = inputs()[0], model.normalization
    *arguments, owner = reference(SWEEP, [BITS] * 4)
    many = [a.expand(len(points.xyz), *a.shape[1:]) for a in arguments]
    place = model.encode_task(points, ReferenceBatch(*many))[..., model.config.width :][..., :3]
    place = place * n.point_scale + torch.tensor(n.point_center)
    assert torch.allclose(place[0, [0, -1]], torch.stack([SWEEP[0].mean(0), SWEEP[-1].mean(0)]), atol=1e-5)
