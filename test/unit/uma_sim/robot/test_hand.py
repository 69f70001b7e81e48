"""The hand that is drawn in place of the robot."""

import numpy as np
import pytest

from uma_sim.tasks import make_station


@pytest.fixture(scope="module")
def stations():
    made = {kind: make_station(5, embodiment=kind, noise=False) for kind in ("robot", "hand")}
    yield made
    for station in made.values():
        station.close()


def test_the_robot_is_not_seen_and_the_hand_is(stations):
    robot, hand = stations["robot"], stations["hand"]
    base = robot.model.body("base").id
    assert (robot.labels() == base).mean() > 0.02 and not (hand.labels() == base).any()
    empty = (robot.labels() != base)[..., None]
    a, b = robot.observe(), hand.observe()
    changed = np.abs(a.rgb.astype(int) - b.rgb).max(-1) > 20
    assert 0.005 < (changed & empty[..., 0]).mean() < 0.3, "the hand covers something else than the robot did"


def test_the_hand_is_at_the_pads(stations):
    station = stations["hand"]
    station.set_target(station.ee_pose(), 0.0)
    o = station.observe()
    T = station.ee_pose()
    pad = station.data.geom("gripper/left_pad").xpos - 0.02 * T[:3, 2]
    p = np.linalg.inv(station.T_base_cam) @ np.append(pad, 1.0)
    u, v = (round(f * x / p[2] + c) for f, x, c in ((o.camera.fx, p[0], o.camera.cx), (o.camera.fy, p[1], o.camera.cy)))
    patch = o.depth[v - 4 : v + 5, u - 4 : u + 5]
    assert np.nanmin(np.abs(patch - p[2])) < 0.03


def test_the_motion_is_that_of_the_robot():
    stations = {kind: make_station(5, embodiment=kind, render=False) for kind in ("robot", "hand")}
    for station in stations.values():
        T = station.ee_pose()
        T[2, 3] -= 0.05
        station.act(T, 1.0)
    np.testing.assert_array_equal(stations["robot"].data.qpos, stations["hand"].data.qpos)


def test_hands_differ_by_seed_and_other_kinds_are_refused():
    skins = []
    for seed in (1, 2):
        station = make_station(seed, embodiment="hand", render=False)
        skins.append(tuple(station._hand._skin))
    assert skins[0] != skins[1]
    with pytest.raises(ValueError, match="embodiment: 'foot', must be one of robot, hand"):
        make_station(1, embodiment="foot")
