"""Which joints a commanded pose takes, so that no pose is commanded that the arm could only reach beyond the limits of
its joints."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from uma.geometry import fr3
from uma.geometry.se3 import exp

MISS_M, MISS_RAD = 1e-3, 5e-3
"""How far joints may miss a pose and still count as its solution."""

NEWTON = 0.02
"""rad; where no joint goes further in one iteration, what the iteration leaves is far below `MISS_M` and need not be
looked at."""

BEND = 0.01
"""rad; room kept besides the margin at the place where the arm would come to rest: braking may bend the way there a
little."""

SINGULAR = 0.03
"""m and rad per rad; least singular value of the Jacobian that a commanded pose may have, unless the arm comes from a
lower one: nearer to a singularity the joints turn ever faster for the same motion, and which of them do is a matter of
chance. The simulated tasks stay above 0.09."""

WATCHED = 0.1
"""The same; below it, braking is looked at to its end."""

PULL = 0.1
"""Share of the way to the measured elbow that is taken in each iteration, in the null space of the pose."""


@dataclass(frozen=True)
class Arm:
    """What has to be known of an FR3 to tell its joints from a pose.

    Attributes:
        T_ee_flange: ``(4, 4)`` flange ``fr3_link8`` in the end-effector frame whose poses are filtered.
        joints: ``(7,)`` measured positions, rad; None = not heard lately.
    """

    T_ee_flange: np.ndarray
    joints: np.ndarray | None = None


class JointLimitMonitor:
    """Follows the joints of the commanded poses, seeded from the measured ones, by damped least squares.

    A redundant arm has many joints for one pose. Those followed here go the shortest way and are drawn to the measured
    elbow: where a Cartesian controller on the robot, which goes a short way too, will come to.

    Args:
        margin: rad; room to be left to every joint limit.
    """

    def __init__(self, margin: float) -> None:
        self._low, self._high = fr3.LOWER + margin, fr3.UPPER - margin
        self.clear()

    def clear(self) -> None:
        """Forget the arm: it starts anew, wherever it is."""
        self.q: np.ndarray | None = None
        self._q_target: np.ndarray | None = None
        self._q_next: np.ndarray | None = None
        self._measured: np.ndarray | None = None

    @property
    def _here(self) -> np.ndarray:
        """`q` after `start`."""
        assert self.q is not None
        return self.q

    def start(self, pose: np.ndarray, arm: Arm) -> str:
        """Find the joints of the first commanded pose ``(4, 4)``, from the measured ones. Returns why that fails; empty
        if it does not."""
        elbow = self._elbow(arm)
        q, metres, radians = _solve(pose @ arm.T_ee_flange, elbow, elbow, 12)
        if metres > MISS_M or radians > MISS_RAD:
            return (
                f"the measured joints do not lead to the measured pose: {metres * 1e3:.0f} mm and {radians:.2f} "
                "rad are missing"
            )
        self.q = q
        return ""

    def check_target(self, target: np.ndarray, arm: Arm) -> str:
        """Why the joints that a target ``(4, 4)`` takes are beyond their limits; empty if they are not."""
        seed, here = self._q_target, self._here
        if seed is None or np.abs(seed - here).max() > 0.5:
            seed = here
        q, *miss = _solve(target @ arm.T_ee_flange, seed, self._elbow(arm), 12)
        wrong = self._wrong(q, miss, 0.0)
        self._q_target = None if wrong else q
        return wrong

    def check_stopping(
        self, pose: np.ndarray, way: np.ndarray, turn: np.ndarray, seconds: float, dt: float, arm: Arm
    ) -> str:
        """Why an arm that is sent to ``pose`` could not be brought to rest within its joint limits; empty if it can,
        and then `accept` may follow.

        Args:
            way, turn: ``(3,)`` m in the base frame and rotation vector in the end effector's: how far it goes on while
                it brakes.
            seconds: that braking takes, at most.
            dt: s since the last pose.
        """
        elbow, here = self._elbow(arm), self._here
        q, *miss = _solve(pose @ arm.T_ee_flange, here, elbow, 6)
        now, then = _dexterity(here), _dexterity(q)
        if wrong := self._wrong(q, miss, 0.0) or _is_singular(then, now):
            return wrong
        self._q_next = q
        reach = np.abs(q - here) / dt * seconds + BEND  # twice as far as a joint goes that slows down evenly
        if then > WATCHED and (q - reach > self._low).all() and (q + reach < self._high).all():
            return ""
        for share in (0.5, 1.0):
            ahead = pose.copy()
            ahead[:3, 3] += share * way
            ahead[:3, :3] = pose[:3, :3] @ exp(share * turn)
            q, *miss = _solve(ahead @ arm.T_ee_flange, q, elbow, 8)
            if wrong := self._wrong(q, miss, BEND) or _is_singular(_dexterity(q), now):
                return wrong
        return ""

    def accept(self) -> None:
        """The pose that `check_stopping` has looked at is commanded."""
        self.q = self._q_next

    def follow(self, pose: np.ndarray, arm: Arm) -> None:
        """The pose ``(4, 4)`` is commanded, whatever its joints: the arm brakes."""
        self.q = _solve(pose @ arm.T_ee_flange, self._here, self._elbow(arm), 6)[0]

    def _elbow(self, arm: Arm) -> np.ndarray:
        """The joints that were measured last. Without them the elbow would drift, the shortest ways round a circle do
        not lead back to where they began."""
        if arm.joints is not None:
            self._measured = arm.joints
        assert self._measured is not None  # the filter asks only once joints were given
        return self._measured

    def _wrong(self, q: np.ndarray, miss: list[float], room: float) -> str:
        # A joint that is beyond the margin already, because the arm was started there, may come back but go no further.
        low, high = np.minimum(self._low + room, self._here), np.maximum(self._high - room, self._here)
        beyond = np.maximum(low - q, q - high)
        i = int(beyond.argmax())
        if beyond[i] > 1e-9:
            limit = low[i] if q[i] < low[i] else high[i]
            return f"joint {i + 1} would be at {q[i]:.2f} rad, limit {limit:.2f} rad"
        if miss[0] > MISS_M or miss[1] > MISS_RAD:
            return (
                f"no joints near the present ones lead there, {miss[0] * 1e3:.0f} mm and {miss[1]:.2f} rad are missing"
            )
        return ""


def _dexterity(q: np.ndarray) -> float:
    """Least singular value of the Jacobian at joints ``(7,)``, m and rad per rad."""
    return float(np.linalg.svd(fr3.jacobian(q)[1], compute_uv=False)[-1])


def _is_singular(dexterity: float, now: float) -> str:
    """Why joints of that `_dexterity` are not gone to from ``now``; empty if they may be."""
    return (
        f"a singularity is near: {dexterity:.3f} m or rad per rad, limit {SINGULAR}"
        if dexterity < min(SINGULAR, now)
        else ""
    )


def _solve(T_flange: np.ndarray, q: np.ndarray, elbow: np.ndarray, iterations: int) -> tuple[np.ndarray, float, float]:
    """Joints ``(7,)`` near ``q`` that bring the flange to ``T_flange``, without regard to their limits, and what is
    left: m, rad."""
    q = np.array(q, np.float64)
    for _ in range(iterations):
        T, J = fr3.jacobian(q)
        error = fr3.pose_error(T, T_flange)
        pull = PULL * (elbow - q)
        dq = fr3.ik_step(q, J, error, pull)
        size = float(np.abs(dq).max())
        q = q + dq / max(1.0, size / 0.25)
        if size < NEWTON:
            error = error - J @ dq
            break
    else:
        error = fr3.pose_error(fr3.forward(q), T_flange)
    return q, float(np.sqrt(error[:3] @ error[:3])), float(np.sqrt(error[3:] @ error[3:]))
