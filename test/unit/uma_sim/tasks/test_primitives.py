"""The primitives of the training data: the catalogue of shapes, what is held out, rooms, paths."""

import numpy as np
import pytest

pytest.importorskip("mujoco")
pytest.importorskip("franky_sim")

from uma.geometry import se3
from uma.geometry.fr3 import LOWER
from uma_sim import experts, scene, tasks
from uma_sim.objects import cables
from uma_sim.objects import catalog as shapes
from uma_sim.objects.tracked import RigidObject
from uma_sim.planning import grasping, paths
from uma_sim.tasks import folding, make_station
from uma_sim.tasks.primitives import cable as primitive_cable
from uma_sim.tasks.primitives import cloth as primitive_cloth
from uma_sim.tasks.primitives import move as primitive_move
from uma_sim.tasks.primitives import stand as primitive_stand
from uma_sim.tasks.primitives import tool as primitive_tool


def test_held_out_shapes_never_train():
    catalogue = {f"{kind}-{number:02d}" for kind in shapes.MAKERS for number in range(shapes.COUNT)}
    assert shapes.HELD_OUT <= catalogue
    assert {name.rsplit("-", 1)[0] for name in shapes.HELD_OUT} == set(
        shapes.MAKERS
    )  # of every kind there is something to judge by
    for seed in range(60):
        drawn = [primitive_move.sample(seed), *(primitive_tool.sample(seed, use) for use in primitive_tool.TOOLS)]
        assert not {thing.name for one in drawn for thing in one.things} & shapes.HELD_OUT
    assert all(primitive_move.sample(seed, held_out=True).things[0].name in shapes.HELD_OUT for seed in range(20))


@pytest.mark.parametrize("kind", sorted(shapes.MAKERS))
def test_shapes_are_fixed_differ_and_fit_the_gripper(kind):
    made = [shapes.shape(kind, number) for number in range(0, shapes.COUNT, 4)]
    for thing in made:
        again = shapes.shape(kind, int(thing.name[-2:]))
        np.testing.assert_array_equal(thing.points, again.points)
        assert thing.points.shape == (16, 3) and 1e-6 < shapes.volume(thing.name) < 1e-3
        assert np.abs(thing.points[:, 2]).max() < 2.1 * thing.half_height + 0.01
        if thing.grasp_axis is not None:
            assert 0.005 < thing.width < 0.0595  # the jaw must close by 30 % before a grasp is taken for one
            assert thing.half_height + thing.grasp_z >= grasping.GRASP_HEIGHT - 1e-9
    assert len({round(shapes.volume(thing.name) * 1e9) for thing in made}) > 5


def test_rooms_vary_in_camera_side_lens_and_table():
    rooms = [scene.varied_room(np.random.default_rng(seed)) for seed in range(200)]
    sides = np.array([room.T_base_cam[1, 3] > 0 for room in rooms])
    assert 0.15 < sides.mean() < 0.35
    assert (
        np.std([room.focal for room in rooms]) > 20
        and 0.4 < np.mean([room.pattern is not None for room in rooms]) < 0.6
    )
    for room in rooms:
        middle = se3.apply(se3.invert(room.T_base_cam), np.array([0.5, 0.03, 0.05]))
        assert 0.4 < middle[2] < 1.1 and np.abs(middle[:2]).max() < 0.2  # in the middle of the picture
        assert (room.start_joints > LOWER).all()


def test_a_camera_of_another_lens_is_what_is_rendered():
    station = make_station(0, "primitives/move", noise=False)
    assert station.camera.fx == pytest.approx(station.scene.room.focal / 4)
    points = se3.apply(se3.invert(station.T_base_cam), station.object_points())
    u, v = (
        (station.camera.fx * points[:, 0] / points[:, 2] + station.camera.cx),
        (station.camera.fy * points[:, 1] / points[:, 2] + station.camera.cy),
    )
    depth = station.observe().depth[v.round().astype(int), u.round().astype(int)]
    assert (np.abs(depth - points[:, 2]) < 0.01).sum() >= 4
    station.close()


