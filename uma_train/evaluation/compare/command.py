"""The run of `uma compare`: train, measure, and write ``compare.json``, ``compare.md`` and ``compare.png``."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

from rich.console import Console

from uma.checkpoint.folder import read_bundle
from uma.checkpoint.typed import to_json
from uma.types import InputError
from uma_train.data.optional import needed
from uma_train.evaluation.apart import train_apart
from uma_train.evaluation.benchmark_config import BenchmarkConfig
from uma_train.evaluation.closed_loop import benchmark
from uma_train.evaluation.compare.candidates import Candidate, candidates, differences, is_trained, record
from uma_train.evaluation.compare.config import CompareConfig
from uma_train.evaluation.compare.errors import held_out, open_loop
from uma_train.evaluation.compare.files import kept, plain, write_json
from uma_train.evaluation.compare.latency import Course, course, latency
from uma_train.evaluation.compare.page import page
from uma_train.evaluation.compare.plot import plot
from uma_train.evaluation.paired import paired

KIND = "uma compare"
"""The value of ``kind`` in ``compare.json``."""


def compare(config: CompareConfig, console: Console | None = None) -> dict[str, Any]:
    """Run or resume a comparison.

    Every part is a file of its own: a system's training run, its latency, its open-loop errors, and its benchmark of
    each task.

    Returns:
        The content of ``compare.json``.

    Raises:
        InputError: parameters, data or steps differ, or the folder holds another comparison.
    """
    console, out = console or Console(), Path(config.out)
    needed("matplotlib", "demo")  # before hours of training, not after
    _claim(config, out)
    found = candidates(config, console)
    for candidate in found:
        if candidate.training is not None and not is_trained(candidate):
            console.rule(candidate.system)
            train_apart(candidate.training, config.processes)
    records = [record(candidate) for candidate in found]
    unequal = differences(records, config.unequal)
    way, first = _Course(config), dict[str, str]()
    for candidate, row in zip(found, records, strict=True):
        console.rule(f"{candidate.system}: latency, errors, scenes")
        row["latency"] = _latency(config, candidate, way)
        row["errors"] = _errors(config, candidate)
        row["closed_loop"] = _closed_loop(config, candidate, first, console)
    result: dict[str, Any] = plain({"kind": KIND, "config": to_json(config), "unequal": unequal, "systems": records})
    write_json(out / "compare.json", result)
    (out / "compare.md").write_text(page(result))
    plot(result, out / "compare.png")
    console.print(f"{out}: compare.json, compare.md, compare.png")
    return result


def _claim(config: CompareConfig, out: Path) -> None:
    """Store the configuration, or compare it with the stored one."""
    stored, mine = out / "config.json", plain(to_json(config))
    if stored.exists() and json.loads(stored.read_text()) != mine:
        raise InputError(f"out: {out} holds a comparison with another configuration, must be another folder")
    write_json(stored, mine)


class _Course:
    """The observations of the latency, recorded when the first system needs them."""

    def __init__(self, config: CompareConfig) -> None:
        self._config, self._course = config, None

    def __call__(self) -> Course:
        if self._course is None:
            c = self._config
            self._course = course(c.tasks[0], c.first_seed, c.predictions)
        return self._course


def _folder(config: CompareConfig, candidate: Candidate) -> Path:
    return Path(config.out) / candidate.system


def _latency(config: CompareConfig, candidate: Candidate, way: _Course) -> dict[str, Any]:
    key = {
        "checkpoint_id": read_bundle(candidate.bundle).checkpoint_id,
        "task": config.tasks[0],
        "seed": config.first_seed,
        "predictions": config.predictions,
    }
    return kept(_folder(config, candidate) / "latency.json", key, lambda: latency(candidate.load(), way()))


def _errors(config: CompareConfig, candidate: Candidate) -> dict[str, Any]:
    policy = candidate.load()
    key = {
        "checkpoint_id": policy.checkpoint_id,
        "data": config.train.data,
        "validation_episodes": config.train.validation_episodes,
        "windows": config.windows,
    }

    def measure() -> dict[str, Any]:
        return open_loop(policy, held_out(config.train, policy.contract), config.windows, config.train.seed)

    return kept(_folder(config, candidate) / "errors.json", key, measure)


def _closed_loop(
    config: CompareConfig, candidate: Candidate, first: dict[str, str], console: Console
) -> dict[str, Any]:
    """Return the benchmark of each task, with a paired test against the first system.

    Args:
        first: task -> folder of the first system's benchmark; the first call fills it.

    A folder's name has the checkpoint, so that no other checkpoint's scenes count.
    """
    out = {}
    for task in config.tasks if config.episodes else ():
        folder = task.replace("/", "_")
        judge = BenchmarkConfig(
            task=task,
            checkpoint=str(candidate.bundle),
            episodes=config.episodes,
            first_seed=config.first_seed,
            policies=("uma",),
            max_steps=config.max_steps,
            workers=config.workers,
            streamed_ms=config.streamed_ms,
            out=str(_folder(config, candidate) / f"{folder}_{read_bundle(candidate.bundle).checkpoint_id}"),
        )
        (row,) = benchmark(judge, console)
        first.setdefault(task, judge.out)
        other = paired(first[task], judge.out)
        out[task] = {**row, **asdict(other), "sign_test": other.chance}
    return out
