"""Adversarial target sequences for the robot's controller, and checks of its commands against every limit.

    python -m robustness.safety --sequences 100000 [--first 0] [--processes 2]

The command prints the largest value of every quantity over all sequences, as a fraction of its limit. Its exit code is
1 if a limit was exceeded.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import sys
from collections import Counter
from dataclasses import dataclass, field, replace
from math import inf

import numpy as np
from scipy.spatial.transform import Rotation

from uma.control.chunk_path import Setpoint
from uma.control.collision import collision
from uma.control.controller import Controller
from uma.control.controller_settings import ControllerSettings
from uma.control.reach import WATCHED
from uma.control.safety import SafetySettings
from uma.geometry import fr3
from uma.geometry.fr3 import CARTESIAN
from uma.geometry.se3 import invert, make_pose, rotation_angle
from uma.types import HORIZON, ActionChunk

DOWN = np.diag([1.0, -1.0, -1.0])
KINDS = ("walk", "jumps", "zigzag", "edges", "broken", "gaps", "stuck", "calm")
T_EE_FLANGE = invert(make_pose(Rotation.from_rotvec([0.0, 0.0, -np.pi / 4]).as_matrix(), np.array([0.0, 0.0, 0.1597])))
T_FLANGE_EE = invert(T_EE_FLANGE)
STEPS = (4, 28)
"""Range of the number of control periods in a sequence, the end exclusive."""


class Targets:
    """Stands in for a schedule. ``point`` is due at any time; None = no target."""

    last_due = inf

    def __init__(self) -> None:
        self.point: Setpoint | None = None

    def target(self, t: float) -> Setpoint | None:
        return self.point


def placed(settings: ControllerSettings, start: np.ndarray, t: float, poses: np.ndarray | None = None) -> Controller:
    """Return a controller after its first period.

    Args:
        start: ``(4, 4)`` end-effector pose of the filter.
        t: time on both clocks, s.
        poses: poses of the active chunk; None = a chunk that stays at ``start``.
    """
    controller = Controller(settings, lambda target, source: T_FLANGE_EE)
    controller.receive("calibration", t)
    controller.receive("gripper", t)
    controller.receive_pose(start @ T_EE_FLANGE, t, t, t)
    poses = np.repeat(start[None], HORIZON, 0) if poses is None else poses
    controller.receive_chunk(ActionChunk(poses, np.zeros(HORIZON), t, settings.base_frame, "tcp"), t, t)
    controller.step(t, t)
    return controller


def draw(
    seed: int,
) -> tuple[str, SafetySettings, np.ndarray, list[np.ndarray | None], list[np.ndarray | None], np.ndarray]:
    """Draw a sequence.

    Returns:
        Kind, settings, start pose, targets, measured poses (None = the filter's pose), and periods in seconds.
    """
    rng = np.random.default_rng([seed, 40])
    kind = KINDS[seed % len(KINDS)]
    settings = SafetySettings(
        ramp_s=float(rng.choice([0.0, 1.0])),
        max_lead_m=float(rng.choice([0.12, 0.5])),
        max_jerk=float(rng.choice([4000.0, 500.0])),
    )
    n = int(rng.integers(*STEPS))
    low, high = np.array(settings.workspace_min), np.array(settings.workspace_max)
    start = make_pose(
        DOWN @ Rotation.from_euler("xyz", rng.uniform(-0.5, 0.5, 3)).as_matrix(),
        rng.uniform([0.3, -0.45, 0.1], [0.7, 0.45, 0.6]),
    )
    dt = np.full(n, 1 / 125) if rng.random() < 0.5 else rng.uniform(0.004, 0.03, n)

    def pose(p: np.ndarray, turn: np.ndarray) -> np.ndarray:
        return make_pose(start[:3, :3] @ Rotation.from_rotvec(turn).as_matrix(), p)

    here = start[:3, 3]
    if kind == "walk":
        p, r = here + np.cumsum(rng.normal(0, 0.02, (n, 3)), 0), np.cumsum(rng.normal(0, 0.1, (n, 3)), 0)
    elif kind in ("jumps", "gaps", "broken", "stuck"):
        p, r = rng.uniform(low - 0.2, high + 0.2, (n, 3)), rng.uniform(-3, 3, (n, 3))
        hold = int(rng.integers(1, 8))
        p, r = (np.repeat(x, hold, 0)[:n] for x in (p, r))
    elif kind == "zigzag":
        sign, way, turn = (-1.0) ** np.arange(n)[:, None], rng.normal(0, 0.1, 3), rng.normal(0, 1, 3)
        p, r = here + sign * way, sign * turn
    elif kind == "edges":
        p, r = np.where(rng.random((n, 3)) < 0.5, low, high) + rng.uniform(-0.05, 0.05, (n, 3)), np.zeros((n, 3))
        p = np.repeat(p, 12, 0)[:n]
    else:  # calm: slow enough to pass unchanged
        t = np.cumsum(dt)[:, None]
        p, r = here + 0.05 * rng.uniform(-1, 1, 3) * t**2, 0.1 * rng.uniform(-1, 1, 3) * t**2
    targets: list[np.ndarray | None] = [pose(a, b) for a, b in zip(p, r, strict=True)]
    measured: list[np.ndarray | None] = [None] * n
    for i in range(n):
        if kind == "gaps" and rng.random() < 0.4:
            targets[i] = None
        elif kind == "broken" and rng.random() < 0.4:
            bad, how = targets[i].copy(), rng.integers(4)
            bad[tuple(rng.integers(0, [3, 4]))] = [np.nan, np.inf, 1e9, -3.0][how]
            targets[i] = bad
        elif kind == "stuck":
            measured[i] = make_pose(start[:3, :3], here + rng.normal(0, 1e-3, 3))
    return kind, settings, start, targets, measured, dt


def draw_arm(seed: int, kind: str, start: np.ndarray) -> tuple[np.ndarray | None, float]:
    """Draw the joints at the start and the margin to their limits, for half of the sequences.

    The joints are None for the other half, and if none reach the start. Calm sequences are far from joint limits and
    singularities; all others are near a limit.
    """
    rng = np.random.default_rng([seed, 41])
    if rng.random() < 0.5:
        return None, 0.05
    q, metres, radians = fr3.solve(
        start @ T_EE_FLANGE, fr3.REST + rng.normal(0, 0.2, 7), margin=0.55 if kind == "calm" else 0.07
    )
    if metres > 1e-4 or radians > 1e-3:
        return None, 0.05
    if kind == "calm" and np.linalg.svd(fr3.jacobian(q)[1], compute_uv=False)[-1] < WATCHED:
        return None, 0.05  # a calm target near a singularity is rightly held
    room = float(np.minimum(q - fr3.LOWER, fr3.UPPER - q).min())
    return q, 0.05 if kind == "calm" else float(np.clip(room - rng.uniform(0.02, 0.2), 0.05, 0.5))


@dataclass
class Worst:
    """Largest value of each quantity as a fraction of its limit, and the violations.

    Attributes:
        share: quantity -> largest value divided by its limit.
        broken: one sentence per violation, with the seed.
        kinds, steps, held: counts.
        arms, unreachable: numbers of sequences with joint limits, and of steps held for them.
    """

    share: dict[str, float] = field(default_factory=dict)
    broken: list[str] = field(default_factory=list)
    kinds: Counter[str] = field(default_factory=Counter)
    steps: int = 0
    held: int = 0
    arms: int = 0
    unreachable: int = 0

    def see(self, seed: int, name: str, value: float, limit: float) -> None:
        """Compare one value with its limit."""
        self.share[name] = max(self.share.get(name, 0.0), value / limit)
        if not value <= limit:
            self.broken.append(f"seed {seed}: {name} {value:.6g}, limit {limit:.6g}")

    def add(self, other: Worst) -> None:
        """Merge the results of ``other``."""
        for name, value in other.share.items():
            self.share[name] = max(self.share.get(name, 0.0), value)
        self.broken += other.broken
        self.kinds += other.kinds
        self.steps += other.steps
        self.held += other.held
        self.arms += other.arms
        self.unreachable += other.unreachable


def run(seed: int, worst: Worst) -> None:
    """Run one sequence through a controller and check every command against every limit."""
    kind, settings, start, targets, measured, dts = draw(seed)
    q, margin = draw_arm(seed, kind, start)
    if q is not None and kind != "calm":  # three times longer, because joint limits are far away
        targets, measured, dts = (
            [x for x in targets for _ in range(3)],
            [x for x in measured for _ in range(3)],
            np.repeat(dts, 3),
        )
    settings = replace(settings, joint_margin=margin)
    controller = placed(ControllerSettings(autostart=True, safety=settings), start, 0.0)
    f, schedule, t = controller.safety, Targets(), 0.0
    controller.schedule = schedule
    worst.kinds[kind] += 1
    worst.arms += q is not None
    noise = np.random.default_rng([seed, 42])
    low, high = np.array(settings.workspace_min), np.array(settings.workspace_max)
    rng = np.random.default_rng([seed, 43])
    nominal_speed = (
        None if kind == "calm" or rng.random() < 0.5 else (float(rng.uniform(0.0, 0.6)), float(rng.uniform(0.0, 1.2)))
    )
    # Calm targets pass unchanged only without a collision.
    is_free = kind == "calm" and not any(collision(target, settings.collision) for target in targets)
    poses = [start]
    for target, place, dt in zip(targets, measured, dts, strict=True):
        t += float(dt)
        schedule.point = None if target is None else Setpoint(target, 0.0, 0, 0, False, nominal_speed)
        try:
            controller.receive("gripper", t)
            controller.receive_pose((f.pose if place is None else place) @ T_EE_FLANGE, t, t, t)
            joints = (
                None
                if q is None or noise.random() < 0.2 and f.joints is not None
                else (q if f.joints is None else f.joints) + noise.normal(0, 1e-3, 7)
            )
            if joints is not None:
                controller.receive_joints(joints, t)
            elif q is not None:  # too old to count
                controller.receive_joints(q, t - 1.0)
            command = controller.step(t, t)
        except Exception as error:  # no target may end the controller
            worst.broken.append(f"seed {seed}: raised {error!r}")
            return
        worst.see(seed, "no target", float(command.target is None), 0.5)
        if command.target is None:
            return
        T = command.target @ T_FLANGE_EE
        worst.steps += 1
        worst.held += bool(command.hold_reason)
        worst.unreachable += command.hold_reason.startswith("joint limits")
        worst.see(seed, "not finite", float(not np.isfinite(T).all()), 0.5)
        worst.see(seed, "rotation error", float(np.abs(T[:3, :3] @ T[:3, :3].T - np.eye(3)).max()), 1e-9)
        worst.see(seed, "outside the workspace (m)", float(np.maximum(low - T[:3, 3], T[:3, 3] - high).max()), 1e-3)
        if target is not None and not np.isfinite(target).all():
            worst.see(seed, "a broken target not held", float(not command.hold_reason), 0.5)
        if target is not None and np.isfinite(target).all() and collision(clip(target, low, high), settings.collision):
            worst.see(seed, "a colliding target not held", float(not command.hold_reason), 0.5)
        if q is not None:
            beyond = np.maximum(fr3.LOWER + margin - f.joints, f.joints - fr3.UPPER + margin)
            error = fr3.pose_error(fr3.forward(f.joints), T @ T_EE_FLANGE)
            worst.see(seed, "joints beyond the margin (rad)", max(float(beyond.max()), 0.0), 1e-3)
            worst.see(seed, "joints off the pose (m)", float(np.linalg.norm(error[:3])), 2e-3)
            worst.see(seed, "joints off the pose (rad)", float(np.linalg.norm(error[3:])), 1e-2)
        if is_free:
            worst.see(seed, "a calm target changed (m)", float(np.linalg.norm(T[:3, 3] - target[:3, 3])), 1e-3)
            worst.see(seed, "a calm target turned (rad)", float(rotation_angle(T[:3, :3], target[:3, :3])), 9e-3)
        poses.append(T)
    p = np.stack([T[:3, 3] for T in poses])
    turn = np.stack(
        [Rotation.from_matrix(a[:3, :3].T @ b[:3, :3]).as_rotvec() for a, b in zip(poses, poses[1:], strict=False)]
    )
    v = np.concatenate([np.zeros((1, 3)), np.diff(p, axis=0) / dts[:, None]])
    a = np.concatenate([np.zeros((1, 3)), np.diff(v, axis=0) / dts[:, None]])
    # A wall or an irregular period may require more jerk than the configured limit. The robot's limit always applies.
    worst.see(seed, "jerk", float(np.linalg.norm(np.diff(a, axis=0) / dts[:, None], axis=1).max()), CARTESIAN["jerk"])
    for name, steps, speed, acceleration in (
        ("", np.diff(p, axis=0), settings.max_speed, settings.max_acceleration),
        ("turn ", turn, settings.max_turn_speed, settings.max_turn_acceleration),
    ):
        v = np.concatenate([np.zeros((1, 3)), steps / dts[:, None]])
        a = np.diff(v, axis=0) / dts[:, None]
        worst.see(seed, f"{name}speed", float(np.linalg.norm(v, axis=1).max()), speed * (1 + 1e-6))
        if nominal_speed is not None:
            caught_up = nominal_speed[bool(name)] + settings.catch_up * speed
            worst.see(
                seed, f"{name}speed over the plan's", float(np.linalg.norm(v, axis=1).max()), caught_up * (1 + 1e-6)
            )
        worst.see(
            seed,
            f"{name}acceleration",
            float(np.linalg.norm(a, axis=1).max()),
            acceleration * (1 + 1e-3) if not name else CARTESIAN["turn_acceleration"],
        )


def clip(target: np.ndarray, low: np.ndarray, high: np.ndarray) -> np.ndarray:
    """Return the target clipped to the workspace box."""
    return make_pose(target[:3, :3], np.clip(target[:3, 3], low, high))


def run_range(first: int, count: int) -> Worst:
    """Run the sequences ``first`` to ``first + count - 1``."""
    worst = Worst()
    for seed in range(first, first + count):
        run(seed, worst)
    return worst


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sequences", type=int, default=100_000)
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--processes", type=int, default=os.cpu_count() or 1)
    args = parser.parse_args()
    from tqdm import tqdm

    size = 500
    jobs = [
        (first, min(size, args.first + args.sequences - first))
        for first in range(args.first, args.first + args.sequences, size)
    ]
    total = Worst()
    with multiprocessing.get_context("spawn").Pool(args.processes) as pool:
        for result in tqdm(pool.imap_unordered(_job, jobs), total=len(jobs), unit=f" x {size}"):
            total.add(result)
    print(
        f"{args.sequences} sequences from seed {args.first}, {total.steps} steps, {total.held} held; "
        f"joint limits in {total.arms}, {total.unreachable} steps held for them; {dict(total.kinds)}"
    )
    for name, share in total.share.items():
        print(f"  {name:32s} {share:.4f} of the limit")
    print("\n".join(total.broken[:20]) or "every limit held")
    return bool(total.broken)


def _job(job: tuple[int, int]) -> Worst:
    return run_range(*job)


if __name__ == "__main__":
    sys.exit(main())
