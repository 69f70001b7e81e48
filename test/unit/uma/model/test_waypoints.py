"""The reference motion at the phases of the task tokens."""

import torch

from uma.model.waypoints import at_phases


def motion(keypoints=3, waypoints=4, seed=0):
    """Places, phases and validity of ``keypoints`` with as many waypoints, keypoint after keypoint."""
    rng = torch.Generator().manual_seed(seed)
    x = torch.rand(1, keypoints, waypoints, 3, generator=rng)
    phase = torch.linspace(0, 1, waypoints).expand(1, keypoints, -1)
    return x, x.flatten(1, 2), phase.flatten(1), torch.ones(1, keypoints * waypoints, dtype=torch.bool)


def test_at_waypoints_it_is_the_mean_of_the_keypoints():
    x, values, phase, valid = motion()
    assert torch.allclose(at_phases(values, phase, valid, 4), x.mean(1), atol=1e-6)


def test_between_waypoints_it_is_linear():
    x, values, phase, valid = motion(waypoints=2)
    found, share = at_phases(values, phase, valid, 8), torch.linspace(0, 1, 8)[:, None]
    assert torch.allclose(found[0], torch.lerp(x[0, :, 0].mean(0), x[0, :, 1].mean(0), share), atol=1e-6)


def test_hidden_and_padded_waypoints_do_not_count():
    x, values, phase, valid = motion()
    wanted = at_phases(values, phase, valid, 8)
    padded = torch.cat([values, torch.full((1, 5, 3), 9.0)], 1), torch.cat([phase, torch.zeros(1, 5)], 1)
    assert torch.equal(at_phases(*padded, torch.cat([valid, torch.zeros(1, 5, dtype=torch.bool)], 1), 8), wanted)
    ends = valid & (phase > 0.01) & (phase < 0.99)
    found = at_phases(values, phase, ends, 4)
    assert torch.allclose(found[0, 0], x[0, :, 1].mean(0)) and torch.allclose(found[0, 3], x[0, :, 2].mean(0))


def test_a_single_waypoint_holds_at_every_phase():
    values, phase = torch.rand(2, 3, 5), torch.zeros(2, 3)
    valid = torch.tensor([[True, False, False], [False, False, True]])
    found = at_phases(values, phase, valid, 8)
    assert torch.equal(found[0], values[0, :1].expand(8, -1)) and torch.equal(found[1], values[1, 2:].expand(8, -1))


def test_the_order_of_the_waypoints_does_not_matter():
    _, values, phase, valid = motion(seed=1)
    order = torch.randperm(values.shape[1], generator=torch.Generator().manual_seed(2))
    assert torch.allclose(
        at_phases(values[:, order], phase[:, order], valid[:, order], 8), at_phases(values, phase, valid, 8), atol=1e-6
    )


def test_places_keep_their_precision_under_autocast():
    x, values, phase, valid = motion()
    with torch.autocast("cpu", torch.bfloat16):
        found = at_phases(values, phase, valid, 4)
    assert (found - x.mean(1)).abs().max() < 1e-6
