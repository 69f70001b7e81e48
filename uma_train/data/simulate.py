"""Recording of training episodes on the simulated station: parallel, resumable, reproducible from a seed."""

from __future__ import annotations

import contextlib
import json
import os
import time
import traceback
from collections import Counter
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from uma.geometry import se3
from uma.model.config import PRESETS
from uma.model.inputs import point_set
from uma.settings import within
from uma.types import InputError
from uma_train.data.convert import planned, to_episode
from uma_train.data.draws import EXECUTED, camera_pose, depth_kind, has_actions, interventions
from uma_train.data.episode import quantize, save_episode
from uma_train.data.seen import pixels, shrink, visible
from uma_train.jobs.local import LocalPool
from uma_train.jobs.schedule import DONE, run_items

if TYPE_CHECKING:
    from uma.types import Observation


MAX_AWAY = 2.0
"""Largest distance of a tracked point from the base in a kept episode, metres.

An object that falls off the table falls without end.
"""


@dataclass(frozen=True)
class SimulateConfig:
    """Configuration of one data set.

    Attributes:
        task: a key of `uma_sim.tasks.MODULES`, or one of `uma_sim.tasks.MIXTURES`, drawn per scene.
        out: folder of the episodes.
        episodes: number of scenes; only successful demonstrations are kept (paper B.2).
        first_seed: of the scenes; keep below 1,000,000, where the benchmark's seeds begin.
        preset: model preset that determines the stored point counts.
        workers: processes.
        images: frames that keep their colour image: none, first or all. Training with image features needs all.
        image_width, image_height: of the kept images, pixels; the camera has 320x180.
        embodiment: "hand" draws a person's hand in place of the robot, and the episodes have neither robot nor actions.
        without_actions: fraction of episodes without actions, as stand-ins for motion-only sources. Unlike in human
            video, the robot is still visible and measured.
        noise: largest scale of the execution noise, drawn from 0 per episode; labels stay clean. 0 = none.
        policy: bundle that acts for up to six stretches of some episodes at random times. The expert continues from
            there, and only its chunks are kept (DAgger). Empty = none.
        policy_share: fraction of episodes with such a policy.
        policy_attempts: the policy acts for one or two whole attempts instead, including its own end of the task.
        policy_delay: largest delay of the policy's chunks in control steps, drawn from 0 per episode.
        wander: fraction of the other episodes in which the hand drifts off by centimetres, and the expert returns it.
        camera: "scene", the scene's own random camera. "nominal", near the cameras of the benchmark and the station,
            for a policy of that view only. "around", anywhere from the robot's right over the front to its left;
            `nominal_share` of these are near the nominal one. Scenes whose object is out of view are left out.
        nominal_share: fraction of "around" cameras near the nominal one.
        stereo_share: fraction of episodes whose depth is matched from two images, see `uma_sim.robot.stereo`; slower.
        disturbances: fraction of episodes with one disturbance (a dropped object, a missed grasp, a closed gripper at
            the start).
        record: False runs the demonstrations without rendering or storing, for the yield only; much faster.
    """

    task: str = "insertion"
    out: str = "data/insertion"
    episodes: int = 1000
    first_seed: int = 0
    preset: str = "small"
    workers: int = 2
    images: Literal["none", "first", "all"] = "first"
    image_width: int = 160
    image_height: int = 90
    embodiment: Literal["robot", "hand"] = "robot"
    without_actions: float = 0.0
    noise: float = 1.6
    disturbances: float = 0.25
    policy: str = ""
    policy_share: float = 0.5
    policy_attempts: bool = False
    policy_delay: int = 0
    wander: float = 0.0
    camera: Literal["scene", "nominal", "around"] = "scene"
    nominal_share: float = 0.4
    stereo_share: float = 0.0
    record: bool = True

    def __post_init__(self) -> None:
        from uma_sim import tasks

        known = (*tasks.MODULES, *tasks.MIXTURES)
        if self.task not in known:
            raise ValueError(f"task '{self.task}': must be one of {', '.join(known)}")
        shares = {
            name: (0, 1)
            for name in ("without_actions", "disturbances", "policy_share", "wander", "nominal_share", "stereo_share")
        }
        sizes = {"policy_delay": (0, EXECUTED), "image_width": (1, 4096), "image_height": (1, 4096)}
        within(self, shares | sizes | {"noise": (0, 4)})
        if self.embodiment == "hand" and self.policy:
            raise ValueError(
                f"policy {self.policy!r}: must be empty with embodiment 'hand', which a policy does not drive"
            )
        if self.preset not in PRESETS:
            raise ValueError(f"preset '{self.preset}': must be one of {sorted(PRESETS)}")
        if not 0 <= self.first_seed <= self.first_seed + self.episodes <= 1_000_000:
            raise ValueError(f"first_seed {self.first_seed} + episodes {self.episodes}: must lie in 0 to 1,000,000")


