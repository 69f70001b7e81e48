"""The primitive "gather": its scenes, what counts as gathered, its expert and its reference."""

import numpy as np
import pytest

pytest.importorskip("mujoco")
pytest.importorskip("franky_sim")

import mujoco

from uma.geometry import se3
from uma_sim.objects import catalog as shapes
from uma_sim.objects import scrapers
from uma_sim.rollout import run_demonstration
from uma_sim.station import Station
from uma_sim.tasks import make_station
from uma_sim.tasks.primitives import gather
from uma_sim.tasks.primitives import gather_scene as gatherings


def put_bits(station: Station, index: int, missing: int = 0) -> None:
    """Set the bits down where way ``index`` ends, the last ``missing`` of them where it begins, and the tool's edge 5
    cm over the table."""
    drawn = station.scene
    way, count = drawn.ways[index], len(drawn.bits)
    for i, bit in enumerate(drawn.bits):
        local = way.local(bit.place[:2])
        if i < count - missing:
            local = np.array([way.length + 0.02 * (i % 3), local[1]])
        start = int(station.model.joint(f"bit{i}").qposadr[0])
        station.data.qpos[start : start + 7] = [*way.base(local), bit.half[2] + 0.004 + 0.01 * (i // 3), 1, 0, 0, 0]
    station.data.qvel[:] = 0
    mujoco.mj_forward(station.model, station.data)


def test_scenes_are_reproducible_and_fair():
    trays = 0
    for seed in range(50):
        drawn, again = gatherings.sample(seed), gatherings.sample(seed)
        np.testing.assert_array_equal(drawn.tool_place, again.tool_place)
        np.testing.assert_array_equal([b.place for b in drawn.bits], [b.place for b in again.bits])
        assert drawn.goal == again.goal and drawn.trays == again.trays and drawn.tool.name == again.tool.name
        names = {drawn.tool.name, *(thing.name for thing, _, _ in drawn.others)}
        assert not names & shapes.HELD_OUT and gatherings.sample(seed, held_out=True).tool.name in shapes.HELD_OUT
        assert 3 <= len(drawn.bits) <= 8
        a, b = drawn.ways
        assert (
            np.cos(a.heading - b.heading) < np.cos(gatherings.APART) + 1e-9
            and 0.08 <= min(a.length, b.length) <= max(a.length, b.length) <= gatherings.LONGEST
        )
        for i, tray in enumerate(drawn.trays):
            trays += 1
            # The tool fits between the walls, and no bit lies in a tray or under its lip.
            assert tray.half_width > drawn.tool.blade[0] + 0.006
            assert max(drawn.ways[i].local(bit.place[:2])[0] for bit in drawn.bits) < tray.lip
    assert 66 < trays < 94  # two in about four of five scenes


def test_scrapers_stand_on_their_edge_and_come_in_every_form():
    for seed in range(60):
        made = scrapers.make(np.random.default_rng(seed))
        length, thick = made["blade"]
        assert 0.030 <= length <= 0.070 and 0.003 < thick <= 0.018
        lowest = min(
            g["pos"][2] - (g["size"][1] if g["type"] == mujoco.mjtGeom.mjGEOM_CYLINDER else g["size"][2])
            for g in made["geoms"]
        )
        assert lowest == pytest.approx(-made["half_height"])
        assert made["grasp_axis"][1] < max(g["size"][0] for g in made["geoms"])
    assert len({len(scrapers.make(np.random.default_rng(seed))["geoms"]) for seed in range(20)}) > 2


@pytest.mark.parametrize("has_trays", [False, True])
def test_every_bit_must_be_at_the_end_of_the_goals_way(has_trays):
    seed = next(seed for seed in range(40) if bool(gatherings.sample(seed).trays) == has_trays)
    station = make_station(seed, "primitives/gather", render=False)
    goal = station.scene.goal
    assert gather.outcome(station)[0] == "in_progress" and not gather.are_there(station, goal).any()  # untouched
    put_bits(station, goal)
    assert gather.are_there(station, goal).all() and gather.outcome(station) == (
        "in_progress",
        "all there, the tool not raised",
    )
    station.grasped = lambda: True
    start = int(station.model.joint("tool").qposadr[0])
    station.data.qpos[start + 2] += 0.05
    mujoco.mj_forward(station.model, station.data)
    assert gather.outcome(station)[0] == "success"
    station.data.qvel[int(station.model.joint("bit0").dofadr[0])] = 0.2
    assert gather.outcome(station) == ("in_progress", "all there, not yet at rest")
    put_bits(station, 1 - goal)
    assert gather.outcome(station)[0] == "wrong_goal"
    put_bits(station, goal, missing=1)
    assert gather.outcome(station)[0] == "in_progress" and gather.outcome(station)[1].startswith("1 left behind")


@pytest.mark.slow
@pytest.mark.parametrize("seed", [1, 3])
def test_the_expert_gathers_on_either_way(seed):
    done = run_demonstration(seed, 0.5, task="primitives/gather", disturbance_probability=0.0)
    assert done["success"] and done["object_points"].shape[1:] == (16, 3)
    other = run_demonstration(seed, 0.0, task="primitives/gather", disturbance_probability=0.0, goal=1 - done["goal"])
    assert other["verdict"] == "wrong_goal" and other["success"]


@pytest.mark.parametrize("waypoints", [2, 3, 5])
def test_the_reference_begins_here_and_ends_where_the_way_ends(waypoints):
    for seed in (0, 3):
        station = make_station(seed, "primitives/gather", render=False)
        pinned = min(2, len(gather.static_points(station)))
        for goal in (0, 1):
            assert (
                len(gather.plan_reference(station, np.random.default_rng(seed), 6, waypoints, goal, 2).waypoints)
                == 6 + pinned
            )
            sketch = gather.plan_reference(station, None, 16, waypoints, goal)
            paths = se3.apply(station.T_base_cam, np.array(sketch.waypoints))
            assert paths.shape == (16, waypoints, 3)
            np.testing.assert_allclose(paths[:, 0], station.object_points(), atol=1e-9)
            way = station.scene.ways[goal]
            tool, bits = way.local(paths[:10, -1, :2]).mean(0), way.local(paths[10:, -1, :2])
            assert (
                way.length - 0.035 < tool[0] < way.length
                and (bits[:, 0] > way.length - 0.01).all()
                and (bits[:, 0] < way.length + 0.06).all()
            )
            assert paths[:10, -1, 2].min() > 0.0
    with pytest.raises(ValueError):
        gather.plan_reference(station, None, 17, waypoints)
