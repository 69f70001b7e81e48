"""One episode of the benchmark, how it ends, and how its failure is classed."""

import dataclasses
import math

import pytest

from uma.types import InputError
from uma_sim.tasks import insertion
from uma_train.evaluation.closed_loop import (
    BenchmarkConfig,
    EpisodeResult,
    failure_class,
    run_episode,
    summarize,
)


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
    assert done.outcome == "success" and done.left < 0.1
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
    [(0, 60, True, 8 / 15), (8, 60, True, 16 / 15), (8, 12, False, None), (8, 8, True, 8 / 15)],
)
def test_success_ends_the_episode_once_it_has_lasted(monkeypatch, blind, linger, max_steps, success, seconds):
    verdicts = iter(["in_progress", "success", "in_progress", "success", "success", "success"])
    task = dataclasses.replace(insertion.TASK, outcome=lambda station: (next(verdicts), "by the script"))
    monkeypatch.setattr(insertion, "TASK", task)
    result = run_episode(BenchmarkConfig(linger=linger, max_steps=max_steps), "uma", 1_000_000)
    assert (result.outcome == "success") == success
    # Within a tick of the controller.
    assert math.isnan(result.seconds) if seconds is None else result.seconds == pytest.approx(seconds, abs=0.011)


def test_refused_task_is_a_failure_of_its_own_kind(monkeypatch):
    class Refusing:
        def encode_task(self, observation, reference):
            raise InputError("keypoints[0].waypoints[0]: out of view")

    monkeypatch.setattr("uma_train.execution.driving.policy_of", lambda *_: Refusing())
    result = run_episode(BenchmarkConfig(), "uma", 1_000_000)
    assert (result.outcome, result.grasped) == ("refused", False) and "out of view" in result.reason
    (row,) = summarize([result])
    assert row["refused"] == 1 and row["success"] == 0
