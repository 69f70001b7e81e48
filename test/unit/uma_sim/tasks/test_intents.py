"""Intents: what their judge takes for a success, what their scenes hold, and how their experts end."""

import re

import numpy as np
import pytest
from placing import GOING_ON, UP, judged, label, leave, put, station_with
from scipy.spatial.transform import Rotation

pytest.importorskip("franky_sim")

from uma.geometry import se3
from uma_sim import tasks
from uma_sim.objects import catalog, containers
from uma_sim.rollout import run_demonstration
from uma_sim.tasks import make_station
from uma_sim.tasks.intents import goals, judge, layout
from uma_sim.tasks.intents.goals import KINDS, RELEASED

DONE, OTHER = ("success", "at the end of its motion"), ("wrong_goal", "at the end of the other motion")
HELD, NOT_HELD = (GOING_ON, "held"), (GOING_ON, "not held")
THERE, MOVING = (GOING_ON, "there, not yet let go"), (GOING_ON, "there, not yet at rest")
HELD_KINDS = tuple(kind for kind in KINDS if kind not in RELEASED)


def scenes(kind: str, count: int = 12, **options) -> list:
    return [tasks.load(f"intents/{kind}").sample(seed, **options) for seed in range(count)]


def thing_is(*kinds: str):
    """Of a scene: the moved object is of these kinds."""
    return lambda drawn: drawn.things[0].kind in kinds


def hold(station, is_so: bool = True) -> None:
    """As if the jaw had stopped on the object, wherever the hand is."""
    station.grasped = lambda: is_so


def bring(station, *, off=0.0, turn=0.0, tip=0.0, other=False, **left) -> None:
    """Put the object ``off`` metres, ``turn`` degrees about the vertical and ``tip`` about x from its goal's end."""
    T = station.scene.goals[station.scene.goal ^ other].waypoints[-1].copy()
    axis = np.radians(turn) * UP if turn else np.radians(tip) * np.array([1.0, 0.0, 0.0])
    T[:3, :3] = Rotation.from_rotvec(axis).as_matrix() @ T[:3, :3]
    T[:3, 3] += off * np.array([0.6, -0.8, 0.0])
    put(station, "thing0", T)
    leave(station, "thing0", **left)


NEAR = [
    ({}, DONE),
    ({"off": 0.029}, DONE),
    ({"off": 0.031}, HELD),
    ({"speed": 0.049}, DONE),
    ({"speed": 0.051}, MOVING),
]
TURNED = [({"turn": 14}, DONE), ({"turn": -16}, HELD), ({"tip": 14}, DONE), ({"tip": 16}, HELD)]


@pytest.mark.parametrize(
    ("kind", "case", "expected"),
    [("lift", *row) for row in (*NEAR, *TURNED)] + [(kind, *row) for kind in HELD_KINDS[1:] for row in NEAR[1:3]],
    ids=label,
)
def test_a_held_thing_must_be_where_its_motion_ends(kind, case, expected):
    station = station_with(f"intents/{kind}", thing_is("box"))
    hold(station)
    bring(station, **case)
    assert judged(station) == expected


@pytest.mark.parametrize("kind", HELD_KINDS)
def test_a_thing_that_is_not_held_has_not_arrived(kind):
    station = station_with(f"intents/{kind}", thing_is("box"))
    hold(station, False)
    bring(station)
    assert judged(station) == NOT_HELD


RELEASED_NEAR = [({"hand": 0.1, "off": 0.029}, DONE), ({"hand": 0.1, "off": 0.031}, NOT_HELD)]
LET_GO = [
    *RELEASED_NEAR,
    ({"hand": 0.1, "turn": 14}, DONE),
    ({"hand": 0.1, "turn": 16}, NOT_HELD),
    ({"hand": 0.046}, DONE),
    ({"hand": 0.044}, THERE),
    ({"hand": 0.1, "jaw": 0.29}, DONE),
    ({"hand": 0.1, "jaw": 0.31}, THERE),
    ({"hand": 0.1, "speed": 0.051}, MOVING),
]


@pytest.mark.parametrize(
    ("kind", "case", "expected"),
    [("put", *row) for row in LET_GO] + [("out", *row) for row in RELEASED_NEAR],
    ids=label,
)
def test_a_thing_must_be_let_go_where_its_motion_ends(kind, case, expected):
    station = station_with(f"intents/{kind}", thing_is("box"))
    bring(station, **case)
    assert judged(station) == expected


