"""Latency of chunks and speed of training on one machine with a GPU, against its arithmetic and memory limits.

    python bench/gpu.py [--json FILE] [--presets small base] [--device auto] [--repeats 200] [--steps 20] [--quick]

It needs only this checkout: weights and inputs are random, and nothing is downloaded. Without a GPU it runs on the CPU
as a functional check. Regimes are interleaved, so that background load affects all of them equally.

The floor of a regime is the larger of two times: arithmetic and memory. The arithmetic time is its floating-point
operations (counted by torch) at the rate of a large matrix product. The memory time is one read of its weights per
evaluation at the bandwidth of a large copy. Both rates are measured here.
"""

from __future__ import annotations

import argparse
import json
import platform
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from rich.console import Console
from rich.progress import track
from rich.table import Table
from torch.utils.flop_counter import FlopCounterMode

from uma.checkpoint.bundle import Bundle, Contract
from uma.geometry import se3
from uma.model.config import PRESETS
from uma.model.inputs import Normalization
from uma.model.uma import Uma
from uma.policy import Policy
from uma.policy.planner import plan
from uma.policy.sampling import SamplerConfig
from uma.types import CameraModel, Observation, ReferenceMotion

KEYPOINTS = 16
CANDIDATES = 8


@dataclass(frozen=True)
class Regime:
    """A kind of query (control, joint or mpc) with its number of samples."""

    name: str
    kind: str
    samples: int


REGIMES = (
    Regime("control, 1 sample", "control", 1),
    Regime("control, 8 samples", "control", 8),
    Regime("joint, K = 16, 1 sample", "joint", 1),
    Regime("MPC, 8 candidates, K = 16", "mpc", 1),
)


def scene(width: int = 1280, height: int = 720) -> Observation:
    """Build a synthetic image of camera size: boxes on a table, seen from above at an angle."""
    camera = CameraModel(width, height, 0.41 * width, 0.41 * width, (width - 1) / 2, (height - 1) / 2)
    rng = np.random.default_rng(0)
    v, u = np.indices((height, width))
    ray = np.stack([(u - camera.cx) / camera.fx, (v - camera.cy) / camera.fy, np.ones((height, width))], -1)
    depth = -0.8 / (ray @ np.array([0, -0.8, -0.6]))
    rgb = np.full((height, width, 3), 180, np.uint8)
    for _ in range(30):
        x, y, w, h = rng.uniform([0.2, 0.4, 0.01, 0.02], [0.8, 0.7, 0.05, 0.1])
        box = (np.abs(u / width - x) < w) & (np.abs(v / height - y) < h)
        depth = np.where(box, depth - rng.uniform(0.02, 0.15), depth)
        rgb[box] = rng.integers(0, 255, 3)
    depth += rng.normal(0, 0.0005, depth.shape)
    depth = np.where((depth > 0.3) & (depth < 3), depth, np.nan).astype(np.float32)
    T = se3.make_pose(np.diag([1.0, -1.0, -1.0]), np.array([0.0, -0.2, 0.8]))
    return Observation(rgb, depth, camera, T, 0.2, 0.0)


def reference(frame: str) -> ReferenceMotion:
    start = np.array([[0.01 * k, 0.02, 0.95] for k in range(KEYPOINTS)])
    return ReferenceMotion(np.stack([start, start + [0.1, -0.2, 0.0]], 1), frame=frame)


def bundle(preset: str) -> Bundle:
    torch.manual_seed(0)
    return Bundle(Uma(PRESETS[preset](), Normalization()).eval(), Contract(), preset, {})


def timed(run: object, device: torch.device, repeats: int) -> float:
    """Return the shortest time of ``repeats`` calls in seconds."""
    best = float("inf")
    for _ in range(repeats):
        start = time.perf_counter()
        run()
        if device.type == "cuda":
            torch.cuda.synchronize()
        best = min(best, time.perf_counter() - start)
    return best


def rates(device: torch.device, dtype: torch.dtype) -> tuple[float, float]:
    """Return operations per second of a large product, and bytes per second of a large copy (read and written)."""
    n = 8192 if device.type == "cuda" else 1024
    a, b = (torch.randn(n, n, device=device, dtype=dtype) for _ in range(2))
    big = torch.empty(1 << (30 if device.type == "cuda" else 26), dtype=torch.uint8, device=device)
    out = torch.empty_like(big)
    return 2 * n**3 / timed(lambda: a @ b, device, 10), 2 * big.numel() / timed(lambda: out.copy_(big), device, 10)


def predict(policy: Policy, regime: Regime, o: Observation, task: object, r: ReferenceMotion, sequence: int) -> None:
    if regime.kind == "mpc":
        plan(policy, o, task, r, num_candidates=CANDIDATES, sequence=sequence)
    else:
        policy.predict(o, task, sequence=sequence, with_motion=regime.kind == "joint")


def flops(preset: str, regime: Regime, o: Observation) -> float:
    """Return the floating-point operations of one prediction, extrapolated from one and two flow steps on the CPU."""
    counts = []
    for steps in (1, 2):
        policy = Policy(bundle(preset), num_samples=regime.samples, num_steps=steps)
        task = policy.encode_task(o, reference(o.camera.frame))
        with FlopCounterMode(display=False) as counter:
            predict(policy, regime, o, task, reference(o.camera.frame), 0)
        counts.append(counter.get_total_flops())
    return counts[0] + (SamplerConfig().num_steps - 1) * (counts[1] - counts[0])


