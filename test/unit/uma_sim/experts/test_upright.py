"""Next step of the experts with an upright tool (`uma_sim.experts.upright.step`), without a simulation."""

import numpy as np
import pytest

pytest.importorskip("mujoco")

from uma.geometry import se3
from uma_sim.experts.base import STEP_M, STEP_RAD
from uma_sim.experts.upright import AT_END, NEAR_END, RAISED, STROKE_M, Stroke, is_over, step
from uma_sim.objects.debris import PushPath
from uma_sim.planning import grasping

TALL = 0.05
"""Height of the tool's middle over its edge, metres: the gripper holds it there."""

REAR = 0.0
WAY = PushPath(np.array([0.5, 0.0]), 0.4, 0.15)


def label(x: float, y: float = 0.0, height: float = 0.001, off: float = 0.0):
    """Return the step of a tool at ``(x, y)`` metres of the path, its edge at ``height``, turned by ``off`` radians.

    The step is the move along, aside and up, and the turn.
    """
    stroke = Stroke(WAY, np.array([-0.06, 0.0]), np.array([0.14, 0.0]), REAR, 0.004, 0.001 + TALL)
    yaw = grasping.across(WAY.heading, 0.0) + off
    T = grasping.top_down(yaw, np.array([*WAY.base(np.array([x, y])), height + TALL]))
    target = step(T, T, stroke, height)
    move = target[:3, 3] - T[:3, 3]
    along = np.array([np.cos(WAY.heading), np.sin(WAY.heading)])
    return (
        float(move[:2] @ along),
        float(move[:2] @ [-along[1], along[0]]),
        float(move[2]),
        float(se3.rotation_angle(T[:3, :3], target[:3, :3])),
    )


def test_behind_the_bits_and_low_it_pushes():
    along, aside, up, turn = label(-0.05)
    assert along == pytest.approx(STROKE_M, abs=1e-6) and abs(aside) < 1e-6 and abs(up) < 1e-6 and turn < 1e-6


@pytest.mark.parametrize("error", [{"off": 0.25}, {"off": -0.25}, {"y": 0.018}, {"height": 0.012}, {"x": -0.09}])
def test_small_errors_are_mended_without_lifting(error):
    along, aside, up, turn = label(**({"x": -0.05} | error))
    assert along > 0.6 * STROKE_M and up <= 1e-6, "the motion continues"
    assert turn == pytest.approx(min(abs(error.get("off", 0.0)), STEP_RAD), abs=1e-3), "and turns meanwhile"
    assert aside * error.get("y", 0.0) <= 0 and (not error.get("y") or abs(aside) > 0.005), "and comes back into line"
    assert "height" not in error or up < -0.002, "and down"


@pytest.mark.parametrize("error", [{"x": 0.03}, {"y": 0.06}, {"off": 1.2}])
def test_over_the_bits_far_aside_or_turned_wrong_it_is_raised(error):
    along, _, up, _ = label(**({"x": -0.05} | error))
    assert up > 0.02 and along < 0.2 * STROKE_M


def test_scraper_comes_down_behind_the_bits():
    along, _, up, _ = label(0.06, height=0.075)
    assert along == pytest.approx(-STEP_M, abs=0.002) and abs(up) < 0.01, "back over them, no lower"
    assert label(-0.045, height=0.05)[2] < -0.02, "down, with room before it"
    assert label(-0.010, height=0.03)[2] > 0, "but not beside the nearest"


def test_the_label_does_not_jump_with_the_state():
    """From one state to the next along lines through the places where the rules meet, 1 mm or 0.01 rad apart."""
    for name, values in {
        "x": np.arange(-0.09, 0.03, 0.001),
        "y": np.arange(-0.06, 0.06, 0.001),
        "height": np.arange(0, 0.08, 0.001),
        "off": np.arange(-1.2, 1.2, 0.01),
    }.items():
        moves = np.array([label(**({"x": -0.05} | {name: float(v)}))[:3] for v in values])
        assert np.linalg.norm(np.diff(moves, axis=0), axis=1).max() < 0.011, name


def test_a_stroke_is_over_at_its_end_or_raised_near_it():
    stroke = Stroke(WAY, np.array([-0.06, 0.0]), np.array([0.14, 0.0]), REAR, 0.004, 0.001 + TALL)

    def over(x: float, height: float) -> bool:
        return is_over(grasping.top_down(0.0, np.array([*WAY.base(np.array([x, 0.0])), height + TALL])), stroke, height)

    assert (
        not over(0.14 - 2 * AT_END, 0.001)
        and over(0.14 - AT_END / 2, 0.001)
        and over(0.14 - NEAR_END + 0.001, RAISED + 0.001)
        and not over(0.14 - NEAR_END + 0.001, RAISED - 0.001)
        and not over(0.14 - NEAR_END - 0.001, RAISED + 0.001)
    )


@pytest.mark.parametrize("name", ["sweeping", "primitives/gather"])
def test_a_stroke_goes_to_the_end_that_the_reference_shows(name):
    """All may be where it should be before that; a policy that learned to rise there, and errs by centimetres, would
    rise before."""
    pytest.importorskip("franky_sim")
    from uma_sim import experts
    from uma_sim.tasks import make_station, sweeping
    from uma_sim.tasks.primitives import gather as primitive_gather

    station = make_station(7, name, render=False)
    drawn, expert = station.scene, experts.expert(name)
    if name == "sweeping":
        frame, height = drawn.pans[drawn.goal], sweeping.bristles_height
        end = sweeping.stroke_ends(drawn.brush, frame, station.object.scraps()[:, :2])[1][0]
    else:
        frame, height = drawn.ways[drawn.goal], primitive_gather.tool_height
        end = primitive_gather.stroke_ends(drawn, drawn.goal, station.object.bits()[:, :2])[1][0]
    farthest = -1.0
    for _ in range(station.task.max_steps):
        station.act(*expert.act(station))
        if height(station) < RAISED:
            farthest = max(farthest, float(frame.local(station.object_pose()[:2, 3])[0]))
        if station.task.outcome(station)[0] == "success":
            break
    assert station.task.outcome(station)[0] == "success" and abs(farthest - end) < 0.015


def test_a_stroke_that_ended_short_is_repeated():
    """The tool is raised 4 cm before the end, with the bits where they should be."""
    pytest.importorskip("franky_sim")
    from uma_sim import experts
    from uma_sim.tasks import make_station
    from uma_sim.tasks.primitives import gather as primitive_gather

    station = make_station(7, "primitives/gather", render=False)
    drawn, expert = station.scene, experts.expert("primitives/gather")
    way = drawn.ways[drawn.goal]
    end = primitive_gather.stroke_ends(drawn, drawn.goal, station.object.bits()[:, :2])[1][0]

    def x() -> float:
        return float(way.local(station.object_pose()[:2, 3])[0])

    while not (station.grasped() and primitive_gather.tool_height(station) < 0.008 and x() > end - 0.045):
        station.act(*expert.act(station))
    target = station.ee_pose()
    while primitive_gather.tool_height(station) < 0.04:
        target[2, 3] += 0.01
        station.act(target.copy(), 1.0)
    short = x()
    for _ in range(120):
        station.act(*expert.act(station))
        if primitive_gather.tool_height(station) < 0.01 and x() > end - 0.015:
            break
    assert short < end - 0.02 and x() > end - 0.015
