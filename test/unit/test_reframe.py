"""Episodes told in the frame of another camera: what is where in the base stays there."""

from dataclasses import replace

import numpy as np
import pytest
from episodes import episode
from rich.console import Console
from scipy.spatial.transform import Rotation

from uma.geometry import se3
from uma_sim.scene import CAMERA_POSITION, CAMERA_TARGET, look_at
from uma_train.data.episode import METRE, EpisodeError, load_episode, save_episode
from uma_train.reframe import ReframeConfig, reframe, told_from

QUIET = Console(quiet=True)


def pose(seed):
    rng = np.random.default_rng(seed)
    return se3.make_pose(Rotation.random(random_state=seed).as_matrix(), rng.normal(0, 0.3, 3))


def seen_by(seed, T_base_cam):
    e = episode(seed)
    return replace(e, meta={**e.meta, "T_base_cam": T_base_cam.tolist(), "camera": dict(width=8, height=4, fx=5.0, fy=5.0, cx=3.5, cy=1.5, frame="optical")})


def test_everything_stays_where_it_is_in_the_base():
    before, there, here = seen_by(0, pose(1)), pose(1), pose(2)
    after = told_from(before, here)
    for name, scale, close in (("xyz", METRE, 1.5e-4), ("tracks", 1.0, 1e-6), ("static", 1.0, 1e-6)):
        a, b = (se3.apply(T, getattr(e, name) * scale) for T, e in ((there, before), (here, after)))
        assert np.abs(a - b).max() < close, name
        assert np.abs(getattr(before, name) * scale - getattr(after, name) * scale).max() > 0.05, f"{name} is told anew"
    for name in ("pose", "target_pose"):
        assert np.allclose(there @ getattr(before, name), here @ getattr(after, name), atol=1e-6), name
    for name in ("rgb", "height", "frame_step", "gripper", "track_valid", "track_moving"):
        assert np.array_equal(getattr(before, name), getattr(after, name)), name
    assert after.camera is None and not len(after.images), "pixels belong to the camera that took them"
    assert np.allclose(after.meta["T_base_cam"], here) and np.allclose(after.meta["T_base_seen_from"], there)


def test_a_folder_is_told_in_the_frame_of_the_station_s_camera_and_again_costs_nothing(tmp_path):
    (tmp_path / "a").mkdir()
    for i in range(3):
        save_episode(tmp_path / f"a/{i}.npz", seen_by(i, pose(i)))
    config = ReframeConfig(str(tmp_path / "a"), str(tmp_path / "b"))
    assert reframe(config, QUIET) == 3 and reframe(config, QUIET) == 0
    assert np.allclose(load_episode(tmp_path / "b/2.npz").meta["T_base_cam"], look_at(CAMERA_POSITION, CAMERA_TARGET))


def test_what_cannot_be_told_is_named(tmp_path):
    save_episode(tmp_path / "0.npz", episode(0))
    with pytest.raises(EpisodeError, match=r"0\.npz: episode: meta has no T_base_cam"):
        reframe(ReframeConfig(str(tmp_path), str(tmp_path / "b")), QUIET)
    with pytest.raises(ValueError, match="must be another folder"):
        reframe(ReframeConfig(str(tmp_path), str(tmp_path)), QUIET)
