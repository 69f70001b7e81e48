"""Verdicts of the primitives' judges: each case is a success except for its named condition."""

from dataclasses import replace

import mujoco
import numpy as np
import pytest
from placing import GOING_ON, UP, judged, label, leave, push, put, put_at, put_hand, put_jaw, station_with
from scipy.spatial.transform import Rotation

pytest.importorskip("franky_sim")

from cloths import put_vertices

from uma.geometry import se3
from uma_sim.objects.cloth import COLUMNS, ROWS
from uma_sim.station import Station
from uma_sim.tasks import folding
from uma_sim.tasks.primitives import cable as primitive_cable
from uma_sim.tasks.primitives import cloth as primitive_cloth
from uma_sim.tasks.primitives import move as primitive_move
from uma_sim.tasks.primitives import stand as primitive_stand

DONE, OTHER_WAY = ("success", "at the end of its way"), ("wrong_goal", "at the end of the other way")
HELD, NOT_HELD = (GOING_ON, "held"), (GOING_ON, "not held")
THERE, MOVING = (GOING_ON, "there, not yet let go"), (GOING_ON, "there, not yet at rest")
NOT_CALM = (GOING_ON, "there, not yet calm")
LET_GO = [
    ({"jaw": 0.29}, DONE),
    ({"jaw": 0.31}, THERE),
    ({"other": True}, OTHER_WAY),
]
"""Cases of every thing that is put down."""

FIRM = [({"hand": 0.046}, DONE), ({"hand": 0.044}, THERE)]
RIGID = [*LET_GO, *FIRM, ({"speed": 0.029}, DONE), ({"speed": 0.031}, MOVING)]
SOFT = [*LET_GO, ({"speed": 0.29}, DONE), ({"speed": 0.31}, NOT_CALM)]


def puts_down(is_so: bool):
    """Return whether the scene ends with the object put down or held up."""
    return lambda drawn: all(way.lets_go is is_so for way in drawn.ways)


def grasp(station: Station) -> None:
    """Close the jaw as if it had stopped on the object, at any position of the hand."""
    station.grasped = lambda: True


@pytest.mark.parametrize(
    ("jaw", "speed", "metres", "touching", "expected"),
    [
        (0.5, 0.0, 0.02, 1, True),
        (0.31, 0.0, 0.02, 1, True),
        (0.29, 0.0, 0.02, 1, False),
        (0.96, 0.0, 0.02, 1, True),
        (0.98, 0.0, 0.02, 1, False),
        (0.5, -0.89, 0.02, 1, True),
        (0.5, 0.91, 0.02, 1, False),
        (0.5, 0.0, 0.029, 1, True),
        (0.5, 0.0, 0.031, 1, False),
        (0.5, 0.0, 0.02, 0, False),
    ],
)
def test_a_grasp_is_a_jaw_that_stopped_on_the_object(jaw, speed, metres, touching, expected):
    station = station_with("primitives/move", lambda drawn: drawn.things[0].width < 0.03)
    put_hand(station, metres)
    put_jaw(station, jaw, speed)
    station.object.pads_in_contact = lambda: touching
    assert station.grasped() is expected


def carry(station: Station, *, off=0.0, turn=0.0, other=False, **left) -> None:
    """Put the thing ``off`` metres and ``turn`` radians from the end of its way."""
    T = primitive_move.planned(station, station.scene.goal ^ other, 2)[-1].copy()
    T[:3, :3] = Rotation.from_rotvec([0, 0, turn]).as_matrix() @ T[:3, :3]
    T[:3, 3] += off * np.array([0.6, -0.8, 0.0])
    put(station, "thing0", T)
    leave(station, "thing0", **left)


@pytest.mark.parametrize(("case", "expected"), [({"off": 0.039}, DONE), ({"off": 0.041}, NOT_HELD), *RIGID], ids=label)
def test_a_thing_must_be_put_down_where_its_way_ends(case, expected):
    station = station_with("primitives/move", puts_down(True))
    carry(station, **case)
    assert judged(station) == expected


