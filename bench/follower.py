"""The joint follower compared with Ruckig: limits, lag behind a moving target, smoothness and cost.

    python bench/follower.py [--seeds 30] [--json FILE]      (pip install ruckig for the second column)

Both receive the same limits, margins and targets. "Random" draws targets up to 0.3 rad beyond the joints' ends and
random target speeds. "Ends" puts targets 0.06 rad before the ends, moving outward at 2 rad/s.
"""

from __future__ import annotations

import argparse
import json
import platform
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.table import Table

from uma.control.joints import STEP, JointFollower, JointLimits
from uma.geometry import fr3

Targets = Iterator[tuple[np.ndarray | None, np.ndarray]]


class RuckigFollower:
    """The interface of `JointFollower` for ruckig's online trajectory generator, solved every millisecond."""

    def __init__(self, limits: JointLimits, q: np.ndarray) -> None:
        from ruckig import InputParameter, OutputParameter, Ruckig, Synchronization

        self._otg, self._in, self._out = Ruckig(7, STEP), InputParameter(7), OutputParameter(7)
        self._in.max_velocity = [0.999 * v for v in limits.max_speed]
        self._in.max_acceleration = [0.999 * limits.max_acceleration] * 7
        self._in.max_jerk = [0.999 * limits.max_jerk] * 7
        self._in.synchronization = Synchronization.No
        self._fastest = 0.98 * np.asarray(limits.max_speed)
        self._low, self._high = fr3.LOWER + limits.margin, fr3.UPPER - limits.margin
        self.q, self.v, self.a = np.array(q, np.float64), np.zeros(7), np.zeros(7)

    def step(self, target: np.ndarray | None, speed: np.ndarray, dt: float) -> np.ndarray:
        from ruckig import ControlInterface

        i = self._in
        i.current_position, i.current_velocity = self.q.tolist(), self.v.tolist()
        i.current_acceleration, i.target_acceleration = self.a.tolist(), [0.0] * 7
        if target is None:
            i.control_interface, i.target_velocity = ControlInterface.Velocity, [0.0] * 7
        else:
            inside = np.clip(target, self._low, self._high)
            i.control_interface, i.target_position = ControlInterface.Position, inside.tolist()
            along = np.clip(np.where(inside == target, speed, 0.0), -self._fastest, self._fastest)
            i.target_velocity = along.tolist()
        self._otg.update(i, self._out)
        self.q, self.v, self.a = (
            np.array(x) for x in (self._out.new_position, self._out.new_velocity, self._out.new_acceleration)
        )
        return self.q


def random_targets(rng: np.random.Generator, steps: int) -> Targets:
    target, speed = None, np.zeros(7)
    for _ in range(steps):
        if rng.random() < 0.02:
            target = None if rng.random() < 0.2 else rng.uniform(fr3.LOWER - 0.3, fr3.UPPER + 0.3)
            speed = rng.uniform(-3, 3, 7) * (rng.random() < 0.5)
        yield target, speed


def targets_at_the_ends(rng: np.random.Generator, steps: int) -> Targets:
    for i in range(steps):
        if i % 400 == 0:
            is_low = rng.random(7) < 0.5
        yield np.where(is_low, fr3.LOWER + 0.06, fr3.UPPER - 0.06), np.where(is_low, -2.0, 2.0)


def limits_used(
    make: Callable, seeds: int, draw: Callable[[np.random.Generator, int], Targets], steps: int = 2000
) -> dict[str, float]:
    """Return the largest fraction of each limit, the largest excess over a joint's end, and microseconds per step."""
    limits, worst, spent = JointLimits(), np.zeros(4), 0.0
    worst[3] = -np.inf
    for seed in range(seeds):
        rng = np.random.default_rng(seed)
        follower = make(limits, rng.uniform(fr3.LOWER + 0.2, fr3.UPPER - 0.2))
        q_last, v_last, a_last = follower.q.copy(), np.zeros(7), np.zeros(7)
        for target, speed in draw(rng, steps):
            began = time.thread_time()
            q = follower.step(target, speed, STEP).copy()
            spent += time.thread_time() - began
            v = (q - q_last) / STEP
            a = (v - v_last) / STEP
            shares = (np.abs(v) / limits.max_speed).max(), np.abs(a).max() / limits.max_acceleration
            jerk, beyond = np.abs(a - a_last).max() / STEP / limits.max_jerk, np.maximum(fr3.LOWER - q, q - fr3.UPPER)
            worst = np.maximum(worst, [*shares, jerk, beyond.max()])
            q_last, v_last, a_last = q, v, a
    names = ("speed", "acceleration", "jerk", "beyond_rad")
    return dict(zip(names, worst.round(4).tolist())) | {"us": round(1e6 * spent / seeds / steps, 1)}


def following(make: Callable) -> dict[str, float]:
    """Return the lag behind a target at up to 0.4 rad/s, and the accelerations for a target renewed every 8 ms."""
    moving, held = (make(JointLimits(), fr3.REST) for _ in range(2))
    lag, accelerations = 0.0, []
    for i in range(3000):
        t, k = i * STEP, i // 8 * 8 * STEP
        for follower, when in ((moving, t), (held, k)):
            follower.step(fr3.REST + 0.2 * (1 - np.cos(2 * when)), np.full(7, 0.4 * np.sin(2 * when)), STEP)
        if t > 0.2:
            lag = max(lag, float(np.abs(moving.q - fr3.REST - 0.2 * (1 - np.cos(2 * t))).max()))
        accelerations.append(held.a[0])
    return {"lag_mrad": round(1e3 * lag, 2), "acceleration_rms": round(float(np.std(accelerations)), 2)}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--seeds", type=int, default=30)
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    makes: dict[str, Callable] = {"follower": JointFollower}
    try:
        import ruckig

        makes[f"ruckig {ruckig.__version__}"] = RuckigFollower
    except ImportError:
        pass
    result = {
        name: {
            "random": limits_used(make, args.seeds, random_targets),
            "ends": limits_used(make, args.seeds, targets_at_the_ends),
            "following": following(make),
        }
        for name, make in makes.items()
    }
    table = Table("quantity", *result)
    for part, row in next(iter(result.values())).items():
        for key in row:
            table.add_row(f"{part}: {key}", *(f"{r[part][key]:g}" for r in result.values()))
    Console().print(table)
    if args.json:
        args.json.write_text(json.dumps({"machine": platform.processor(), "seeds": args.seeds, **result}, indent=2))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
