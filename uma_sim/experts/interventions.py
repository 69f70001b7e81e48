"""Interventions: a policy acts (DAgger) or the hand drifts during a demonstration, and the expert recovers."""

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
"""Control steps before a drift: after a first chunk of the expert, and before most episodes end."""

SOON = (HORIZON, 40)
"""Control steps before a policy acts: early, because the expert's recovery afterwards is the purpose of the episode."""

LENGTH = (8, 64)
"""Duration of a policy's stretch in control steps: enough for a failed grasp or a whole stroke with its consequences.
"""

MOST = 6
"""Largest number of policy stretches per episode. Several short ones yield more recoveries than a long one."""

ATTEMPT, ATTEMPTS = (60, 150), 2
"""Duration of a whole attempt in control steps, and largest number per episode: long enough to include a premature end.
"""

BETWEEN = (HORIZON + 4, HORIZON + 24)
"""Control steps of the expert between two stretches: a few whole chunks."""

WANDER = (4, 14)
"""Duration of a drift in control steps: as far as a slightly wrong policy gets in a few chunks."""

ASIDE_M, UP_M, YAW_RAD = 0.05, 0.07, 0.5
"""Distribution of drift targets: lateral standard deviation, largest rise, standard deviation of the yaw."""


@dataclass
class Interventions:
    """Stretches of an episode in which something else acts instead of the expert.

    Attributes:
        act: maps the station and the gripper's last target to the next actions, ``(4, 4)`` T_base_ee and gripper 0 or
            1.
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
        """Draw one to ``most`` stretches, the first after ``first``, each of ``length`` (least, most) steps."""
        begin, stretches = int(rng.integers(first[0], first[1] + 1)), []
        for _ in range(int(rng.integers(1, most + 1))):
            stretches.append((begin, begin + int(rng.integers(length[0], length[1] + 1))))
            begin = stretches[-1][1] + int(rng.integers(BETWEEN[0], BETWEEN[1] + 1))
        return cls(act, tuple(stretches))

    @property
    def steps(self) -> int:
        """Total control steps of all stretches, unless the episode ends earlier."""
        return sum(end - first for first, end in self.stretches)

    def covers(self, step: int) -> bool:
        """Whether a stretch covers this step."""
        return any(first <= step < end for first, end in self.stretches)

    def reaches(self, step: int) -> bool:
        """Whether a stretch covers this step or a chunk from it; then the expert's labels form no continuous motion."""
        return any(first - HORIZON < step < end for first, end in self.stretches)

    def action(self, station: Station, step: int, grip: float) -> tuple[np.ndarray, float]:
        """Return the executed action of a covered step.

        If the image is unusable, it holds the pose and the gripper value ``grip``.
        """
        if not self.covers(step - 1):
            self._plan.clear()
        if not self._plan:
            try:
                self._plan.extend(self.act(station, grip))
            except InputError:
                return station.ee_pose(), grip
        return self._plan.pop(0)


def wander(rng: np.random.Generator) -> Callable[[Station, float], list[tuple[np.ndarray, float]]]:
    """Return a function that moves the hand, with its load, to a place nearby, never downward."""

    def act(station: Station, grip: float) -> list[tuple[np.ndarray, float]]:
        T = station.ee_pose()
        turn = Rotation.from_rotvec([0.0, 0.0, rng.normal(0, YAW_RAD)]).as_matrix()
        there = se3.make_pose(turn @ T[:3, :3], T[:3, 3] + [*rng.normal(0, ASIDE_M, 2), rng.uniform(0, UP_M)])
        plan = [T]
        while len(plan) == 1 or not np.allclose(plan[-1], there, atol=1e-6):
            plan.append(se3.clip_step(plan[-1], there, STEP_M, STEP_RAD))
        return [(step, grip) for step in plan[1:]]

    return act
