"""Where the waypoints of a hindsight reference stand: at the corners of the way and where things come to rest, as a
person would set them."""

import numpy as np
import pytest

from uma.geometry import se3
from uma_sim.tasks import load
from uma_sim.tasks.intents.goals import KINDS
from uma_train.data.hindsight import AS_DRAWN, ReferenceSampling, comes_to_rest, corners, draw_reference, sketch_plan

STOPS = np.array([[0.0, 0.0, 0.0], [0.2, 0.1, 0.1], [0.2, 0.1, 0.02], [0.0, 0.3, 0.02], [0.0, 0.3, 0.12]])
"""Of a tool: where it stood, over the beginning of its stroke, there, at the end, and raised when all is done."""

STEPS = np.array([0, 40, 55, 80, 90])


def stroke(seed: int = 0) -> np.ndarray:
    """``(91, 6, 3)`` tracks of four keypoints on a tool that is carried through `STOPS`, and of two bits that it pushes
    ahead."""
    rng = np.random.default_rng(seed)
    tool = np.stack([np.interp(np.arange(91), STEPS, STOPS[:, i]) for i in range(3)], -1)
    share = np.interp(np.arange(91), [60, 80], [0, 1])[:, None]
    bits = np.array([0.15, 0.15, 0.0]) + share * np.array([-0.15, 0.17, 0.0])
    return np.stack(
        [*(tool + o for o in rng.normal(0, 0.02, (4, 3))), *(bits + o for o in rng.normal(0, 0.01, (2, 3)))], 1
    )


def drawn(seed: int = 0, **sampling):
    rng = np.random.default_rng(seed)
    config = ReferenceSampling(
        min_keypoints=6,
        max_keypoints=6,
        min_waypoints=4,
        max_waypoints=4,
        to_the_end=1.0,
        pinned=0.0,
        noise_m=0.0,
        **sampling,
    )
    return draw_reference(stroke(), np.zeros((0, 3)), 0, "camera", config, rng, is_moving=np.ones(6, bool))


def steps_of(reference) -> np.ndarray:
    """Return ``(W,)``: the steps at which the keypoints reach the waypoints."""
    return np.array([best(places) for places in np.array(reference.waypoints).transpose(1, 0, 2)])


def best(places: np.ndarray) -> int:
    """The step whose six keypoints, in some order, are ``places``."""
    return int(np.linalg.norm(stroke()[:, :, None] - places, axis=-1).min(2).sum(1).argmin())


def test_stroke_waypoints_are_those_of_a_sketch():
    for seed in range(10):
        steps = steps_of(drawn(seed, at_rest=1.0, at_corners=1.0))
        assert np.abs(steps - STEPS[:4]).max() <= 4, (
            "where it stood, over the beginning, there, at the end: the raising of the tool is not part of it"
        )


def test_without_corners_the_strokes_start_is_met_by_chance():
    steps = np.array([steps_of(drawn(seed)) for seed in range(40)])
    assert (steps[:, -1] >= 87).all()
    assert np.mean(np.abs(steps - STEPS[2]).min(1) <= 4) < 0.6


def test_corners_are_in_order_of_need():
    path = stroke()[:81, :4]
    assert np.array_equal(corners(path, 2), [0, 80])
    assert set(corners(path, 3)) <= set(corners(path, 4)) and np.array_equal(corners(path, 4), STEPS[:4])
    assert np.array_equal(corners(path, 9), STEPS[:4]), "no more than there are"
    straight = np.linspace(0, 1, 30)[:, None, None] * np.array([[[0.3, 0.1, 0.0]]])
    assert np.array_equal(corners(straight, 6), [0, 29])
    assert np.array_equal(corners(straight[:1], 6), [0])


def test_plan_replaces_what_came_of_it():
    """However the hand went astray, a reference from the plan shows the way that was meant."""
    at = np.linspace(0, 3, 13)
    plan = np.stack([np.interp(at, np.arange(4), STOPS[:4, i]) for i in range(3)], -1)[:, None] + np.random.default_rng(
        0
    ).normal(0, 0.02, (6, 3))
    plan[:, 5] = plan[0, 5]  # stays
    config = ReferenceSampling(min_keypoints=3, max_keypoints=5, planned=1.0, pinned=0.0, noise_m=0.0)
    counts = set()
    for seed in range(30):
        reference = draw_reference(
            stroke(), np.zeros((0, 3)), 0, "camera", config, np.random.default_rng(seed), plan=plan
        )
        ways = np.array(reference.waypoints)
        counts.add(ways.shape[1])
        for way, phase in zip(ways, reference.phase, strict=True):
            k = int(np.linalg.norm(plan[0] - way[0], axis=-1).argmin())
            assert k != 5, "fixed points carry no information"
            np.testing.assert_allclose(
                way, np.stack([np.interp(phase, at / 3, plan[:, k, i]) for i in range(3)], -1), atol=1e-9
            )
    assert counts == {2, 3, 4, 5, 6}


def test_pinned_points_join_a_plan_that_is_sketched():
    still = np.arange(12.0).reshape(4, 3) / 8
    config = ReferenceSampling(planned=1.0, pinned=1.0, noise_m=0.0)
    drawn = sketch_plan(
        np.linspace(0, 1, 4)[:, None, None] * np.ones((4, 6, 3)), still, "camera", config, np.random.default_rng(0)
    )
    pinned = [way for way in drawn.waypoints if len(way) == 1]
    assert 1 <= len(pinned) <= 3 and all((still == way[0]).all(1).any() for way in pinned)


