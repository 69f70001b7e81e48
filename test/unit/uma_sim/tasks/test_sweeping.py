"""The sweeping task: what counts as swept."""

import numpy as np
import pytest

pytest.importorskip("mujoco")
pytest.importorskip("franky_sim")

import mujoco

from uma_sim.station import Station
from uma_sim.tasks import make_station, sweeping

CORNERS = np.array([[-1.0, -1.0], [-1.0, 1.0], [1.0, 1.0], [1.0, -1.0]])


def put_scraps(station: Station, index: int, missing: int = 0) -> None:
    """Set the scraps down in dustpan ``index``, the last ``missing`` of them 3 cm before its lip."""
    pan = station.scene.pans[index]
    for i in range(sweeping.SCRAPS):
        local = [0.03 + 0.02 * (i % 3), 0.03 * (i // 3 - 0.5)] if i < sweeping.SCRAPS - missing else [-0.03, 0.0]
        start = int(station.model.joint(f"scrap{i}").qposadr[0])
        station.data.qpos[start : start + 7] = [*pan.base(np.array(local)), 0.009, 1, 0, 0, 0]
    station.data.qvel[:] = 0
    mujoco.mj_forward(station.model, station.data)
    station.advance(0.3)


def test_scenes_are_fair():
    for seed in range(200):
        drawn = sweeping.sample(seed)
        a, b = drawn.pans
        assert (a.half_width, a.depth, a.height) == (b.half_width, b.depth, b.height)  # only the place tells them apart
        grid = np.stack(
            np.meshgrid(np.linspace(0, a.depth, 12), np.linspace(-a.half_width, a.half_width, 16)), -1
        ).reshape(-1, 2)
        assert not b.holds(np.concatenate([a.base(grid), np.zeros((len(grid), 1))], -1)).any()  # side by side
        assert 2 * drawn.brush.half_length + 0.02 < 2 * a.half_width
        reach = drawn.scraps[:, :2, None] + np.max(drawn.scraps[:, 3:5]) * 1.5 * CORNERS.T
        pile = np.concatenate([reach.transpose(0, 2, 1), np.full((len(reach), 4, 1), 0.01)], -1)
        assert not any(pan.holds(pile).any() for pan in drawn.pans)  # nothing is swept yet


def test_a_scrap_across_the_lip_is_not_swept():
    """Its centre is inside, and a part of it is not."""
    station = make_station(0, "sweeping", render=False)
    pan = station.scene.pans[station.scene.goal]
    put_scraps(station, station.scene.goal)
    start = int(station.model.joint("scrap0").qposadr[0])
    station.data.qpos[start : start + 2] = pan.base(np.array([0.006, 0.0]))
    mujoco.mj_forward(station.model, station.data)
    assert pan.holds(station.object.scraps()).all() and station.object.swept(pan).sum() == 5
    assert sweeping.outcome(station) == ("in_progress", "5 of 6 inside")


def test_frames_of_a_dustpan_are_inverses():
    pan = sweeping.sample(0).pans[0]
    points = np.random.default_rng(0).normal(size=(5, 2))
    np.testing.assert_allclose(pan.local(pan.base(points)), points, atol=1e-12)
    np.testing.assert_allclose(pan.base(np.array([0.1, 0.0])) - pan.lip, 0.1 * pan.inward, atol=1e-12)


def test_every_scrap_must_be_inside_the_goal_pan():
    station = make_station(0, "sweeping", render=False)
    goal = station.scene.goal
    put_scraps(station, goal)
    assert sweeping.outcome(station)[0] == "success"
    put_scraps(station, 1 - goal)
    assert sweeping.outcome(station)[0] == "wrong_goal"
    put_scraps(station, goal, missing=1)
    assert sweeping.outcome(station) == ("in_progress", "5 of 6 inside")


def test_moving_scraps_or_brush_in_the_pan_are_no_success():
    station = make_station(0, "sweeping", render=False)
    pan = station.scene.pans[station.scene.goal]
    put_scraps(station, station.scene.goal)
    dof = int(station.model.joint("scrap0").dofadr[0])
    station.data.qvel[dof] = 0.2
    assert sweeping.outcome(station) == ("in_progress", "all inside, not yet at rest")
    station.data.qvel[:] = 0
    start = int(station.model.joint("brush").qposadr[0])
    station.data.qpos[start : start + 3] = [*pan.base(np.array([-0.01, 0.0])), station.scene.brush.drop + 0.001]
    mujoco.mj_forward(station.model, station.data)
    assert sweeping.outcome(station) == ("in_progress", "all inside, the brush as well")


def test_brush_passes_the_lip_and_the_floor_holds_scraps():
    station = make_station(0, "sweeping", render=False)
    put_scraps(station, 0)
    assert station.object.scraps()[:, 2].min() > 0.005  # on the pan's floor, 2 mm over the table
    pan = station.scene.pans[0]
    start = int(station.model.joint("brush").qposadr[0])
    station.data.qpos[start : start + 7] = [
        *pan.base(np.array([0.0, 0.0])),
        station.scene.brush.drop + 0.001,
        1,
        0,
        0,
        0,
    ]
    station.advance(0.3)
    assert sweeping.bristles_height(station) < 0.001
