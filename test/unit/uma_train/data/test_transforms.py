"""Augmentation: off is nothing at all, and what is moved stays consistent."""

import dataclasses

import numpy as np
import pytest
import torch
from rigid_episodes import NORM, assert_equal, episode, tensors

from uma.geometry import se3
from uma.model.inputs import decode_actions
from uma_train.data.mixtures import Mixture
from uma_train.data.transforms import Transforms, table_normal, transform
from uma_train.data.windows import Windows

SEEDS = np.arange(4)
FRAMES = np.array([0, 5, 12, 17, 24, 30, 36, 40])  # two of each of four episodes of 12 frames; the last shows no robot


@pytest.fixture
def batch():
    made = [episode(i, shots=12, robot=i < 3) for i in range(4)]
    return Windows(made, first_is_initial=0.5).draw(
        8, 5, NORM, np.random.default_rng(0), FRAMES, 2, history=2, vary_keypoints=True, with_image=True
    )


def poses_cam(batch, b):
    """Poses that the window's action tokens stand for, and its keypoints, in the camera frame."""
    T, grip = decode_actions(batch.grid.action[b].numpy(), batch.T_cam_ee[b], NORM, states=3)
    valid = batch.grid.is_valid[b]
    x = batch.grid.motion[b][:, valid].numpy() * NORM.local_scale + batch.T_cam_ee[b, :3, 3]
    start = batch.grid.identity[b][valid].numpy() * NORM.local_scale + batch.T_cam_ee[b, :3, 3]
    return T, grip, x, start


def test_zero_settings_are_the_identity_bit_for_bit(batch):
    assert transform(batch, Transforms(), NORM, SEEDS) is batch
    # An enabled setting changes only its own quantity.
    mild = Transforms.mild()
    touches = {
        "depth_noise_m": {"points.xyz", "points.height", "initial_points.xyz", "initial_points.height"},
        "dropout": {
            f"{p}.{f}" for p in ("points", "initial_points") for f in ("xyz", "rgb", "height", "normalized_uv")
        },
        "brightness": {"points.rgb", "points.image", "initial_points.rgb", "initial_points.image"},
        "camera_m": {
            "points.xyz",
            "initial_points.xyz",
            "reference.position",
            "reference.start",
            "ee.pose",
            "ee.carried",
            "T_cam_ee",
        },
        "ee_m": {"ee.pose", "T_cam_ee", "grid.action", "grid.motion", "grid.identity"},
    }
    for setting, names in touches.items():
        out = transform(batch, Transforms(**{setting: getattr(mild, setting)}), NORM, SEEDS)
        for (name, a), (_, b) in zip(tensors(batch), tensors(out), strict=True):
            if name in names:
                assert not torch.equal(a, b), f"{setting} leaves {name}"
            elif not (setting == "camera_m" and name.startswith("grid")):  # encoded again, equal up to rounding
                assert a is None or torch.equal(a, b), f"{setting} changes {name}"


def test_a_transform_is_a_function_of_the_task_s_seed(batch):
    a, b = (transform(batch, Transforms.mild(), NORM, SEEDS) for _ in range(2))
    assert_equal(a, b)
    made = [episode(i) for i in range(4)]
    mixture = Mixture([Windows(made)], transforms=Transforms.mild())
    whole = mixture.draw(8, 3, NORM, np.random.default_rng(1), windows_per_task=2)
    parts = [mixture.draw(8, 3, NORM, np.random.default_rng(1), windows_per_task=2, share=(r, 2)) for r in range(2)]
    assert torch.allclose(whole.points.xyz, torch.cat([p.points.xyz for p in parts]), atol=1e-6)
    assert torch.equal(whole.grid.action, torch.cat([p.grid.action for p in parts]))