def test_a_plan_s_corners_are_in_its_sketch():
    way = np.array([[0, 0, 0], [0, 0, 0.2], [0.3, 0, 0.2], [0.3, 0, 0.02]])
    plan = np.stack([np.interp(np.linspace(0, 3, 13), np.arange(4), way[:, i]) for i in range(3)], -1)
    plan = plan[:, None] + 0.02 * np.eye(3)
    config = ReferenceSampling(min_waypoints=4, max_waypoints=6, at_corners=1.0, pinned=0.0, noise_m=0.0)
    for seed in range(10):
        drawn = sketch_plan(plan, np.zeros((0, 3)), "camera", config, np.random.default_rng(seed))
        for path in drawn.waypoints:
            np.testing.assert_allclose(path - path[0], way, atol=1e-9)


def test_a_plan_is_sketched_at_points_that_are_seen():
    plan = np.linspace(0, 1, 4)[:, None, None] + np.arange(6.0)[:, None] / 10 * np.ones(3)
    config = ReferenceSampling(min_keypoints=3, max_keypoints=8, pinned=0.0, noise_m=0.0)
    seen = np.array([True, False, True, False, False, True])
    for seed in range(10):
        drawn = sketch_plan(plan, np.zeros((0, 3)), "camera", config, np.random.default_rng(seed), seen)
        assert {round(10 * float(w[0, 0])) for w in drawn.waypoints} <= {0, 2, 5}
    unseen = sketch_plan(plan, np.zeros((0, 3)), "camera", config, np.random.default_rng(0), np.zeros(6, bool))
    assert len(unseen.waypoints) >= 3


def test_a_share_of_the_references_has_human_errors():
    config = ReferenceSampling(min_keypoints=6, max_keypoints=6, pinned=0.0, noise_m=0.0, human=0.5, to_the_end=1.0)

    def off(seed: int, T_base_cam: np.ndarray | None, intent: str = "") -> float:
        drawn = draw_reference(
            stroke(),
            np.zeros((0, 3)),
            0,
            "camera",
            config,
            np.random.default_rng(seed),
            is_moving=np.ones(6, bool),
            T_base_cam=T_base_cam,
            intent=intent,
        )
        starts = np.array([w[0] for w in drawn.waypoints])
        return float(np.linalg.norm(starts[:, None] - stroke()[0], axis=-1).min(1).max())

    wrong = [off(seed, np.eye(4)) > 1e-6 for seed in range(60)]
    assert 20 <= sum(wrong) <= 40
    assert not any(off(seed, None) > 1e-6 for seed in range(20)), "a person's errors need the vertical"


def test_a_free_motion_ends_where_its_sketch_says():
    """Nothing in the scene completes it. The sketch of an insertion may turn too little, because the holder helps."""
    turn = np.array([[np.cos(a), np.sin(a), 0.0] for a in np.linspace(0, 1.5, 30)])
    points = 0.05 * np.stack([turn, -turn, 0.5 * turn + [0, 0, 0.5]], 1)
    config = ReferenceSampling(
        min_keypoints=3, max_keypoints=3, at_corners=1.0, to_the_end=1.0, pinned=0.0, noise_m=0.0, human=1.0
    )

    def turned_wrongly(seed: int, intent: str) -> float:
        """The norm of the drawn rotation minus the true one."""
        rng = np.random.default_rng(seed)
        drawn = draw_reference(points, np.zeros((0, 3)), 0, "camera", config, rng, T_base_cam=np.eye(4), intent=intent)
        first, last = (np.array([w[i] for w in drawn.waypoints]) for i in (0, -1))
        R = se3.fit_rigid(first, last)[:3, :3]
        return float(np.linalg.norm(R - se3.fit_rigid(points[0], points[-1])[:3, :3]))

    assert max(turned_wrongly(seed, "turn") for seed in range(60)) < 0.4, "it may end some steps earlier"
    assert max(turned_wrongly(seed, "into") for seed in range(60)) > 0.5


def test_the_intents_without_errors_are_those_that_exist():
    """All kinds of the simulator but the one that a container completes, and the plain move."""
    assert set(AS_DRAWN) == set(KINDS) - {"into"} | {"primitives/move"}
    assert load("primitives/move").name == "primitives/move"


def test_what_still_moves_at_the_end_has_not_come_to_rest():
    tracks = stroke()
    assert 78 <= comes_to_rest(tracks) <= 81, "the bits do"
    assert comes_to_rest(tracks[:, :4]) == 90, "the tool alone does not"
    held = np.concatenate([tracks[:81], np.repeat(tracks[80:81], 10, 0)])
    assert 78 <= comes_to_rest(held) <= 81
    assert comes_to_rest(np.repeat(tracks[:1], 20, 0)) == 0, "what never moves rests from the start"


@pytest.mark.parametrize(
    "name", ["to_the_end", "at_rest", "at_corners", "by_distance", "even_phase", "pinned", "planned", "human"]
)
def test_a_share_outside_0_to_1_is_refused(name):
    with pytest.raises(ValueError, match=f"sampling.{name}: 1.5, must be 0 to 1"):
        ReferenceSampling(**{name: 1.5})
