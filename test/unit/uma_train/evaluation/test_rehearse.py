"""A rehearsal follows what the camera sees at the keypoints, and leaves the original scene alone."""

from types import SimpleNamespace

import numpy as np
import pytest

from uma.geometry import se3
from uma.policy.task_file import write_task
from uma.types import HORIZON, ActionChunk, InputError
from uma_sim import experts
from uma_sim.planning import sketches
from uma_sim.tasks import make_station
from uma_train.evaluation.rehearse import Followed, main, rehearse


class Still:
    """A policy that keeps the hand where it is, and refuses words."""

    def encode_task(self, observation, reference):
        return "task"

    def encode_instruction(self, words, observation=None):
        raise InputError(f"instruction: {words!r}, the checkpoint has no language encoder")

    def predict(self, o, task, sequence):
        poses = np.repeat(o.T_cam_ee[None], HORIZON, 0)
        chunk = ActionChunk(poses, np.zeros(HORIZON), o.stamp, o.camera.frame, "robotiq_2f85_tcp", sequence=sequence)
        return SimpleNamespace(chunk=chunk)


@pytest.fixture(params=["insertion", "folding"])
def station(request):
    station = make_station(7, request.param)
    yield station
    station.close()


def test_keypoints_stay_on_what_moves(station):
    reference = sketches.of_scene(station)
    followed = Followed(station, station.observe(), reference)
    start = followed.points()
    first = se3.apply(station.T_base_cam, np.stack([w[0] for w in reference.waypoints]))
    np.testing.assert_allclose(start, first, atol=1e-9)
    before, expert = station.object_points(), experts.expert(station.task.name)
    for _ in range(110):
        station.act(*expert.act(station))
    now, after = followed.points(), station.object_points()
    assert np.linalg.norm(after - before, axis=1).max() > 0.05, "the expert moved it"
    if station.task.name == "insertion":  # rigid: the same transform as of the tracked points
        T = se3.fit_rigid(before, after)
        np.testing.assert_allclose(now, se3.apply(T, start), atol=2e-3)
    else:
        near = np.linalg.norm(start[:, None] - before[None], axis=-1).argmin(1)
        np.testing.assert_allclose(now - start, (after - before)[near], atol=1e-9)


def test_a_policy_that_stands_still_moves_nothing():
    station = make_station(7, render=True)
    try:
        reference, said = sketches.of_scene(station), []
        found = rehearse(station, Still(), reference, "", 1.0, lambda *step: said.append(step))
        assert found.tool.shape == (16, 3) and found.points.shape == (16, len(reference.waypoints), 3)
        assert np.ptp(found.tool, axis=0).max() < 5e-3 and np.ptp(found.points, axis=0).max() < 5e-3
        ends = se3.apply(station.T_base_cam, np.stack([w[-1] for w in reference.waypoints]))
        assert found.distance == pytest.approx(np.linalg.norm(found.points[-1] - ends, axis=1).mean())
        assert len(said) == 15 and said[-1][1] == pytest.approx(found.distance) and found.verdict == "in_progress"
        with pytest.raises(InputError, match="no language encoder"):
            rehearse(station, Still(), None, "lift it", 1.0)
    finally:
        station.close()


def test_the_result_s_place_is_checked_before_the_scene_is_built(tmp_path):
    write_task(tmp_path / "task.json", None, "lift it")
    words = [str(tmp_path / "absent.npz"), str(tmp_path / "task.json"), "--out"]
    with pytest.raises(InputError, match="out: .*, must be a file"):
        main([*words, str(tmp_path)])
    with pytest.raises(InputError, match="snapshot: .*absent.npz: not a snapshot"):
        main([*words, str(tmp_path / "new" / "result.npz")])
    assert (tmp_path / "new").is_dir()
