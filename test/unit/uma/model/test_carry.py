"""Candidates of keypoints' positions from the hand's actions, and their weights."""

import dataclasses

import numpy as np
import pytest
import torch
from model_inputs import inputs, run, scrambled
from scipy.spatial.transform import Rotation

from uma.geometry import se3
from uma.model.carry import OFFSET, PACES
from uma.model.config import tiny
from uma.model.encoders import EndEffectorBatch
from uma.model.inputs import encode_actions
from uma.model.masks import pattern
from uma_train.training.carried import carried

rng = np.random.default_rng(3)


def carrier(**changes):
    return scrambled(dataclasses.replace(tiny(), carry=True, **changes))


def hand_path(steps, first):
    """Poses that move and turn, ``(steps, 4, 4)``."""
    return np.stack(
        [
            se3.make_pose(
                Rotation.from_rotvec([0.02 * i, 0.01 * i, 0.05 * i]).as_matrix() @ first[:3, :3],
                first[:3, 3] + [0.01 * i, 0.005 * i, 0.02 * i],
            )
            for i in range(1, steps + 1)
        ]
    )


FIRST = se3.make_pose(Rotation.from_rotvec([2.9, 0.3, 0.1]).as_matrix(), np.array([0.4, 0.1, 0.2]))
POINTS = FIRST[:3, 3] + rng.normal(size=(5, 3)) * 0.02


def candidates(model, grips, gripper, points=POINTS, pace=0, **ee):
    """Carried positions ``(16, K, 3)`` in metres for commands ``grips`` ``(16,)`` and a measured ``gripper``."""
    n, poses = model.normalization, hand_path(16, FIRST)
    chunk = encode_actions(poses, np.asarray(grips, float), FIRST, n)
    state = encode_actions(FIRST[None], np.array([gripper]), FIRST, n, states=1)
    action = torch.from_numpy(np.concatenate([state, chunk]))[None]
    pose = torch.from_numpy(FIRST[None]).float()
    hand = model.carry.hand(EndEffectorBatch(pose, torch.tensor([float(gripper)]), **ee))
    now = torch.from_numpy((points - FIRST[:3, 3]) / n.local_scale).float()[None]
    taken = model.carry.candidates(action, now, hand)[0, 1:, pace]
    return taken.numpy() * n.local_scale + FIRST[:3, 3], poses


@pytest.mark.parametrize("steps", [(), tuple(np.linspace(0.2, 1.5, 16))])
@pytest.mark.parametrize("opens", [0, 5, 16])
def test_the_carried_points_are_those_of_the_baseline(opens, steps):
    model = carrier()
    model.carry.normalization = dataclasses.replace(model.normalization, step_scale=steps)
    model.normalization = model.carry.normalization
    model.carry.scale = torch.tensor(model.normalization.of_steps(17, 1)).float()
    grips = np.r_[np.ones(opens), np.zeros(16 - opens)]
    found, poses = candidates(model, grips, 0.8)
    assert np.allclose(found, carried(POINTS, FIRST, 0.8, poses, grips), atol=1e-4)
    assert (np.abs(found - POINTS).max() > 0.02) == (opens > 0), "an open hand carries nothing"


def test_a_hand_that_closes_carries_from_there():
    found, poses = candidates(carrier(), np.r_[np.zeros(6), np.ones(10)], 0.0)
    assert np.allclose(found[:7], POINTS, atol=1e-5)
    assert np.allclose(found[-1], se3.apply(poses[-1] @ se3.invert(poses[6]), POINTS), atol=1e-4)


@pytest.mark.parametrize("pace", range(1, len(PACES)))
def test_an_arm_that_lags_carries_later(pace):
    model, grips = carrier(), np.ones(16)
    at_once, poses = candidates(model, grips, 0.8)
    found, _ = candidates(model, grips, 0.8, pace=pace)
    here, lagging = FIRST, []
    for pose in poses:
        here = se3.interpolate(here, pose, PACES[pace])
        lagging.append(here)
    wanted = carried(POINTS, FIRST, 0.8, np.stack(lagging), grips)
    assert np.abs(found - wanted).max() < 1e-3 < 5 * np.abs(found - at_once).max()


def test_an_offset_corrects_a_candidate():
    model = carrier()
    with torch.no_grad():
        for p in (model.carry.weigh.weight, model.carry.offset.weight):
            p.zero_()
        model.carry.weigh.bias.copy_(torch.tensor([0.0, 100.0, 0.0, 0.0, 0.0]))
        model.carry.offset.bias.copy_(torch.tensor([1.0, 0.0, -2.0]))
    points, ee, reference, grid, noise = inputs()
    mask = pattern(2, 17, 3, action_target=False, motion_target=True, tracked=True)
    _, motion = run(model, points, ee, reference, grid, noise, mask, steps=8)
    shift = (motion - grid.motion[:, :1])[:, 1:]
    assert torch.allclose(shift, (OFFSET * model.carry.offset.bias).expand_as(shift), atol=1e-4)


