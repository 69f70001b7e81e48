"""Paired comparison of two benchmarks on the same scenes: changed outcomes and a sign test."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from scipy.stats import binomtest


@dataclass(frozen=True)
class Paired:
    """Scenes with a success in only one of two benchmarks.

    Attributes:
        better, worse: failures of the first that are successes of the second, and the reverse.
    """

    better: int
    worse: int

    @property
    def chance(self) -> float:
        """p-value of the two-sided sign test on the split of changed scenes."""
        return float(binomtest(self.better, self.better + self.worse).pvalue) if self.better + self.worse else 1.0


def successes(folder: str | Path) -> dict[int, bool]:
    """Load seed -> success of the benchmark of one policy in ``folder``."""
    lines = (Path(folder) / "episodes.jsonl").read_text().splitlines()
    return {r["seed"]: r["outcome"] == "success" for r in map(json.loads, lines)}


def paired(first: str | Path, second: str | Path) -> Paired:
    """Compare the folders of two benchmarks on their common scenes."""
    a, b = successes(first), successes(second)
    return Paired(
        sum(b[seed] and not a[seed] for seed in a.keys() & b.keys()),
        sum(a[seed] and not b[seed] for seed in a.keys() & b.keys()),
    )