def test_a_path_begins_straight_up_and_ends_at_its_last_waypoint():
    T = grasping.top_down(0.3, np.array([0.5, -0.1, 0.02]))
    for seed in range(20):
        path = paths.random_path(np.random.default_rng(seed), T, lets_go=bool(seed % 2))
        np.testing.assert_allclose(path.poses[0], T, atol=1e-12)
        low = path.poses[path.poses[:, 2, 3] < T[2, 3] + paths.LIFT - 1e-9]
        beginning = low[np.linalg.norm(low[:, :3, 3] - T[:3, 3], axis=1) < 0.08]
        np.testing.assert_allclose(beginning[:5, :2, 3], np.tile(T[:2, 3], (5, 1)), atol=1e-12)
        assert np.linalg.norm(np.diff(path.poses[:, :3, 3], axis=0), axis=1).max() < 0.03
        # Following it step by step arrives.
        at = T
        for _ in range(200):
            at = path.ahead(at, 0.04, 0.11)
        np.testing.assert_allclose(at, path.poses[-1], atol=1e-9)


def test_translation_waits_for_rotation():
    T = grasping.top_down(0.3, np.array([0.5, -0.15, 0.02]))
    for seed in range(10):
        end = np.array([0.55, 0.15, 0.12])
        T_end = se3.make_pose(grasping.carrying_rotation(T, end[:2]), end)
        path = paths.standing_path(np.random.default_rng(seed), T, T_end, rise=0.1, lets_go=True)
        above = end + 0.1 * np.array([0.0, 0.0, 1.0])
        lagging = se3.make_pose(T[:3, :3], above)
        low = []
        for _ in range(200):  # by steps of an arm that turns at a third of the pace at which it moves
            target = path.ahead(lagging, 0.04, 0.11)
            lagging = se3.clip_step(lagging, target, 0.04, 0.04)
            if lagging[2, 3] < above[2] - 0.02 and np.linalg.norm(lagging[:2, 3] - end[:2]) < 0.03:
                low.append(se3.rotation_angle(lagging[:3, :3], T_end[:3, :3]))
        assert low and max(low) < 0.15, (seed, low)
        np.testing.assert_allclose(lagging, T_end, atol=1e-6)


def test_standing_path_descends_level_from_above():
    T = grasping.top_down(0.3, np.array([0.5, -0.15, 0.02]))
    for seed in range(10):
        drawn = primitive_stand.sample(seed)
        for way in drawn.ways:
            end = way.poses[-1]
            assert (
                abs(end[2, 2]) < 0.55
                and (np.abs(way.poses[-4:, :2, 3] - end[:2, 3]) < 1e-9).all()
                and (np.diff(way.poses[-4:, 2, 3]) < 0).all()
            )
        path = paths.standing_path(np.random.default_rng(seed), T, drawn.ways[0].poses[-1], 0.05, lets_go=False)
        np.testing.assert_allclose(path.poses[0], T, atol=1e-12)
        np.testing.assert_allclose(path.poses[-1], drawn.ways[0].poses[-1], atol=1e-9)


def test_containers_differ_from_holders():
    scenes = [primitive_stand.sample(seed) for seed in range(60)]
    assert 20 < sum(bool(drawn.containers) for drawn in scenes) < 55
    for drawn in scenes:
        assert not drawn.containers or drawn.things[0].kind != "utensil"
        assert {c.sides for c in drawn.containers}.isdisjoint({4, 8})


@pytest.mark.slow
@pytest.mark.parametrize(("seed", "in_container"), [(0, True), (3, True), (5, False)])
def test_a_long_thing_is_stood_up(seed, in_container):
    station = make_station(seed, "primitives/stand", render=False)
    assert bool(station.scene.containers) is in_container and station.task.outcome(station)[0] == "in_progress"
    expert = experts.expert("primitives/stand")
    for _ in range(station.task.max_steps):
        station.act(*expert.act(station))
        if station.task.outcome(station)[0] != "in_progress":
            break
    least = 0.6 if in_container else 0.7  # a short bar leans in a wide container
    assert station.task.outcome(station)[0] == "success" and abs(station.object_pose()[2, 0]) > least
    assert station.grasped() is not in_container
    wrong = experts.expert("primitives/stand", 1 - station.scene.goal)
    station.close()
    station = make_station(seed, "primitives/stand", render=False)
    for _ in range(station.task.max_steps):
        station.act(*wrong.act(station))
        if station.task.outcome(station)[0] != "in_progress":
            break
    assert station.task.outcome(station)[0] == "wrong_goal"
    station.close()