@pytest.mark.parametrize(
    ("case", "expected"),
    [
        ({"off": 0.029}, DONE),
        ({"off": 0.031}, HELD),
        ({"turn": 0.29}, DONE),
        ({"turn": 0.31}, HELD),
        ({"other": True}, OTHER_WAY),
    ],
    ids=label,
)
@pytest.mark.parametrize("name", ["primitives/move", "primitives/stand"])
def test_a_thing_must_be_held_where_its_way_ends(name, case, expected):
    station = station_with(name, puts_down(False))
    carry(station, **case)
    assert judged(station) == NOT_HELD
    grasp(station)
    assert judged(station) == expected


def contain(station: Station, *, inset=0.02, depth=0.05, other=False, **left) -> None:
    """Put the thing upright, its lower end ``inset`` from a wall of its container and ``depth`` below the rim."""
    container = station.scene.containers[station.scene.goal ^ other]
    low = np.array([*container.center, container.height - depth])
    low[:2] += (container.half_opening - inset) * container.normals()[0]
    x, y = UP, np.array([0.0, 1.0, 0.0])
    place = low - primitive_stand.ends(station.scene.things[0])[0] * x
    put(station, "thing0", se3.make_pose(np.stack([x, y, np.cross(x, y)], -1), place))
    leave(station, "thing0", **left)


@pytest.mark.parametrize(
    ("case", "expected"),
    [
        ({"inset": -0.004}, DONE),
        ({"inset": -0.006}, NOT_HELD),
        ({"depth": 0.021}, DONE),
        ({"depth": 0.019}, NOT_HELD),
        *RIGID,
    ],
    ids=label,
)
def test_a_thing_must_stand_in_its_container(case, expected):
    station = station_with("primitives/stand", lambda drawn: drawn.containers and not drawn.is_deep)
    contain(station, **case)
    assert judged(station) == expected


@pytest.mark.parametrize(("proud", "expected"), [(-0.005, DONE), (0.001, DONE), (0.003, NOT_HELD)])
def test_a_thing_must_end_below_the_rim_of_a_deep_container(proud, expected):
    station = station_with("primitives/stand", lambda drawn: drawn.is_deep)
    low, high = primitive_stand.ends(station.scene.things[0])
    contain(station, depth=high - low - proud)
    assert judged(station) == expected


def lay(station: Station, *, off=0.0, other=False, held=False, **left) -> None:
    """Lay the cloth with the point that was grasped ``off`` metres from the end of its way."""
    end = station.scene.ways[station.scene.goal ^ other].poses[-1, :3, 3]
    put_vertices(station, station.object.vertices() + end + [off, 0, 0] - primitive_cloth.vertex(station))
    hold, (row, column) = station.model.equality("hold0").id, station.scene.vertex
    station.model.eq_obj2id[hold] = station.model.body(f"jeans_cloth_{row * COLUMNS + column}").id
    station.data.eq_active[hold] = held
    leave(station, "jeans_cloth_0", **left)


def folds(wide: bool):
    """Return whether both ways let the cloth go, after wide folds or after others."""
    return lambda drawn: puts_down(True)(drawn) and all(primitive_cloth.is_wide(drawn, goal) == wide for goal in (0, 1))


CLOTH_HAND = [({"hand": 0.051}, DONE), ({"hand": 0.049}, THERE)]


@pytest.mark.parametrize(
    ("case", "expected"),
    [({"off": 0.069}, DONE), ({"off": 0.071}, NOT_HELD), ({"held": True}, HELD), *SOFT, *CLOTH_HAND],
    ids=label,
)
def test_a_cloth_must_be_let_go_where_its_way_ends(case, expected):
    station = station_with("primitives/cloth", folds(wide=False))
    lay(station, **case)
    assert judged(station) == expected


@pytest.mark.parametrize(("off", "expected"), [(0.039, DONE), (0.041, NOT_HELD)])
def test_a_wide_fold_must_end_nearer(off, expected):
    station = station_with("primitives/cloth", folds(wide=True))
    lay(station, off=off)
    assert judged(station) == expected


