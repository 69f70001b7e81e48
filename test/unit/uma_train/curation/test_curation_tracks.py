"""Tracks, masks, keypoints and camera poses on small clips with known truth."""

from dataclasses import replace

import numpy as np
import pytest
from curated import TABLE_M, Square, path, scene, truth

from uma.geometry import se3
from uma.types import InputError
from uma_train.curation import cloth, rigid
from uma_train.curation.camera import KnownOrOdometry
from uma_train.curation.chain import Chain
from uma_train.curation.mesh import mesh_of
from uma_train.curation.scale import KnownScale, MetricReference, scaled
from uma_train.curation.segment import PlaneAndMotion
from uma_train.curation.views import View

T = 12
MOVE = {"start": (-0.08, 0.0, 0.04, 0.0), "end": (0.10, 0.05, 0.10, 0.5)}


@pytest.fixture(scope="module")
def moving():
    square, other = Square(path(T, **MOVE)), Square(path(T, (0.15, -0.1, 0.03, 0), (0.15, -0.1, 0.03, 0)), 0.03, 5)
    return square, scene([square, other])


def mask_of(square: Square, clip) -> np.ndarray:
    view = View(clip, 0)
    v, u = np.mgrid[0 : clip.video.shape[1], 0 : clip.video.shape[2]]
    x, _ = view.lifted(np.stack([u.ravel(), v.ravel()], 1).astype(float))
    local = se3.apply(se3.invert(square.pose(0)), x)
    return ((np.abs(local[:, :2]) < square.half).all(1) & (np.abs(local[:, 2]) < 0.01)).reshape(u.shape)


def points_of(square: Square, count: int = 20) -> np.ndarray:
    rng = np.random.default_rng(3)
    xy = rng.uniform(-0.8, 0.8, (count, 2)) * square.half
    return se3.apply(square.pose(0), np.concatenate([xy, np.zeros((count, 1))], 1))


def test_a_moving_square_is_tracked_to_millimetres(moving):
    square, clip = moving
    start = points_of(square)
    coords, valid, agrees = rigid.track(clip, mask_of(square, clip), start)
    error = np.linalg.norm(coords - truth(square, start, T), axis=-1)
    assert valid.mean() > 0.9
    assert np.median(error[-1]) < 0.003
    assert error[valid].max() < 0.010
    assert np.nanmin(agrees) > 0.8


def test_the_mover_is_found_among_two_squares(moving):
    square, clip = moving
    found, true = PlaneAndMotion()(clip), mask_of(square, clip)
    assert (found & true).sum() / (found | true).sum() > 0.7


def test_the_chain_tracks_object_and_background(moving):
    square, clip = moving
    done, facts = Chain()(clip)
    assert facts["tracker"] == "rigid" and facts["moved_m"] > 0.15
    on = done.on_object
    true = truth(square, done.query[on, 1:].astype(float), T)
    assert np.median(np.linalg.norm(done.coords[:, on] - true, axis=-1)) < 0.003
    assert np.ptp(done.coords[:, ~on], axis=0).max() == 0.0
    assert Chain()(done)[1]["tracker"] == "given"


def test_a_thing_at_rest_does_not_drift():
    square = Square(path(T))
    clip = scene([square])
    start = points_of(square)
    coords, valid, _ = rigid.track(clip, mask_of(square, clip), start)
    assert np.abs(coords - start).max() < 0.001
    assert valid.mean() > 0.9


def test_a_scene_without_motion_is_refused():
    with pytest.raises(InputError, match=r"scene: .*must be 10%"):
        PlaneAndMotion()(scene([Square(path(T))]))


def test_an_empty_table_is_refused():
    with pytest.raises(InputError, match="stands out from the table"):
        PlaneAndMotion()(scene([]))


def test_covered_points_are_invalid_and_come_back():
    square = Square(path(18))
    cover = Square(path(18, (-0.35, 0.0, 0.2, 0.0), (0.35, 0.0, 0.2, 0.0)), 0.08, 7)
    clip = scene([square, cover], 18)
    start = points_of(square)
    coords, valid, _ = rigid.track(clip, mask_of(square, clip), start)
    assert valid.mean(1).min() < 0.2
    assert valid[-1].mean() > 0.9
    assert np.abs(coords - start).max() < 0.004


def test_a_sheet_keeps_its_lengths_when_dragged():
    square = Square(path(2), 0.09)
    clip = scene([square], 2)
    mesh = mesh_of(View(clip, 0), mask_of(square, clip))
    fixed = np.zeros(len(mesh.rest), bool)
    corner = int((mesh.rest @ (1.0, 1.0, 0.0)).argmax())
    fixed[corner] = True
    x = mesh.rest.copy()
    x[corner] += (-0.03, -0.03, -0.05)
    plane = np.array([0.0, 0.0, -1.0, TABLE_M])
    out = mesh.relax(x, x, np.zeros(len(x)), fixed, plane, 200)
    a, b = mesh.edges.T
    stretch = np.linalg.norm(out[a] - out[b], axis=1) / mesh.length
    assert np.percentile(stretch, 95) < 1.05
    assert (out @ plane[:3] + plane[3]).min() > -1e-9
    assert np.abs(out[corner] - x[corner]).max() == 0.0
    assert np.median(np.linalg.norm(out - mesh.rest, axis=1)) < 0.03


def test_points_of_a_sheet_move_with_it():
    square = Square(path(8, (-0.05, 0, 0.01, 0), (0.0, 0.03, 0.01, 0.1)), 0.09)
    clip = scene([square], 8)
    start = points_of(square)
    coords, valid = cloth.track(clip, mask_of(square, clip), start)
    error = np.linalg.norm(coords - truth(square, start, 8), axis=-1)
    assert valid.mean() > 0.8
    assert np.median(error[-1]) < 0.008


def test_poses_of_a_moving_camera_are_estimated():
    shifts = np.linspace(0, 1, 10)[:, None] * np.array([0.06, -0.03, 0.02])
    clip = scene([Square(path(10)), Square(path(10, (0.1, 0.08, 0.06, 0), (0.1, 0.08, 0.06, 0)), 0.04, 4)], 10, shifts)
    found = KnownOrOdometry()(clip)
    at = se3.invert(found.extrinsics)[:, :3, 3]
    assert np.abs(at - shifts).max() < 0.004
    assert found.moves


def test_too_little_texture_for_the_camera_is_refused():
    clip = scene([], 3, np.zeros((3, 3)))
    with pytest.raises(InputError, match="image motions agree in image 1, must be 30"):
        KnownOrOdometry()(replace(clip, video=np.full_like(clip.video, 90)))


def test_metric_depth_of_one_image_gives_the_scale(moving):
    _, clip = moving
    half = replace(scaled(clip, 0.5), is_metric=False)
    with pytest.raises(InputError, match="up to scale"):
        KnownScale()(half)
    again = MetricReference(clip.depths[0])(half)
    assert again.is_metric
    assert np.nanmax(np.abs(again.depths - clip.depths)) < 1e-4
    with pytest.raises(InputError, match="0 pixels with both depths, must be at least 200"):
        MetricReference(np.full(clip.depths[0].shape, np.nan))(half)
