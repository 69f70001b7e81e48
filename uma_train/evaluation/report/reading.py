"""Stored runs as records: benchmarks, open-loop errors, ablations, comparisons and sweeps."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from uma.checkpoint.folder import BundleError, read_bundle
from uma.checkpoint.prompt import PromptError, load_prompt
from uma.types import InputError

NAMES = ("compare.json", "result.json", "sweep.json", "dynamics.json", "eval.json")
"""Files that are read; ``eval`` may stand at the start of a longer name, as in ``eval_sim.json``."""


@dataclass(frozen=True)
class Kind:
    """What a checkpoint is.

    Attributes:
        system: name.
        name: the system, with what it was trained without: "uma_without_sim", "_human" or "_contrastive".
        preset, episodes, data: of its training.
        init: the checkpoint that it was continued from; empty for new weights. What the earlier weights have seen is
            not recorded, so the name of a continued checkpoint has no "without".
    """

    system: str
    name: str
    checkpoint: str
    preset: str = ""
    episodes: int = 0
    data: tuple[str, ...] = ()
    init: str = ""


@dataclass(frozen=True)
class Judged:
    """Closed-loop scenes of one policy and task.

    Attributes:
        kind: of the checkpoint; None if its folder is missing.
        settings: of the benchmark.
        row: of `uma_train.evaluation.outcomes.summarize`.
        prompt: supervision of the prompt, "action" or "motion"; empty without one.
    """

    file: Path
    kind: Kind | None
    task: str
    settings: dict[str, Any]
    row: dict[str, Any]
    prompt: str = ""


@dataclass(frozen=True)
class Dynamics:
    """A squared error of motion, m^2, over a number of windows."""

    file: Path
    kind: Kind | None
    mse: float
    windows: int
    about: str


@dataclass(frozen=True)
class Ablated:
    """The closed-loop scenes of one variant in an ablation: task -> row."""

    file: Path
    variant: str
    rows: dict[str, dict[str, Any]]


@dataclass(frozen=True)
class Swept:
    """One point of a sweep."""

    file: Path
    row: dict[str, Any]


Found = Judged | Dynamics | Ablated | Swept


def files(folders: tuple[str, ...]) -> list[Path]:
    """Return the result files below some folders, in order.

    The parts of a comparison, a sweep or an ablation are left out: its own file has their numbers.

    Raises:
        InputError: a folder does not exist.
    """
    out: set[Path] = set()
    for folder in map(Path, folders):
        if not folder.is_dir():
            raise InputError(f"runs: {folder}: no such folder")
        out |= {p for p in _below(folder) if p.suffix == ".json" and (p.name in NAMES or p.name.startswith("eval"))}
    studies = {p for p in out if p.name in ("compare.json", "sweep.json") or _is_ablation(p)}
    roots = {p.parent for p in studies}
    return sorted(p for p in out if p in studies or not roots & set(p.parents))


def _below(folder: Path) -> Iterator[Path]:
    """Yield the files below a folder, those of linked folders too, each folder once."""
    seen: set[str] = set()
    for at, folders, names in os.walk(folder, followlinks=True):
        real = os.path.realpath(at)
        if real in seen:  # a link to a folder above
            folders.clear()
            continue
        seen.add(real)
        yield from (Path(at) / name for name in names)


def _is_ablation(path: Path) -> bool:
    return path.name == "result.json" and '"variant"' in path.read_text(errors="replace")


def read(path: Path) -> list[Found]:
    """Read one result file.

    Raises:
        InputError: it is broken, or not a result.
    """
    try:
        content = json.loads(path.read_text())
    except (OSError, ValueError) as e:
        raise InputError(f"{path}: not readable as JSON: {e}") from e
    try:
        return list(_records(path, content))
    except (KeyError, TypeError, AttributeError, IndexError, ValueError) as e:
        raise InputError(f"{path}: not a stored result: {type(e).__name__} {e}") from e


def _records(path: Path, content: dict[str, Any]) -> Iterator[Found]:
    if path.name == "compare.json":
        yield from _compared(path, content)
    elif path.name == "sweep.json":
        yield from (Swept(path, {**row, "success": int(row["success"])}) for row in content["rows"])
    elif path.name == "dynamics.json":
        for checkpoint, scenes in content["results"].items():
            for name, errors in scenes.items():
                yield _evaluated(path, errors, f"{Path(checkpoint).name} on {name}")
    elif path.name.startswith("eval"):
        yield _evaluated(path, content, "")
    elif "variant" in content["rows"][0]:
        yield from (Ablated(path, r["variant"], r["closed_loop"]) for r in content["rows"] if r.get("closed_loop"))
    else:
        settings = content["config"]
        kind = kind_of(path, settings["checkpoint"])
        for row in content["rows"]:
            prompt = _supervision(path, settings) if row["policy"] == "uma_prompt" else ""
            yield Judged(path, kind, settings["task"], settings, row, prompt)


def _compared(path: Path, content: dict[str, Any]) -> Iterator[Found]:
    config = content["config"]
    weight = config["train"]["objective"]["contrastive_weight"]
    for s in content["systems"]:
        kind = _kind(s["system"], s["checkpoint_id"], s, weight)
        for task, row in s["closed_loop"].items():
            yield Judged(path, kind, task, config, row)
        if (errors := s["errors"]["dynamics"]) is not None and errors["motion_mse_m2"] is not None:
            yield Dynamics(path, kind, float(errors["motion_mse_m2"]), int(config["windows"]), "16 keypoints")


def _evaluated(path: Path, content: dict[str, Any], about: str) -> Dynamics:
    settings = content["config"]
    mse = float(content["modes"]["dynamics, keypoints given"]["motion_mse_m2"])
    note = ", ".join(v for v in (about, f"{settings['keypoints']} keypoints") if v)
    return Dynamics(path, kind_of(path, settings["checkpoint"]), mse, int(settings["windows"]), note)


def located(path: Path, name: str) -> Path:
    """Return the file or folder that a result names, relative to where it was made, or to a folder above the result."""
    candidates = [Path(name), *(parent / name for parent in path.resolve().parents)]
    return next((c for c in candidates if c.exists()), Path(name))


def kind_of(path: Path, checkpoint: str) -> Kind | None:
    """Return the kind of a checkpoint that a result names; None if it is missing or damaged."""
    try:
        stored = read_bundle(located(path, checkpoint))
    except BundleError:
        return None
    run = stored.training.get("config", {})
    weight = run.get("objective", {}).get("contrastive_weight", 1.0)
    about = {**run, "episodes": stored.training.get("episodes")}
    return _kind(stored.system, stored.checkpoint_id, about, weight)


def _kind(system: str, checkpoint: str, run: dict[str, Any], contrastive_weight: float) -> Kind:
    without = [name for name in run.get("without") or () if name in ("sim", "human")]
    if system == "uma" and not contrastive_weight:
        without.append("contrastive")
    init = run.get("init") or ""
    name = "_".join([system, *(["without", *without] if without and not init else [])])
    data = tuple(run.get("data") or ())
    return Kind(system, name, checkpoint, run.get("preset") or "", int(run.get("episodes") or 0), data, init)


def _supervision(path: Path, settings: dict[str, Any]) -> str:
    """Return what the prompt of a benchmark was optimised on; empty if its file is missing."""
    try:
        training = load_prompt(located(path, settings["prompt"])).training
    except PromptError:
        return ""
    return "action" if training["config"]["adaptation"]["action_weight"] else "motion"