@pytest.mark.parametrize("kind", ["carry", "slide"])
def test_the_end_of_the_other_motion_is_wrong(kind):
    station = station_with(f"intents/{kind}", lambda drawn: not drawn.goals[1 - drawn.goal].lets_go)
    hold(station)
    bring(station, other=True)
    assert judged(station) == OTHER


@pytest.mark.parametrize(("case", "expected"), [({"turn": 90}, DONE), ({"tip": 16}, HELD)], ids=label)
def test_the_turn_of_a_round_thing_does_not_count(case, expected):
    station = station_with("intents/lift", thing_is("can", "bottle"))
    hold(station)
    bring(station, **case)
    assert judged(station) == expected


@pytest.mark.parametrize(
    ("off", "up", "expected"), [(0.0, 0.0, DONE), (1.1, 0.0, NOT_HELD), (0.0, 1.1, NOT_HELD)], ids=str
)
def test_into_means_within_the_walls_and_under_the_rim(off, up, expected):
    """``off`` in openings from the container's middle, ``up`` in heights above its rim."""
    station = station_with("intents/into", thing_is("box", "can"))
    goal = station.scene.goals[station.scene.goal]
    container = station.scene.things[goal.about]
    T = goal.waypoints[-1].copy()
    # However it came to lie there.
    T[:3, :3] = Rotation.from_rotvec(1.0 * UP).as_matrix() @ T[:3, :3]
    T[0, 3] += off * containers.opening(container.points)
    T[2, 3] += up * 2 * container.half_height
    put(station, "thing0", T)
    leave(station, "thing0", hand=0.1)
    assert judged(station) == expected


@pytest.mark.parametrize("kind", KINDS)
def test_scenes_hold_two_goals_apart_in_view_and_in_reach(kind):
    drawn = scenes(kind)
    for one in drawn:
        first, second = one.goals[one.goal], one.goals[1 - one.goal]
        assert first.kind == kind and second.kind in KINDS
        ends = [goal.waypoints[-1] for goal in (first, second)]
        assert goals.distance(one.things[0], *ends)[0] > 0.08
        assert 1 <= len(first.waypoints) - 1 <= 6 and 1 <= len(one.things) <= 6
        for goal in one.goals:
            np.testing.assert_array_equal(goal.waypoints[0], one.layout.start)
            seen = np.concatenate([se3.apply(goal.waypoints[i], one.things[0].points) for i in (0, -1)])
            p = se3.apply(se3.invert(one.room.T_base_cam), seen)
            assert (np.abs(one.room.focal * p[:, :2] / p[:, 2:]) < [640, 360]).all()
            assert goal.waypoints[:, 2, 3].min() >= one.things[0].half_height - 1e-9
        assert kind not in layout.MOVED_BY or one.things[0].kind in layout.MOVED_BY[kind]
    assert len({one.goals[1 - one.goal].kind for one in drawn}) > 2 and len({len(one.things) for one in drawn}) > 2


@pytest.mark.parametrize("kind", ["carry", "into"])
def test_only_held_out_scenes_hold_shapes_for_evaluation(kind):
    for one in scenes(kind, 30):
        assert not {thing.name for thing in one.things} & catalog.HELD_OUT
    for one in scenes(kind, 10, held_out=True):
        goal = one.goals[one.goal]
        assert one.things[0].name in catalog.HELD_OUT
        assert not goal.about or one.things[goal.about].name in catalog.HELD_OUT


SIZES = {
    "lift": lambda T: (T[-1, 2, 3] - T[0, 2, 3]) * (np.ptp(T[:, :2, 3], axis=0) < 1e-9).all(),
    "turn": lambda T: np.degrees(goals.length(T[0], T[-1])[1]),
    "tilt": lambda T: np.degrees(np.arccos(T[-1, 2, 2])),
    "slide": lambda T: np.linalg.norm(T[-1, :3, 3] - T[0, :3, 3]) * (np.ptp(T[:, 2, 3]) < 1e-9),
}


@pytest.mark.parametrize(
    ("kind", "low", "high"), [("lift", 0.08, 0.25), ("turn", 30, 120), ("tilt", 40, 100), ("slide", 0.08, 0.3)]
)
def test_motions_are_of_their_kind_and_size(kind, low, high):
    sizes = [SIZES[kind](goal.waypoints) for one in scenes(kind) for goal in one.goals if goal.kind == kind]
    assert low <= min(sizes) and max(sizes) <= high + 1e-6 and np.ptp(sizes) > 0.2 * (high - low)


