"""Closed-loop success on the simulated station: fixed unseen seeds, several policies, one table."""

from __future__ import annotations

import json
import math
import multiprocessing
import os
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict
from functools import partial
from itertools import count, islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from rich.console import Console
from rich.progress import Progress

from uma.types import HORIZON
from uma_train.evaluation.actors import actor_of
from uma_train.evaluation.benchmark_config import BenchmarkConfig
from uma_train.evaluation.film import Film, sheet
from uma_train.evaluation.outcomes import EpisodeResult, failure_class, print_table, summarize

if TYPE_CHECKING:
    from uma.types import ActionChunk, Observation
    from uma_sim.station import Station


def _way_left(station: Station) -> Callable[[], float]:
    """Return a function that computes the remaining fraction of the reference path, see `EpisodeResult.left`."""
    from uma.geometry import se3

    reference = station.task.plan_reference(station, None, 6, 2)
    start, end = (se3.apply(station.T_base_cam, np.stack([w[i] for w in reference.waypoints])) for i in (0, -1))
    points = station.object_points()
    index = np.linalg.norm(points[None] - start[:, None], axis=-1).argmin(1)
    whole = float(np.linalg.norm(points[index] - end, axis=-1).mean())
    return lambda: float(np.linalg.norm(station.object_points()[index] - end, axis=-1).mean()) / whole


def _displacement(config: BenchmarkConfig, seed: int) -> np.ndarray:
    """Return the ``(4, 4)`` displacement of the camera since its calibration."""
    from scipy.spatial.transform import Rotation

    from uma.geometry.se3 import make_pose

    rng = np.random.default_rng([seed, 8])
    way, axis = rng.normal(size=(2, 3))
    turn = Rotation.from_rotvec(np.radians(config.camera_turn_deg) * axis / np.linalg.norm(axis))
    return make_pose(turn.as_matrix(), 1e-3 * config.camera_shift_mm * way / np.linalg.norm(way))


def _steps(
    config: BenchmarkConfig, station: Station, actor: Callable[[Observation, int], ActionChunk] | None, expert: Any
) -> Iterator[Callable[[], None]]:
    """Yield the control steps of an episode without end, each to be called before the next is taken.

    ``expert`` acts if there is no ``actor``.
    """
    from uma.types import InputError
    from uma_train.execution.driving import DelayedExecutor, station_actions
    from uma_train.execution.streamed import SimulatedController

    while actor is None:
        yield partial(station.act, *expert.act(station))
    controller = SimulatedController(station, 1e-3 * config.streamed_ms) if config.streamed_ms else None
    delayed, start, grip = DelayedExecutor(config.delay, config.execute), (station.ee_pose(), 0.0), 0.0
    for number in count():
        try:
            chunk = actor(station.observe(), number)
        except InputError:  # an unusable image: as in the node, there is no chunk, and the arm is held
            chunk = None
        if controller is not None:
            if chunk is not None:
                controller.give(chunk)
            yield from [controller.step] * config.execute
            continue
        plan = [(station.ee_pose(), grip)] * HORIZON if chunk is None else station_actions(chunk, station.T_base_cam)
        for T, grip in delayed.next(plan, start, station.time):
            yield partial(station.act, T, grip)


