"""What the judges of the simulated tasks take for a success: near misses from both sides of every limit.

A case is a success but for what it names. Things are put where they are without a moment of time passing.
"""

import mujoco
import numpy as np
import pytest
from scipy.optimize import brentq
from scipy.spatial.transform import Rotation

pytest.importorskip("franky_sim")

from cloths import put_vertices

from uma.geometry import se3
from uma_sim import tasks
from uma_sim.objects.cloth import COLUMNS, ROWS
from uma_sim.planning import grasping
from uma_sim.robot.gripper import CLOSED_ANGLE
from uma_sim.station import Station
from uma_sim.tasks import folding, make_station
from uma_sim.tasks.primitives import cable as primitive_cable
from uma_sim.tasks.primitives import cloth as primitive_cloth
from uma_sim.tasks.primitives import move as primitive_move
from uma_sim.tasks.primitives import stand as primitive_stand

GOING_ON = "in_progress"
UP = np.array([0.0, 0.0, 1.0])


# ---- putting things where a case wants them ----------------------------------------------------------------------


def put(station: Station, joint: str, T: np.ndarray) -> None:
    """Put the free body of ``joint`` at pose ``T``, at rest."""
    start = int(station.model.joint(joint).qposadr[0])
    station.data.qpos[start : start + 7] = [*T[:3, 3], *se3.quaternion(T)[[3, 0, 1, 2]]]
    station.data.qvel[:] = 0
    mujoco.mj_forward(station.model, station.data)


def put_at(station: Station, joint: str, position: np.ndarray) -> None:
    """The same at a place ``(3,)``, level."""
    put(station, joint, se3.make_pose(np.eye(3), position))


def put_hand(station: Station, metres: float) -> None:
    """Put the open hand straight above the object's middle, so that the TCP is ``metres`` from the object."""
    points = station.object_points()
    middle = points[np.linalg.norm(points - points.mean(0), axis=1).argmin()]
    up = brentq(lambda z: station.object.distance(middle + z * UP) - metres, 0.0, 0.3)
    q, left, _ = station.kinematics.solve(grasping.top_down(0.0, middle + up * UP), station.joint_positions())
    assert left < 1e-5
    station.data.qpos[:7] = q
    mujoco.mj_forward(station.model, station.data)


def put_jaw(station: Station, position: float, speed: float = 0.0) -> None:
    """Close the jaw to ``position``, 0 to 1, moving at ``speed`` 1/s."""
    for side in ("right", "left"):
        joint = station.model.joint(f"gripper/{side}_driver")
        station.data.qpos[joint.qposadr] = position * CLOSED_ANGLE
        station.data.qvel[joint.dofadr] = speed * CLOSED_ANGLE
    mujoco.mj_forward(station.model, station.data)


def push(station: Station, body: str, speed: float) -> None:
    """Let a body move at ``speed`` m/s."""
    station.data.qvel[station.model.body(body).dofadr[0]] = speed
    mujoco.mj_forward(station.model, station.data)


def leave(station: Station, body: str, hand=None, jaw=None, speed=None) -> None:
    """What may be amiss when all is in its place: the hand too near, the jaw too closed, the ``body`` too fast."""
    if hand is not None:
        put_hand(station, hand)
    if jaw is not None:
        put_jaw(station, jaw)
    if speed is not None:
        push(station, body, speed)


def station_with(name: str, wanted=lambda drawn: True) -> Station:
    """A station of a task whose scene is as ``wanted``."""
    return make_station(next(seed for seed in range(99) if wanted(tasks.load(name).sample(seed))), name, render=False)


def label(value: dict | tuple) -> str:
    """Of a case or of what is expected, for the names of the tests."""
    if isinstance(value, tuple):
        return value[1]
    return " ".join(f"{name} {amount}" for name, amount in value.items()) or "as it should be"


def judged(station: Station) -> tuple[str, str]:
    return station.task.outcome(station)


# ---- insertion ---------------------------------------------------------------------------------------------------

STANDS, LEANS = ("success", "stands in the goal holder"), (GOING_ON, "leans on a holder")
NOT_LET_GO, NOT_AT_REST = (GOING_ON, "inside, not yet let go"), (GOING_ON, "inside, not yet at rest")