def test_the_camera_moves_all_that_is_in_its_frame_alike(batch):
    out = transform(batch, Transforms(camera_m=0.1, camera_rad=0.5), NORM, SEEDS)
    assert torch.equal(out.points.normalized_uv, batch.points.normalized_uv) and torch.equal(
        out.points.height, batch.points.height
    )
    turns = []
    for task in range(4):
        fit = se3.fit_rigid(
            batch.initial_points.xyz[task].double().numpy(), out.initial_points.xyz[task].double().numpy()
        )
        turns.append(float(se3.rotation_angle(np.eye(3), fit[:3, :3])))
        valid = batch.reference.is_valid[task]
        assert np.allclose(
            se3.apply(fit, batch.reference.position[task][valid].numpy()),
            out.reference.position[task][valid],
            atol=1e-5,
        )
        assert np.allclose(
            se3.apply(fit, batch.reference.start[task][valid].numpy()), out.reference.start[task][valid], atol=1e-5
        )
        for b in (2 * task, 2 * task + 1):
            assert np.allclose(se3.apply(fit, batch.points.xyz[b].numpy()), out.points.xyz[b], atol=1e-5)
            (T, grip, x, start), (T_out, grip_out, x_out, start_out) = poses_cam(batch, b), poses_cam(out, b)
            assert np.allclose(se3.apply(fit, x), x_out, atol=1e-5) and np.allclose(
                se3.apply(fit, start), start_out, atol=1e-5
            )
            assert np.allclose(out.ee.pose[b], out.T_cam_ee[b], atol=1e-6)
            if task < 3:
                assert np.allclose(fit @ T, T_out, atol=1e-5) and np.allclose(grip, grip_out, atol=1e-6)
                assert np.allclose(fit @ batch.T_cam_ee[b], out.T_cam_ee[b], atol=1e-6)
            else:  # no robot: the anchor moves, and stands for no attitude
                assert torch.equal(out.grid.action[b], batch.grid.action[b]) and np.array_equal(
                    out.T_cam_ee[b, :3, :3], np.eye(3)
                )
                assert np.allclose(se3.apply(fit, batch.T_cam_ee[b, :3, 3]), out.T_cam_ee[b, :3, 3], atol=1e-6)
    assert max(turns) > 0.1 and len({round(t, 3) for t in turns}) == 4


def test_a_turn_on_the_table_keeps_all_heights():
    made = [on_a_table(seed) for seed in range(4)]
    mixture = Mixture([Windows(made, first_is_initial=1.0)])
    batch = mixture.draw(8, 3, NORM, np.random.default_rng(1), windows_per_task=2)
    out = transform(batch, Transforms(turn_rad=float(np.pi), slide_m=0.3), NORM, SEEDS)
    assert torch.equal(out.points.height, batch.points.height)
    angles = []
    for task in range(4):
        fit = se3.fit_rigid(*(b.initial_points.xyz[task].double().numpy() for b in (batch, out)))
        np.testing.assert_allclose(fit[2], [0, 0, 1, 0], atol=1e-5, err_msg="z is the table's normal")
        angles.append(float(se3.rotation_angle(np.eye(3), fit[:3, :3])))
        for b in (2 * task, 2 * task + 1):
            assert np.allclose(fit @ batch.T_cam_ee[b], out.T_cam_ee[b], atol=1e-5)
            assert np.allclose(se3.apply(fit, poses_cam(batch, b)[2]), poses_cam(out, b)[2], atol=1e-5)
    assert max(angles) > 0.5


def on_a_table(seed: int):
    """Return an episode whose heights are its points' z."""
    e = episode(seed)
    return dataclasses.replace(e, height=e.xyz[..., 2])


