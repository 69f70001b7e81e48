"""Recording of training episodes on the simulated station: parallel, resumable, reproducible from a seed."""

from __future__ import annotations

import contextlib
import json
import os
import time
import traceback
from collections import Counter
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from uma.geometry import se3
from uma.model.config import PRESETS
from uma.model.inputs import point_set
from uma.types import InputError
from uma_train.data.convert import planned, to_episode
from uma_train.data.draws import camera_pose, depth_kind, has_actions, interventions
from uma_train.data.episode import quantize, save_episode
from uma_train.data.seen import pixels, shrink, visible
from uma_train.data.simulate_config import SimulateConfig
from uma_train.jobs.local import LocalPool
from uma_train.jobs.schedule import DONE, run_items

if TYPE_CHECKING:
    from uma.types import Observation


MAX_AWAY = 2.0
"""Largest distance of a tracked point from the base in a kept episode, metres.

An object that falls off the table falls without end.
"""


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