@pytest.mark.parametrize(
    ("vertex", "wide"),
    [((0, 1), False), ((0, 2), True), ((1, 0), False), ((3, 0), True), ((ROWS - 1, COLUMNS - 2), False)],
)
def test_a_wide_fold_passes_no_corner(vertex, wide):
    drawn = replace(primitive_cloth.sample(0), vertex=vertex)
    flat = folding.flat_vertices(folding.Scene(drawn.room, drawn.cloth, drawn.position, drawn.yaw, 0))
    reach = float(np.linalg.norm(flat.mean((0, 1)) - flat[vertex]))
    for length in (1.49, 1.51):
        poses = np.tile(np.eye(4), (2, 1, 1))
        poses[1, 0, 3] = length * reach
        way = replace(drawn.ways[0], poses=poses)
        assert primitive_cloth.is_wide(replace(drawn, ways=(way, way)), 0) == (wide and length > 1.5)


@pytest.mark.parametrize(
    ("case", "expected"),
    [({"off": 0.039}, DONE), ({"off": 0.041}, HELD), ({"speed": 0.31}, NOT_CALM), ({"other": True}, OTHER_WAY)],
    ids=label,
)
def test_a_cloth_must_be_held_where_its_way_ends(case, expected):
    station = station_with("primitives/cloth", puts_down(False))
    lay(station, **case)
    assert judged(station) == NOT_HELD
    lay(station, held=True, **case)
    assert judged(station) == expected


def trail(station: Station, *, off=0.0, up=None, other=False, **left) -> None:
    """Move the cable until its grasped place is ``off`` metres from its way's end, ``up`` metres over the table."""
    end = station.scene.ways[station.scene.goal ^ other].poses[-1, :3, 3].copy()
    end[2] = end[2] if up is None else up
    start = int(station.model.joint("cable_root").qposadr[0])
    station.data.qpos[start : start + 3] += end + [off, 0, 0] - primitive_cable.place(station)
    station.data.qvel[:] = 0
    mujoco.mj_forward(station.model, station.data)
    leave(station, "cable_0", **left)


@pytest.mark.parametrize(
    ("case", "expected"),
    [
        ({"off": 0.049}, DONE),
        ({"off": 0.051}, NOT_HELD),
        ({"up": 0.029}, DONE),
        ({"up": 0.031}, NOT_HELD),
        *SOFT,
        *FIRM,
    ],
    ids=label,
)
def test_a_cable_must_be_put_down_where_its_way_ends(case, expected):
    station = station_with("primitives/cable", puts_down(True))
    trail(station, **{"up": 0.01, **case})
    assert judged(station) == expected
    grasp(station)
    assert judged(station) == HELD


@pytest.mark.parametrize(
    ("case", "expected"),
    [({"off": 0.029}, DONE), ({"off": 0.031}, HELD), ({"speed": 0.31}, NOT_CALM), ({"other": True}, OTHER_WAY)],
    ids=label,
)
def test_a_cable_must_be_held_where_its_way_ends(case, expected):
    station = station_with("primitives/cable", puts_down(False))
    trail(station, **case)
    assert judged(station) == NOT_HELD
    grasp(station)
    assert judged(station) == expected


def shove(
    station: Station, *, share=1.0, past=0.0, aside=0.0, another=0.0, raised=0.03, speed=None, other=False
) -> None:
    """Move one thing ``share`` of its way, ``past`` and ``aside`` metres, and the other one by ``another``."""
    drawn, goal = station.scene, station.scene.goal ^ other
    d = drawn.direction(goal)
    move = (share * drawn.lengths[goal] + past) * d + aside * np.array([-d[1], d[0]])
    for index, shift in ((goal, move), (1 - goal, another * d)):
        thing = 1 + index
        place = drawn.places[thing, :2] + shift
        put_at(station, f"thing{thing}", np.array([*place, drawn.things[thing].half_height]))
    put_at(station, "thing0", np.array([*drawn.places[0, :2], drawn.things[0].half_height + raised]))
    if speed is not None:
        push(station, f"thing{1 + goal}", speed)


PUSHED, BOTH = ("success", "pushed to its place"), (GOING_ON, "the other thing was moved as well")
SHORT, PAST, ASIDE = ((GOING_ON, f"not held, pushed {how}") for how in ("too little", "past", "aside"))


