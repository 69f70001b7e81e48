"""Stretches of a demonstration in which a policy acts, so that the expert has to go on from where that leads (DAgger)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from uma.types import HORIZON, InputError, Observation

if TYPE_CHECKING:
    from uma_sim.station import Station

FIRST = (HORIZON, 48)
"""Control steps until a policy takes over: after a first chunk of the expert, before most have finished."""

LENGTH = (12, 60)
"""Control steps that it acts: a fumbled grasp and what comes of it."""


@dataclass
class Excursions:
    """A policy that now and then acts in the expert's place.

    Attributes:
        act: maps an observation to the actions up to the next one, ``(4, 4)`` T_base_ee and gripper 0 or 1.
        stretches: first control step and end of each.
    """

    act: Callable[[Observation], list[tuple[np.ndarray, float]]]
    stretches: tuple[tuple[int, int], ...]
    _plan: list[tuple[np.ndarray, float]] = field(default_factory=list)

    @classmethod
    def draw(cls, rng: np.random.Generator, act: Callable[[Observation], list[tuple[np.ndarray, float]]]) -> Excursions:
        """One stretch or two, with at least two chunks of the expert between them."""
        first = int(rng.integers(FIRST[0], FIRST[1] + 1))
        end = first + int(rng.integers(LENGTH[0], LENGTH[1] + 1))
        stretches = [(first, end)]
        if rng.random() < 0.5:
            first = end + 2 * HORIZON + int(rng.integers(40))
            stretches.append((first, first + int(rng.integers(LENGTH[0], LENGTH[1] + 1))))
        return cls(act, tuple(stretches))

    @property
    def steps(self) -> int:
        """Control steps that the policy acts in all, unless the episode ends before."""
        return sum(end - first for first, end in self.stretches)

    def covers(self, step: int) -> bool:
        """Whether the policy acts at this step."""
        return any(first <= step < end for first, end in self.stretches)

    def reaches(self, step: int) -> bool:
        """Whether it acts at this step or within a chunk from it. What the expert would have done at each of them is then no way that leads anywhere."""
        return any(first - HORIZON < step < end for first, end in self.stretches)

    def action(self, station: Station, step: int, grip: float) -> tuple[np.ndarray, float]:
        """What is executed at a step that it covers; the pose is held, with the gripper at ``grip``, where the image shows no scene."""
        if not self.covers(step - 1):
            self._plan.clear()
        if not self._plan:
            try:
                self._plan.extend(self.act(station.observe()))
            except InputError:
                return station.ee_pose(), grip
        return self._plan.pop(0)
