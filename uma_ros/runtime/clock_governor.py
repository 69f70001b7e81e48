"""Speed of the simulated clock: the requested one, and slower while the policy is late."""

from __future__ import annotations

SLOWEST = 0.25
"""Smallest fraction of the requested speed. Slower images would trip the watchdogs."""

RECOVERY = 0.1
"""Fraction of the requested speed that is restored per second without a chunk."""

PATIENCE = 2.0
"""Seconds without a chunk after which the speed recovers."""

MOST_OWED = 10
"""Largest number of steps that are caught up after a pause; the rest is dropped."""


class SimClockGovernor:
    """Counts the simulation steps that are due.

    On a slow machine it slows simulated time down, so that the policy is tested and not the machine.

    Args:
        step: simulated seconds of a step.
        factor: largest number of simulated seconds per second.
        max_latency: longest latency from an image to its chunk, simulated seconds; a longer one slows time down. 0 =
            no limit.
        now: seconds on any steady clock, as for all methods.
    """

    def __init__(self, step: float, factor: float, max_latency: float, now: float) -> None:
        self._step, self._requested, self._max_latency = step, factor, max_latency
        self._then, self._owed = now, 0.0
        self._chunk_at = now
        self.factor = factor

    def chunk(self, latency: float, now: float) -> None:
        """Adapt the speed to a chunk that arrived ``latency`` simulated seconds after its image.

        One chunk changes the speed by a factor of 0.5 to 1.1, whatever its stamp.
        """
        self._chunk_at = now
        if self._max_latency > 0:
            share = min(max(self._max_latency / max(latency, 1e-3), 0.5), 1.1)
            self.factor = min(max(self.factor * share, SLOWEST * self._requested), self._requested)

    def due(self, now: float, most: int) -> int:
        """Return the number of steps to take now, at most ``most``: targets must arrive between steps."""
        passed, self._then = max(now - self._then, 0.0), now
        if now - self._chunk_at > PATIENCE:
            self.factor = min(self._requested, self.factor + RECOVERY * self._requested * passed)
        self._owed = min(self._owed + passed * self.factor / self._step, MOST_OWED)
        steps = min(int(self._owed), most)
        self._owed -= steps
        return steps
