"""Rate statistics of a periodic activity: achieved rate, latency, overruns and a final report."""

from __future__ import annotations

import threading
from collections import deque
from itertools import takewhile

import numpy as np


class Cadence:
    """Beats of one activity on the caller's clock. One thread may count while another reads.

    Args:
        name: of the activity.
        period: nominal seconds between beats; None = no nominal rate, no overruns.
        keep: number of recent beats in the statistics.
    """

    def __init__(self, name: str, period: float | None = None, keep: int = 20_000) -> None:
        self.name, self.period = name, period
        self._times: deque[float] = deque(maxlen=keep)
        self._latency: deque[float] = deque(maxlen=keep)
        self.count = self.overruns = 0
        self._lock = threading.Lock()  # iteration over a growing deque raises

    def beat(self, now: float, latency_ms: float | None = None) -> None:
        """Count one beat; an interval above 1.5 periods is an overrun."""
        with self._lock:
            if self._times and self.period is not None and now - self._times[-1] > 1.5 * self.period:
                self.overruns += 1
            self._times.append(now)
            self.count += 1
            if latency_ms is not None:
                self._latency.append(latency_ms)

    def rate(self, now: float, window: float = 2.0) -> float:
        """Return the beats per second over the last ``window`` seconds."""
        with self._lock:
            recent = list(takewhile(lambda t: t > now - window, reversed(self._times)))
        if len(recent) < 2:
            return 0.0
        return (len(recent) - 1) / max(recent[0] - recent[-1], 1e-9)

    def percentiles(self) -> dict[str, float]:
        """Return p50, p95 and p99 of the latency in ms, without the first (cold) one; empty without latencies."""
        with self._lock:
            latency = list(self._latency)
        warm = latency[1:] or latency
        return {f"p{q}": float(np.percentile(warm, q)) for q in (50, 95, 99)} if warm else {}

    def report(self) -> dict[str, float]:
        """Return the statistics: count, mean rate in Hz, overruns, interval p99 and latency percentiles in ms."""
        result: dict[str, float] = {"count": self.count, "overruns": self.overruns}
        with self._lock:
            times = list(self._times)
        if len(times) > 1:
            intervals = np.diff(times)
            result["rate_hz"] = round(1.0 / max(float(intervals.mean()), 1e-9), 2)
            result["interval_p99_ms"] = round(float(np.percentile(intervals, 99)) * 1e3, 2)
        result.update({f"latency_{k}_ms": round(v, 2) for k, v in self.percentiles().items()})
        return result
