"""Cycle time and tracking error of the arm's own process, with the simulated control interface on loopback.

    python bench/franka.py [--seconds 10] [--out FILE.json]

franky-sim simulates the arm in another process of this machine. So cycle times include both processes and no network.
The simulated joints lag by 0.1 s (damping over stiffness), unlike a real arm's.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from pathlib import Path

import numpy as np

from uma.control.joints import JointLimits
from uma.geometry import fr3
from uma_ros.drivers.franka.exchange import FciSettings, Phase
from uma_ros.drivers.franka.link import FciLink
from uma_ros.nodes.franka import FrankaSettings, TargetMaker

SERVER = Path(__file__).resolve().parent.parent / "test/support/fci_server.py"
RATE = 125.0
"""Rate of the controller node's targets, Hz."""


def path(t: np.ndarray | float, seconds: float) -> np.ndarray:
    """Return ``(..., 3)`` m from the start: circles of 6 cm radius at up to 0.27 m/s, with a smooth start and end."""
    w, t = 4.5, np.asarray(t)
    ease = np.clip(np.minimum(t, seconds - t), 0.0, 1.0)[..., None]
    return 0.06 * ease * np.stack([np.sin(w * t), 1 - np.cos(w * t), 0.3 * np.sin(2 * w * t)], axis=-1)


def measure(variant: str, seconds: float) -> dict:
    host = f"127.{np.random.default_rng().integers(1, 255)}.{np.random.default_rng().integers(1, 255)}.2"
    server = subprocess.Popen(
        [sys.executable, str(SERVER), host], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    link = None
    try:
        while server.stdout.readline().strip() != "ready":
            if server.poll() is not None:
                raise SystemExit("simulated arm: its process has ended")
        settings = FrankaSettings(fci=FciSettings(host=host, variant=variant))
        link = FciLink(settings.fci, JointLimits())
        while link.state() is None:
            time.sleep(0.01)
        q = link.state().q.copy()
        start, maker = fr3.forward(q), TargetMaker(settings)
        began = due = time.monotonic()
        t, last, found = 0.0, 0.0, {"command": [], "arm": []}
        while t < seconds and time.monotonic() < began + 4 * seconds:
            state = link.state()
            is_moving = state.phase is Phase.MOVING
            # The path follows the simulated arm's own clock, a millisecond per cycle, which stops while the simulation
            # is not scheduled.
            t = state.cycles * 1e-3 if variant == "loop" and is_moving else time.monotonic() - began
            target = start.copy()
            target[:3, 3] += path(t, seconds)
            link.follow(maker.make(target, time.monotonic(), t, q))
            if t > last and is_moving and 1.5 < t < seconds - 1.0:
                last, times = t, np.linspace(t - 0.5, t + 0.05, 1101)
                places = start[:3, 3] + path(times, seconds)
                for name, joints in (("command", state.q_command), ("arm", state.q)):
                    away = np.linalg.norm(fr3.forward(joints)[:3, 3] - places, axis=1)
                    found[name].append(
                        (away.min(), t - times[away.argmin()])
                    )  # distance to the path at any time, and the delay
            due = max(due + 1.0 / RATE, time.monotonic())
            time.sleep(max(due - time.monotonic(), 0.0))
        took = time.monotonic() - began
        state = link.state()
        for kind, text in link.heard():
            if kind != "log":
                print(f"{variant}: {kind}: {text}", file=sys.stderr)
        figures = {}
        for name, pairs in found.items():
            away, late = np.array(pairs).T
            figures |= {
                f"{name}_off_path_p50_mm": round(np.median(away) * 1e3, 2),
                f"{name}_off_path_max_mm": round(away.max() * 1e3, 2),
                f"{name}_lag_p50_ms": round(np.median(late) * 1e3),
            }
        return {
            "variant": variant,
            "cycles": state.cycles,
            "late": state.late,
            "rate_hz": round(state.cycles / took, 1),
            "compute_p99_ms": round(state.compute_p99_ms, 3),
            "interval_p99_ms": round(state.interval_p99_ms, 3),
            "success_rate": round(state.success_rate, 3),
            **figures,
        }
    finally:
        if link is not None:
            link.close()
        server.kill()
        server.wait()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--seconds", type=float, default=10.0)
    parser.add_argument("--out", default="")
    args = parser.parse_args()
    rows = [measure(variant, args.seconds) for variant in ("loop", "async")]
    for key in rows[0]:
        print(f"{key:>20}  " + "  ".join(f"{row[key]!s:>10}" for row in rows))
    if args.out:
        Path(args.out).write_text(json.dumps(rows, indent=2) + "\n")


if __name__ == "__main__":
    main()
