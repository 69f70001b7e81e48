"""`uma benchmark --ros`: closed-loop success rate of the whole node graph over DDS."""

from __future__ import annotations

import json
import shutil
import signal
import sys
from collections import Counter
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
import rclpy
from rich.console import Console
from rich.progress import Progress
from scipy.stats import binomtest

from uma.settings import from_words, setting
from uma.types import RATE_HZ, InputError
from uma_ros.commands.demo import StackError, Watcher, drive
from uma_ros.deployment.graph import PARAMETERS, TASKS, NodeSpec, Options
from uma_ros.deployment.preparation import PARAMETERS_OF_RUN, located, missing_module, prepared, write_parameters
from uma_ros.deployment.supervisor import Supervisor

ACTIONS = {"insertion": 220, "sweeping": 260, "folding": 220}
"""Task -> largest number of actions, as in `uma benchmark`. A test compares the two."""

LASTS = {"insertion": 0, "sweeping": 0, "folding": 0}
"""Task -> least number of actions that a success lasts, whatever ``linger`` is. A test compares it with the tasks'."""

LIBRARY_ONLY = (
    "policies execute streamed_ms delay prefix num_steps num_samples consensus_fraction keypoints waypoints sketch "
    "held_out holders pinned camera policy_frame depth depth_noise camera_shift_mm camera_turn_deg with_motion "
    "candidates prompt max_steps workers films"
).split()
"""Options of `uma benchmark` that the node graph does not honour. A test compares the two commands."""


def refuse_library_options(argv: list[str]) -> None:
    """Refuse options of `uma benchmark` that have no effect on the node graph.

    Raises:
        InputError: the first of them, by name.
    """
    for word in argv:
        name = word.partition("=")[0].removeprefix("--").removeprefix("no-").replace("-", "_")
        if word.startswith("--") and name in LIBRARY_ONLY:
            raise InputError(f"--{name.replace('_', '-')}: must not be given with --ros, which does not honour it")


def graph(options: Options, task: str, real_time_factor: float) -> tuple[NodeSpec, ...]:
    """Return the task's nodes. The policy continues to the time limit, as in `uma benchmark`.

    Args:
        real_time_factor: largest number of simulated seconds per second. Below 1, latencies shrink in simulated time.

    Raises:
        InputError: a program, a file or a parameter of the nodes does not fit.
    """
    changes = {"station": {"real_time_factor": real_time_factor}, "policy": {"finish_after_s": 0.0}}
    return tuple(
        replace(spec, parameters={**spec.parameters, **changes.get(spec.name, {})})
        for spec in prepared(task, options, missing_module)
    )


def episode(
    nodes: tuple[NodeSpec, ...],
    options: Options,
    limit: float,
    linger: float,
    folder: Path,
    command: Callable[[NodeSpec], list[str] | None],
) -> dict:
    """Run one scene on its own graph. Return seed, verdict, reason, simulated seconds and the latency of every chunk.

    The verdict is ``stack`` if a node failed.
    """
    rclpy.init(signal_handler_options=rclpy.SignalHandlerOptions.NO)
    supervisor, watcher, parameters = Supervisor(folder / "log"), Watcher(), folder / PARAMETERS_OF_RUN
    write_parameters(nodes, parameters)
    elapsed = float("nan")
    try:
        for spec in nodes:
            supervisor.start(replace(spec, parameters={}), str(parameters), command(spec))
        elapsed, outcome = drive(supervisor, watcher, folder, limit, lambda line: None, recorded=False, linger=linger)
        verdict, reason = outcome.get("verdict", "unknown"), outcome.get("reason", "")
    except StackError as error:
        verdict, reason = "stack", str(error)
    finally:
        supervisor.stop()
        watcher.node.destroy_node()
        rclpy.try_shutdown()
    latency = {"chunk_ms": list(watcher.latency_ms.values()), "chunk_age_ms": watcher.chunk_age_ms}
    return {
        "seed": options.seed,
        "verdict": verdict,
        "reason": reason,
        "seconds": elapsed,
        **{k: [round(x, 1) for x in v] for k, v in latency.items()},
    }


