"""Hindsight references and training windows on small episodes made here."""

import dataclasses

import numpy as np
import pytest
from episodes import episode
from rigid_episodes import same_array

from uma.model.config import tiny
from uma.model.inputs import encode_actions
from uma_train.data.episode import METRE, EpisodeError, load_episode, save_episode
from uma_train.data.hindsight import ReferenceSampling, draw_reference
from uma_train.data.normalization import measure_normalization
from uma_train.data.windows import Windows


def test_episodes_survive_the_disk(tmp_path):
    e = episode()
    save_episode(tmp_path / "a.npz", e)
    back = load_episode(tmp_path / "a.npz")
    for f in dataclasses.fields(e):
        a, b = getattr(e, f.name), getattr(back, f.name)
        assert a == b if f.name == "meta" else same_array(a, b), f.name
    assert not list(tmp_path.glob("*.part"))
    data = (tmp_path / "a.npz").read_bytes()
    (tmp_path / "b.npz").write_bytes(data[: len(data) // 2])
    with pytest.raises(EpisodeError, match="b.npz"):
        load_episode(tmp_path / "b.npz")
    with pytest.raises(EpisodeError, match="gripper has 3 entries, must be 24"):
        dataclasses.replace(e, gripper=e.gripper[:3])


def test_hindsight_references_lie_on_the_track_and_in_order():
    e = episode()
    rng = np.random.default_rng(0)
    sizes = set()
    for _ in range(200):
        start = int(rng.integers(0, 20))
        motion = draw_reference(e.tracks, e.static, start, "cam", ReferenceSampling(noise_m=0.0), rng)
        moving = [w for w in motion.waypoints if len(w) > 1]
        sizes.add((len(motion.waypoints), len(moving[0])))
        for w in moving:
            d = np.linalg.norm(w[:, None, None] - e.tracks[start:], axis=-1)
            assert d.min((1, 2)).max() < 1e-6
            steps = d.min(2).argmin(1)
            assert (np.diff(steps) >= 0).all() and np.allclose(d[0, 0].min(), 0, atol=1e-6)
        assert all(
            np.isclose(np.linalg.norm(w - e.static, axis=-1).min(), 0, atol=1e-6)
            for w in motion.waypoints
            if len(w) == 1
        )
    assert len({n for n, _ in sizes}) >= 6 and {t for _, t in sizes} == {2, 3, 4, 5, 6}


def test_a_reference_never_has_more_keypoints_than_one_may_have():
    e = episode()
    full = ReferenceSampling(min_keypoints=15, max_keypoints=16, pinned=1.0)
    counts = {
        len(draw_reference(e.tracks, e.static, 0, "cam", full, np.random.default_rng(i)).waypoints) for i in range(20)
    }
    assert counts == {16}
    with pytest.raises(ValueError, match="sampling.min_keypoints 3, max_keypoints 17: must be 1 <= min <= max <= 16"):
        ReferenceSampling(max_keypoints=17)


def test_windows_hold_the_future_as_deployment_would_encode_it():
    episodes = [episode(i) for i in range(3)]
    norm = measure_normalization(episodes)
    windows = Windows(episodes, first_is_initial=1.0)
    assert len(windows) == 36
    batch = windows.draw(4, 5, norm, np.random.default_rng(0), np.array([0, 5, 12, 35]))
    assert (
        batch.grid.action.shape == (4, 17, 10)
        and batch.grid.motion.shape == (4, 17, 5, 3)
        and batch.points.xyz.shape[1] == tiny().points.total
    )
    e, s = episodes[0], 10  # frame 5 of the first episode
    steps = np.minimum(np.arange(s, s + 16), 23)
    expected = encode_actions(
        e.target_pose[steps].astype(np.float64), e.target_gripper[steps], e.pose[s].astype(np.float64), norm
    )
    assert np.allclose(batch.grid.action[1, 1:].numpy(), expected, atol=1e-5)
    assert np.allclose(batch.grid.action[1, 0, :9].numpy(), 0, atol=1e-5)
    assert np.allclose(batch.initial_points.xyz[1].numpy(), e.xyz[0] * METRE, atol=1e-6)
    x = batch.grid.motion[1].numpy() * norm.local_scale + e.pose[s, :3, 3]
    assert np.linalg.norm(x[0][:, None] - e.tracks[s][None], axis=-1).min(1).max() < 1e-4


def test_windows_may_share_a_task():
    episodes = [episode(i) for i in range(4)]
    windows = Windows(episodes, first_is_initial=0.5)
    batch = windows.draw(8, 2, measure_normalization(episodes), np.random.default_rng(3), windows_per_task=2)
    assert (
        batch.points.xyz.shape[0] == 8 and batch.initial_points.xyz.shape[0] == 4 == batch.reference.is_valid.shape[0]
    )
    clouds = [{tuple(frame[0]) for frame in e.xyz} for e in episodes]
    for i in range(4):  # both windows of a task are of the episode of its initial observation
        first = tuple(np.round(batch.initial_points.xyz[i, 0].numpy() / METRE).astype(int))
        own = next(c for c in clouds if first in c)
        assert all(tuple(np.round(batch.points.xyz[2 * i + j, 0].numpy() / METRE).astype(int)) in own for j in range(2))
