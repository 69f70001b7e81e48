"""Orientation features of turned keypoints and fingers."""

import numpy as np
import pytest
import torch
from scipy.spatial.transform import Rotation

from uma.model.orientation import axis, turns


def turned(degrees: float, *, beside: bool = False, shift: float = 0.3) -> torch.Tensor:
    """Features of a blade of four keypoints turned about the vertical, at its second of two waypoints; ``beside`` adds
    three that slide without turning."""
    blade = np.array([[-0.04, 0, 0], [-0.01, 0, 0.03], [0.02, 0, 0], [0.04, 0, 0.03]]) + [0.5, 0.1, 0]
    R = Rotation.from_euler("z", degrees, degrees=True).as_matrix()
    after = (blade - blade.mean(0)) @ R.T + blade.mean(0) + [shift, -0.2, 0.01]
    if beside:
        bits = np.array([[0.75, 0.1, 0], [0.77, 0.12, 0], [0.76, 0.08, 0]])
        blade, after = np.concatenate([blade, bits]), np.concatenate([after, bits + [0.0, 0.1, 0]])
    start = torch.tensor(np.concatenate([blade, blade])[None])
    n = len(blade)
    phase = torch.cat([torch.zeros(1, n), torch.ones(1, n)], 1)
    return turns(torch.tensor(np.concatenate([blade, after])[None]), start, phase, torch.ones(1, 2 * n, dtype=bool))[
        0, n : n + 4
    ]


@pytest.mark.parametrize("degrees", [-80.0, -30.0, 0.0, 45.0, 90.0])
@pytest.mark.parametrize("beside", [False, True])
def test_the_angle_of_a_turn_can_be_read_whatever_else_moves(degrees, beside):
    f = turned(degrees, beside=beside).numpy()
    # A part of the points' spread is upright and does not turn, hence less than the whole sine.
    sine = np.sin(np.radians(degrees))
    assert (np.abs(f[:, 20] - 0.75 * sine) < 0.15 * abs(sine) + 0.01).all()
    assert np.abs(f[:, 18:20]).max() < 0.35, "mostly about the vertical"
    line = f[:, :6].mean(0)
    heading = np.degrees(np.arctan2(2 * line[3], line[0] - line[1])) / 2
    assert abs((heading - degrees + 90) % 180 - 90) < 8, "the blade's line, whichever of its ends is which"


WAY = slice(12, 18)
"""Of the line along which a keypoint has come; everything else is of turns."""


def of_turns(features: torch.Tensor) -> torch.Tensor:
    return torch.cat([features[..., : WAY.start], features[..., WAY.stop :]], -1)


def test_translation_and_turn_are_separated():
    near, far = turned(30.0, shift=0.0), turned(30.0, shift=0.5)
    assert torch.allclose(of_turns(near), of_turns(far), atol=1e-9)
    assert (near[:, WAY] - far[:, WAY]).abs().min(0).values.max() > 0.5


def test_lone_keypoint_and_padding_have_no_turn():
    start = torch.tensor([[[0.5, 0.1, 0.0], [0.9, 0.1, 0.0]]], dtype=torch.float64)
    both, one = torch.tensor([[True, True]]), torch.tensor([[True, False]])
    assert of_turns(turns(start + 0.2, start, torch.ones(1, 2), both)).abs().max() < 1e-6
    near = torch.tensor([[[0.5, 0.1, 0.0], [0.52, 0.1, 0.0]]], dtype=torch.float64)
    assert of_turns(turns(near, near, torch.ones(1, 2), both)).abs().max() > 0.5
    assert of_turns(turns(near, near, torch.ones(1, 2), one))[0, 0].abs().max() < 1e-6


def test_a_line_has_no_sign():
    v = torch.randn(5, 3, generator=torch.Generator().manual_seed(0))
    assert torch.equal(axis(v), axis(-v))
    assert (axis(v) - axis(v.flip(0))).abs().max() > 0.1
