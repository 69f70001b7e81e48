"""Which time stamps are fresh enough."""

from __future__ import annotations

from uma.types import InputError

MAX_AHEAD = 0.5
"""Seconds that a stamp may be ahead of the clock."""


def check_freshness(age: float, max_age: float) -> None:
    """Raise `InputError` for a stamp that is ``age`` seconds old, where that is over ``max_age`` or under
    -`MAX_AHEAD`."""
    if age > max_age:
        raise InputError(f"header.stamp: {age:.3g} s old, limit {max_age:g} s")
    if age < -MAX_AHEAD:
        raise InputError(f"header.stamp: {-age:.3g} s ahead of the clock, limit {MAX_AHEAD} s")
