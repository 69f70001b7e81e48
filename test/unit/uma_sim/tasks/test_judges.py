"""Verdicts of the simulated tasks' judges: near misses on both sides of every limit.

Each case is a success except for its named condition. Objects are placed without simulated time.
"""

import mujoco
import numpy as np
import pytest
from placing import GOING_ON, UP, judged, label, leave, push, put, put_at, station_with
from scipy.optimize import brentq
from scipy.spatial.transform import Rotation

pytest.importorskip("franky_sim")

from cloths import put_vertices

from uma.geometry import se3
from uma_sim.objects import brushes
from uma_sim.objects.cloth import ROWS
from uma_sim.planning import grasping
from uma_sim.station import Station
from uma_sim.tasks import folding

# ---- insertion -------------------------------------------------------------------------------------------------------

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
    station = station_with("insertion", holders="shallow")
    stand(station, **case)
    assert judged(station) == expected


@pytest.mark.parametrize(
    ("proud", "expected"),
    [(-0.010, STANDS), (0.001, STANDS), (0.003, (GOING_ON, "stands, but reaches above the rim"))],
)
def test_a_utensil_must_end_below_the_rim_of_a_deep_holder(proud, expected):
    station = station_with("insertion", lambda drawn: drawn.holders[0].height - drawn.utensil.length < 0.02)
    holder = station.scene.holders[station.scene.goal]
    height = holder.height - station.scene.utensil.length + proud
    stand(station, low=holder.half_opening, rim=holder.half_opening, height=height)
    assert judged(station) == expected


def test_a_utensil_must_end_within_the_walls_of_a_deep_holder():
    station = station_with("insertion")
    stand(station, low=0.001, rim=0.001)
    assert judged(station) == STANDS
    stand(station, low=0.001, rim=-0.04)
    assert judged(station) == LEANS


def test_a_utensil_that_a_finger_touches_is_not_let_go():
    """The TCP itself is farther than the limit: an open jaw reaches 46 mm to its side."""
    station = station_with("insertion", holders="shallow")
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


# ---- sweeping --------------------------------------------------------------------------------------------------------

SWEPT, ONE_LEFT = ("success", "all scraps in the goal dustpan"), (GOING_ON, "5 of 6 inside")
BRUSH_TOO = (GOING_ON, "all inside, the brush as well")
INWARD = {"lip": [1, 0, 0], "back": [-1, 0, 0], "left": [0, -1, 0], "right": [0, 1, 0], "top": [0, 0, -1]}
"""Edge of a dustpan -> direction in its frame from there to its inside."""


def sweep(station: Station, *, last=None, other=False, brush=None, speed=None) -> None:
    """Put the scraps into a dustpan.

    Args:
        last: where the last scrap lies: which edge, and ``x, y, z`` metres from it.
        brush: ``(x, height)``: how far it reaches over the lip, and its bristles are over the table.
    """
    pan = station.scene.pans[station.scene.goal ^ other]
    edges = {
        "lip": [0.004, 0, 0.009],
        "back": [pan.depth + brushes.GIVE, 0, 0.009],
        "left": [0.05, pan.half_width + brushes.GIVE, 0.009],
        "right": [0.05, -pan.half_width - brushes.GIVE, 0.009],
        "top": [0.05, 0, 2 * pan.height],
    }
    for i in range(6):
        x, y, z = 0.03 + 0.02 * (i % 3), 0.03 * (i // 3) - 0.015, 0.009
        if last is not None and i == 5:
            # The scrap's outline ends there, not its middle.
            edge, *aside = last
            half = station.scene.scraps[i, 3:] * INWARD[edge]
            x, y, z = np.add(edges[edge], aside) + half
        c, s = np.cos(pan.heading), np.sin(pan.heading)
        R = np.array([[c, -s, 0], [s, c, 0], [0, 0, 1.0]])
        put(station, f"scrap{i}", se3.make_pose(R, np.array([*pan.base(np.array([x, y])), z])))
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


# ---- folding ---------------------------------------------------------------------------------------------------------

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