def stand(station: Station, *, low=0.02, rim=0.02, height=0.005, other=False, **left) -> None:
    """Stand the utensil in a holder, across it.

    Args:
        low, rim: how far its lower end, and its axis at the rim, are from the walls on either side, metres.
        height: of the lower end.
        other: take the holder that is not the goal.
    """
    holder, half = station.scene.holders[station.scene.goal ^ other], station.scene.utensil.half_length
    n = holder.normals()[0]
    end = np.array([*(holder.center - (holder.half_opening - low) * n), height])
    through = np.array([*(holder.center + (holder.half_opening - rim) * n), holder.height])
    x, y = (through - end) / np.linalg.norm(through - end), np.cross(UP, [*n, 0.0])
    put(station, "utensil", se3.make_pose(np.stack([x, y, np.cross(x, y)], -1), end + half * x))
    leave(station, "utensil", **left)


@pytest.mark.parametrize(
    ("case", "expected"),
    [
        ({}, STANDS),
        ({"low": 0.001, "rim": 0.001}, STANDS),
        ({"low": -0.003}, LEANS),
        ({"rim": -0.003}, LEANS),
        ({"low": 0.07, "rim": -0.02}, LEANS),
        ({"low": -0.06, "rim": 0.09}, LEANS),
        ({"height": 0.029}, STANDS),
        ({"height": 0.031}, LEANS),
        ({"hand": 0.046}, STANDS),
        ({"hand": 0.044}, NOT_LET_GO),
        ({"jaw": 0.29}, STANDS),
        ({"jaw": 0.31}, NOT_LET_GO),
        ({"speed": 0.029}, STANDS),
        ({"speed": 0.031}, NOT_AT_REST),
        ({"other": True}, ("wrong_goal", "stands in the other holder")),
        ({"other": True, "speed": 0.031}, NOT_AT_REST),
    ],
    ids=label,
)
def test_a_utensil_must_stand_let_go_and_at_rest(case, expected):
    station = station_with("insertion")
    stand(station, **case)
    assert judged(station) == expected


def test_a_utensil_that_a_finger_touches_is_not_let_go():
    """The TCP itself is farther than the limit: an open jaw reaches 46 mm to its side."""
    station = station_with("insertion")
    stand(station)
    points = station.object_points()
    beside = grasping.top_down(0.0, points[points[:, 2].argmax()] + [0.0, 0.046, 0.0])
    station.data.qpos[:7] = station.kinematics.solve(beside, station.joint_positions())[0]
    mujoco.mj_forward(station.model, station.data)
    assert station.tcp_to_object() > 0.045 and station.pads_in_contact() == 1
    assert judged(station) == NOT_LET_GO


@pytest.mark.parametrize(("height", "reason"), [(0.049, "lies on the table"), (0.051, "leans on a holder")])
def test_a_utensil_beside_the_holders_lies_or_leans(height, reason):
    station = station_with("insertion")
    put_at(station, "utensil", np.array([0.45, -0.2, height]))
    assert judged(station) == (GOING_ON, reason)


# ---- sweeping ----------------------------------------------------------------------------------------------------

SWEPT, ONE_LEFT = ("success", "all scraps in the goal dustpan"), (GOING_ON, "5 of 6 inside")
BRUSH_TOO = (GOING_ON, "all inside, the brush as well")


