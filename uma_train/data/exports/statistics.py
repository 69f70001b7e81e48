"""Minimum, maximum, mean and standard deviation of columns, of one episode and of all."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np


@dataclass
class Sums:
    """Running sums of one column: ``(n,)`` float64 each, over ``count`` rows."""

    low: np.ndarray
    high: np.ndarray
    mean: np.ndarray
    deviation: np.ndarray
    count: int
    shape: tuple[int, ...]

    def merge(self, other: Sums) -> None:
        """Take the rows of another; ``deviation`` is the sum of squared deviations from the mean."""
        total = self.count + other.count
        away = other.mean - self.mean
        self.deviation = self.deviation + other.deviation + away**2 * (self.count * other.count / total)
        self.mean = self.mean + away * (other.count / total)
        self.low, self.high = np.minimum(self.low, other.low), np.maximum(self.high, other.high)
        self.count = total


@dataclass
class Statistics:
    """Statistics of columns by name."""

    _sums: dict[str, Sums] = field(default_factory=dict)

    def add(self, name: str, values: np.ndarray, shape: tuple[int, ...] | None = None) -> None:
        """Take the rows ``(S, n)`` or ``(S,)`` of a column.

        Args:
            shape: of the result; None = ``(n,)``.
        """
        rows = values.reshape(len(values), -1).astype(np.float64)
        mean = rows.mean(0)
        new = Sums(rows.min(0), rows.max(0), mean, ((rows - mean) ** 2).sum(0), len(rows), shape or (rows.shape[1],))
        if name in self._sums:
            self._sums[name].merge(new)
        else:
            self._sums[name] = new

    def add_images(self, name: str, images: np.ndarray) -> None:
        """Take ``(I, h, w, 3)`` uint8 images: statistics of each channel in [0, 1], every fourth pixel of each axis."""
        self.add(name, images[:, ::4, ::4].reshape(-1, 3) / 255.0, (3, 1, 1))

    def merge(self, other: Statistics) -> None:
        """Take all rows of another."""
        for name, sums in other._sums.items():
            if name in self._sums:
                self._sums[name].merge(sums)
            else:
                self._sums[name] = Sums(**vars(sums))

    def result(self) -> dict[str, dict[str, Any]]:
        """Return name -> min, max, mean, std and count, as nested lists."""
        out: dict[str, dict[str, Any]] = {}
        for name, s in self._sums.items():
            values = {"min": s.low, "max": s.high, "mean": s.mean, "std": np.sqrt(s.deviation / s.count)}
            out[name] = {kind: v.reshape(s.shape).tolist() for kind, v in values.items()} | {"count": [s.count]}
        return out
