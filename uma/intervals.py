"""Intervals for measured shares."""

from __future__ import annotations

import math


def wilson(successes: int, count: int) -> tuple[float, float]:
    """95 % interval of a share by Wilson's score."""
    if count == 0:
        return 0.0, 1.0
    z, p = 1.96, successes / count
    middle = (p + z * z / (2 * count)) / (1 + z * z / count)
    half = z / (1 + z * z / count) * math.sqrt(p * (1 - p) / count + z * z / (4 * count * count))
    return max(0.0, middle - half), min(1.0, middle + half)