def test_a_misplaced_end_effector_leaves_the_truth_where_it_is(batch):
    out = transform(batch, Transforms(ee_m=0.01, ee_rad=0.05), NORM, SEEDS)
    assert torch.equal(out.points.xyz, batch.points.xyz) and torch.equal(
        out.reference.position, batch.reference.position
    )
    for b in range(8):
        (T, _, x, start), (T_out, _, x_out, start_out) = poses_cam(batch, b), poses_cam(out, b)
        assert np.allclose(x, x_out, atol=1e-5) and np.allclose(start, start_out, atol=1e-5)
        assert np.allclose(out.ee.pose[b], out.T_cam_ee[b], atol=1e-6)
        if b >= 6:
            assert np.array_equal(out.T_cam_ee[b], batch.T_cam_ee[b])
            continue
        assert np.allclose(T[3:], T_out[3:], atol=1e-5)  # targets: the commanded poses, unchanged
        error = out.T_cam_ee[b, :3, 3] - batch.T_cam_ee[b, :3, 3]
        assert 1e-4 < np.linalg.norm(error) < 0.06
        assert np.allclose(T_out[:3, :3, 3], T[:3, :3, 3] + error, atol=1e-5)  # measured poses err together
        R = out.T_cam_ee[b, :3, :3] @ batch.T_cam_ee[b, :3, :3].T
        assert np.allclose(T_out[:3, :3, :3], R @ T[:3, :3, :3], atol=1e-5)


def test_absent_actions_stay_zeros(batch):
    grid = dataclasses.replace(
        batch.grid, is_supervised_action=torch.zeros(8, dtype=torch.bool), action=batch.grid.action.clone()
    )
    quiet = dataclasses.replace(batch, grid=grid)
    quiet.grid.action[:, 3:] = 0
    out = transform(quiet, Transforms.mild(), NORM, SEEDS)
    assert (out.grid.action[:, 3:] == 0).all() and (out.grid.action[:6, :2] != 0).any()


def test_depth_noise_runs_along_the_rays(batch):
    normal = torch.tensor([0.0, -0.6, -0.8])
    height = batch.points.xyz @ normal + 1.0
    batch = dataclasses.replace(batch, points=dataclasses.replace(batch.points, height=height))
    assert torch.allclose(table_normal(batch.points), normal.expand(8, 3), atol=1e-4)
    out = transform(batch, Transforms(depth_noise_m=0.01), NORM, SEEDS)
    a, b = batch.points.xyz, out.points.xyz
    assert torch.linalg.cross(a, b).norm(dim=-1).max() < 1e-6  # on the same ray
    scaled = ((b[..., 2] - a[..., 2]) / a[..., 2] ** 2).numpy()
    assert abs(scaled.std() / 0.01 - 1) < 0.15 and abs(scaled.mean()) < 0.002
    assert torch.allclose(out.points.height, b @ normal + 1.0, atol=1e-5)


def test_a_lost_point_becomes_a_copy_of_a_kept_one(batch):
    out = transform(batch, Transforms(dropout=0.5), NORM, SEEDS)
    lost = []
    for b in range(8):
        whole = {tuple(row): i for i, row in enumerate(batch.points.xyz[b].numpy())}
        index = [whole[tuple(row)] for row in out.points.xyz[b].numpy()]
        for name in ("rgb", "height", "normalized_uv"):
            assert torch.equal(getattr(out.points, name)[b], getattr(batch.points, name)[b][index])
        kept = {i for i in range(len(index)) if index[i] == i}
        assert set(index) <= kept
        lost.append(1 - len(kept) / len(index))
    assert 0.05 < max(lost) <= 0.5 and len(set(lost)) > 3


def test_colours_change_alike_on_points_and_image(batch):
    batch.points.rgb[:, :3] = batch.points.image[:, :, 4, 5:8].transpose(1, 2)
    out = transform(batch, Transforms(brightness=0.2, contrast=0.3, tint=0.2), NORM, SEEDS)
    assert torch.allclose(out.points.rgb[:, :3], out.points.image[:, :, 4, 5:8].transpose(1, 2), atol=1e-6)
    assert (
        (out.points.rgb - batch.points.rgb).abs().mean() > 0.02
        and 0 <= out.points.rgb.min()
        and out.points.rgb.max() <= 1
    )
    dark = dataclasses.replace(batch, points=dataclasses.replace(batch.points, image=batch.points.image * 0))
    assert (transform(dark, Transforms.mild(), NORM, SEEDS).points.image == 0).all()  # absent stays absent


def test_settings_out_of_range_are_refused():
    with pytest.raises(ValueError, match="transforms.dropout: 1.5"):
        Transforms(dropout=1.5)
