"""The folding task: the fold angle, what counts as folded, and how cloth is held."""

import numpy as np
import pytest
from cloths import put_vertices
from scipy.spatial.transform import Rotation

pytest.importorskip("mujoco")
pytest.importorskip("franky_sim")


from uma_sim.objects.cloth import COLUMNS, ROWS
from uma_sim.tasks import folding, make_station


@pytest.fixture(scope="module")
def station():
    return make_station(0, "folding", render=False)


def test_the_fold_angle_is_what_one_half_was_turned_by():
    flat = np.concatenate([folding.flat_vertices(folding.sample(3)), np.zeros((ROWS, COLUMNS, 1))], -1)
    assert folding.fold_angle(flat) == pytest.approx(0.0, abs=1e-6)
    for goal in (0, 1):
        for s in (0.25, 0.5, 0.9):
            crease = flat[ROWS // 2 - 1 : ROWS // 2 + 1].mean(0)
            axis = crease[-1] - crease[0]
            half = slice(0, ROWS // 2) if goal == 0 else slice(ROWS // 2, ROWS)
            turned = flat.copy()
            turn = Rotation.from_rotvec((2 * (goal == 0) - 1) * s * np.pi * axis / np.linalg.norm(axis))
            turned[half] = (turn.apply((flat[half] - crease.mean(0)).reshape(-1, 3)) + crease.mean(0)).reshape(
                -1, COLUMNS, 3
            )
            # The two middle rows, between which the crease lies, shift it a little when one of them turns.
            assert folding.fold_angle(turned) == pytest.approx(s * np.pi, abs=0.2)


def test_a_fold_askew_is_as_wrong_as_one_that_stands_up(station):
    flat = np.concatenate([folding.flat_vertices(station.scene), np.full((ROWS, COLUMNS, 1), 0.005)], -1)
    ideal = folding.planned_vertices(flat, 0, 1.0)
    put_vertices(station, ideal)
    assert folding.folded_side(station) == 0
    middle = flat[ROWS // 2 - 1 : ROWS // 2 + 1].mean((0, 1))
    for axis in ([0, 0, 1.0], ideal[0, -1] - ideal[0, 0]):
        for degrees, expected in ((5, 0), (-16, None), (16, None)):
            turn = Rotation.from_rotvec(np.radians(degrees) * np.array(axis) / np.linalg.norm(axis))
            askew = ideal.copy()
            askew[: ROWS // 2] = (turn.apply((ideal[: ROWS // 2] - middle).reshape(-1, 3)) + middle).reshape(
                -1, COLUMNS, 3
            )
            put_vertices(station, askew)
            assert folding.folded_side(station) == expected, (axis, degrees)
    put_vertices(station, flat)


def test_cloth_lies_as_drawn_and_the_plan_passes_over_it(station):
    vertices = station.object.vertices()
    np.testing.assert_allclose(vertices[..., :2], folding.flat_vertices(station.scene), atol=1e-3)
    for goal in (0, 1):
        half_way = folding.planned_vertices(vertices, goal, 0.5)
        row, rest = folding.rows_of(goal)
        assert half_way[row, :, 2].min() > 0.08  # the carried edge is up, the other has stayed
        np.testing.assert_array_equal(half_way[rest], vertices[rest])


def test_the_side_that_moved_decides_the_goal(station):
    flat = station.object.vertices()
    for goal in (0, 1):
        put_vertices(station, folding.planned_vertices(flat, goal, 1.0))
        assert folding.folded_side(station) == goal
        verdict = folding.outcome(station)[0]
        assert verdict == (
            "success" if goal == station.scene.goal else "wrong_goal"
        )  # the gripper is open and far away
    put_vertices(station, flat)
    assert folding.outcome(station) == ("in_progress", "folded by 0 degrees")


def test_a_crumpled_cloth_is_not_folded(station):
    flat = station.object.vertices()
    crumpled = folding.planned_vertices(flat, 0, 1.0)
    crease = crumpled[ROWS // 2 - 1 : ROWS // 2 + 1].mean((0, 1))
    crumpled[: ROWS // 2] = crease + 0.4 * (crumpled[: ROWS // 2] - crease)
    put_vertices(station, crumpled)
    assert folding.folded_side(station) is None
    assert folding.outcome(station) == ("in_progress", "folded by 180 degrees, but a half keeps 0.36 of its length")
    dragged = folding.planned_vertices(flat, 0, 1.0) + [0.0, 0.2, 0.0]
    put_vertices(station, dragged)
    verdict, reason = folding.outcome(station)
    assert verdict == "in_progress" and reason.startswith("folded by 180 degrees, but the edges came ")
    put_vertices(station, flat)


@pytest.mark.slow
def test_cloth_is_held_by_a_pinch_only():
    station = make_station(0, "folding", render=False)
    pose = folding.grasp_pose(station)
    beside = pose.copy()
    beside[2, 3] += 0.10
    for target, grip, expected in (
        (beside, 0.0, False),
        (beside, 1.0, False),
        (beside, 0.0, False),
        (pose, 0.0, False),
        (pose, 1.0, True),
        (beside, 1.0, True),
    ):
        for _ in range(18):
            station.act(target, grip)
        assert station.object.is_held() == expected
    assert folding.taken(station) and station.object.held()[:, 2].min() > 0.05
    for _ in range(8):
        station.act(beside, 0.0)
    assert not station.object.is_held() and not folding.taken(station)
