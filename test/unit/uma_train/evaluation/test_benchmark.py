"""One episode of the benchmark, how it ends, and how its failure is classed."""

import dataclasses
import math

import numpy as np
import pytest

from uma.types import InputError
from uma_sim import tasks
from uma_sim.objects import catalog
from uma_sim.tasks import insertion
from uma_train.evaluation.benchmark_config import BenchmarkConfig
from uma_train.evaluation.closed_loop import run_episode
from uma_train.evaluation.outcomes import EpisodeResult, failure_class, summarize


def test_benchmark_rows():
    results = [EpisodeResult("uma", i, "success" if i < 3 else "wrong_goal", True, 5.0 + i, "") for i in range(4)] + [
        EpisodeResult("hold_still", 0, "no_grasp", False, float("nan"), "")
    ]
    uma, still = summarize(results)
    assert (uma["success"], uma["episodes"], uma["wrong_goal"], uma["seconds"]) == (3, 4, 1, 6.0)
    assert (still["success"], still["no_grasp"]) == (0, 1)


def test_failure_near_the_goal_has_its_own_class():
    done = run_episode(BenchmarkConfig(), "demonstrator", 1_000_000)
    begun = run_episode(BenchmarkConfig(max_steps=1), "demonstrator", 1_000_000)
    assert done.outcome == "success" and done.left < 0.2
    assert begun.outcome == "no_grasp" and begun.left == pytest.approx(1.0, abs=0.02)
    classes = [
        failure_class(*v)
        for v in (
            (False, False, "lies on the table", 0.1),
            (False, True, "lies on the table", 0.1),
            (True, True, "held", 0.1),
            (True, False, "leans on a holder", 0.1),
            (True, False, "lies on the table", 0.6),
        )
    ]
    assert classes == ["no_grasp", "wrong_grasp", "time_out", "imprecise", "lost"]


@pytest.fixture
def blind(monkeypatch):
    """A policy that finds nothing in any image; the sequence numbers of its chunks."""
    asked = []

    class Blind:
        def encode_task(self, observation, reference):
            return None

        def predict(self, observation, task, *, sequence, **_):
            asked.append(sequence)
            raise InputError("depth: 18 points above the table, at least 20 required")

    monkeypatch.setattr("uma_train.execution.driving.policy_of", lambda *_: Blind())
    return asked


def test_empty_image_holds_the_arm_and_the_benchmark_goes_on(blind):
    result = run_episode(BenchmarkConfig(max_steps=12), "uma", 1_000_000)
    assert (result.outcome, result.grasped, blind) == ("no_grasp", False, [0, 1, 2])


@pytest.mark.parametrize(
    ("linger", "max_steps", "success", "seconds"),
    [(0, 60, True, 8 / 15), (8, 60, True, 11 / 15), (8, 18, False, None), (8, 19, True, 11 / 15), (0, 7, False, None)],
)
def test_success_ends_the_episode_once_it_has_lasted(monkeypatch, blind, linger, max_steps, success, seconds):
    words = iter({"s": "success", "-": "in_progress"}[letter] for letter in "-------ss-" + "s" * 60)
    task = dataclasses.replace(insertion.TASK, outcome=lambda station: (next(words), "by the script"))
    monkeypatch.setattr(insertion, "TASK", task)
    result = run_episode(BenchmarkConfig(linger=linger, max_steps=max_steps), "uma", 1_000_000)
    assert (result.outcome == "success") == success
    # Within a tick of the controller.
    assert math.isnan(result.seconds) if seconds is None else result.seconds == pytest.approx(seconds, abs=0.011)


@pytest.mark.parametrize(
    ("verdicts", "max_steps", "success"),
    [
        ("-" * 4 + "s" * 20, 24, True),
        ("-" * 4 + "s" * 16, 20, True),
        ("-" * 4 + "s" * 15, 19, False),
        ("s-" * 12, 24, False),
    ],
)
def test_a_task_may_ask_that_its_success_lasts(monkeypatch, blind, verdicts, max_steps, success):
    words = iter({"s": "success", "-": "in_progress"}[letter] for letter in verdicts)
    task = dataclasses.replace(insertion.TASK, outcome=lambda station: (next(words), "by the script"), lasts=15)
    monkeypatch.setattr(insertion, "TASK", task)
    result = run_episode(BenchmarkConfig(linger=0, max_steps=max_steps), "uma", 1_000_000)
    assert (result.outcome == "success") == success and math.isnan(result.seconds) != success


@pytest.fixture
def sketches(monkeypatch, blind):
    """The references that a policy is given, one an episode."""
    given = []

    class Listening:
        def encode_task(self, observation, reference):
            given.append(np.stack(reference.waypoints))

        def predict(self, observation, task, **_):
            raise InputError("depth: none")

    monkeypatch.setattr("uma_train.execution.driving.policy_of", lambda *_: Listening())
    return given