def test_end_height_decides_whether_a_cloth_is_let_go():
    ways = [way for seed in range(60) for way in primitive_cloth.sample(seed).ways]
    heights = {lets_go: [way.poses[-1, 2, 3] for way in ways if way.lets_go == lets_go] for lets_go in (True, False)}
    assert max(heights[True]) + 0.03 < min(heights[False]) and max(heights[False]) < 0.14
    farthest = max(float(np.linalg.norm(way.poses[-1, :2, 3] - way.poses[0, :2, 3])) for way in ways if not way.lets_go)
    assert (
        farthest < 0.21
    )  # what is carried in the air stays near; what is laid down may go over to the facing edge and past it
    shares = []
    for seed in range(60):
        drawn = primitive_cloth.sample(seed)
        flat = folding.flat_vertices(folding.Scene(drawn.room, drawn.cloth, drawn.position, drawn.yaw, 0))
        half = np.linalg.norm(flat.mean((0, 1)) - flat[drawn.vertex])
        shares += [
            np.linalg.norm(way.poses[-1, :2, 3] - way.poses[0, :2, 3]) / half for way in drawn.ways if way.lets_go
        ]
    assert 2.0 < max(shares) < 2.2


@pytest.mark.slow
def test_a_cloth_is_let_go_where_its_way_ends():
    seed = next(s for s in range(20) if (drawn := primitive_cloth.sample(s)).ways[drawn.goal].lets_go)
    station = make_station(seed, "primitives/cloth", render=False)
    expert = experts.expert("primitives/cloth")
    for _ in range(station.task.max_steps):
        station.act(*expert.act(station))
        if station.task.outcome(station)[0] == "success":
            break
    assert (
        station.task.outcome(station)[0] == "success"
        and not station.object.is_held()
        and station.gripper_position() < 0.3
    )
    station.close()


@pytest.mark.slow
@pytest.mark.parametrize("lets_go", [True, False])
def test_cable_moves_by_its_grasp_and_stays_whole(lets_go):
    seed = next(s for s in range(20) if (drawn := primitive_cable.sample(s)).ways[drawn.goal].lets_go is lets_go)
    station = make_station(seed, "primitives/cable", render=False)
    cable, expert = station.scene.cable, experts.expert("primitives/cable")
    for _ in range(station.task.max_steps):
        station.act(*expert.act(station))
        middles = station.object.middles()
        assert np.linalg.norm(np.diff(middles, axis=0), axis=-1).max() < 1.02 * cable.link, "its links hang together"
        assert middles[:, 2].min() > 0.5 * cable.radius, "nothing of it is in the table"
        if station.task.outcome(station)[0] == "success":
            break
    assert station.task.outcome(station)[0] == "success" and station.grasped() is not lets_go
    assert (
        np.linalg.norm(primitive_cable.place(station)[:2] - station.scene.ways[station.scene.goal].poses[-1, :2, 3])
        < 0.05
    )
    station.close()


def test_drawn_cable_keeps_clear_of_itself_and_fingers():
    for seed in range(40):
        drawn = primitive_cable.sample(seed)
        line, middles, link = drawn.cable.line, drawn.cable.middles, drawn.cable.link
        np.testing.assert_allclose(np.linalg.norm(np.diff(line, axis=0), axis=-1), link)
        assert (line >= primitive_cable.LOW - 1e-9).all() and (line <= primitive_cable.HIGH + 1e-9).all()
        along = link * np.abs(np.arange(len(middles)) - drawn.link)
        assert (
            np.linalg.norm(middles - middles[drawn.link], axis=-1)[along > 1.2 * primitive_cable.CLEAR]
            > primitive_cable.CLEAR
        ).all()
    with pytest.raises(ValueError, match="no 40 links of 0.02 m fit"):
        cables.draw_line(np.random.default_rng(0), 40, 0.02, np.zeros(2), np.full(2, 0.1), 0.05)


@pytest.mark.parametrize("mixture", tasks.MIXTURES)
def test_mixture_holds_every_task_of_its_folder_by_seed(mixture):
    drawn = [tasks.of_seed(mixture, seed) for seed in range(200)]
    assert set(drawn) == {name for name in tasks.MODULES if name.startswith(mixture.removesuffix("all"))}
    assert drawn == [tasks.of_seed(mixture, seed) for seed in range(200)] and tasks.of_seed("folding", 3) == "folding"


def test_grasp_of_another_object_is_distinguished():
    station = make_station(0, "primitives/move", render=False)
    assert not station.holds_another()
    expert = experts.expert(station.task.name)
    for _ in range(60):
        station.act(*expert.act(station))
        if station.grasped() and station.object_points()[:, 2].min() > 0.02:
            break
    assert station.grasped() and not station.holds_another()
    station.object = RigidObject(
        station.model, station.data, "thing1", station.scene.things[1].points, (0.0, 0.0)
    )  # had that been the object
    assert station.holds_another() and not station.grasped()
