"""Findings of a study: a measured value with its interval, held against a limit."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.stats import binomtest


@dataclass(frozen=True)
class Finding:
    """One measured number.

    Attributes:
        mechanism, what: the mechanism and the quantity.
        value, low, high: value with its 95 % interval; a fraction, millimetres, or a number without an interval.
        count: number of samples.
        unit: "%", "mm", or empty for a plain number.
        limit: the required value, as text; empty without a requirement.
        holds: whether the requirement is met; None without a requirement.
    """

    mechanism: str
    what: str
    value: float
    low: float
    high: float
    count: int
    unit: str
    limit: str = ""
    holds: bool | None = None

    def text(self) -> str:
        """Format the value and its interval."""
        if self.unit == "%":
            return f"{100 * self.value:.1f} % ({100 * self.low:.1f} to {100 * self.high:.1f})"
        if not self.unit:
            return f"{self.value:.4g}"
        return f"{self.value:.1f} mm ({self.low:.1f} to {self.high:.1f})"


def share(
    mechanism: str, what: str, hits: np.ndarray, *, at_least: float | None = None, below: float | None = None
) -> Finding:
    """Build a finding from the fraction of ``hits`` (bool), with Wilson's interval and an optional limit."""
    value = float(np.mean(hits))
    limit, holds = "", None
    if at_least is not None:
        limit, holds = f">= {100 * at_least:.0f} %", value >= at_least
    if below is not None:
        limit, holds = f"< {100 * below:.0f} %", value < below
    return Finding(
        mechanism,
        what,
        value,
        *binomtest(int(np.sum(hits)), len(hits)).proportion_ci(method="wilson"),
        len(hits),
        "%",
        limit,
        holds,
    )


def distance(mechanism: str, what: str, metres: np.ndarray, *, beats: Finding | None = None) -> Finding:
    """Build a finding from a mean distance with its normal interval; ``beats`` must lie above that interval."""
    mm = 1e3 * np.asarray(metres)
    half = 1.96 * mm.std(ddof=1) / np.sqrt(len(mm))
    value = float(mm.mean())
    limit, holds = ("", None) if beats is None else (f"< {beats.low:.0f} mm", bool(value + half < beats.low))
    return Finding(mechanism, what, value, float(value - half), float(value + half), len(mm), "mm", limit, holds)


def number(
    mechanism: str,
    what: str,
    value: float,
    *,
    count: int = 1,
    exactly: float | None = None,
    above: float | None = None,
    below: float | None = None,
) -> Finding:
    """Build a finding from a plain number with an optional limit."""
    value, limit, holds = float(value), "", None
    if exactly is not None:
        limit, holds = f"= {exactly:g}", value == exactly
    if above is not None:
        limit, holds = f"> {above:.4g}", value > above
    if below is not None:
        limit, holds = f"< {below:.4g}", value < below
    return Finding(mechanism, what, value, value, value, count, "", limit, holds)
