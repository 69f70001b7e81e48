"""Sweeps of closed-loop success over one factor at a time, always on the same scenes.

Factors are delay, reference size, depth noise, camera displacement, flow steps and camera pose.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from rich.console import Console
from rich.table import Table

from uma.checkpoint.default import DEFAULT
from uma.policy.sampling import SamplerConfig
from uma.types import RATE_HZ
from uma_train.evaluation.benchmark_config import BenchmarkConfig
from uma_train.evaluation.closed_loop import benchmark
from uma_train.evaluation.paired import paired


@dataclass(frozen=True)
class SweepConfig:
    """Configuration of a sweep. Each factor varies from the same starting point.

    The sweep runs without the controller: each action is the arm's target for one step, because delay is itself a
    factor.

    Attributes:
        task, checkpoint, episodes, first_seed, execute, num_samples, consensus_fraction, max_steps, workers: as in
            `BenchmarkConfig`.
        delays: latency of a chunk in control steps of 1/15 s; each runs without and with a given prefix of that length.
        keypoints, waypoints, pinned: of the reference motion; pinned points are additional to the keypoints.
        depth_noise: factors on the standard deviation of the depth noise.
        camera_shift_mm, camera_turn_deg: displacement of the camera since its calibration.
        flow_steps: steps of the sampler.
        camera: vary only the camera pose, over `uma_sim.scene.CAMERAS`, with the controller as in the benchmark.
        policy_frames: kinds of policy frame for every pose of ``camera``; the last one is the starting point.
        out: folder of the results, with one folder per point; the same command resumes there.
    """

    task: str = "insertion"
    checkpoint: str = DEFAULT
    episodes: int = 50
    first_seed: int = 1_000_000
    execute: int = 4
    num_samples: int = SamplerConfig.num_samples
    consensus_fraction: float = SamplerConfig.consensus_fraction
    max_steps: int = 0
    workers: int = 2
    delays: tuple[int, ...] = (1, 2, 3, 4)
    keypoints: tuple[int, ...] = (1, 2, 3, 12)
    waypoints: tuple[int, ...] = (2, 3, 8)
    pinned: tuple[int, ...] = (3,)
    depth_noise: tuple[float, ...] = (0.0, 2.0, 4.0)
    camera_shift_mm: tuple[float, ...] = (5.0, 10.0, 20.0)
    camera_turn_deg: tuple[float, ...] = (0.5, 1.0, 2.0)
    flow_steps: tuple[int, ...] = (1, 4, 8, 16)
    camera: bool = False
    policy_frames: tuple[str, ...] = ("camera", "camera_nominal")
    out: str = "runs/sweep"


@dataclass(frozen=True)
class Point:
    """One row of the table: the changed factor, its value, and the benchmark."""

    what: str
    value: str
    config: BenchmarkConfig


SHARED = (
    "task",
    "checkpoint",
    "episodes",
    "first_seed",
    "execute",
    "num_samples",
    "consensus_fraction",
    "max_steps",
    "workers",
)


def camera_points(config: SweepConfig) -> list[Point]:
    """Return every camera pose in every policy frame; the nominal pose in the last frame comes first."""
    from uma_sim.scene import CAMERAS

    start = BenchmarkConfig(policies=("uma",), **{name: getattr(config, name) for name in SHARED})
    out = []
    for frame in reversed(config.policy_frames):
        for place in CAMERAS:
            folder = str(Path(config.out) / f"{frame}_{place}")
            out.append(
                Point(f"camera, frame {frame}", place, replace(start, camera=place, policy_frame=frame, out=folder))
            )
    return out


def points(config: SweepConfig) -> list[Point]:
    """Return the starting point and every change from it, without duplicates.

    Raises:
        ValueError: a value is out of the benchmark's range.
    """
    if config.camera:
        return camera_points(config)
    start = BenchmarkConfig(policies=("uma",), streamed_ms=0.0, **{name: getattr(config, name) for name in SHARED})
    found = [("starting point", "", {})]
    for delay in config.delays:
        found.append(("delay", f"{1e3 * delay / RATE_HZ:.0f} ms", {"delay": delay}))
        if delay:
            found.append(("delay, with prefix", f"{1e3 * delay / RATE_HZ:.0f} ms", {"delay": delay, "prefix": delay}))
    for name, what, unit in (
        ("keypoints", "keypoints", ""),
        ("waypoints", "waypoints", ""),
        ("pinned", "additional pinned points", ""),
        ("depth_noise", "depth noise", " x"),
        ("camera_shift_mm", "camera displaced", " mm"),
        ("camera_turn_deg", "camera turned", " degrees"),
    ):
        found += [(what, f"{value:g}{unit}", {name: value}) for value in getattr(config, name)]
    found += [("flow steps", str(n), {"num_steps": n}) for n in config.flow_steps]
    out, seen = [], []
    for what, value, changes in found:
        changed = replace(start, **changes)
        if changed not in seen:
            seen.append(changed)
            folder = "_".join(f"{k}_{v:g}" for k, v in changes.items()) or "start"
            out.append(Point(what, value, replace(changed, out=str(Path(config.out) / folder))))
    return out


def sweep(config: SweepConfig, console: Console | None = None) -> list[dict]:
    """Run or resume every point, write ``sweep.json`` after each, and print the table. Return its rows."""
    console = console or Console()
    rows: list[dict] = []
    requested = points(config)
    for number, point in enumerate(requested):
        console.print(f"{number + 1}/{len(requested)}: {point.what} {point.value}")
        (row,) = benchmark(point.config, Console(quiet=True))
        other = paired(requested[0].config.out, point.config.out)
        rows.append(
            {
                "what": point.what,
                "value": point.value,
                **row,
                **asdict(other),
                "sign_test": other.chance,
                "config": asdict(point.config),
            }
        )
        Path(config.out, "sweep.json").write_text(json.dumps({"config": asdict(config), "rows": rows}, indent=2))
    print_table(rows, Console(width=130) if console.width < 130 else console)
    return rows


def print_table(rows: list[dict], console: Console) -> None:
    """Print the rows of `sweep` as a table.

    The last two columns count scenes with a better or worse outcome than at the starting point, and test the split (see
    `Paired`).
    """
    table = Table(
        "changed", "to", "success", "95 % interval", "grasp", "s to success", "better / worse scenes", "sign test"
    )
    for r in rows:
        n = r["episodes"]
        table.add_row(
            r["what"],
            r["value"],
            f"{r['success']}/{n} = {100 * r['success'] / n:.0f} %",
            f"{100 * r['low']:.0f} to {100 * r['high']:.0f} %",
            f"{100 * r['grasp'] / n:.0f} %",
            f"{r['seconds']:.1f}" if r["success"] else "",
            f"{r['better']} / {r['worse']}",
            f"{r['sign_test']:.2f}",
        )
    console.print(table)