def latencies(
    preset: str, modes: dict[str, dict], repeats: int, device: str, rate: tuple[float, float], console: Console
) -> list[dict]:
    """Return one row per regime and mode: eager, graph, compiled, or compiled with a graph."""
    o, r = scene(), reference("zed_left_camera_frame_optical")
    rows, jobs = [], []
    for mode, settings in modes.items():
        for regime in REGIMES:
            policy = Policy(bundle(preset), device=device, num_samples=regime.samples, **settings)
            task = policy.encode_task(o, r)
            for i in range(3):
                predict(policy, regime, o, task, r, i)
            jobs.append((mode, regime, policy, task, []))
    for i in track(range(repeats), f"{preset}: chunks", console=console):
        for _, regime, policy, task, times in jobs:
            start = time.perf_counter()
            predict(policy, regime, o, task, r, i)
            times.append(1e3 * (time.perf_counter() - start))
    parameters = sum(p.numel() for p in bundle(preset).model.parameters())
    for mode, regime, policy, _, times in jobs:
        wide = 2 if policy.config.precision == "bfloat16" else 4
        evaluations = policy.config.num_steps * (2 if regime.kind == "mpc" else 1)
        floor = 1e3 * max(flops(preset, regime, o) / rate[0], evaluations * wide * parameters / rate[1])
        p50, p95, p99 = (float(np.percentile(times, q)) for q in (50, 95, 99))
        rows.append(
            {
                "preset": preset,
                "regime": regime.name,
                "mode": mode,
                "p50_ms": p50,
                "p95_ms": p95,
                "p99_ms": p99,
                "floor_ms": floor,
                "ratio": p50 / floor,
            }
        )
    return rows


def training(preset: str, device: torch.device, rate: float, steps: int) -> dict:
    """Return samples per second, memory and MFU (share of the product's rate) of training on random windows."""
    from training import RandomWindows

    from uma_train.training.config import TrainConfig
    from uma_train.training.distributed import Processes
    from uma_train.training.trainer import Trainer

    batch = 64 if device.type == "cuda" else 8
    config = TrainConfig(preset=preset, batch_size=batch, micro_batch=batch, device=device.type, keypoints=8)
    trainer = Trainer(
        config, RandomWindows(config.model_config().points.total), Normalization(), Processes(device=device.type)
    )
    batches = [trainer.draw(s) for s in range(2)]
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats()
    trainer.update(batches[0])
    with FlopCounterMode(display=False) as counter:
        trainer.update(batches[1])
    seconds = timed(lambda: trainer.update(batches[1]), device, steps)
    memory = torch.cuda.max_memory_allocated() / 2**30 if device.type == "cuda" else float("nan")
    return {
        "preset": preset,
        "batch": batch,
        "samples_per_s": batch / seconds,
        "memory_GiB": memory,
        "mfu": counter.get_total_flops() / seconds / rate,
    }


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--presets", nargs="+", default=["small", "base"], choices=sorted(PRESETS))
    parser.add_argument("--device", default="auto", choices=("auto", "cpu", "cuda"))
    parser.add_argument("--repeats", type=int, default=200)
    parser.add_argument("--steps", type=int, default=20, help="timed training steps")
    parser.add_argument("--quick", action="store_true", help="functional check: few repeats, no compilation")
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    console = Console(width=140)
    device = Policy(bundle("tiny"), device=args.device)._sampler.device
    precision = "bfloat16" if device.type == "cuda" else "float32"
    dtype = getattr(torch, precision)
    rate = rates(device, dtype)
    modes = {
        "eager": {"graph": False},
        "graph": {},
        "compiled": {"compile": True, "graph": False},
        "compiled, graph": {"compile": True},
    }
    if device.type == "cpu":
        modes = {k: v for k, v in modes.items() if "graph" not in k}
    modes = {k: {**v, "precision": precision} for k, v in modes.items() if not (args.quick and v.get("compile"))}
    name = torch.cuda.get_device_name() if device.type == "cuda" else platform.processor() or platform.machine()
    console.print(
        f"{name}, torch {torch.__version__}, {precision}: {rate[0] / 1e12:.2f} TFLOP/s product, "
        f"{rate[1] / 1e9:.0f} GB/s copy"
    )
    rows, trained = [], []
    for preset in args.presets:
        rows += latencies(preset, modes, 5 if args.quick else args.repeats, device.type, rate, console)
        trained.append(training(preset, device, rate[0], 2 if args.quick else args.steps))
    table = Table("preset", "regime", "mode", "p50 ms", "p95", "p99", "floor ms", "p50 / floor")
    for r in rows:
        table.add_row(
            r["preset"],
            r["regime"],
            r["mode"],
            *(f"{r[k]:.2f}" for k in ("p50_ms", "p95_ms", "p99_ms", "floor_ms")),
            f"{r['ratio']:.1f}",
        )
    console.print(table)
    table = Table("preset", "batch", "samples/s", "memory GiB", "MFU")
    for t in trained:
        table.add_row(
            t["preset"],
            str(t["batch"]),
            f"{t['samples_per_s']:.1f}",
            f"{t['memory_GiB']:.1f}",
            f"{100 * t['mfu']:.0f} %",
        )
    console.print(table)
    if args.json:
        environment = {
            "device": name,
            "torch": torch.__version__,
            "cuda": torch.version.cuda,
            "python": platform.python_version(),
            "precision": precision,
        }
        args.json.write_text(
            json.dumps(
                {
                    "environment": environment,
                    "flops_per_s": rate[0],
                    "bytes_per_s": rate[1],
                    "chunks": rows,
                    "training": trained,
                },
                indent=2,
            )
            + "\n"
        )


if __name__ == "__main__":
    main()
