"""Guesses of equal knowledge for predicted motion, and what `uma eval` gives the model in each mode."""

import numpy as np
import pytest
import torch
from episodes import episode

from uma.geometry import se3
from uma.model.config import tiny
from uma.model.inputs import Normalization
from uma.model.uma import Uma
from uma_train.data.windows import Windows
from uma_train.training.carried import carried
from uma_train.training.validation import ROWS, mode_errors

POINTS = np.array([[0.0, 0.0, 0.05], [0.1, 0.0, 0.05]])


def path(steps: int) -> np.ndarray:
    """``(steps + 1, 4, 4)``: the hand moves by 1 cm and turns by 0.1 rad a step."""
    turn = [se3.exp(np.array([0.0, 0.0, 0.1 * i])) for i in range(steps + 1)]
    return se3.make_pose(np.stack(turn), np.outer(np.arange(steps + 1), [0.01, 0.0, 0.0]))


def test_nothing_moves_with_an_open_hand():
    poses = path(4)
    assert np.array_equal(carried(POINTS, poses[0], 0.0, poses[1:], np.zeros(4)), np.repeat(POINTS[None], 4, 0))


def test_points_move_rigidly_with_a_closed_hand():
    poses = path(4)
    found = carried(POINTS, poses[0], 0.6, poses[1:], np.ones(4))
    assert np.allclose(found[-1], se3.apply(poses[4] @ se3.invert(poses[0]), POINTS))
    assert np.allclose(np.linalg.norm(found[:, 0] - found[:, 1], axis=-1), 0.1)


def test_what_is_away_from_the_hand_rests():
    poses = path(4)
    far = np.array([[0.0, 0.0, 0.05], [0.0, 0.4, 0.05]])
    found = carried(far, poses[0], 0.6, poses[1:], np.ones(4))
    assert not np.allclose(found[-1][0], far[0]) and np.array_equal(found[-1][1], far[1])


def test_what_is_let_go_stays_where_it_is():
    poses = path(6)
    found = carried(POINTS, poses[0], 0.1, poses[1:], np.array([0.0, 1.0, 1.0, 0.0, 0.0, 0.0]))
    assert np.array_equal(found[0], POINTS) and np.array_equal(found[1], POINTS), (
        "the step that closes does not carry yet"
    )
    assert not np.allclose(found[2], POINTS) and np.array_equal(found[5], found[2])


@pytest.fixture(scope="module")
def drawn():
    torch.manual_seed(0)
    batch = Windows([episode(i) for i in range(3)]).draw(6, 4, Normalization(), np.random.default_rng(0))
    return Uma(tiny(), Normalization()).eval(), batch


@pytest.mark.parametrize("name", ROWS)
def test_every_mode_matches_its_row(drawn, monkeypatch, name):
    model, batch = drawn
    asked = {}
    sample = model.sample

    def spy(grid, mask, *rest):
        asked.update(grid=grid, mask=mask)
        return sample(grid, mask, *rest)

    monkeypatch.setattr(model, "sample", spy)
    row, mode = ROWS[name], ROWS[name].mode
    errors = mode_errors(model, batch, row, num_steps=1)
    mask, seen = asked["mask"], batch.grid.is_tracked
    assert mask.motion.shape[2] == (4 if mode.has_motion else 0)
    assert not mask.action[:, 0].any() and mask.action[:, 1:].all() == mode.is_target_action
    if mode.has_motion:
        assert mask.motion[:, 1:].all() == mode.is_target_motion
        if mode.is_target_motion:
            assert torch.equal(mask.motion[:, 0], ~seen[:, 0] if mode.gives_keypoints else torch.ones_like(seen[:, 0]))
    same = torch.equal(asked["grid"].action, batch.grid.action)
    assert same != row.other_actions and torch.equal(asked["grid"].action[:, 0], batch.grid.action[:, 0])
    assert np.isnan(errors.motion_mm) == (not mode.is_target_motion)
    assert np.isnan(errors.mean_position_mm) == (not mode.is_target_action)
    if not np.isnan(errors.motion_mm):
        assert errors.motion_still_mm > 0 and errors.motion_rigid_mm > 0