@pytest.mark.parametrize(
    ("case", "expected"),
    [
        ({"share": 0.71}, PUSHED),
        ({"share": 0.69}, SHORT),
        ({"past": 0.029}, PUSHED),
        ({"past": 0.031}, PAST),
        ({"aside": 0.029}, PUSHED),
        ({"aside": 0.031}, ASIDE),
        ({"aside": -0.031}, ASIDE),
        ({"another": 0.019}, PUSHED),
        ({"another": 0.021}, BOTH),
        ({"raised": 0.021}, PUSHED),
        ({"raised": 0.019}, (GOING_ON, "there, the tool not yet raised")),
        ({"speed": 0.029}, PUSHED),
        ({"speed": 0.031}, MOVING),
        ({"other": True}, ("wrong_goal", "the other thing was pushed")),
    ],
    ids=label,
)
@pytest.mark.parametrize("use", ["sweep", "poke", "hook"])
def test_one_thing_must_be_pushed_to_its_place(use, case, expected):
    station = station_with(f"primitives/{use}")
    shove(station, **case)
    assert judged(station) == expected


def gather(station: Station, *, last=None, raised=0.03, speed=None, other=False) -> None:
    """Put the bits to the end of a way, the tool in the hand.

    Args:
        last: ``(x, y)``: metres along the way and beside its line, or the tray's middle, of the last bit.
    """
    drawn, goal = station.scene, station.scene.goal ^ other
    way = drawn.ways[goal]
    for i, bit in enumerate(drawn.bits):
        line = 0.0 if drawn.trays else way.local(bit.place[:2])[1]
        x, y = (way.length, 0.0) if last is None or i + 1 < len(drawn.bits) else last
        put_at(station, f"bit{i}", np.array([*way.base(np.array([x, line + y])), bit.half[2] + 0.004]))
    put_at(station, "tool", np.array([*drawn.tool_place[:2], drawn.tool.half_height + raised]))
    if speed is not None:
        push(station, "bit0", speed)
    grasp(station)


GATHERED, NOT_RAISED = ("success", "gathered"), (GOING_ON, "all there, the tool not raised")
BEHIND = (GOING_ON, "1 left behind, not held")


@pytest.mark.parametrize(
    ("case", "expected"),
    [
        ({"raised": 0.021}, GATHERED),
        ({"raised": 0.019}, NOT_RAISED),
        ({"speed": 0.029}, GATHERED),
        ({"speed": 0.031}, (GOING_ON, "all there, not yet at rest")),
        ({"other": True}, ("wrong_goal", "gathered at the other way's end")),
    ],
    ids=label,
)
def test_gathered_bits_must_be_at_rest_and_the_tool_raised(case, expected):
    station = station_with("primitives/gather")
    gather(station, **case)
    assert judged(station) == expected
    del station.grasped
    assert judged(station) == (NOT_RAISED if expected != NOT_RAISED else expected)


def test_every_bit_must_have_come_along_its_way():
    station = station_with("primitives/gather", lambda drawn: not drawn.trays)
    length = station.scene.ways[station.scene.goal].length
    inside = [(0.85 * length + 0.001, 0.0), (length + 0.099, 0.0), (length, 0.039), (length, -0.039)]
    outside = [(0.85 * length - 0.001, 0.0), (length + 0.101, 0.0), (length, 0.041), (length, -0.041)]
    for last in inside + outside:
        gather(station, last=last)
        assert judged(station) == (GATHERED if last in inside else BEHIND), last


def test_every_bit_must_lie_in_its_tray():
    station = station_with("primitives/gather", lambda drawn: bool(drawn.trays))
    tray = station.scene.trays[station.scene.goal]
    front, back, side = tray.lip + 0.004, tray.lip + tray.depth, tray.half_width
    inside = [(front + 0.001, 0.0), (back - 0.001, 0.0), (front + 0.05, side - 0.001), (front + 0.05, 0.001 - side)]
    outside = [(front - 0.001, 0.0), (back + 0.001, 0.0), (front + 0.05, side + 0.001), (front + 0.05, -side - 0.001)]
    for last in inside + outside:
        gather(station, last=last)
        assert judged(station) == (GATHERED if last in inside else BEHIND), last
