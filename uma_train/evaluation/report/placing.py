"""Which measurement stands beside which number of the paper."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from scipy.stats import binomtest

from uma_train.evaluation.outcomes import CLASSES
from uma_train.evaluation.report.paper import TASKS
from uma_train.evaluation.report.reading import Ablated, Dynamics, Found, Judged, Kind, Swept

MISSING = "its checkpoint is missing"

NAMED = 4
"""Folders of a training that the page names."""

GRASPING = ("no_grasp", "wrong_grasp")

USUAL: dict[str, tuple[Any, ...]] = {
    "sketch": ("exact",),
    "held_out": (False,),
    "delay": (0,),
    "prefix": (0,),
    "camera": ("", "nominal"),
    "policy_frame": ("",),
    "depth": ("model",),
    "depth_noise": (1.0,),
    "camera_shift_mm": (0.0,),
    "camera_turn_deg": (0.0,),
    "max_steps": (0,),
}
"""Settings of a benchmark that stands in a figure; a setting that a file lacks has its usual value."""


@dataclass(frozen=True)
class Measured:
    """A number of ours.

    Attributes:
        value: in the figure's unit.
        count: scenes, windows or failures behind it.
        low, high: limits of the 95 % interval, or None.
        about, source: conditions, and files.
    """

    value: float
    count: int
    source: str
    about: str = ""
    low: float | None = None
    high: float | None = None


@dataclass
class Placed:
    """Measurements by the keys of `uma_train.evaluation.report.paper`.

    Attributes:
        cells: key -> measurement.
        partial: key -> what an average lacks.
        others: (run, number, reason) of what stands in no figure.
    """

    cells: dict[str, Measured] = field(default_factory=dict)
    partial: dict[str, str] = field(default_factory=dict)
    others: list[tuple[str, str, str]] = field(default_factory=list)


Scenes = dict[str, dict[str, dict[str, Judged]]]
"""Start of a key -> checkpoint -> task -> its scenes."""


def place(found: Iterable[Found]) -> Placed:
    """Place all measurements.

    Of several errors for one place, that of the most windows stands there. Of several checkpoints for one row, the one
    with the most tasks stands there, and of these the one with the most scenes.
    """
    out, scenes = Placed(), Scenes()
    for f in found:
        if isinstance(f, Judged):
            _sort(f, scenes, out)
        elif isinstance(f, Dynamics):
            if f.kind is None:
                out.others.append((f"{f.file}: dynamics", f"{f.mse:.3g} m²", MISSING))
                continue
            _keep(out, f"dynamics/{f.kind.name}", Measured(f.mse, f.windows, str(f.file), _about(f, f.kind)))
        elif isinstance(f, Ablated):
            _keep(out, f"ablation/{f.variant}", _success(list(f.rows.values()), str(f.file), " ".join(f.rows)))
        elif isinstance(f, Swept):
            row = f.row
            out.others.append((f"{f.file}: {row['what']} {row['value']}", _share(row), "a point of a sweep"))
    chosen = {key: _chosen(of, out) for key, of in scenes.items()}
    _averages(chosen, out)
    _failures(list(chosen.get("zero_shot/uma", {}).values()), out)
    return out


def _sort(f: Judged, scenes: Scenes, out: Placed) -> None:
    """Keep a benchmark under every key where it belongs, or among the others."""
    reason = unusual(f)
    if reason:
        out.others.append((_name(f), _share(f.row), reason))
        return
    assert f.kind is not None
    if f.prompt:
        keys = [f"few_shot/{f.kind.name}/{f.prompt}"]
    else:
        keys = [f"zero_shot/{f.kind.name}"]
        if f.kind.name == "uma" and f.kind.preset and not f.kind.init:
            keys.append(f"scaling/{f.kind.preset}/{f.kind.episodes}")
    for key in keys:
        mine = scenes.setdefault(key, {}).setdefault(f.kind.checkpoint, {})
        if f.task not in mine or f.row["episodes"] > mine[f.task].row["episodes"]:
            mine[f.task] = f


def _chosen(of: dict[str, dict[str, Judged]], out: Placed) -> dict[str, Judged]:
    """Return task -> scenes of one checkpoint; the others' are listed."""
    best = max(of, key=lambda c: (len(of[c]), sum(j.row["episodes"] for j in of[c].values())))
    for checkpoint, tasks in of.items():
        if checkpoint != best:
            out.others += [(_name(j), _share(j.row), f"checkpoint {best} stands in the figure") for j in tasks.values()]
    return of[best]


