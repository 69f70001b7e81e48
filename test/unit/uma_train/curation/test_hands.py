"""A person's hand: detection with stand-ins for the two models, placement by depth, and its part in tracking."""

import sys
from dataclasses import replace

import numpy as np
import pytest
from curated import Square, path, scene, truth

from uma.geometry import se3
from uma.types import InputError
from uma_train.curation import hand, rigid
from uma_train.curation.adapters import hand_models
from uma_train.curation.adapters.hand_models import HAND_PX, PALM_PX, HandModels, anchors
from uma_train.curation.adapters.hands import HandDetector, HandFiles, placed
from uma_train.curation.interchange import load_clip, save_clip
from uma_train.curation.views import View

RNG = np.random.default_rng(4)
ROOTS = np.array([[0, 0], [-0.03, -0.03], [-0.025, -0.09], [0, -0.095], [0.02, -0.09], [0.04, -0.08]])
ROOTS = np.concatenate([ROOTS, np.zeros((6, 1))], 1)
SHAPE = np.concatenate(
    [ROOTS[:1], *(root + np.linspace(0, 1, 4)[:, None] * [0.1 * root[0], -0.07, 0.02] for root in ROOTS[1:])]
)
"""Joints of a hand that points upwards in the image, metres."""


def turned(turn: float) -> np.ndarray:
    c, s = np.cos(turn), np.sin(turn)
    return SHAPE @ np.array([[c, -s, 0], [s, c, 0], [0, 0, 1.0]]).T


