"""Height features: the same wherever the camera stands."""

import numpy as np
import torch
from scipy.spatial.transform import Rotation

from uma.geometry import se3
from uma.model.heights import HEIGHT_FEATURES, features, of_state, of_waypoints, over, table


def seen(degrees: float, seed: int = 0):
    """Plane, true heights and state features of one scene, whose table is z = 0, seen by a camera that is turned by
    ``degrees``."""
    rng = np.random.default_rng(seed)
    points = rng.uniform([-0.3, -0.3, 0.007], [0.3, 0.3, 0.3], (60, 3))
    gripper = se3.make_pose(
        Rotation.from_euler("xyz", [170, 10, 40], degrees=True).as_matrix(), np.array([0.1, -0.1, 0.055])
    )
    T = se3.make_pose(
        Rotation.from_euler("xyz", [140 + degrees, degrees, 20], degrees=True).as_matrix(), np.array([0.05, 0.1, 0.9])
    )
    cloud, pose = (torch.tensor(v[None], dtype=torch.float32) for v in (se3.apply(T, points), T @ gripper))
    plane = table(cloud, torch.tensor(points[None, :, 2], dtype=torch.float32))
    return plane, cloud, torch.tensor(points[:, 2], dtype=torch.float32), of_state(plane, pose)[0]


def test_heights_are_found_again_and_do_not_depend_on_the_camera():
    told = []
    for degrees in (0.0, 1.0, 25.0):
        plane, cloud, height, state = seen(degrees)
        assert (over(plane, cloud)[0] - height).abs().max() < 1e-5
        told.append(state)
    for state in told[1:]:
        assert torch.allclose(state[:HEIGHT_FEATURES], told[0][:HEIGHT_FEATURES], atol=1e-3)
        assert torch.allclose(state[-3:], told[0][-3:], atol=1e-4), "the way up in the gripper's own frame"
    up = torch.tensor(Rotation.from_euler("xyz", [170, 10, 40], degrees=True).as_matrix()[2], dtype=torch.float32)
    assert torch.allclose(told[0][-3:], up, atol=1e-4) and not torch.allclose(told[0][-6:-3], told[2][-6:-3], atol=0.1)


def test_millimetres_of_height_are_distinguishable():
    f = features(torch.arange(0.0, 0.4, 0.002))
    apart = (f[:, None] - f[None]).norm(dim=-1)
    near = torch.arange(len(f))
    assert apart[(near[:, None] - near).abs() >= 1].min() > 0.15


def test_waypoints_carry_their_own_and_their_start_height():
    plane, cloud, height, _ = seen(3.0)
    told = of_waypoints(plane, cloud[:, :5], cloud[:, 5:10])[0]
    assert torch.allclose(told, torch.cat([features(height[:5]), features(height[5:10])], -1), atol=2e-3)


def test_points_in_one_place_do_not_end_it():
    cloud = torch.zeros(2, 30, 3) + torch.tensor([0.1, 0.0, 0.9])
    plane = table(cloud, torch.full((2, 30), 0.02))
    assert torch.isfinite(plane).all() and torch.isfinite(of_state(plane, torch.eye(4).expand(2, 4, 4))).all()