def _job(args: tuple[SimulateConfig, int]) -> dict:
    """Run one demonstration and store it if it succeeds.

    Returns:
        The result row: seed, disturbance, result, task and driver ("policy" or "wander" if one acted).
    """
    config, seed = args
    from uma_sim import tasks
    from uma_sim.rollout import run_demonstration
    from uma_sim.tasks import make_station

    points = PRESETS[config.preset]().points
    seen: list[np.ndarray] = []
    task = tasks.of_seed(config.task, seed)
    station = make_station(
        seed,
        task,
        render=config.record or bool(config.policy),
        T_base_cam=camera_pose(config, seed),
        depth=depth_kind(config, seed),
        embodiment=config.embodiment,
    )

    def keep(observation: Observation) -> tuple:
        is_kept = config.images == "all" or config.images == "first" and not seen
        seen.append(
            visible(
                se3.apply(se3.invert(station.T_base_cam), station.object_points()),
                observation.depth,
                observation.camera,
            )
        )
        image = shrink(observation.rgb, config.image_width, config.image_height) if is_kept else None
        if config.embodiment == "hand":  # as from a video, where no robot tells which points are near it
            observation = replace(observation, T_cam_ee=np.eye(4), gripper=0.0)
        return (*quantize(point_set(observation, points)), image)

    def result_row(disturbance: str, result: str) -> dict:
        return {"seed": seed, "disturbance": disturbance, "result": result, "task": task, "driver": driver}

    driver = "expert"
    try:
        if (
            config.camera == "around"
            and not pixels(se3.apply(se3.invert(station.T_base_cam), station.object_points()), station.camera)[2].all()
        ):
            return result_row("none", "the object is out of view")
        # Plan before any motion.
        plan = planned(station) if config.record else None
        away, driver = interventions(config, seed, station)
        run = run_demonstration(
            seed,
            station=station,
            on_observation=keep if config.record else None,
            disturbance_probability=config.disturbances,
            max_noise=config.noise,
            interventions=away,
        )
    except InputError as error:  # an unusable image costs one episode, not the run
        return result_row("none", f"no observation: {error}")
    finally:
        station.close()
    if run is None:
        return result_row("none", "simulation failed")
    driver = driver if run["interventions"] else "expert"  # the episode may end before the intervention
    if not run["success"]:
        return result_row(run["disturbance"], f"{run['verdict']}: {run['reason']}")
    if float(np.abs(run["object_points"]).max()) > MAX_AWAY:
        return result_row(run["disturbance"], "a tracked point left the scene")
    if config.record:
        # Only primitives and intents mask unseen points; insertion keeps full tracks.
        tracks = np.stack(seen) if task.startswith(("primitives/", "intents/")) else None
        episode = to_episode(
            run,
            images=config.images,
            has_actions=has_actions(config, seed),
            has_robot=config.embodiment == "robot",
            seen=tracks,
            plan=plan,
        )
        save_episode(Path(config.out) / f"{seed:07d}.npz", episode)
    return result_row(run["disturbance"], "kept")