def test_a_sketch_is_as_a_person_draws_it_and_repeats(sketches):
    for sketch in ("exact", "careful", "careful", "translate"):
        run_episode(BenchmarkConfig(sketch=sketch, max_steps=1), "uma", 1_000_000)
    exact, careful, again, translate = sketches
    np.testing.assert_array_equal(careful, again)
    assert 0.002 < np.abs(careful[:, 0] - exact[:, 0]).max() < 0.03  # metres, where the object was clicked
    assert 0.005 < np.abs(careful[:, -1] - exact[:, -1]).max() < 0.15
    shape = translate - translate.mean(0)
    assert np.abs(shape - shape[:, :1]).max() < 1e-9 < 1e-2 < np.abs(careful - careful.mean(0) - shape).max()


def test_held_out_shapes_are_drawn_where_a_task_has_them(monkeypatch, sketches):
    seen = []
    make = tasks.make_station
    monkeypatch.setattr(tasks, "make_station", lambda *a, **k: seen.append(make(*a, **k)) or seen[-1])
    for held_out in (False, True):
        run_episode(BenchmarkConfig("intents/lift", held_out=held_out, max_steps=1), "uma", 1_000_000)
    assert [station.scene.things[0].name in catalog.HELD_OUT for station in seen] == [False, True]
    with pytest.raises(ValueError, match="held_out: True, must be False for task 'folding'"):
        BenchmarkConfig("folding", held_out=True)
    with pytest.raises(ValueError, match="sketch: 'hasty', must be one of exact, careful"):
        BenchmarkConfig(sketch="hasty")


def test_a_success_lasts_a_second_by_default():
    assert BenchmarkConfig().linger == 15
    done = run_episode(BenchmarkConfig(), "demonstrator", 1_000_000)
    steps = round(15 * done.seconds)
    for limit, outcome in ((steps + 15, "success"), (steps + 14, "imprecise")):
        assert run_episode(BenchmarkConfig(max_steps=limit), "demonstrator", 1_000_000).outcome == outcome


def test_one_goal_after_the_other_starts_the_second_anew(monkeypatch, blind):
    words = iter({"s": "success", "w": "wrong_goal"}[letter] for letter in "w" * 12 + "s" * 60)
    task = dataclasses.replace(insertion.TASK, outcome=lambda station: (next(words), "by the script"))
    monkeypatch.setattr(insertion, "TASK", task)
    result = run_episode(BenchmarkConfig(), "uma", 1_000_000)
    assert result.outcome == "success" and result.seconds == pytest.approx(13 / 15, abs=0.011)


def test_holders_are_deep_unless_shallow_ones_are_asked_for(monkeypatch, blind):
    seen = []
    make = tasks.make_station
    monkeypatch.setattr(tasks, "make_station", lambda *a, **k: seen.append(make(*a, **k)) or seen[-1])
    for holders in ("", "deep", "shallow"):
        run_episode(BenchmarkConfig(holders=holders, max_steps=1), "uma", 1_000_000)
    assert [station.scene.is_deep for station in seen] == [True, True, False]
    with pytest.raises(ValueError, match="holders: 'shallow', must be empty for task 'folding'"):
        BenchmarkConfig("folding", holders="shallow")
    with pytest.raises(ValueError, match="holders: 'flat', must be one of"):
        BenchmarkConfig(holders="flat")


def test_refused_task_is_a_failure_of_its_own_kind(monkeypatch):
    class Refusing:
        def encode_task(self, observation, reference):
            raise InputError("keypoints[0].waypoints[0]: out of view")

    monkeypatch.setattr("uma_train.execution.driving.policy_of", lambda *_: Refusing())
    result = run_episode(BenchmarkConfig(), "uma", 1_000_000)
    assert (result.outcome, result.grasped) == ("refused", False) and "out of view" in result.reason
    (row,) = summarize([result])
    assert row["refused"] == 1 and row["success"] == 0


def test_a_benchmark_may_have_matched_depth(monkeypatch):
    seen = []

    class Still:
        def encode_task(self, observation, reference):
            seen.append(observation.depth)
            raise InputError("enough seen")

    monkeypatch.setattr("uma_train.execution.driving.policy_of", lambda *_: Still())
    for depth in ("model", "stereo"):
        assert run_episode(BenchmarkConfig(depth=depth), "uma", 1_000_000).outcome == "refused"
    a, b = seen
    both = np.isfinite(a) & np.isfinite(b)
    assert 0.001 < np.median(np.abs(a - b)[both]) < 0.02


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"depth": "lidar"}, "depth: 'lidar'"),
        ({"depth": "stereo", "depth_noise": 2.0}, "must be 1 with depth 'stereo'"),
    ],
)
def test_depth_of_a_benchmark_is_checked(options, message):
    with pytest.raises(ValueError, match=message):
        BenchmarkConfig(**options)
