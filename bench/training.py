"""Training throughput on this machine: samples and steps per second against the arithmetic floor, with a profile.

    python bench/training.py [--preset small] [--device auto] [--batch 64] [--micro-batch 32] [--windows-per-task 2]
    [--control-draws 1] [--steps 12] [--json FILE]

A GPU is used if available: `python bench/training.py --preset base --batch 256 --micro-batch 256`. Data are random
arrays with the shape of a window, so the loader (bench/loader.py) does not count. Steps with and without motion tokens
are interleaved. The floor is the step's matrix products, counted by torch, at the rate of one large product in the same
run and precision. Their ratio is the model FLOP utilisation (MFU) relative to this machine's achieved rate, not to its
data sheet.
"""

from __future__ import annotations

import argparse
import json
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from rich.console import Console
from rich.table import Table
from torch.profiler import ProfilerActivity, profile
from torch.utils.flop_counter import FlopCounterMode

from uma.model.encoders import EndEffectorBatch, PointBatch, ReferenceBatch
from uma.model.inputs import ACTION_DIM, Normalization
from uma.model.uma import TokenGrid
from uma_train.data.batch import Batch
from uma_train.training.config import TrainConfig
from uma_train.training.distributed import Processes
from uma_train.training.trainer import Trainer


class RandomWindows:
    """Random batches with the shape of a window, drawn once."""

    def __init__(self, points: int):
        self.points, self.drawn = points, {}

    def draw(
        self,
        size: int,
        keypoints: int,
        norm: Normalization,
        rng: np.random.Generator,
        windows_per_task: int = 1,
        history: int = 0,
        **_,
    ) -> Batch:
        if (size, keypoints) not in self.drawn:
            self.drawn[size, keypoints] = self._make(size, keypoints, windows_per_task, history)
        return self.drawn[size, keypoints]

    def _make(self, size: int, K: int, per_task: int, history: int) -> Batch:
        g = torch.Generator().manual_seed(0)
        tasks, T = size // per_task, history + 17

        def cloud(n: int) -> PointBatch:
            return PointBatch(
                torch.randn(n, self.points, 3, generator=g) * 0.2,
                torch.rand(n, self.points, 3, generator=g),
                torch.rand(n, self.points, generator=g) * 0.2,
            )

        ee = EndEffectorBatch(torch.eye(4).repeat(size, 1, 1), torch.zeros(size))
        reference = ReferenceBatch(
            *(torch.randn(tasks, 30, 3, generator=g) * 0.2 for _ in range(2)),
            torch.rand(tasks, 30, generator=g),
            torch.ones(tasks, 30, dtype=torch.bool),
        )
        grid = TokenGrid(
            torch.randn(size, T, ACTION_DIM, generator=g),
            torch.randn(size, T, K, 3, generator=g),
            torch.randn(size, K, 3, generator=g),
            torch.ones(size, K, dtype=torch.bool),
        )
        return Batch(cloud(size), ee, cloud(tasks), reference, grid, np.tile(np.eye(4), (size, 1, 1)), per_task)


def matmul_rate(device: torch.device, dtype: torch.dtype) -> float:
    """Return the best rate of a large product, operations per second."""
    size = 8192 if device.type == "cuda" else 1024
    a, b = (torch.randn(size, size, device=device, dtype=dtype) for _ in range(2))
    times = []
    for _ in range(10):
        wait(device)
        start = time.perf_counter()
        a @ b
        wait(device)
        times.append(time.perf_counter() - start)
    return 2 * size**3 / min(times)


def wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--preset", default="small")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--micro-batch", type=int, default=32)
    parser.add_argument("--keypoints", type=int, default=4)
    parser.add_argument("--windows-per-task", type=int, default=2)
    parser.add_argument("--control-draws", type=int, default=1)
    parser.add_argument("--steps", type=int, default=12)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    name = args.device if args.device != "auto" else "cuda" if torch.cuda.is_available() else "cpu"
    processes = Processes(device=name)
    device = processes.device
    config = TrainConfig(
        preset=args.preset,
        batch_size=args.batch,
        micro_batch=args.micro_batch,
        keypoints=args.keypoints,
        windows_per_task=args.windows_per_task,
    )
    config = replace(config, objective=replace(config.objective, control_draws=args.control_draws))
    trainers = {}
    for regime, control in (("control: no motion tokens", 1.0), (f"with {args.keypoints} keypoints", 0.0)):
        c = replace(config, objective=replace(config.objective, masks=replace(config.objective.masks, control=control)))
        if control:
            c = replace(
                c,
                objective=replace(
                    c.objective, masks=replace(c.objective.masks, joint=0.0, dynamics=0.0, inverse=0.0, random=0.0)
                ),
            )
        trainers[regime] = Trainer(c, RandomWindows(c.model_config().points.total), Normalization(), processes)
    precision = next(iter(trainers.values())).precision
    rate = matmul_rate(device, precision)
    flops, seconds = {}, {regime: [] for regime in trainers}
    for regime, trainer in trainers.items():
        with FlopCounterMode(display=False) as counter:
            trainer.update(trainer.draw(0))
        flops[regime] = counter.get_total_flops()
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
    for i in range(args.steps + 2):
        for regime, trainer in trainers.items():
            batches = trainer.draw(i)
            wait(device)
            start = time.perf_counter()
            trainer.update(batches)
            wait(device)
            if i >= 2:
                seconds[regime].append(time.perf_counter() - start)
    where = torch.cuda.get_device_name(device) if device.type == "cuda" else f"{args.threads} CPU thread(s)"
    table = Table(
        title=f"{args.preset}, batch {args.batch} in micro-batches of {args.micro_batch}, {where}, torch "
        f"{torch.__version__}, {str(precision)[6:]}, {rate / 1e12:.2f} TFLOP/s matrix product"
    )
    for heading in ("regime", "step, median (ms)", "steps/s", "samples/s", "GFLOP per sample", "floor (ms)", "MFU"):
        table.add_column(heading, justify="left" if heading == "regime" else "right")
    rows = []
    for regime, values in seconds.items():
        median = float(np.median(values))
        floor = flops[regime] / rate
        rows.append(
            {
                "regime": regime,
                "step_s": median,
                "samples_per_s": args.batch / median,
                "flop_per_sample": flops[regime] / args.batch,
                "floor_s": floor,
                "mfu": floor / median,
            }
        )
        table.add_row(
            regime,
            f"{1e3 * median:.0f}",
            f"{1 / median:.2f}",
            f"{args.batch / median:.0f}",
            f"{flops[regime] / args.batch / 1e9:.2f}",
            f"{1e3 * floor:.0f}",
            f"{100 * floor / median:.0f} %",
        )
    console = Console(width=150)
    console.print(table)
    memory = torch.cuda.max_memory_allocated(device) / 2**30 if device.type == "cuda" else None
    if memory is not None:
        console.print(f"peak memory {memory:.1f} GiB")
    trainer = trainers[f"with {args.keypoints} keypoints"]
    activities = [ProfilerActivity.CPU, *([ProfilerActivity.CUDA] if device.type == "cuda" else [])]
    with profile(activities=activities) as prof:
        trainer.update(trainer.draw(0))
        wait(device)
    key = "self_device_time_total" if device.type == "cuda" else "self_cpu_time_total"
    entries = sorted(prof.key_averages(), key=lambda e: -getattr(e, key))[:10]
    total = sum(getattr(e, key) for e in prof.key_averages())
    console.print(
        "top of the profile of one step with motion tokens (share of the time): "
        + ", ".join(f"{e.key} {100 * getattr(e, key) / total:.0f} %" for e in entries)
    )
    if args.json:
        args.json.write_text(
            json.dumps(
                {
                    "rows": rows,
                    "matmul_flops": rate,
                    "peak_memory_gib": memory,
                    "where": where,
                    "args": vars(args) | {"json": str(args.json)},
                },
                indent=2,
            )
            + "\n"
        )


if __name__ == "__main__":
    main()
