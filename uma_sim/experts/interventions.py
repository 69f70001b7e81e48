"""Stretches of a demonstration in which the expert does not act, so that it has to go on from where they lead: a policy
does (DAgger), or the hand wanders off."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
from scipy.spatial.transform import Rotation

from uma.geometry import se3
from uma.types import HORIZON, InputError
from uma_sim.experts.base import STEP_M, STEP_RAD

if TYPE_CHECKING:
    from uma_sim.station import Station

FIRST = (HORIZON, 80)
"""Control steps until the hand wanders: after a first chunk of the expert, before most have finished; in a stroke as
well as before it."""

SOON = (HORIZON, 40)
"""Control steps until a policy acts: early, since an expert left alone has finished after some 90, and what comes after
an intervention is what the episode is for."""

LENGTH = (8, 64)
"""Control steps that a policy acts: a fumbled grasp and what comes of it, a whole stroke and what it leaves behind."""

MOST = 6
"""Stretches of a policy in an episode: what it needs to be shown are ways out of where it gets itself, and of an expert
that acts for long there is little but its own ways."""

ATTEMPT, ATTEMPTS = (60, 150), 2
"""Control steps of a whole attempt, and how many an episode has at most: long enough that a policy which takes the task
to be done stands there with it undone."""

BETWEEN = (HORIZON + 4, HORIZON + 24)
"""Control steps of the expert between two stretches: a few whole chunks."""

WANDER = (4, 14)
"""Control steps that the hand wanders: as far as a policy that is a little wrong gets in some chunks."""

ASIDE_M, UP_M, YAW_RAD = 0.05, 0.07, 0.5
"""Of a place to which it wanders: standard deviation sideways, most upward, standard deviation of its turn about the
vertical."""


@dataclass
class Interventions:
    """What now and then acts in the expert's place.

    Attributes:
        act: maps the station, and the gripper's last target, to the actions until it is asked again, ``(4, 4)``
            T_base_ee and gripper 0 or 1.
        stretches: first control step and end of each.
    """

    act: Callable[[Station, float], list[tuple[np.ndarray, float]]]
    stretches: tuple[tuple[int, int], ...]
    _plan: list[tuple[np.ndarray, float]] = field(default_factory=list)

    @classmethod
    def draw(
        cls,
        rng: np.random.Generator,
        act: Callable[[Station, float], list[tuple[np.ndarray, float]]],
        first: tuple[int, int] = SOON,
        length: tuple[int, int] = LENGTH,
        most: int = MOST,
    ) -> Interventions:
        """One to ``most`` stretches, the first after ``first``, each of ``length`` (least, most) steps."""
        begin, stretches = int(rng.integers(first[0], first[1] + 1)), []
        for _ in range(int(rng.integers(1, most + 1))):
            stretches.append((begin, begin + int(rng.integers(length[0], length[1] + 1))))
            begin = stretches[-1][1] + int(rng.integers(BETWEEN[0], BETWEEN[1] + 1))
        return cls(act, tuple(stretches))

    @property
    def steps(self) -> int:
        """Control steps that the policy acts in all, unless the episode ends before."""
        return sum(end - first for first, end in self.stretches)

    def covers(self, step: int) -> bool:
        """Whether the policy acts at this step."""
        return any(first <= step < end for first, end in self.stretches)

    def reaches(self, step: int) -> bool:
        """Whether it acts at this step or within a chunk from it. What the expert would have done at each of them is
        then no way that leads anywhere."""
        return any(first - HORIZON < step < end for first, end in self.stretches)

    def action(self, station: Station, step: int, grip: float) -> tuple[np.ndarray, float]:
        """What is executed at a step that it covers; the pose is held, with the gripper at ``grip``, its last target,
        where the image shows no scene."""
        if not self.covers(step - 1):
            self._plan.clear()
        if not self._plan:
            try:
                self._plan.extend(self.act(station, grip))
            except InputError:
                return station.ee_pose(), grip
        return self._plan.pop(0)


def wander(rng: np.random.Generator) -> Callable[[Station, float], list[tuple[np.ndarray, float]]]:
    """What moves the hand, with whatever it holds, to a place near by and perhaps to another: never downward, where the
    table is."""

    def act(station: Station, grip: float) -> list[tuple[np.ndarray, float]]:
        T = station.ee_pose()
        turn = Rotation.from_rotvec([0.0, 0.0, rng.normal(0, YAW_RAD)]).as_matrix()
        there = se3.make_pose(turn @ T[:3, :3], T[:3, 3] + [*rng.normal(0, ASIDE_M, 2), rng.uniform(0, UP_M)])
        plan = [T]
        while len(plan) == 1 or not np.allclose(plan[-1], there, atol=1e-6):
            plan.append(se3.clip_step(plan[-1], there, STEP_M, STEP_RAD))
        return [(step, grip) for step in plan[1:]]

    return act
