"""How regular and how fast something runs: achieved rate, latency, overruns, and a report at the end."""

from __future__ import annotations

import threading
from collections import deque
from itertools import takewhile

import numpy as np


class Cadence:
    """Beats of one activity, on the caller's clock. Beats may come from one thread while another asks.

    Args:
        name: what is counted.
        period: seconds between beats that is aimed at; None = no aim, no overruns.
        keep: how many of the last beats the statistics cover.
    """

    def __init__(self, name: str, period: float | None = None, keep: int = 20_000) -> None:
        self.name, self.period = name, period
        self._times: deque[float] = deque(maxlen=keep)
        self._latency: deque[float] = deque(maxlen=keep)
        self.count = self.overruns = 0
        self._lock = threading.Lock()  # a deque that grows while it is read raises

    def beat(self, now: float, latency_ms: float | None = None) -> None:
        """Count one; an interval over 1.5 periods is an overrun."""
        with self._lock:
            if self._times and self.period is not None and now - self._times[-1] > 1.5 * self.period:
                self.overruns += 1
            self._times.append(now)
            self.count += 1
            if latency_ms is not None:
                self._latency.append(latency_ms)

    def rate(self, now: float, window: float = 2.0) -> float:
        """Beats a second over the last ``window`` seconds."""
        with self._lock:
            recent = list(takewhile(lambda t: t > now - window, reversed(self._times)))
        if len(recent) < 2:
            return 0.0
        return (len(recent) - 1) / max(recent[0] - recent[-1], 1e-9)

    def percentiles(self) -> dict[str, float]:
        """p50, p95, p99 of the latency in ms; empty if none was given. The first one, cold, does not count."""
        with self._lock:
            latency = list(self._latency)
        warm = latency[1:] or latency
        return {f"p{q}": float(np.percentile(warm, q)) for q in (50, 95, 99)} if warm else {}

    def report(self) -> dict[str, float]:
        """Everything, for a log or a file: count, mean rate in Hz, overruns, interval p99 and latency percentiles in
        ms."""
        result: dict[str, float] = {"count": self.count, "overruns": self.overruns}
        with self._lock:
            times = list(self._times)
        if len(times) > 1:
            intervals = np.diff(times)
            result["rate_hz"] = round(1.0 / max(float(intervals.mean()), 1e-9), 2)
            result["interval_p99_ms"] = round(float(np.percentile(intervals, 99)) * 1e3, 2)
        result.update({f"latency_{k}_ms": round(v, 2) for k, v in self.percentiles().items()})
        return result
