"""Closed-loop success on the simulated station: fixed unseen seeds, several policies, one table."""

from __future__ import annotations

import json
import math
import multiprocessing
import os
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from functools import partial
from inspect import signature
from itertools import count, islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from rich.console import Console
from rich.progress import Progress

from uma.checkpoint.default import DEFAULT
from uma.policy.sampling import SamplerConfig
from uma.settings import within
from uma.sketch.human import STYLES
from uma.types import HORIZON, RATE_HZ
from uma_train.evaluation.actors import POLICIES, actor_of
from uma_train.evaluation.film import Film, sheet
from uma_train.evaluation.outcomes import EpisodeResult, failure_class, print_table, summarize

if TYPE_CHECKING:
    from uma.types import ActionChunk, Observation
    from uma_sim.station import Station


def _cameras() -> tuple[str, ...]:
    from uma_sim.scene import CAMERAS

    return CAMERAS


def _holders() -> tuple[str, ...]:
    from uma_sim.tasks.insertion import HOLDERS

    return tuple(HOLDERS)


def _offers(task: str, option: str) -> bool:
    from uma_sim.tasks import load

    return option in signature(load(task).sample).parameters


@dataclass(frozen=True)
class BenchmarkConfig:
    """Configuration of one benchmark run.

    Attributes:
        task: a key of `uma_sim.tasks.MODULES`.
        checkpoint: bundle.
        episodes, first_seed: scenes ``first_seed`` to ``first_seed + episodes - 1``; training uses seeds below
            1,000,000.
        policies: of `uma_train.evaluation.actors.POLICIES`.
        prompt: file of `uma adapt`, of the policy ``uma_prompt``.
        candidates: chunks of ``uma_mpc``.
        execute: control steps between two observations.
        streamed_ms: chunks pass through the node's controller, see `SimulatedController`, after this simulated latency
            in milliseconds (130 is typical of the node graph on two cores). 0 = without the controller: each action is
            the station's target for one step.
        delay: without ``streamed_ms``, latency of a chunk in control steps; the last chunk continues meanwhile.
        prefix: given leading actions from the previous chunk, see `uma.policy.prefix`; 0 = none. It should equal the
            delay.
        num_steps, num_samples, consensus_fraction: see `SamplerConfig`.
        keypoints, waypoints: of the reference motion.
        sketch: style of the reference, of `uma.sketch.human.STYLES`; "exact" is the planned motion itself.
        held_out: evaluation-only shapes, where the task offers them.
        holders: of insertion, a key of `uma_sim.tasks.insertion.HOLDERS`; empty = the task's default.
        pinned: additional points on a second, static object (holder, dustpan or the cloth's resting edge), 0 to 4.
        camera: a camera name of `uma_sim.scene.CAMERAS`; empty = the scene's camera.
        policy_frame: kind of the policy frame, overriding the checkpoint's; empty = its own.
        depth: "model", the true depth with stereo occlusion and noise, or "stereo", matched from two images, see
            `uma_sim.robot.stereo`.
        depth_noise: factor on the standard deviation of the depth noise of "model".
        camera_shift_mm, camera_turn_deg: displacement of the camera since its calibration, in a direction and about an
            axis drawn per scene.
        with_motion: sample actions jointly with motion tokens.
        linger: control steps after a success during which it must persist, within the time limit; 0 = the first
            success ends the episode. A task's own `Task.lasts` is a lower limit.
        max_steps: time limit in control steps; 0 = the task's limit for demonstrations.
        workers: processes, one torch thread each.
        films: number of first scenes that are filmed, per policy, with a contact sheet.
        out: folder of the result; a run with the same configuration resumes there.
    """

    task: str = "insertion"
    checkpoint: str = DEFAULT
    episodes: int = 50
    first_seed: int = 1_000_000
    policies: tuple[str, ...] = ("uma", "uma_zeroed", "uma_other_task", "hold_still", "grasp_and_follow")
    prompt: str = ""
    candidates: int = 8
    execute: int = 4
    streamed_ms: float = 130.0
    delay: int = 0
    prefix: int = 0
    num_steps: int = SamplerConfig.num_steps
    num_samples: int = SamplerConfig.num_samples
    consensus_fraction: float = SamplerConfig.consensus_fraction
    keypoints: int = 6
    waypoints: int = 4
    sketch: str = "exact"
    held_out: bool = False
    holders: str = ""
    pinned: int = 0
    camera: str = ""
    policy_frame: str = ""
    depth: Literal["model", "stereo"] = "model"
    depth_noise: float = 1.0
    camera_shift_mm: float = 0.0
    camera_turn_deg: float = 0.0
    with_motion: bool = False
    linger: int = 15
    max_steps: int = 0
    workers: int = 2
    films: int = 0
    out: str = "runs/benchmark"

    def __post_init__(self) -> None:
        if unknown := set(self.policies) - set(POLICIES):
            raise ValueError(f"policies: {sorted(unknown)[0]!r}, must be of {POLICIES}")
        if ("uma_prompt" in self.policies) != bool(self.prompt):
            raise ValueError(f"prompt: {self.prompt!r}, must be a file with the policy uma_prompt, and only with it")
        if not 0 <= self.delay <= self.execute or self.execute + self.delay > 16:
            raise ValueError(
                f"execute {self.execute}, delay {self.delay}: delay must be at most execute, and their sum at most 16"
            )
        if not 0 <= self.streamed_ms < 1e3 * self.execute / RATE_HZ:
            raise ValueError(
                f"streamed_ms: {self.streamed_ms:g}, must be at least 0 and below "
                f"{1e3 * self.execute / RATE_HZ:.0f} for {self.execute} executed actions"
            )
        if self.streamed_ms and self.delay:
            raise ValueError(
                f"delay: {self.delay}, must be 0 with streamed_ms {self.streamed_ms:g}; for a delay "
                "without the controller use --streamed-ms 0"
            )
        if not 0 <= self.prefix <= 16 - self.execute:
            raise ValueError(
                f"prefix: {self.prefix}, must be 0 to {16 - self.execute}, because {self.execute} actions of the "
                "previous chunk are executed"
            )
        within(
            self,
            {
                "keypoints": (1, 16),
                "candidates": (1, 256),
                "waypoints": (2, 64),
                "pinned": (0, 4),
                "depth_noise": (0, 100),
                "consensus_fraction": (0.01, 1),
                "camera_shift_mm": (0, 500),
                "camera_turn_deg": (0, 90),
                "linger": (0, 1000),
            },
        )
        if self.sketch not in STYLES:
            raise ValueError(f"sketch: {self.sketch!r}, must be one of {', '.join(STYLES)}")
        if self.held_out and not _offers(self.task, "held_out"):
            raise ValueError(f"held_out: True, must be False for task {self.task!r}, which has no held-out shapes")
        if self.holders and not _offers(self.task, "holders"):
            raise ValueError(f"holders: {self.holders!r}, must be empty for task {self.task!r}, which has no holders")
        if self.holders and self.holders not in (known := _holders()):
            raise ValueError(f"holders: {self.holders!r}, must be one of {known}")
        if self.camera and self.camera not in (known := _cameras()):
            raise ValueError(f"camera: {self.camera!r}, must be one of {known}")
        if self.depth not in ("model", "stereo"):
            raise ValueError(f"depth: {self.depth!r}, must be 'model' or 'stereo'")
        if self.depth == "stereo" and self.depth_noise != 1:
            raise ValueError(
                f"depth_noise: {self.depth_noise:g}, must be 1 with depth 'stereo', which has its own noise"
            )
        if self.policy_frame not in ("", "camera", "camera_nominal", "table"):
            raise ValueError(
                f"policy_frame: {self.policy_frame!r}, must be 'camera', 'camera_nominal', 'table' or empty"
            )
        if self.keypoints + self.pinned > 16:
            raise ValueError(f"keypoints {self.keypoints}, pinned {self.pinned}: must be at most 16 together")

    @property
    def scene_options(self) -> dict[str, bool | str]:
        """Options of the task's ``sample`` that differ from its defaults."""
        return {name: getattr(self, name) for name in ("held_out", "holders") if getattr(self, name)}

    @property
    def sampler(self) -> SamplerConfig:
        """The policy's sampler configuration."""
        return SamplerConfig(
            num_steps=self.num_steps, num_samples=self.num_samples, consensus_fraction=self.consensus_fraction
        )


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
