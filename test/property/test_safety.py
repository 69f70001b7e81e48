"""The safety filter against sequences made to break it, in small number.

`python -m robustness.safety` runs as many as are wanted.
"""

import numpy as np
import pytest

from robustness.safety import KINDS, Worst, run, run_range
from uma.control import safety
from uma.geometry.se3 import make_pose


@pytest.mark.slow
def test_every_limit_holds():
    worst = run_range(1_000_000, 160)
    assert not worst.broken, "\n".join(worst.broken[:10])
    assert set(worst.kinds) == set(KINDS) and worst.steps > 2000 and worst.held > 250
    assert worst.arms > 30 and worst.unreachable > 50


@pytest.mark.parametrize(
    "name, broken, words",
    [
        ("_follow", lambda error, ahead, v, a, dt, *limits: (error / dt, a), "acceleration"),
        ("collision", lambda T, settings: "", "colliding"),
        ("check_pose", lambda T, name: np.where(np.isfinite(T), T, 0.3), "raised"),
    ],
)
def test_a_broken_filter_is_caught(monkeypatch, name, broken, words):
    monkeypatch.setattr(safety, name, broken)
    worst = Worst()
    caught = lambda: any(words in line for line in worst.broken)  # noqa: E731
    for seed in range(KINDS.index("broken"), 800, len(KINDS)):
        run(seed, worst)
        if caught():
            break
    assert caught()


def test_a_filter_that_passes_the_joint_limits_is_caught(monkeypatch):
    monkeypatch.setattr(safety.JointLimitMonitor, "_wrong", lambda self, q, miss, room: "")
    worst = Worst()
    for seed in range(1_000_000, 1_000_140):
        run(seed, worst)
        if worst.broken:
            break
    assert any("joints beyond the margin" in line for line in worst.broken)


def test_a_filter_that_changes_what_is_within_limits_is_caught(monkeypatch):
    true = safety.SafetyFilter.step

    def shifted(self, target, measured, dt, **more):
        return true(
            self, None if target is None else make_pose(target[:3, :3], target[:3, 3] + 0.002), measured, dt, **more
        )

    monkeypatch.setattr(safety.SafetyFilter, "step", shifted)
    worst = Worst()
    run(KINDS.index("calm"), worst)
    assert any("calm target changed" in line for line in worst.broken)
