"""Rigid transforms, the camera and point clouds: group axioms and round trips."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from uma.geometry import se3
from uma.geometry.camera import project, unproject
from uma.geometry.point_cloud import farthest_points, fit_plane, voxel_indices
from uma.types import CameraModel

seeds = st.integers(0, 2**32 - 1)


def random_pose(rng: np.random.Generator) -> np.ndarray:
    return se3.make_pose(Rotation.random(None, rng).as_matrix(), rng.uniform(-1, 1, 3))


@given(seeds)
@settings(max_examples=50, deadline=None)
def test_group_axioms(seed):
    rng = np.random.default_rng(seed)
    A, B, p = random_pose(rng), random_pose(rng), rng.uniform(-1, 1, (5, 3))
    assert np.allclose(A @ se3.invert(A), np.eye(4), atol=1e-12)
    assert np.allclose(se3.apply(A, se3.apply(B, p)), se3.apply(A @ B, p), atol=1e-12)
    assert np.allclose(se3.from_quaternion(A[:3, 3], se3.quaternion(A)), A, atol=1e-9)
    assert np.allclose(se3.from_rot6d(se3.rot6d(A[:3, :3])), A[:3, :3], atol=1e-12)


@given(seeds)
@settings(max_examples=50, deadline=None)
def test_interpolate_and_clip_stay_on_the_geodesic(seed):
    rng = np.random.default_rng(seed)
    A, B = random_pose(rng), random_pose(rng)
    assert np.allclose(se3.interpolate(A, B, 0.0), A) and np.allclose(se3.interpolate(A, B, 1.0), B)
    C = se3.clip_step(A, B, 0.05, 0.1)
    assert np.linalg.norm(C[:3, 3] - A[:3, 3]) <= 0.05 + 1e-9
    assert se3.rotation_angle(A[:3, :3], C[:3, :3]) <= 0.1 + 1e-9
    assert np.allclose(se3.clip_step(A, C, 0.05, 0.1), C)


@given(
    seeds,
    st.one_of(
        st.floats(0.0, np.pi), st.sampled_from([0.0, 1e-12, 1e-7, 9.9e-5, 1.1e-4, np.pi - 1e-7, np.pi - 1e-10, np.pi])
    ),
)
@settings(max_examples=200, deadline=None)
def test_log_and_exp_are_scipys(seed, angle):
    axis = np.random.default_rng(seed).normal(size=3)
    v = angle * axis / np.linalg.norm(axis)
    R = se3.exp(v)
    assert np.allclose(R, Rotation.from_rotvec(v).as_matrix(), atol=1e-14) and np.allclose(
        R @ R.T, np.eye(3), atol=1e-14
    )
    back = se3.log(R)
    # At half a turn both axes are right, and near it the sine has few digits left.
    tolerance = 1e-12 if angle < 3.0 else 1e-6
    assert np.allclose(back, v, atol=tolerance) or angle > 3.14159 and np.allclose(back, -v, atol=tolerance)
    assert np.allclose(se3.exp(back), R, atol=1e-6 if angle > 3.0 else 1e-12)


def test_fit_rigid_recovers_a_transform():
    rng = np.random.default_rng(0)
    T, p = random_pose(rng), rng.normal(size=(6, 3))
    assert np.allclose(se3.fit_rigid(p, se3.apply(T, p)), T, atol=1e-9)


@pytest.mark.parametrize("xyzw", [(0, 0, 0, 0), (1, 1, 1, 1), (np.nan, 0, 0, 1)])
def test_bad_quaternions_are_refused(xyzw):
    with pytest.raises(ValueError, match="quaternion|finite"):
        se3.from_quaternion(np.zeros(3), xyzw)


def test_camera_round_trip_and_scaling():
    camera = CameraModel(320, 180, 132.0, 132.0, 159.5, 89.5)
    depth = np.random.default_rng(0).uniform(0.4, 2.0, (180, 320)).astype(np.float32)
    depth[10, 10] = np.nan
    points = unproject(depth, camera)
    uv = project(points, camera)
    v, u = np.indices(depth.shape)
    ok = np.isfinite(depth)
    assert np.abs(uv[ok] - np.stack([u, v], -1)[ok]).max() < 1e-3
    assert np.isnan(points[10, 10]).all() and np.isnan(uv[10, 10]).all()
    assert camera.scaled(640, 360).fx == pytest.approx(264.0)


def test_plane_is_found_under_clutter_and_faces_the_camera():
    rng = np.random.default_rng(1)
    n = np.array([0.1, -0.8, -0.6]) / np.linalg.norm([0.1, -0.8, -0.6])
    base = rng.uniform(-0.5, 0.5, (3000, 3))
    table = base - (base @ n + 0.7)[:, None] * n + rng.normal(0, 0.001, (3000, 1)) * n
    clutter = rng.uniform(-0.3, 0.3, (1200, 3)) + [0, 0, 0.6]
    plane = fit_plane(np.concatenate([table, clutter]))
    assert plane[:3] @ n > 0.9999 and plane[3] == pytest.approx(0.7, abs=0.002)
    with pytest.raises(ValueError, match="at least 50"):
        fit_plane(table[:10])
    with pytest.raises(ValueError, match="on one line"):
        fit_plane(np.linspace([0, 0, 0.5], [0, 0, 0.9], 500))


def test_farthest_points_spread_and_voxels_thin():
    rng = np.random.default_rng(2)
    points = rng.uniform(0, 1, (2000, 3))
    chosen = farthest_points(points, 50)
    assert len(set(chosen)) == 50
    d = np.linalg.norm(points[chosen][:, None] - points[chosen], axis=-1) + 10 * np.eye(50)
    assert d.min() > 0.15
    kept = voxel_indices(points, 0.25)
    assert len(kept) == len(np.unique(np.floor(points / 0.25).astype(int), axis=0))
