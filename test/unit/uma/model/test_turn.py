"""The rotation between two sets of points."""

import numpy as np
import pytest
import torch
from scipy.spatial.transform import Rotation

from uma.model.orientation import products as stated
from uma.model.turn import fit

GENERATOR = torch.Generator().manual_seed(3)


def rotation(degrees, axis=(0.3, -0.8, 0.5)):
    axis = np.array(axis) / np.linalg.norm(axis)
    return torch.tensor(Rotation.from_rotvec(np.radians(degrees) * axis).as_matrix(), dtype=torch.float32)


def products(points, R):
    points = points - points.mean(0)
    return ((points @ R.mT)[:, :, None] * points[:, None]).mean(0) / points.square().sum(-1).mean()


def degrees_between(A, B):
    return np.degrees(Rotation.from_matrix((A @ B.mT).numpy()).magnitude())


@pytest.mark.parametrize("degrees", [0, 10, 60, 120, 170])
def test_points_in_space_state_their_turn(degrees):
    points, R = torch.randn(8, 3, generator=GENERATOR), rotation(degrees)
    found = fit(products(points, R))
    assert torch.allclose(found @ found.mT, torch.eye(3), atol=1e-3)
    assert degrees_between(found, R) < 12, "at most the share of LEAST"


def test_flat_points_state_their_turn_too():
    flat = torch.randn(8, 3, generator=GENERATOR) * torch.tensor([1.0, 1.0, 0.0])
    assert degrees_between(fit(products(flat, rotation(50))), rotation(50)) < 10


def test_a_line_is_not_turned_about_itself():
    line = torch.linspace(-1, 1, 5)[:, None] * torch.tensor([[1.0, 0.0, 0.0]])
    about = fit(products(line, rotation(70, (1, 0, 0))))
    assert torch.allclose(about, torch.eye(3), atol=1e-3)
    across = rotation(40, (0, 0, 1))
    assert degrees_between(fit(products(line, across)), across) < 5


def test_nothing_known_is_no_turn_and_has_a_gradient():
    H = torch.zeros(2, 3, 3, requires_grad=True)
    R = fit(H)
    assert torch.allclose(R, torch.eye(3).expand(2, 3, 3), atol=1e-6)
    R[:, 0, 1].sum().backward()
    assert torch.isfinite(H.grad).all() and H.grad.any()


def test_waypoints_state_their_own_products():
    start = torch.randn(1, 6, 3, generator=GENERATOR) * 0.02
    R, ones = rotation(35), torch.ones(1, 6)
    there = start @ R.mT + torch.tensor([0.2, 0.1, 0.0])
    H = stated(there, start, ones, ones.bool()).unflatten(-1, (3, 3))
    assert H.diagonal(dim1=-2, dim2=-1).sum(-1).max() <= 1
    assert max(degrees_between(fit(h), R) for h in H[0]) < 6