def sweep(station: Station, *, last=None, other=False, brush=None, speed=None) -> None:
    """Put the scraps into a dustpan.

    Args:
        last: where the last scrap lies: which edge, and ``x, y, z`` metres from it.
        brush: ``(x, height)``: how far it reaches over the lip, and its bristles are over the table.
    """
    pan = station.scene.pans[station.scene.goal ^ other]
    edges = {
        "lip": [0.004, 0, 0.009],
        "back": [pan.depth, 0, 0.009],
        "left": [0.05, pan.half_width, 0.009],
        "right": [0.05, -pan.half_width, 0.009],
        "top": [0.05, 0, 2 * pan.height],
    }
    for i in range(6):
        x, y, z = 0.03 + 0.02 * (i % 3), 0.03 * (i // 3) - 0.015, 0.009
        if last is not None and i == 5:
            x, y, z = np.add(edges[last[0]], last[1:])
        put_at(station, f"scrap{i}", np.array([*pan.base(np.array([x, y])), z]))
    if brush is not None:
        x = brush[0] - station.scene.brush.half_length
        put_at(station, "brush", np.array([*pan.base(np.array([x, 0.0])), station.scene.brush.drop + brush[1]]))
    if speed is not None:
        push(station, "scrap3", speed)


@pytest.mark.parametrize(
    ("case", "expected"),
    [
        ({}, SWEPT),
        ({"last": ("lip", 0.001, 0, 0)}, SWEPT),
        ({"last": ("lip", -0.001, 0, 0)}, ONE_LEFT),
        ({"last": ("back", -0.001, 0, 0)}, SWEPT),
        ({"last": ("back", 0.001, 0, 0)}, ONE_LEFT),
        ({"last": ("left", 0, -0.001, 0)}, SWEPT),
        ({"last": ("left", 0, 0.001, 0)}, ONE_LEFT),
        ({"last": ("right", 0, 0.001, 0)}, SWEPT),
        ({"last": ("right", 0, -0.001, 0)}, ONE_LEFT),
        ({"last": ("top", 0, 0, -0.001)}, SWEPT),
        ({"last": ("top", 0, 0, 0.001)}, ONE_LEFT),
        ({"brush": (0.09, 0.021)}, SWEPT),
        ({"brush": (0.09, 0.019)}, BRUSH_TOO),
        ({"brush": (-0.001, 0.001)}, SWEPT),
        ({"brush": (0.001, 0.001)}, BRUSH_TOO),
        ({"speed": 0.029}, SWEPT),
        ({"speed": 0.031}, (GOING_ON, "all inside, not yet at rest")),
        ({"other": True}, ("wrong_goal", "all scraps in the other dustpan")),
        ({"other": True, "brush": (0.09, 0.019)}, BRUSH_TOO),
    ],
    ids=label,
)
def test_every_scrap_must_be_inside_and_the_brush_out(case, expected):
    station = station_with("sweeping")
    sweep(station, **case)
    assert judged(station) == expected


# ---- folding -----------------------------------------------------------------------------------------------------

FOLDED, LEFT_OVER = ("success", "folded from the goal's side"), (GOING_ON, "folded, not yet let go")


def crease(vertices: np.ndarray) -> np.ndarray:
    """``(3,)`` its middle."""
    return vertices[ROWS // 2 - 1 : ROWS // 2 + 1].mean((0, 1))


def turned(vertices: np.ndarray, half: slice, axis: np.ndarray, missing: float) -> np.ndarray:
    """``vertices`` with one half turned about an axis through the crease until the fold lacks ``missing`` degrees."""

    def by(degrees: float) -> np.ndarray:
        out, middle = vertices.copy(), crease(vertices)
        turn = Rotation.from_rotvec(np.radians(degrees) * np.sign(missing) * axis / np.linalg.norm(axis))
        out[half] = (turn.apply((vertices[half] - middle).reshape(-1, 3)) + middle).reshape(vertices[half].shape)
        return out

    return by(brentq(lambda degrees: 180 - np.degrees(folding.fold_angle(by(degrees))) - abs(missing), 2, 40))


def crumpled(vertices: np.ndarray, half: slice, kept: float, length: float) -> np.ndarray:
    """``vertices`` with one half shrunk toward the crease until it keeps a share of its ``length``."""

    def by(share: float) -> np.ndarray:
        out = vertices.copy()
        out[half] = crease(vertices) + share * (vertices[half] - crease(vertices))
        return out

    return by(brentq(lambda share: folding.spread(by(share), length) - kept, 0.3, 1.0))


def fold(station: Station, *, askew=None, open=None, kept=None, dragged=0.0, other=False, held=False, **left) -> None:
    """Fold the cloth in half.

    Args:
        askew, open: degrees that are missing: the carried half turned about the vertical, or about the crease.
        kept: share of its length that the carried half keeps.
        dragged: how far the whole was dragged against the fold, in lengths of the cloth.
    """
    goal, flat = station.scene.goal ^ other, station.object.vertices()
    row, rest = folding.rows_of(goal)
    half = slice(0, ROWS // 2) if row == 0 else slice(ROWS // 2, ROWS)
    vertices = folding.planned_vertices(flat, goal, 1.0)
    if askew is not None:
        vertices = turned(vertices, half, UP, askew)
    if open is not None:
        vertices = turned(vertices, half, flat[0, -1] - flat[0, 0], open)
    if kept is not None:
        vertices = crumpled(vertices, half, kept, station.scene.cloth.half_size[1])
    put_vertices(station, vertices + dragged * (flat[row].mean(0) - flat[rest].mean(0)))
    station.data.eq_active[station.model.equality("hold0").id] = held
    leave(station, "jeans_cloth_0", **left)


@pytest.mark.parametrize(
    ("case", "expected"),
    [
        ({}, FOLDED),
        ({"askew": 9.0}, FOLDED),
        ({"askew": 11.0}, (GOING_ON, "folded by 169 degrees")),
        ({"askew": -11.0}, (GOING_ON, "folded by 169 degrees")),
        ({"open": 9.0}, FOLDED),
        ({"open": 11.0}, (GOING_ON, "folded by 169 degrees")),
        ({"open": -11.0}, (GOING_ON, "folded by 169 degrees")),
        ({"kept": 0.56}, FOLDED),
        ({"kept": 0.54}, (GOING_ON, "folded by 180 degrees, but a half keeps 0.54 of its length")),
        ({"dragged": 0.24}, FOLDED),
        ({"dragged": 0.26}, (GOING_ON, "folded by 180 degrees, but the edges came 0.74 and 0.26 of its length")),
        ({"held": True}, (GOING_ON, "held")),
        ({"hand": 0.051}, FOLDED),
        ({"hand": 0.049}, LEFT_OVER),
        ({"jaw": 0.29}, FOLDED),
        ({"jaw": 0.31}, LEFT_OVER),
        ({"speed": 0.029}, FOLDED),
        ({"speed": 0.031}, (GOING_ON, "folded, not yet at rest")),
        ({"other": True}, ("wrong_goal", "folded from the other side")),
    ],
    ids=label,
)
def test_a_cloth_must_be_folded_straight_let_go_and_calm(case, expected):
    station = station_with("folding", lambda drawn: drawn.goal == 0)
    fold(station, **case)
    assert judged(station) == expected


# ---- the primitives ----------------------------------------------------------------------------------------------

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
    """Of a scene: both ways end with the thing put down, or held up."""
    return lambda drawn: all(way.lets_go is is_so for way in drawn.ways)


def grasp(station: Station) -> None:
    """As if the jaw had stopped on the object, wherever the hand is."""
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
    station = station_with("primitives/stand", lambda drawn: bool(drawn.containers))
    contain(station, **case)
    assert judged(station) == expected


def lay(station: Station, *, off=0.0, other=False, held=False, **left) -> None:
    """Lay the cloth with the point that was grasped ``off`` metres from the end of its way."""
    end = station.scene.ways[station.scene.goal ^ other].poses[-1, :3, 3]
    put_vertices(station, station.object.vertices() + end + [off, 0, 0] - primitive_cloth.vertex(station))
    hold, (row, column) = station.model.equality("hold0").id, station.scene.vertex
    station.model.eq_obj2id[hold] = station.model.body(f"jeans_cloth_{row * COLUMNS + column}").id
    station.data.eq_active[hold] = held
    leave(station, "jeans_cloth_0", **left)


CLOTH_HAND = [({"hand": 0.051}, DONE), ({"hand": 0.049}, THERE)]


@pytest.mark.parametrize(
    ("case", "expected"),
    [({"off": 0.069}, DONE), ({"off": 0.071}, NOT_HELD), ({"held": True}, HELD), *SOFT, *CLOTH_HAND],
    ids=label,
)
def test_a_cloth_must_be_let_go_where_its_way_ends(case, expected):
    station = station_with("primitives/cloth", puts_down(True))
    lay(station, **case)
    assert judged(station) == expected


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
    inside = [(0.7 * length + 0.001, 0.0), (length + 0.099, 0.0), (length, 0.039), (length, -0.039)]
    outside = [(0.7 * length - 0.001, 0.0), (length + 0.101, 0.0), (length, 0.041), (length, -0.041)]
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
