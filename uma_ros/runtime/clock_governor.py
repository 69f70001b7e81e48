"""How fast simulated time runs: as fast as asked for, slower while the policy does not keep up."""

from __future__ import annotations

SLOWEST = 0.25
"""Share of the pace asked for that is never gone below: images, and with them the watchdogs' signs of life, must keep
coming."""

RECOVERY = 0.1
"""Share of the pace asked for that is won back in a second in which no chunk came."""

PATIENCE = 2.0
"""Seconds without a chunk after which it is won back."""

MOST_OWED = 10
"""Steps that may be made up for after a pause; what is owed beyond is dropped."""


class SimClockGovernor:
    """Says how many simulation steps are due. A machine that is too slow for the policy in real time then shows the
    policy and not its own lateness.

    Args:
        step: simulated seconds of a step.
        factor: simulated seconds a second, at most.
        max_latency: simulated seconds from an image to its chunk above which time is slowed; 0 = never.
        now: seconds on any steady clock, as for all methods.
    """

    def __init__(self, step: float, factor: float, max_latency: float, now: float) -> None:
        self._step, self._asked, self._max_latency = step, factor, max_latency
        self._then, self._owed = now, 0.0
        self._heard = now
        self.factor = factor

    def chunk(self, latency: float, now: float) -> None:
        """A chunk came, ``latency`` simulated seconds after its image. One alone at most halves the pace, whatever its
        stamp says, or raises it by a tenth."""
        self._heard = now
        if self._max_latency > 0:
            share = min(max(self._max_latency / max(latency, 1e-3), 0.5), 1.1)
            self.factor = min(max(self.factor * share, SLOWEST * self._asked), self._asked)

    def due(self, now: float, most: int) -> int:
        """How many steps to take now, ``most`` of them: never a burst, so that targets get in between."""
        passed, self._then = max(now - self._then, 0.0), now
        if now - self._heard > PATIENCE:
            self.factor = min(self._asked, self.factor + RECOVERY * self._asked * passed)
        self._owed = min(self._owed + passed * self.factor / self._step, MOST_OWED)
        steps = min(int(self._owed), most)
        self._owed -= steps
        return steps
