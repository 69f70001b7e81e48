"""Joint limits of commanded poses: estimates the joints of each pose and refuses poses beyond their limits."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from uma.geometry import fr3
from uma.geometry.se3 import exp

MISS_M, MISS_RAD = 1e-3, 5e-3
"""Largest position and rotation error of an inverse-kinematics solution."""

NEWTON = 0.02
"""rad; below this joint step the linearised error is exact enough for `MISS_M`."""

BEND = 0.01
"""rad; extra margin at the resting place of a braking arm, because the path there may bend."""

SINGULAR = 0.03
"""m and rad per rad; least singular value of the Jacobian at a commanded pose.

Nearer to a singularity the joints turn ever faster for the same motion. A lower value is accepted if the arm does not
decrease it.
"""

WATCHED = 0.1
"""m and rad per rad; below this singular value the braking path is checked to its end."""

PULL = 0.1
"""Share of the distance to the measured elbow per iteration, in the null space of the pose."""


@dataclass(frozen=True)
class Arm:
    """The state of an FR3 that relates a pose to its joints.

    Attributes:
        T_ee_flange: ``(4, 4)`` flange ``fr3_link8`` in the end-effector frame of the filtered poses.
        joints: ``(7,)`` measured positions, rad; None = no recent measurement.
    """

    T_ee_flange: np.ndarray
    joints: np.ndarray | None = None


class JointLimitMonitor:
    """Tracks the joints of the commanded poses by damped least squares, seeded with the measured joints.

    The FR3 is redundant, so many joint positions fit one pose. This solution takes the shortest path and is pulled to
    the measured elbow, like a Cartesian controller on the robot.

    Args:
        margin: rad to every joint limit.
    """

    def __init__(self, margin: float) -> None:
        self._low, self._high = fr3.LOWER + margin, fr3.UPPER - margin
        self.clear()

    def clear(self) -> None:
        """Discard the tracked joints; the next `start` initialises them."""
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
        """Solve for the joints of the first commanded pose ``(4, 4)`` from the measured ones.

        Returns:
            Why that fails; empty on success.
        """
        elbow = self._elbow(arm)
        q, metres, radians = _solve(pose @ arm.T_ee_flange, elbow, elbow, 12)
        if metres > MISS_M or radians > MISS_RAD:
            return (
                f"the measured joints do not fit the measured pose: error {metres * 1e3:.0f} mm and {radians:.2f} rad"
            )
        self.q = q
        return ""

    def check_target(self, target: np.ndarray, arm: Arm) -> str:
        """Return why the target ``(4, 4)`` violates the joint limits; empty if it does not."""
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
        """Return why the arm could not stop within its joint limits after moving to ``pose``; empty if it can.

        If it is empty, `accept` may follow.

        Args:
            way, turn: ``(3,)`` braking distance: m in the base frame, and a rotation vector in the end-effector frame.
            seconds: upper bound of the braking time.
            dt: s since the last pose.
        """
        elbow, here = self._elbow(arm), self._here
        q, *miss = _solve(pose @ arm.T_ee_flange, here, elbow, 6)
        now, then = _dexterity(here), _dexterity(q)
        if wrong := self._wrong(q, miss, 0.0) or _is_singular(then, now):
            return wrong
        self._q_next = q
        reach = np.abs(q - here) / dt * seconds + BEND  # twice the distance of uniform braking
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
        """Commit the pose of the last `check_stopping`."""
        self.q = self._q_next

    def follow(self, pose: np.ndarray, arm: Arm) -> None:
        """Track the commanded pose ``(4, 4)`` of a braking arm without checks."""
        self.q = _solve(pose @ arm.T_ee_flange, self._here, self._elbow(arm), 6)[0]

    def _elbow(self, arm: Arm) -> np.ndarray:
        """Return the last measured joints. They keep the elbow from drifting on closed paths."""
        if arm.joints is not None:
            self._measured = arm.joints
        assert self._measured is not None  # the filter calls this only after a joint measurement
        return self._measured

    def _wrong(self, q: np.ndarray, miss: list[float], room: float) -> str:
        # A joint that starts beyond the margin may return, but may go no further.
        low, high = np.minimum(self._low + room, self._here), np.maximum(self._high - room, self._here)
        beyond = np.maximum(low - q, q - high)
        i = int(beyond.argmax())
        if beyond[i] > 1e-9:
            limit = low[i] if q[i] < low[i] else high[i]
            return f"joint {i + 1} would be at {q[i]:.2f} rad, limit {limit:.2f} rad"
        if miss[0] > MISS_M or miss[1] > MISS_RAD:
            return f"no joint positions nearby reach the pose: error {miss[0] * 1e3:.0f} mm and {miss[1]:.2f} rad"
        return ""


def _dexterity(q: np.ndarray) -> float:
    """Return the least singular value of the Jacobian at joints ``(7,)``, m and rad per rad."""
    return float(np.linalg.svd(fr3.jacobian(q)[1], compute_uv=False)[-1])


def _is_singular(dexterity: float, now: float) -> str:
    """Return why joints of that `_dexterity` are too singular, coming from ``now``; empty if they are not."""
    return (
        f"a singularity is near: {dexterity:.3f} m or rad per rad, limit {SINGULAR}"
        if dexterity < min(SINGULAR, now)
        else ""
    )


def _solve(T_flange: np.ndarray, q: np.ndarray, elbow: np.ndarray, iterations: int) -> tuple[np.ndarray, float, float]:
    """Solve for joints ``(7,)`` near ``q`` that bring the flange to ``T_flange``, ignoring joint limits.

    Returns:
        The joints, and the remaining error: m, rad.
    """
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