def test_without_a_robot_nothing_is_carried():
    found, _ = candidates(carrier(), np.ones(16), 0.8, is_known=torch.tensor([False]))
    assert np.allclose(found, POINTS, atol=1e-5)


def test_untracked_points_are_where_the_hand_has_taken_them():
    model = carrier()
    moved = se3.make_pose(Rotation.from_rotvec([0, 0, 0.5]).as_matrix(), np.array([0.1, 0.0, 0.05]))
    n, pose = model.normalization, torch.from_numpy(FIRST[None]).float()
    initial = se3.apply(se3.invert(moved), POINTS)
    identity = torch.from_numpy((initial - FIRST[:3, 3]) / n.local_scale).float()[None]
    tracked = torch.randn(1, 5, 3)
    given = torch.tensor([[True, False, False, False, False]])
    for holds in (True, False):
        ee = EndEffectorBatch(
            pose, torch.ones(1), carried=torch.from_numpy(moved[None]).float(), holds=torch.tensor([holds])
        )
        now = model.carry.now(tracked, identity, given, model.carry.hand(ee))
        assert torch.equal(now[0, 0], tracked[0, 0])
        where = now[0, 1:].numpy() * n.local_scale + FIRST[:3, 3]
        assert np.allclose(where, (POINTS if holds else initial)[1:], atol=1e-5)


@pytest.mark.parametrize("of", range(1, 2 + len(PACES)))
def test_full_weight_gives_the_candidate(of):
    model = carrier()
    with torch.no_grad():
        for p in (model.carry.weigh.weight, *model.carry.offset.parameters()):
            p.zero_()
        model.carry.weigh.bias.copy_(torch.eye(2 + len(PACES))[of] * 100)
    points, ee, reference, grid, noise = inputs()
    mask = pattern(2, 17, 3, action_target=False, motion_target=True, tracked=True)
    _, motion = run(model, points, ee, reference, grid, noise, mask, steps=10)
    now = grid.motion[:, 0]
    taken = model.carry.candidates(grid.action, now, model.carry.hand(ee))
    wanted = now[:, None].expand_as(motion) if of == 1 else taken[:, :, of - 2]
    assert torch.allclose(motion[:, 1:], wanted[:, 1:], atol=1e-4)
    assert torch.equal(motion[:, 0], now), "given positions stay"


def test_joint_prediction_is_along_its_own_actions():
    model = carrier()
    with torch.no_grad():
        for p in (model.carry.weigh.weight, *model.carry.offset.parameters()):
            p.zero_()
        model.carry.weigh.bias.copy_(torch.tensor([0.0, 0.0, 100.0, 0.0, 0.0]))
    points, ee, reference, grid, noise = inputs()
    mask = pattern(2, 17, 3, action_target=True, motion_target=True)
    action, motion = run(model, points, ee, reference, grid, noise, mask, steps=10)
    hand = model.carry.hand(ee)
    now = model.carry.now(grid.motion[:, 0], grid.identity, torch.zeros(2, 3, dtype=torch.bool), hand)
    # The last step's actions differ from the final ones by what the last step changes.
    assert torch.allclose(motion, model.carry.candidates(action, now, hand)[:, :, 0], atol=1e-4)


def test_rows_share_the_hand_of_one_context():
    model = carrier(history=2)
    points, ee, reference, grid, noise = inputs()
    task = model.encode_task(points, reference)
    cache = model.prepare_context(points, ee, task)
    twice = [torch.cat([v[:1], v[:1], v[1:], v[1:]]) for v in (grid.action, grid.motion, grid.identity)]
    mask = pattern(1, 17, 3, action_target=False, motion_target=True)
    t = torch.full((4,), 0.4)
    both = model.velocity(
        (twice[0], twice[1]), twice[2], None, pattern(4, 17, 3, action_target=False, motion_target=True), t, cache
    )
    one = model.velocity((grid.action, grid.motion), grid.identity, None, mask, t[:2], cache)
    for a, b in zip(both, one, strict=True):
        assert torch.allclose(a[::2], b, atol=1e-5) and torch.allclose(a[1::2], b, atol=1e-5)


def test_past_steps_are_left_to_the_network():
    model = carrier(history=2)
    points, ee, reference, grid, _ = inputs()
    cache = model.prepare_context(points, ee, model.encode_task(points, reference))
    action, motion = (torch.cat([v[:, :2], v], 1) for v in (grid.action, grid.motion))
    mask = pattern(2, 19, 3, action_target=False, motion_target=True, history=2)
    velocity = model.velocity((action, motion), grid.identity, None, mask, torch.full((2,), 0.4), cache)[1]
    assert velocity.shape == motion.shape and velocity.isfinite().all()
