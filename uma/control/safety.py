"""The safety filter: the last stage before the robot. It passes a target within limits, or holds the pose."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

import numpy as np

from uma.control.collision import CollisionSettings, collision
from uma.control.follower import accelerate, shorten, stopping_speed
from uma.control.reach import Arm, JointLimitMonitor
from uma.geometry.se3 import clip_step, exp, log, make_pose
from uma.settings import check_settings, setting
from uma.types import InputError, check_pose

SLOW = 0.1
"""Fraction of the speed limits at the start of the ramp."""


@dataclass(frozen=True)
class SafetySettings:
    """Limits of the commanded pose in the base frame. The workspace bounds the end effector (the tool's tip)."""

    workspace_min: list[float] = setting(
        [0.2, -0.55, -0.005], "m; lowest x, y, z of the end effector in the base frame", -2.0, 2.0
    )
    workspace_max: list[float] = setting(
        [0.8, 0.55, 0.75], "m; highest x, y, z of the end effector in the base frame", -2.0, 2.0
    )
    workspace_margin: float = setting(
        0.1, "m; a target outside by less is clamped to the box, and one further out is not followed", 0.0, 1.0
    )
    max_step_m: float = setting(0.075, "m; longest translation in one 15 Hz step: 1.125 m/s", 0.001, 0.19, live=True)
    max_step_rad: float = setting(0.15, "rad; largest rotation in one 15 Hz step: 2.25 rad/s", 0.001, 0.16, live=True)
    max_acceleration: float = setting(8.0, "m/s^2; the FR3 stops at 9", 0.1, 8.9)
    max_turn_acceleration: float = setting(15.0, "rad/s^2; the FR3 stops at 17", 0.1, 16.9)
    max_jerk: float = setting(
        4000.0, "m/s^3; the FR3 stops at 4500; a workspace wall may raise a low limit up to threefold", 1.0, 4490.0
    )
    max_turn_jerk: float = setting(8000.0, "rad/s^3; the FR3 stops at 8500", 1.0, 8490.0)
    max_lead_m: float = setting(0.12, "m; largest lead of the target over the measured position", 0.005, 0.5)
    max_lead_rad: float = setting(0.4, "rad; largest lead of the target over the measured rotation", 0.01, 1.5)
    catch_up: float = setting(
        0.3,
        "fraction of the speed limits by which the arm may exceed its plan's speed, to catch up after a lag or "
        "a late chunk",
        0.05,
        1.0,
        live=True,
    )
    ramp_s: float = setting(
        1.0, "s; ramp of the speed limits to their full values after a start from rest", 0.0, 30.0, live=True
    )
    max_tilt: float = setting(
        3.15, "rad; largest angle between the tool's approach axis and straight down; 3.15 = any", 0.0, 3.15
    )
    joint_margin: float = setting(
        0.05,
        "rad; margin to the arm's joint limits, from the first joint message on; 0 = no check",
        0.0,
        0.5,
    )
    collision: CollisionSettings = field(default_factory=CollisionSettings)

    def __post_init__(self) -> None:
        check_settings(self)
        for name in ("workspace_min", "workspace_max"):
            if len(getattr(self, name)) != 3:
                raise InputError(f"{name}: {getattr(self, name)}, must be 3 values")
        if not all(a < b for a, b in zip(self.workspace_min, self.workspace_max)):
            raise InputError(
                f"workspace_min {self.workspace_min} must be below workspace_max {self.workspace_max} on every axis"
            )

    @property
    def max_speed(self) -> float:
        return self.max_step_m * 15.0

    @property
    def max_turn_speed(self) -> float:
        return self.max_step_rad * 15.0


@dataclass(frozen=True)
class Verdict:
    """The filter's output for one control period.

    Attributes:
        pose: ``(4, 4)`` target that keeps every limit.
        hold_reason: why the requested target was not followed; empty if it was.
        limited: limits that changed the target by more than a millimetre or half a degree.
    """

    pose: np.ndarray
    hold_reason: str = ""
    limited: tuple[str, ...] = ()


class SafetyFilter:
    """Tracks targets within limits on position, speed, acceleration and jerk, from the pose of `reset`."""

    def __init__(self, settings: SafetySettings | None = None) -> None:
        self.settings = settings or SafetySettings()
        self.counts: Counter[str] = Counter()
        self._pose: np.ndarray | None = None
        self._reach = JointLimitMonitor(self.settings.joint_margin) if self.settings.joint_margin else None
        self._stopping = ""
        self._nominal_speed: tuple[float, float] | None = None

    def reset(self, pose: np.ndarray) -> None:
        """Restart at rest from a measured pose."""
        self._pose = check_pose(pose, "pose")
        self._wanted = self._pose
        self._v, self._a, self._w, self._alpha = (np.zeros(3) for _ in range(4))
        self._ramp = 0.0
        self._stopping = ""
        if self._reach is not None:
            self._reach.clear()

    @property
    def joints(self) -> np.ndarray | None:
        """``(7,)`` rad of the last passed pose; None without a joint-limit check or before the first joint message."""
        return None if self._reach is None else self._reach.q

    @property
    def pose(self) -> np.ndarray | None:
        """The last passed pose."""
        return self._pose

    @property
    def _here(self) -> np.ndarray:
        """`pose` after `reset`."""
        assert self._pose is not None
        return self._pose

    def step(
        self,
        target: np.ndarray | None,
        measured: np.ndarray,
        dt: float,
        elapsed: float | None = None,
        arm: Arm | None = None,
        nominal_speed: tuple[float, float] | None = None,
    ) -> Verdict:
        """Run one control period of ``dt`` seconds. ``target`` None brakes and then holds.

        Args:
            nominal_speed: m/s and rad/s of the plan; the arm may exceed it by ``catch_up``. None = unknown.
            elapsed: seconds since the previous target, if longer than ``dt``; gives the target's velocity.
            arm: joint state for ``joint_margin``; the check starts with the first joint measurement.

        Raises:
            InputError: ``measured`` is not a valid pose, so the robot's state cannot be trusted.
        """
        measured = check_pose(measured, "measured pose")
        if self._pose is None:
            self.reset(measured)
        self._nominal_speed = nominal_speed
        held = ""
        limited: list[str] = []
        if target is not None:
            target, held = self._place(target, limited)
        if target is not None and not _close(measured, target, self.settings.max_lead_m, self.settings.max_lead_rad):
            near = clip_step(measured, target, self.settings.max_lead_m, self.settings.max_lead_rad)
            if not _close(near, target):
                limited.append("lead")
            target = near
        if arm is not None and self._reach is not None and (self._reach.q is not None or arm.joints is not None):
            held = self._move_within_reach(target, held, dt, max(elapsed or dt, dt), limited, arm)
        else:
            self._move(target, dt, max(elapsed or dt, dt), limited)
        if held:
            self.counts["held: " + held.split(":")[0]] += 1
        self.counts.update(f"limited: {name}" for name in limited)
        self.counts["passed"] += not held and target is not None
        return Verdict(self._here, held, tuple(limited))

    def _place(self, target: np.ndarray, limited: list[str]) -> tuple[np.ndarray | None, str]:
        """Return the target inside the workspace, or None and the reason."""
        s = self.settings
        try:
            target = check_pose(target, "target")
        except InputError as error:
            return None, f"pose: {error}"
        low, high = np.asarray(s.workspace_min), np.asarray(s.workspace_max)
        p = target[:3, 3]
        outside = np.maximum(np.maximum(low - p, p - high), 0.0)
        if outside.max() > s.workspace_margin:
            axis = int(outside.argmax())
            return (
                None,
                f"workspace: target {'xyz'[axis]} = {p[axis]:.3f} m is outside [{low[axis]}, {high[axis]}] "
                f"by more than {s.workspace_margin} m",
            )
        if outside.any():
            if outside.max() > 1e-3:
                limited.append("workspace")
            target = make_pose(target[:3, :3], np.clip(p, low, high))
        tilt = float(np.arccos(np.clip(-target[2, 2], -1.0, 1.0)))
        if tilt > s.max_tilt:
            return None, f"tilt: {tilt:.2f} rad from straight down, limit {s.max_tilt}"
        if hit := collision(target, s.collision):
            return None, f"collision: {hit}"
        return target, ""

    def _move_within_reach(
        self, target: np.ndarray | None, hold_reason: str, dt: float, elapsed: float, limited: list[str], arm: Arm
    ) -> str:
        """Run `_move`, or brake where the joints would violate their limits.

        Returns:
            The hold reason; empty if the target is followed.
        """
        reach = self._reach
        assert reach is not None
        trouble = reach.start(self._here, arm) if reach.q is None else ""
        # Braking continues until rest. Alternating between braking and motion would shake the arm.
        if self._stopping and np.linalg.norm(self._v) < 1e-3 and np.linalg.norm(self._w) < 1e-3:
            self._stopping = ""
        if target is not None and not self._stopping and not trouble:
            trouble = reach.check_target(target, arm)
            if not trouble:
                before = self._pose, self._v, self._a, self._w, self._alpha, self._wanted, self._ramp
                found: list[str] = []
                self._move(target, dt, elapsed, found)
                trouble = reach.check_stopping(self._here, *self._braking(), dt, arm)
                if not trouble:
                    limited += found
                    reach.accept()
                    return hold_reason
                self._pose, self._v, self._a, self._w, self._alpha, self._wanted, self._ramp = before
        if trouble:
            self._stopping = f"joint limits: {trouble}"
        self._move(None, dt, elapsed, limited)
        if reach.q is not None:
            reach.follow(self._here, arm)
        return hold_reason or (self._stopping if target is not None else "")

    def _braking(self) -> tuple[np.ndarray, np.ndarray, float]:
        """Return an upper bound of the braking path, ``(3,)`` m and ``(3,)`` rad, and of its duration in seconds."""
        s = self.settings
        way, seconds = _stop(self._v, self._a, 0.6 * s.max_acceleration, s.max_jerk)
        turn, longer = _stop(self._w, self._alpha, 0.6 * s.max_turn_acceleration, s.max_turn_jerk)
        return way, turn, max(seconds, longer)

    def _move(self, target: np.ndarray | None, dt: float, elapsed: float, limited: list[str]) -> None:
        """Advance the passed pose by one period toward ``target``."""
        s = self.settings
        here = self._here
        goal = here if target is None else target
        braking = target is None
        step = np.zeros(3) if braking else goal[:3, 3] - here[:3, 3]
        turn = np.zeros(3) if braking else log(here[:3, :3].T @ goal[:3, :3])
        # The target's own velocity is a feed-forward term. Without it, the arm lags behind a moving target.
        ahead = np.zeros(3) if braking else (goal[:3, 3] - self._wanted[:3, 3]) / elapsed
        spin = np.zeros(3) if braking else log(self._wanted[:3, :3].T @ goal[:3, :3]) / elapsed
        # A slow start gives the operator time to see the direction. Braking ignores the ramp.
        if braking and not self._v.any() and not self._w.any():
            self._ramp = 0.0
        self._ramp = min(self._ramp + (0.0 if braking else dt / max(s.ramp_s, dt)), 1.0)
        share = 1.0 if braking else SLOW + (1.0 - SLOW) * self._ramp
        catch_up, catch_up_turn = s.catch_up * share * s.max_speed, s.catch_up * share * s.max_turn_speed
        fastest, fastest_turn = share * s.max_speed, share * s.max_turn_speed
        if self._nominal_speed is not None:
            fastest, fastest_turn = (
                min(fastest, self._nominal_speed[0] + catch_up),
                min(fastest_turn, self._nominal_speed[1] + catch_up_turn),
            )
        v, _ = _follow(step, ahead, self._v, self._a, dt, fastest, s.max_acceleration, s.max_jerk, catch_up)
        v, self._a = self._stay_inside(here[:3, 3], v, dt)
        w, self._alpha = _follow(
            turn, spin, self._w, self._alpha, dt, fastest_turn, s.max_turn_acceleration, s.max_turn_jerk, catch_up_turn
        )
        self._v, self._w, self._wanted = v, w, goal
        self._pose = make_pose(here[:3, :3] @ exp(w * dt), here[:3, 3] + v * dt)
        if not braking and not _close(self._pose, goal, 0.005, 0.03):
            limited.append("speed")

    def _stay_inside(self, p: np.ndarray, v: np.ndarray, dt: float) -> tuple[np.ndarray, np.ndarray]:
        """Return a velocity that can still brake before each workspace wall, and its acceleration. Walls take
        priority."""
        s = self.settings
        a = 0.5 * s.max_acceleration  # keeps the limit at three walls at once
        room_high = np.maximum(np.asarray(s.workspace_max) - p, 0.0)
        room_low = np.maximum(p - np.asarray(s.workspace_min), 0.0)
        most, least = (stopping_speed(room, a, dt) for room in (room_high, room_low))
        inside = np.clip(v, -least, most)
        change = (inside - self._v) / dt
        wall = np.where(inside != v, change, 0.0)
        wall = shorten(wall, s.max_acceleration)
        rest = shorten(
            np.where(inside != v, 0.0, change), np.sqrt(max(s.max_acceleration**2 - float(wall @ wall), 0.0))
        )
        return self._v + (wall + rest) * dt, wall + rest


def _close(a: np.ndarray, b: np.ndarray, metres: float = 1e-3, radians: float = 9e-3) -> bool:
    return bool(np.linalg.norm(a[:3, 3] - b[:3, 3]) < metres and np.linalg.norm(log(a[:3, :3].T @ b[:3, :3])) < radians)


def _stop(v: np.ndarray, a: np.ndarray, acceleration: float, jerk: float) -> tuple[np.ndarray, float]:
    """Return the path ``(3,)`` from velocity ``v`` to rest, and its duration in seconds.

    First the acceleration ``a`` fades out. Then the braking ramps up and down at the jerk limit.
    """
    fade = float(np.sqrt(a @ a)) / jerk
    u = v + 0.5 * fade * a
    speed = float(np.sqrt(u @ u))
    seconds = (
        speed / acceleration + acceleration / jerk if speed > acceleration**2 / jerk else 2.0 * np.sqrt(speed / jerk)
    )
    return fade * v + fade**2 / 3.0 * a + 0.5 * seconds * u, fade + seconds


def _follow(
    error: np.ndarray,
    ahead: np.ndarray,
    v: np.ndarray,
    a: np.ndarray,
    dt: float,
    speed: float,
    acceleration: float,
    jerk: float,
    catch_up: float,
) -> tuple[np.ndarray, np.ndarray]:
    """Return the next velocity and acceleration, each ``(3,)``, of a point that closes ``error`` within ``dt``.

    Both keep the limits.
    """
    distance = float(np.linalg.norm(error))
    wanted = error / dt
    far = distance - float(np.linalg.norm(ahead)) * dt * 1.5
    if far > 1e-4:  # behind by more than the target's own step: catch up within the braking distance
        brake = stopping_speed(far, 0.6 * acceleration, dt)
        wanted = shorten(ahead, speed) + error / distance * min(brake, distance / dt, catch_up)
    wanted = shorten(wanted, speed)
    change = wanted - v
    change = accelerate(change, a, dt, acceleration, jerk, shorten)
    # After a limit is lowered, the arm brakes to the new value.
    new = shorten(v + change * dt, max(speed, float(np.linalg.norm(v))))
    return new, (new - v) / dt
