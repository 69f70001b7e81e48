"""One door for generated input, and what becomes of its cases."""

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
"""Bytes that one case may take, as Python and NumPy count them."""


@dataclass
class Result:
    """What became of a target's cases. ``broken``: kind of break -> its first case."""

    cases: int = 0
    accepted: int = 0
    refused: int = 0
    peak: int = 0
    broken: dict[str, str] = field(default_factory=dict)
    kinds: Counter = field(default_factory=Counter)


@cache
def read_constants() -> None:
    """Hypothesis also draws from the constants of all loaded modules of the project, which it reads when it first wants
    one: not while memory is traced, when that takes a minute."""

    @settings(max_examples=100, deadline=None, database=None, phases=[Phase.generate])
    @given(st.integers(), st.text())
    def nothing(number: int, text: str) -> None: ...

    nothing()


def fuzz(target: Target, count: int, number: int) -> Result:
    """Put up to ``count`` generated cases through a target; fewer where there are no more."""
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
