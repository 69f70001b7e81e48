"""Runs generated cases through an entry point and counts the results."""

from __future__ import annotations

import traceback
import tracemalloc
from collections import Counter
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st

from robustness.fuzz.target import Broken, Target

MAX_PEAK = 64 * 2**20
"""Largest memory of one case, bytes, as counted by Python and NumPy."""


@dataclass
class Result:
    """Results of an entry point. ``broken``: kind of failure -> its first case."""

    cases: int = 0
    accepted: int = 0
    refused: int = 0
    peak: int = 0
    broken: dict[str, str] = field(default_factory=dict)
    kinds: Counter = field(default_factory=Counter)


@cache
def read_constants() -> None:
    """Make Hypothesis read the constants of all loaded modules now.

    It would otherwise do so at its first draw, which takes a minute while memory is traced.
    """

    @settings(max_examples=100, deadline=None, database=None, phases=[Phase.generate])
    @given(st.integers(), st.text())
    def nothing(number: int, text: str) -> None: ...

    nothing()


def fuzz(target: Target, count: int, number: int) -> Result:
    """Run up to ``count`` generated cases of a target. Return the result."""
    result = Result()

    @seed(number)
    @settings(
        max_examples=count,
        deadline=None,
        database=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(target.cases)
    def one(case: object) -> None:
        result.cases += 1
        tracemalloc.reset_peak()
        before = tracemalloc.get_traced_memory()[0]
        try:
            accepted = target.run(case)
        except Exception as error:
            last = traceback.extract_tb(error.__traceback__)[-1]
            kind = (
                str(error)[:160]
                if isinstance(error, Broken)
                else f"{type(error).__name__} in {Path(last.filename).name}:{last.lineno}"
            )
            result.kinds[kind] += 1
            result.broken.setdefault(kind, f"{str(error)[:200]} <- {case!r:.300}")
        else:
            result.accepted += accepted
            result.refused += not accepted
        peak = tracemalloc.get_traced_memory()[1] - before
        result.peak = max(result.peak, peak)
        if peak > MAX_PEAK:
            result.kinds["memory"] += 1
            result.broken.setdefault("memory", f"{peak / 2**20:.0f} MiB <- {case!r:.300}")

    read_constants()
    tracemalloc.start()
    try:
        one()
    finally:
        tracemalloc.stop()
    return result