def work(job: tuple[SimulateConfig, int], state: None) -> dict | Exception:
    """Run one demonstration in a worker; return its row, or an error, which ends the run."""
    try:
        return _job(job)
    except Exception as error:
        error.add_note(traceback.format_exc())
        return error


SAME = (
    "task",
    "preset",
    "embodiment",
    "images",
    "image_width",
    "image_height",
    "without_actions",
    "noise",
    "disturbances",
    "policy",
    "policy_share",
    "policy_attempts",
    "policy_delay",
    "wander",
    "camera",
    "nominal_share",
    "stereo_share",
    "record",
)
"""Settings that must be equal for all episodes of a folder."""


def _counts(results: list[dict], key: str) -> dict[str, dict[str, int]]:
    """Count kept and failed episodes per value of ``key``."""
    values = sorted({r[key] for r in results})
    return {
        v: dict(Counter("kept" if r["result"] == "kept" else "failed" for r in results if r[key] == v)) for v in values
    }


def simulate(config: SimulateConfig, console: Console | None = None) -> dict:
    """Record a data set, resuming after an interruption, and write ``card.json`` with the yield.

    Returns:
        The card.

    Raises:
        ValueError: the folder holds a data set with other settings (`SAME`).
    """
    console = console or Console()
    out = Path(config.out)
    out.mkdir(parents=True, exist_ok=True)
    stored = json.loads((out / "card.json").read_text())["config"] if (out / "card.json").exists() else {}
    for name in SAME:
        before = stored.get(name, getattr(SimulateConfig, name))  # a card from before there was such a setting
        if stored and before != getattr(config, name):
            raise ValueError(
                f"{out}: recorded with {name} {before!r}, now {getattr(config, name)!r}; choose another --out"
            )
    log = out / "seeds.jsonl"
    done = {r["seed"]: r for r in map(json.loads, log.read_text().splitlines())} if log.exists() else {}
    seeds = range(config.first_seed, config.first_seed + config.episodes)
    jobs = [(config, s) for s in seeds if s not in done]
    os.environ["OMP_NUM_THREADS"] = "1"
    began = time.monotonic()
    columns = (
        TextColumn("episodes"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.description}"),
    )
    with (
        Progress(*columns, console=console) as progress,
        open(log, "a") as f,
        contextlib.closing(run_items(LocalPool(work), jobs, config.workers)) as events,
    ):
        bar = progress.add_task("", total=len(seeds), completed=len(seeds) - len(jobs))
        for event in events:
            if isinstance(event.value, Exception):
                raise event.value
            if event.kind != DONE:
                console.print(f"  seed {event.item[1]}: {event.value}; the same command repeats it", highlight=False)
                continue
            result = event.value
            done[result["seed"]] = result
            f.write(json.dumps(result) + "\n")
            f.flush()
            kept = sum(r["result"] == "kept" for r in done.values())
            progress.update(bar, advance=1, description=f"kept {kept} ({100 * kept / len(done):.0f} %)")
    results = [done[s] for s in seeds if s in done]
    card = {
        "config": asdict(config),
        "tried": len(results),
        "kept": sum(r["result"] == "kept" for r in results),
        "by_task": _counts(results, "task"),
        "by_disturbance": _counts(results, "disturbance"),
        "by_driver": _counts(results, "driver"),
        "failures": dict(Counter(r["result"] for r in results if r["result"] != "kept")),
        "wall_seconds_this_run": round(time.monotonic() - began, 1),
    }
    (out / "card.json").write_text(json.dumps(card, indent=2) + "\n")
    for kind in ("by_task", "by_disturbance", *(["by_driver"] if config.policy or config.wander else [])):
        console.print(
            "; ".join(f"{name}: {c.get('kept', 0)} of {sum(c.values())}" for name, c in card[kind].items()),
            highlight=False,
        )
    for reason, count in card["failures"].items():
        console.print(f"  {count} x {reason}", highlight=False)
    console.print(
        f"{card['kept']} of {card['tried']} episodes {'kept in' if config.record else 'would be kept; card in'} {out}"
    )
    return card
