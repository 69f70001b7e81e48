"""Make training episodes on the simulated station: in parallel, resumable, reproducible from a seed."""

from __future__ import annotations

import json
import multiprocessing
import os
import time
from collections import Counter
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from uma.geometry import se3
from uma.model.config import PRESETS
from uma.model.inputs import point_set
from uma_train.data.episode import Episode, quantize, save_episode


@dataclass(frozen=True)
class SimulateConfig:
    """One data set.

    Attributes:
        out: folder of the episodes.
        episodes: scenes to try; only successful demonstrations are kept (paper B.2).
        first_seed: of the scenes; keep below 1,000,000, where the benchmark's begin.
        preset: model preset whose point counts are stored.
        workers: processes.
    """

    out: str = "data/insertion"
    episodes: int = 1000
    first_seed: int = 0
    preset: str = "small"
    workers: int = 2

    def __post_init__(self) -> None:
        if self.preset not in PRESETS:
            raise ValueError(f"preset '{self.preset}': must be one of {sorted(PRESETS)}")
        if not 0 <= self.first_seed <= self.first_seed + self.episodes <= 1_000_000:
            raise ValueError(f"first_seed {self.first_seed} + episodes {self.episodes}: must lie in 0 to 1,000,000")


def to_episode(run: dict) -> Episode:
    """A recorded demonstration (see `uma_sim.rollout.run_demonstration`) as an `Episode` in the camera frame."""
    T_cam_base = se3.invert(run["T_base_cam"])
    frames = run["observations"]

    def stack(i: int) -> np.ndarray:
        return np.stack([f[i] for f in frames])

    camera = run["camera"]
    meta = {
        "task": "insertion",
        "source": "uma_sim",
        "seed": int(run["seed"]),
        "goal": int(run["goal"]),
        "mishap": run["mishap"],
        "noise_scale": float(run["noise_scale"]),
        "camera": asdict(camera),
        "T_base_cam": run["T_base_cam"].tolist(),
    }
    return Episode(
        stack(0),
        stack(1),
        stack(2),
        run["observation_step"].astype(np.int32),
        (T_cam_base @ run["pose"]).astype(np.float32),
        run["gripper"].astype(np.float32),
        (T_cam_base @ run["label_pose"]).astype(np.float32),
        run["label_gripper"].astype(np.float32),
        se3.apply(T_cam_base, run["object_points"]).astype(np.float32),
        se3.apply(T_cam_base, run["holder_points"].reshape(-1, 3)).astype(np.float32),
        meta,
    )


def _job(args: tuple[SimulateConfig, int]) -> tuple[int, str, str]:
    config, seed = args
    from uma_sim.rollout import run_demonstration

    points = PRESETS[config.preset]().points
    run = run_demonstration(seed, on_observation=lambda o: quantize(point_set(o, points)))
    if run is None:
        return seed, "none", "simulation failed"
    if run["success"]:
        save_episode(Path(config.out) / f"{seed:07d}.npz", to_episode(run))
        return seed, run["mishap"], "kept"
    return seed, run["mishap"], f"{run['verdict']}: {run['reason']}"


def simulate(config: SimulateConfig, console: Console | None = None) -> dict:
    """Run, resume after a kill, and write ``card.json`` with the yield; returns it."""
    console = console or Console()
    out = Path(config.out)
    out.mkdir(parents=True, exist_ok=True)
    log = out / "seeds.jsonl"
    done = {r["seed"]: r for r in map(json.loads, log.read_text().splitlines())} if log.exists() else {}
    seeds = range(config.first_seed, config.first_seed + config.episodes)
    jobs = [(config, s) for s in seeds if s not in done]
    os.environ["OMP_NUM_THREADS"] = "1"
    began = time.monotonic()
    columns = (TextColumn("episodes"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(), TimeRemainingColumn(), TextColumn("{task.description}"))
    context = multiprocessing.get_context("spawn")
    with context.Pool(config.workers) as pool, Progress(*columns, console=console) as progress, open(log, "a") as f:
        bar = progress.add_task("", total=len(seeds), completed=len(seeds) - len(jobs))
        for seed, mishap, result in pool.imap_unordered(_job, jobs):
            done[seed] = {"seed": seed, "mishap": mishap, "result": result}
            f.write(json.dumps(done[seed]) + "\n")
            f.flush()
            kept = sum(r["result"] == "kept" for r in done.values())
            progress.update(bar, advance=1, description=f"kept {kept} ({100 * kept / len(done):.0f} %)")
    results = [done[s] for s in seeds]
    by_mishap = {
        m: dict(Counter("kept" if r["result"] == "kept" else "failed" for r in results if r["mishap"] == m)) for m in sorted({r["mishap"] for r in results})
    }
    card = {
        "config": asdict(config),
        "tried": len(results),
        "kept": sum(r["result"] == "kept" for r in results),
        "by_mishap": by_mishap,
        "failures": dict(Counter(r["result"] for r in results if r["result"] != "kept")),
        "wall_seconds_this_run": round(time.monotonic() - began, 1),
    }
    (out / "card.json").write_text(json.dumps(card, indent=2) + "\n")
    console.print(f"{card['kept']} of {card['tried']} episodes kept in {out}")
    return card