def run_episode(config: BenchmarkConfig, name: str, seed: int, film: Film | None = None) -> EpisodeResult:
    """Run one closed-loop episode, optionally filmed."""
    from uma.types import InputError
    from uma_sim import experts
    from uma_sim.scene import camera_at
    from uma_sim.tasks import make_station

    place = camera_at(config.camera, seed) if config.camera else None
    is_rendered = name != "demonstrator" or film is not None
    station = make_station(
        seed, config.task, render=is_rendered, T_base_cam=place, depth=config.depth, **config.scene_options
    )
    station.depth_noise = config.depth_noise
    if config.camera_shift_mm or config.camera_turn_deg:
        station.displace_camera(_displacement(config, seed))
    taken, mistaken = False, False
    left = _way_left(station)
    verdict, reason, done_at, since, step = "in_progress", "", math.nan, 0, 0
    linger = max(config.linger, station.task.lasts)
    expert = experts.expert(config.task)
    try:
        actor = None if name == "demonstrator" else actor_of(config, name, seed, station, station.observe())
    except InputError as error:
        station.close()
        return EpisodeResult(name, seed, "refused", False, math.nan, str(error))
    for step, act in enumerate(
        islice(_steps(config, station, actor, expert), config.max_steps or station.task.max_steps)
    ):
        if film is not None:
            film.look(station, step)
        act()
        taken |= station.task.taken(station)
        mistaken |= station.holds_another()
        before = verdict
        verdict, reason = station.task.outcome(station)
        if verdict != before:
            done_at, since = (math.nan if verdict == "in_progress" else station.time), step
        if verdict != "in_progress" and step - since >= linger:
            break
    if film is not None:
        film.look(station, 0)
    station.close()
    share = left()
    if verdict != "in_progress" and step - since < linger:
        verdict, reason, done_at = "in_progress", "there, not for long enough", math.nan
    if verdict == "in_progress":
        verdict = failure_class(taken, mistaken, reason, share)
    return EpisodeResult(name, seed, verdict, bool(taken), done_at, reason, share)


def _job(args: tuple[BenchmarkConfig, str, int]) -> EpisodeResult:
    config, name, seed = args
    if seed - config.first_seed >= config.films:
        return run_episode(config, name, seed)
    film = Film()
    result = run_episode(config, name, seed, film)
    film.save(
        _film_path(config, name, seed), f"{config.task}, scene {seed}, {name}: {result.outcome} ({result.reason})"
    )
    return result


def _film_path(config: BenchmarkConfig, name: str, seed: int) -> Path:
    return Path(config.out) / f"{name}_{seed}"


def benchmark(config: BenchmarkConfig, console: Console | None = None) -> list[dict]:
    """Run or resume a benchmark and write ``result.json``; return the rows of `summarize`."""
    console = console or Console()
    out = Path(config.out)
    out.mkdir(parents=True, exist_ok=True)
    log, stored = out / "episodes.jsonl", out / "config.json"
    requested = json.dumps(asdict(config), indent=2)
    if stored.exists() and json.loads(stored.read_text()) != json.loads(requested):
        raise ValueError(f"{out}: holds a run with another configuration; choose another --out")
    stored.write_text(requested)
    results = [EpisodeResult(**json.loads(line)) for line in log.read_text().splitlines()] if log.exists() else []
    done = {(r.policy, r.seed) for r in results}
    seeds = range(config.first_seed, config.first_seed + config.episodes)
    jobs = [(config, name, seed) for seed in seeds for name in config.policies if (name, seed) not in done]
    os.environ["OMP_NUM_THREADS"] = "1"
    began = time.monotonic()
    context = multiprocessing.get_context("spawn")
    with context.Pool(config.workers) as pool, Progress(console=console) as progress, open(log, "a") as f:
        bar = progress.add_task("episodes", total=len(jobs) + len(done), completed=len(done))
        for r in pool.imap_unordered(_job, jobs):
            results.append(r)
            f.write(json.dumps(asdict(r)) + "\n")
            f.flush()
            wins = [x.outcome == "success" for x in results if x.policy == config.policies[0]]
            progress.update(bar, advance=1, description=f"{config.policies[0]} {sum(wins)}/{len(wins)}")
    order = {name: i for i, name in enumerate(config.policies)}
    rows = summarize(sorted(results, key=lambda r: (order[r.policy], r.seed)))
    (out / "result.json").write_text(
        json.dumps({"config": asdict(config), "rows": rows, "wall_seconds": time.monotonic() - began}, indent=2)
    )
    strips = [
        _film_path(config, name, seed).with_suffix(".png") for name in config.policies for seed in seeds[: config.films]
    ]
    if strips := [s for s in strips if s.exists()]:
        sheet(strips, out / "contact_sheet.jpg")
    print_table(rows, Console(width=150, quiet=console.quiet) if console.width < 150 else console)
    return rows
