"""Detects sources that have been silent for too long."""

from __future__ import annotations


class Watchdog:
    """Stores the last time of receipt per source, on a monotonic clock in seconds.

    Args:
        limits: source -> longest silence in seconds.
    """

    def __init__(self, limits: dict[str, float]) -> None:
        self.limits = dict(limits)
        self._received: dict[str, float] = {}

    def receive(self, source: str, now: float) -> None:
        self._received[source] = now

    def silence(self, source: str, now: float) -> float:
        """Return the seconds since the last message of ``source``; infinite before the first."""
        return now - self._received.get(source, float("-inf"))

    def missing(self) -> list[str]:
        """Return the sources that were never received."""
        return [source for source in self.limits if source not in self._received]

    def stale(self, now: float) -> list[str]:
        """Return one sentence per source beyond its limit."""
        found = []
        for source, limit in self.limits.items():
            silent = self.silence(source, now)
            if silent == float("inf"):
                found.append(f"{source}: nothing received yet")
            elif silent > limit:
                found.append(f"{source}: silent for {silent:.2f} s, limit {limit:.2f} s")
        return found
