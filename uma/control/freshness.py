"""Age limits of time stamps."""

from __future__ import annotations

from uma.types import InputError

MAX_AHEAD = 0.5
"""Largest lead of a time stamp over the clock, seconds."""


def check_freshness(age: float, max_age: float) -> None:
    """Raise `InputError` if the age in seconds exceeds ``max_age`` or is below -`MAX_AHEAD`."""
    if age > max_age:
        raise InputError(f"header.stamp: {age:.3g} s old, limit {max_age:g} s")
    if age < -MAX_AHEAD:
        raise InputError(f"header.stamp: {-age:.3g} s ahead of the clock, limit {MAX_AHEAD} s")
