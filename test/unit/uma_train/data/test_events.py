"""Windows in which something happens, drawn more often."""

import dataclasses

import numpy as np
import pytest
from episodes import episode, episode_folder
from scipy.spatial.transform import Rotation

from uma.model.inputs import Normalization
from uma_train.data.events import is_key_window
from uma_train.data.mixtures import open_sources
from uma_train.data.store import Store
from uma_train.data.windows import Request, Windows, task_seeds
from uma_train.training import loop
from uma_train.training.config import TrainConfig


def turning(seed: int = 0, S: int = 200, at: int = 150, by: float = 0.5):
    """An episode of 100 frames whose gripper never opens or closes, and whose hand is turned by ``by`` radians at step
    ``at``."""
    e = episode(seed, S)
    target = e.target_pose.copy()
    target[at:, :3, :3] = Rotation.from_rotvec([0, 0, by]).as_matrix() @ target[at:, :3, :3]
    pose = np.concatenate([e.pose[:1], target[:-1]])
    still = np.zeros_like(e.gripper)
    return dataclasses.replace(e, pose=pose, target_pose=target, gripper=still, target_gripper=still)


def test_turning_the_hand_is_an_event_and_gripping_is_not():
    e = turning()
    events = np.flatnonzero(is_key_window(Store.of([e]), 0))
    assert np.array_equal(e.frame_step[events], np.arange(136, 151, 2)), (
        "chunks of 16 that begin before the turn is commanded and reach it"
    )
    assert not is_key_window(Store.of([turning(by=0.2)]), 0).any()
    closing = np.where(np.arange(200) >= 60, 1.0, 0.0).astype(np.float32)
    assert not is_key_window(Store.of([dataclasses.replace(turning(by=0.0), target_gripper=closing)]), 0).any()
    e.meta["has_actions"] = False
    assert not is_key_window(Store.of([e]), 0).any()


def test_end_of_an_excursion_is_an_event_for_one_chunk():
    e = turning(by=0.0)
    e.meta["interventions"] = [[20, 41], [90, 100]]
    events = np.flatnonzero(is_key_window(Store.of([e]), 0))
    assert np.array_equal(e.frame_step[events], [*range(42, 57, 2), *range(100, 116, 2)])


def drawn(windows: Windows, tasks: int = 400) -> np.ndarray:
    """``(tasks, 2)`` frames at which the windows of some tasks begin, counted in their episode."""
    seeds, _ = task_seeds(np.random.default_rng(1), tasks, (0, 1))
    return np.array(
        [
            t.frames
            for t in (
                windows._choose(np.random.Generator(np.random.PCG64(int(s))), Request(0, Normalization(), 2), None)
                for s in seeds
            )
        ]
    )


def test_share_of_events_is_the_configured_one():
    episodes = [turning(0), turning(1, at=40)]
    is_event = [is_key_window(Store.of([e]), 0) for e in episodes]
    plain, half = (drawn(Windows(episodes, key_window_fraction=share)) for share in (0.0, 0.5))
    either = is_event[0] | is_event[1]
    assert np.mean(either[plain]) < 0.25
    assert 0.5 < np.mean(either[half]) < 0.68, "half, and those that are met by chance"
    # An episode without events still gives windows: those that are drawn evenly.
    quiet = Windows([episodes[0], dataclasses.replace(turning(3, by=0.0))], key_window_fraction=0.5)
    assert quiet.events.max() < 100
    assert drawn(quiet, 50).max() > 76


def test_a_share_outside_0_to_1_is_refused():
    with pytest.raises(ValueError, match="key_window_fraction: 1.5, must be 0 to 1"):
        TrainConfig(key_window_fraction=1.5)


def test_training_favours_events_and_validation_does_not(tmp_path, monkeypatch):
    class Seen(Exception):
        pass

    def look(*args, **options):
        training, validation = open_sources(*args, **options)
        raise Seen(*(w.key_window_fraction for w in (*training.windows, *validation.windows)))

    monkeypatch.setattr(loop, "open_sources", look)
    config = TrainConfig(
        data=(str(episode_folder(tmp_path / "a")),), out=str(tmp_path / "run"), preset="tiny", key_window_fraction=0.4
    )
    with pytest.raises(Seen) as seen:
        loop.train(config)
    assert seen.value.args == (0.4, 0.0)