@dataclass(frozen=True)
class LiveBenchmarkOptions:
    """Measure the closed-loop success rate of the node graph. The same command resumes a run."""

    task: str = setting("insertion", "task of the scenes", choices=tuple(sorted(TASKS)))
    checkpoint: str = setting("", "folder of the checkpoint; empty: as in the configuration")
    episodes: int = setting(20, "number of scenes; each takes about half a minute", 0, 1_000_000)
    first_seed: int = setting(1_000_000, "seed of the first scene; training uses lower ones")
    limit: float = setting(
        0.0,
        "simulated seconds per scene; 0: as in `uma benchmark`, "
        + ", ".join(f"{n} actions of {task}" for task, n in ACTIONS.items()),
        0.0,
        3600.0,
    )
    real_time_factor: float = setting(
        1.0, "largest number of simulated seconds per second; 0.4 allows 2.5 times the latency", 0.05, 10.0
    )
    linger: int = setting(
        15,
        "actions after a success for which the policy continues and the success must last; 0: end at once",
        0,
        1000,
    )
    config: str = setting(PARAMETERS, "YAML file with the parameters of all nodes")
    out: str = setting("runs/benchmark_ros", "folder of the results")


def main(argv: list[str], command: Callable[[NodeSpec], list[str] | None] = lambda spec: None) -> int:
    """Run the command. Return 0, or 1 if the stack failed in a scene.

    Args:
        command: replaces the command of a node, for tests.
    """
    refuse_library_options(argv)
    given = from_words(LiveBenchmarkOptions, argv, "uma benchmark --ros")
    args = replace(given, limit=given.limit or ACTIONS[given.task] / RATE_HZ)
    out = Path(args.out).resolve()
    out.mkdir(parents=True, exist_ok=True)
    arguments, stored = {k: v for k, v in asdict(args).items() if k not in ("out", "episodes")}, out / "config.json"
    if stored.exists() and json.loads(stored.read_text()) != arguments:
        raise InputError(f"{out}: contains a run with other arguments; use another --out")
    stored.write_text(json.dumps(arguments, indent=2))
    log = out / "episodes.jsonl"
    rows = [json.loads(line) for line in log.read_text().splitlines()] if log.exists() else []
    done = {row["seed"] for row in rows}
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    with Progress(console=Console(stderr=True)) as progress, open(log, "a") as f:
        bar = progress.add_task("scenes", total=args.episodes, completed=len(done))
        for seed in range(args.first_seed, args.first_seed + args.episodes):
            if seed in done:
                continue
            folder = out / f"scene_{seed}"
            shutil.rmtree(folder, ignore_errors=True)  # of an interrupted run
            folder.mkdir()
            options = located(
                Options(
                    seed=seed,
                    checkpoint=args.checkpoint,
                    config=args.config,
                    run_dir=str(folder),
                    description="off",  # nobody watches
                )
            )
            rows.append(
                episode(
                    graph(options, args.task, args.real_time_factor),
                    options,
                    args.limit,
                    max(args.linger, LASTS[args.task]) / RATE_HZ,
                    folder,
                    command,
                )
            )
            f.write(json.dumps(rows[-1]) + "\n")
            f.flush()
            progress.update(bar, advance=1, description=f"{sum(r['verdict'] == 'success' for r in rows)}/{len(rows)}")
    wins = sum(row["verdict"] == "success" for row in rows)
    low, high = binomtest(wins, len(rows)).proportion_ci(method="wilson") if rows else (0.0, 1.0)
    print(
        f"{args.task} through the node graph: {wins}/{len(rows)} = {wins / max(len(rows), 1):.0%} ({low:.0%} "
        f"to {high:.0%}); {dict(Counter(r['verdict'] for r in rows))}"
    )
    for key, what in (
        ("chunk_ms", "latency of a chunk"),
        ("chunk_age_ms", "age of the image at the arrival of its chunk in the base frame, simulated time"),
    ):
        if values := [x for row in rows for x in row.get(key, [])]:
            print(
                f"  {what}: p50 {np.percentile(values, 50):.0f} ms, p95 {np.percentile(values, 95):.0f} ms "
                f"(of {len(values)})"
            )
    for row in rows:
        if row["verdict"] != "success":
            print(f"  scene {row['seed']}: {row['verdict']}: {row['reason']}")
    return int(any(row["verdict"] == "stack" for row in rows))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
