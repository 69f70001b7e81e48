"""A scene that goes on from a file goes on in the same way."""

import numpy as np
import pytest

from uma.types import InputError
from uma_sim.snapshot import load_snapshot, save_snapshot
from uma_sim.tasks import make_station


def down(station, metres):
    T = station.ee_pose()
    T[2, 3] -= metres
    return T


@pytest.mark.parametrize("task", ["insertion", "folding"])
def test_a_copy_goes_on_like_the_original(tmp_path, task):
    station = make_station(5, task, noise=False)
    station.set_target(down(station, 0.1), 1.0)
    station.advance(0.5)
    save_snapshot(station, tmp_path / "scene.npz")
    copy = load_snapshot(tmp_path / "scene.npz", noise=False)
    try:
        assert copy.time == station.time and copy.task.name == task
        np.testing.assert_allclose(copy.object_points(), station.object_points(), atol=1e-6)
        for each in (station, copy):
            each.advance(0.4)
        np.testing.assert_allclose(copy.data.qpos, station.data.qpos, atol=1e-6)
        assert copy.gripper_position() == pytest.approx(station.gripper_position(), abs=1e-6)
        assert np.abs(copy.observe().rgb.astype(int) - station.observe().rgb).mean() < 0.5
    finally:
        station.close()
        copy.close()


def test_what_is_no_snapshot_is_refused(tmp_path):
    station = make_station(5, render=False)
    save_snapshot(station, tmp_path / "scene.npz")
    with np.load(tmp_path / "scene.npz") as z:
        values = {name: z[name] for name in z.files}
    bad = {
        "cut": (tmp_path / "scene.npz").read_bytes()[:900],
        "missing": {k: v for k, v in values.items() if k != "grip"},
        "short": values | {"state": values["state"][:-1]},
        "nan": values | {"state": values["state"] * np.nan},
        "task": values | {"meta": np.frombuffer(b'{"task": "cooking", "seed": 5}', np.uint8)},
        "pickle": {"meta": np.array([{"task": "insertion"}], object)},
    }
    for name, content in bad.items():
        path = tmp_path / f"{name}.npz"
        path.write_bytes(content) if isinstance(content, bytes) else np.savez(path, **content)
        with pytest.raises(InputError, match=f"{name}.npz"):
            load_snapshot(path)
    with pytest.raises(InputError, match="none.npz"):
        load_snapshot(tmp_path / "none.npz")