def stand_ins(pixels: np.ndarray, size: tuple[int, int], seen: dict) -> HandModels:
    """Models that answer as MediaPipe's would for a hand at ``pixels`` (21, 2) in an image of ``size`` (H, W)."""

    def palm(blob):
        seen["palm"] = blob
        side = max(size)
        share = (pixels + [(side - size[1]) // 2, (side - size[0]) // 2]) / side
        middle = share[[0, 5, 17]].mean(0)
        best = int(np.linalg.norm(anchors() - middle, axis=1).argmin())
        box = np.r_[middle - anchors()[best], [0.2, 0.2]]
        points = share[[0, 5, 9, 13, 17, 1, 2]] - anchors()[best]
        raw, logits = np.zeros((1, len(anchors()), 18)), np.full((1, len(anchors()), 1), -5.0)
        raw[0, best], logits[0, best] = np.r_[box, points.ravel()] * PALM_PX, 5.0
        return [raw, logits]

    def landmarks(blob):
        seen["hand"], M = blob, hand_models.to_square(seen["square"])
        uv = np.concatenate([pixels, np.ones((21, 1))], 1) @ M[:2].T
        return [np.concatenate([uv, np.zeros((21, 1))], 1).reshape(1, 63), np.ones((1, 1)), SHAPE.reshape(1, 63)]

    return HandModels(palm, landmarks)


@pytest.mark.parametrize("turn", [0.0, 0.7, -2.0])
def test_a_hand_is_found_whichever_way_it_points(turn, monkeypatch):
    """A bright disc at the tip of the middle finger is at the top of the square that the second model is given."""
    H, W = 120, 200
    pixels = turned(turn)[:, :2] * 300 + [100, 70]
    image = np.zeros((H, W, 3), np.uint8)
    v, u = np.mgrid[0:H, 0:W]
    image[(u - pixels[12, 0]) ** 2 + (v - pixels[12, 1]) ** 2 < 16] = 255
    seen = {}
    models = stand_ins(pixels, (H, W), seen)
    square = models._palm(image)
    seen["square"] = square
    found = models.find(image)
    np.testing.assert_allclose(found.pixels, pixels, atol=1e-6)
    assert seen["palm"].shape == (1, PALM_PX, PALM_PX, 3) and seen["hand"].shape == (1, HAND_PX, HAND_PX, 3)
    tip = np.argwhere(seen["hand"][0, :, :, 0] > 0.5).mean(0)  # row, column
    assert tip[0] < 0.42 * HAND_PX and abs(tip[1] - HAND_PX / 2) < 0.15 * HAND_PX
    again = hand_models.around(pixels)
    assert again[3] == pytest.approx(square[3], abs=0.1) and again[2] > np.ptp(pixels, axis=0).max() * 0.9


def test_no_palm_is_no_hand():
    none = HandModels(lambda blob: [np.zeros((1, 2016, 18)), np.full((1, 2016, 1), -3.0)], lambda blob: pytest.fail())
    assert len(anchors()) == 2016
    assert none.find(np.zeros((90, 160, 3), np.uint8)) is None


def test_depth_gives_the_distance_of_a_hand():
    clip = scene([Square(path(2))], 2)
    true = turned(0.4) * 1.2 + [0.02, 0.03, 0.6]  # a hand larger than usual
    fx, fy, cx, cy = View(clip, 0).K
    pixels = true[:, :2] / true[:, 2:] * [fx, fy] + [cx, cy]
    depths = np.full_like(clip.depths, 0.6)
    depths[:, :10] = 0
    x = placed(View(replace(clip, depths=depths), 0), pixels, SHAPE)
    assert np.median(np.linalg.norm(x - true, axis=1)) < 0.012
    assert placed(View(replace(clip, depths=np.full_like(depths, np.nan)), 0), pixels, SHAPE) is None
    assert placed(View(replace(clip, depths=depths * 5), 0), pixels, SHAPE) is None


def test_joints_come_from_a_file_and_survive_the_clips(tmp_path):
    clip = scene([Square(path(3))], 3)
    pose = np.tile(np.eye(4), (3, 1, 1))
    pose[:, 0, 3] = (0.0, 0.1, 0.2)
    clip = replace(clip, extrinsics=se3.invert(pose))
    joints = np.tile(SHAPE + [0, 0, 0.5], (3, 1, 1))
    joints[1] = 0  # none seen
    np.savez(tmp_path / "scene.npz", joints=joints)
    found = HandFiles(str(tmp_path), "mediapipe")(clip)
    assert np.isnan(found.hand[1]).all() and View(found, 1).hand is None
    np.testing.assert_allclose(found.hand[2], SHAPE + [0.2, 0, 0.5], atol=1e-6)
    save_clip(tmp_path / "clip.npz", found)
    np.testing.assert_array_equal(load_clip(tmp_path / "clip.npz").hand, found.hand)
    np.savez(tmp_path / "scene.npz", joints=joints[:, :20])
    with pytest.raises(InputError, match=r"joints: shape \(3, 20, 3\), must be \(3, 21, 3\)"):
        HandFiles(str(tmp_path), "mediapipe")(clip)


def test_a_hand_fills_space_and_closes():
    inner = (SHAPE[hand.BONES[:, 0]] + SHAPE[hand.BONES[:, 1]]) / 2
    assert hand.inside(SHAPE, inner).all()
    assert not hand.inside(SHAPE, inner + [0, 0, 0.06]).any()
    assert len({tuple(sorted(bone)) for bone in hand.BONES.tolist()}) == 23
    shut = SHAPE.copy()
    shut[hand.THUMB] = shut[hand.INDEX] + [0.01, 0, 0]
    assert hand.closed(SHAPE) < 1.0 and hand.closed(shut) == 1.0
    T = se3.make_pose(se3.exp(np.array([0.3, -0.2, 0.9])), np.array([0.1, 0.2, 0.3]))
    np.testing.assert_allclose(hand.frame_of(se3.apply(T, SHAPE)), T @ hand.frame_of(SHAPE), atol=1e-9)


def test_a_plain_thing_that_leaps_is_tracked_with_the_hand():
    """It has no texture and moves by more than its size between images: only the hand tells where it went."""
    T = 8
    way = path(T, (-0.22, 0.05, 0.02, 0.0), (0.24, -0.06, 0.02, 0.0))
    square = Square(way, 0.03)
    square.texture[:] = 220
    clip = scene([square], T)
    mask = (clip.depths[0] < 0.79) & (np.arange(240) < 120)
    grid = np.stack(np.meshgrid([-0.02, 0, 0.02], [-0.02, 0, 0.02]), -1).reshape(-1, 2)
    start = se3.apply(square.pose(0), np.concatenate([grid, np.zeros((9, 1))], 1))
    true = truth(square, start, T)
    held = SHAPE * [1, 1, -1] + start.mean(0) + [0.0, 0.165, 0.01]
    joints = np.stack([held + (true[t] - start).mean(0) + RNG.normal(0, 0.002, 3) for t in range(T)])
    alone = np.linalg.norm(rigid.track(clip, mask, start)[0] - true, axis=-1)
    found, _, _ = rigid.track(replace(clip, hand=joints.astype(np.float32)), mask, start)
    error = np.linalg.norm(found - true, axis=-1)
    assert np.median(error[-1]) < 0.01
    assert np.median(alone[-1]) > 0.05


def test_models_that_are_absent_are_named(tmp_path, monkeypatch):
    clip = scene([], 2)
    for file in hand_models.FILES:
        (tmp_path / file).write_bytes(b"no model")
    stage = HandDetector(str(tmp_path))
    assert stage.name.startswith("mediapipe-")
    monkeypatch.setitem(sys.modules, "ai_edge_litert", None)
    monkeypatch.setitem(sys.modules, "ai_edge_litert.interpreter", None)
    with pytest.raises(InputError, match="ai_edge_litert.interpreter: not installed; the extra 'hands' has it"):
        stage(clip)
    (tmp_path / hand_models.FILES[1]).unlink()
    with pytest.raises(InputError, match=r"lacks hand_landmark_full.tflite; must hold"):
        HandModels.load(tmp_path)
