"""Who has been silent for too long."""

from __future__ import annotations


class Watchdog:
    """Remembers when each source was last heard, on a clock that cannot stop (seconds, monotonic).

    Args:
        limits: source -> longest silence in seconds.
    """

    def __init__(self, limits: dict[str, float]) -> None:
        self.limits = dict(limits)
        self._heard: dict[str, float] = {}

    def heard(self, source: str, now: float) -> None:
        self._heard[source] = now

    def silence(self, source: str, now: float) -> float:
        """Seconds since ``source`` was heard; infinite if never."""
        return now - self._heard.get(source, float("-inf"))

    def stale(self, now: float) -> list[str]:
        """One sentence for each source that is over its limit."""
        found = []
        for source, limit in self.limits.items():
            silent = self.silence(source, now)
            if silent == float("inf"):
                found.append(f"{source}: nothing received yet")
            elif silent > limit:
                found.append(f"{source}: silent for {silent:.2f} s, limit {limit:.2f} s")
        return found