def _name(f: Judged) -> str:
    return f"{f.file}: {f.task}, {f.row['policy']}"


def unusual(f: Judged) -> str:
    """Return why a benchmark stands in no figure; empty if it may."""
    if f.kind is None:
        return MISSING
    if f.task not in TASKS:
        return "not a task of the paper"
    if f.row["policy"] not in ("uma", "uma_prompt"):
        return "a control"
    if f.row["policy"] == "uma_prompt" and not f.prompt:
        return "its prompt is missing"
    if not f.prompt and any(f.task in folder for folder in f.kind.data):
        return "not zero-shot: trained on a folder with the task's name"
    for name, values in USUAL.items():
        if f.settings.get(name, values[0]) not in values:
            return f"{name} {f.settings[name]}"
    return ""


def _averages(chosen: dict[str, dict[str, Judged]], out: Placed) -> None:
    """Place the shares of single tasks (Fig. 3), and averages over all tasks of the paper."""
    most: dict[str, int] = {}
    for key in chosen:
        if key.startswith("scaling/"):
            _, preset, episodes = key.split("/")
            most[preset] = max(most.get(preset, 0), int(episodes))
    for key, tasks in chosen.items():
        mine = [tasks[task] for task in TASKS if task in tasks]
        if key.startswith("zero_shot/"):
            for j in mine:
                _keep(out, f"{key}/{j.task}", _success([j.row], str(j.file), _trained(j)))
        name = _scaled(key, most) if key.startswith("scaling/") else key
        name = f"{name}/average" if name.startswith("zero_shot/") else name
        if len(mine) == len(TASKS):
            files = ", ".join(dict.fromkeys(str(j.file) for j in mine))
            _keep(out, name, _success([j.row for j in mine], files, _trained(mine[0])))
        else:
            out.partial[name] = f"{len(mine)} of {len(TASKS)} tasks run"


def _scaled(key: str, most: dict[str, int]) -> str:
    """Name the share of the data: 100, 50, or the number of episodes."""
    _, preset, episodes = key.split("/")
    share = int(episodes) / max(1, most[preset])
    part = "100" if share == 1 else "50" if 0.45 <= share <= 0.55 else f"{episodes} episodes"
    return f"scaling/{preset}/{part}"


def _failures(judged: list[Judged], out: Placed) -> None:
    counts = {name: sum(j.row[name] for j in judged) for name in CLASSES}
    counts.pop("refused", None)
    total = sum(counts.values())
    if not total:
        return
    source = ", ".join(dict.fromkeys(str(j.file) for j in judged))
    grasping = sum(counts[name] for name in GRASPING)
    for name, n in (("grasping", grasping), ("execution", total - grasping)):
        out.cells[f"failures/{name}"] = _portion(n, total, source, f"{n} of {total} failures")


def _success(rows: list[dict[str, Any]], source: str, about: str) -> Measured:
    """Average the tasks' shares. The interval is of the pooled scenes, so only tasks with equal counts have one."""
    wins, counts = sum(int(r["success"]) for r in rows), [int(r["episodes"]) for r in rows]
    if len(set(counts)) == 1:
        return _portion(wins, sum(counts), source, about)
    shares = [100 * int(r["success"]) / n for r, n in zip(rows, counts, strict=True)]
    return Measured(sum(shares) / len(shares), sum(counts), source, about)


def _portion(part: int, count: int, source: str, about: str) -> Measured:
    low, high = binomtest(part, count).proportion_ci(method="wilson")
    return Measured(100 * part / count, count, source, about, 100 * float(low), 100 * float(high))


def _about(f: Dynamics, kind: Kind) -> str:
    return "; ".join(v for v in (f.about, f"checkpoint {kind.checkpoint}", _data(kind)) if v)


def _trained(j: Judged) -> str:
    assert j.kind is not None
    return f"checkpoint {j.kind.checkpoint}; {_data(j.kind)}"


def _data(kind: Kind) -> str:
    """Name the first folders of the training, and what it was continued from."""
    if not kind.data:
        return "training data not recorded"
    named = " ".join(kind.data[:NAMED])
    rest = f" and {len(kind.data) - NAMED} more" if len(kind.data) > NAMED else ""
    return f"trained on {named}{rest}" + (f", continued from {kind.init}" if kind.init else "")


def _share(row: dict[str, Any]) -> str:
    return f"{row['success']}/{row['episodes']}"


def _keep(out: Placed, key: str, measured: Measured) -> None:
    before = out.cells.get(key)
    if math.isfinite(measured.value) and (before is None or measured.count > before.count):
        out.cells[key] = measured