def test_a_path_has_straight_legs_and_ends_above_its_place():
    one = scenes("put", 1)[0]
    goal, half = one.goals[one.goal], one.things[0].half_height
    poses = goal.path(half).poses
    for a, b in zip(goal.waypoints[:-1], goal.waypoints[1:], strict=True):
        near = np.linalg.norm(poses[:, :3, 3] - 0.5 * (a + b)[:3, 3], axis=1).min()
        assert near < 0.01
    assert np.linalg.norm(np.diff(poses[:, :3, 3], axis=0), axis=1).max() < 0.0101
    assert poses[-1, 2, 3] == pytest.approx(half + goals.RELEASE_M)


@pytest.mark.parametrize("count", [2, 3, 4, 7])
def test_a_reference_keeps_the_sharp_bends(count):
    corner = [np.array(p, float) for p in ((0, 0, 0), (0, 0, 0.2), (0.001, 0.1, 0.2), (0, 0.2, 0.2))]
    way = np.stack([se3.make_pose(np.eye(3), p) for p in corner])
    poses = goals.spread(way, count)
    assert len(poses) == count
    np.testing.assert_array_equal(poses[[0, -1]], way[[0, -1]])
    has_corner = np.linalg.norm(poses[:, :3, 3] - corner[1], axis=1).min() < 1e-9
    assert has_corner == (count > 2)


@pytest.mark.parametrize("kind", KINDS)
def test_an_instruction_names_the_object_and_the_kind_is_told(kind):
    for seed in range(3):
        station = make_station(seed, f"intents/{kind}", render=False)
        texts = [station.task.instruction(station, i) for i in (0, 1)]
        assert texts[0] != texts[1] and all(station.scene.things[0].kind in text for text in texts)
        assert station.task.intent(station, station.scene.goal) == kind


def test_lifts_and_turns_are_named_by_their_size():
    station = station_with("intents/turn", lambda drawn: drawn.goals[drawn.goal].turn > np.radians(80))
    goal = station.scene.goals[station.scene.goal]
    said = re.search(
        r" by (\d+) cm and turn it by (\d+)0 degrees to the left$",
        station.task.instruction(station, station.scene.goal),
    )
    assert abs(int(said[1]) / 100 - np.ptp(goal.waypoints[:, 2, 3])) < 0.006
    assert abs(int(said[2]) * 10 - np.degrees(goal.turn)) <= 5.0
    station = make_station(0, "intents/lift", render=False)
    goal = station.scene.goals[station.scene.goal]
    said = re.fullmatch(r"lift the \w+ by (\d+) cm", station.task.instruction(station, station.scene.goal))
    assert abs(int(said[1]) / 100 - np.ptp(goal.waypoints[:, 2, 3])) < 0.006


def test_other_tasks_end_as_they_did():
    task = tasks.load("insertion")
    station = make_station(0, "insertion", render=False)
    assert (task.lasts, task.tail, task.intent(station, 0)) == (0, (10, 10), "insertion")


ENDS = [pytest.param(kind, marks=() if kind == "put" else pytest.mark.slow) for kind in KINDS]


@pytest.mark.parametrize("kind", ENDS)
def test_demonstrations_go_on_and_are_still_at_their_end(kind):
    run = run_demonstration(1, 1.0, task=f"intents/{kind}", disturbance_probability=0.0)
    assert run["success"] and run["verdict"] == "success" and run["intent"] == kind
    points, labels, grips = run["object_points"][-15:], run["label_pose"][-15:, :3, 3], run["label_gripper"][-15:]
    assert np.linalg.norm(points - points[-1], axis=-1).max() < 0.02
    assert np.linalg.norm(labels - labels[-1], axis=-1).max() < 0.03
    assert (grips == (0.0 if kind in RELEASED else 1.0)).all()


@pytest.mark.slow
def test_demonstrations_go_on_for_tails_of_several_lengths():
    lengths = []
    for seed in range(6):
        run = run_demonstration(seed, 0.0, task="intents/lift", disturbance_probability=0.0)
        station = make_station(seed, "intents/lift", render=False)
        end = se3.apply(station.scene.goals[station.scene.goal].waypoints[-1], station.scene.things[0].points)
        is_off = np.linalg.norm(run["object_points"] - end, axis=-1).mean(1) > judge.NEAR_M
        lengths.append(int(is_off[::-1].argmax()))
    assert 15 <= min(lengths) and max(lengths) <= 40 and len(set(lengths)) > 2
