"""`uma import FORMAT SOURCE --out FOLDER`: recordings as episodes, with gates, a card, and resumption."""

from __future__ import annotations

import importlib
import json
import os
import sys
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import MISSING, asdict, dataclass, fields
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from uma.model.config import PRESETS
from uma.settings import from_words, setting
from uma.types import InputError
from uma_train.data.episode import EpisodeError, save_episode
from uma_train.data.sources.convert import to_episode
from uma_train.data.sources.gates import Gates, Refused
from uma_train.data.sources.human.licence import NON_COMMERCIAL, check_licence
from uma_train.data.sources.parts import Part, key_of, place

READERS = {
    "bag": "uma_ros.offline.demonstration",
    "droid": "uma_train.data.sources.droid",
    "rlds": "uma_train.data.sources.rlds",
    "lerobot": "uma_train.data.sources.lerobot",
    "hoi4d": "uma_train.data.sources.hoi4d",
    "dexycb": "uma_train.data.sources.dexycb",
    "xperience": "uma_train.data.sources.xperience",
}
"""Format -> module with `recordings(source)`, ``{name: path or Part}``, and `read(found, options)`, a `Demonstration`.

A module's ``SAME`` names further options that must be equal for all episodes of a folder.

A module's ``SET_LICENCE`` is the licence of all its recordings.

A reader of ROS messages is part of `uma_ros`, which this package does not import. So it is looked up by name, as the
command `uma` looks up its functions.
"""
LOG = "recordings.jsonl"
SAME = ("format", "preset", "outcome", "actions", "gates")
"""Settings that must be equal for all episodes of a folder."""


@dataclass(frozen=True, kw_only=True)
class ImportOptions(Gates):
    """Make training episodes of recordings. The same command resumes and takes new ones."""

    format: str = setting(MISSING, "format of the recordings", choices=tuple(READERS))
    source: str = setting(MISSING, "a recording, or a folder of them")
    out: str = setting("data/demonstrations", "folder of the episodes")
    outcome: str = setting(
        "success",
        "recordings to take: success, or all; those that do not say count as success",
        choices=("success", "all"),
    )
    actions: str = setting(
        "auto",
        "the actions: commanded targets, measured poses one period later, or auto = commanded where recorded",
        choices=("auto", "commanded", "measured"),
    )
    text: str = setting("", "instruction of recordings without one")
    preset: str = setting("small", "model preset that determines the stored point counts", choices=tuple(PRESETS))
    topic: tuple[str, ...] = setting(
        (), "bag: topics of a foreign bag as NAME=TOPIC; `uma inspect BAG` lists candidates"
    )
    namespace: str = setting("", "bag: namespace of the graph in the bag; empty: the only one")
    calibration: str = setting("", "bag: calibration file of the camera; empty: as in the bag")
    camera: str = setting(
        "", "bag: key of the camera in that file; robot data sets: ext1, ext2 or a serial; empty: the first"
    )
    depth: str = setting(
        "", "robot data sets: folder with files NAME_depth.h5; stereo = matched from the stereo video (droid)"
    )
    annotations: str = setting(
        "", "robot data sets: folder with published calibrations, intrinsics and texts of DROID as JSON"
    )
    mapping: str = setting("", "lerobot: JSON file {episode index: DROID's name of the episode}")
    checksums: bool = setting(False, "rlds: check the checksum of every record, not of its length alone; slow")
    accept_licence: str = setting(
        "", "licences that you accept; NC = data for non-commercial use", choices=("", NON_COMMERCIAL)
    )

    @property
    def gates(self) -> Gates:
        return Gates(**{f.name: getattr(self, f.name) for f in fields(Gates)})


def import_all(options: ImportOptions, console: Console | None = None) -> dict:
    """Import every recording of a source, and write ``card.json``.

    Returns:
        The card.

    Raises:
        InputError: the source has no recording, or the folder holds episodes of other settings (`SAME`) or of other
            recordings with the same names.
    """
    console, out = console or Console(), Path(options.out)
    reader: Any = importlib.import_module(READERS[options.format])
    if licence := getattr(reader, "SET_LICENCE", ""):
        console.print(f"{options.format}: {check_licence(options.format, licence, options)}", highlight=False)
    found: dict[str, Path | Part] = reader.recordings(options.source)
    out.mkdir(parents=True, exist_ok=True)
    same = (*SAME, *getattr(reader, "SAME", ()))
    settings = {**{name: getattr(options, name) for name in same}, "gates": asdict(options.gates)}
    _check_same(out / "card.json", settings)
    done = _receipts(out / LOG)
    for name, path in found.items():
        before = done.get(name, {}).get("source", place(path))
        if before != place(path):
            raise InputError(f"{out}: {name} was imported from {before}, now {place(path)}; choose another --out")
    _write(out / "card.json", _card(settings, list(done.values())))
    columns = (
        TextColumn("recordings"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("{task.description}"),
    )
    with Progress(*columns, console=console) as progress, open(out / LOG, "a") as log:
        bar = progress.add_task("", total=len(found))
        for name, path in found.items():
            key, target = key_of(path), out / f"{name}.npz"
            row = done.get(name, {})
            if row.get("key") != key or (row["result"] == "kept") != target.exists():

                def show(step: int, steps: int, name: str = name) -> None:
                    progress.update(bar, description=f"{name}: step {step + 1} of {steps}")

                row = {"name": name, "source": place(path), "key": key}
                row |= _import(path, target, reader, options, show)
                done[name] = row
                log.write(json.dumps(row) + "\n")
                log.flush()
            progress.update(bar, advance=1, description=f"{name}: {row['result']}")
    card = _card(settings, list(done.values()))
    _write(out / "card.json", card)
    for row in done.values():
        if row["result"] != "kept":
            console.print(f"  {row['name']}: {row['reason']}", highlight=False, markup=False)
    console.print(f"{card['kept']} of {card['tried']} recordings kept in {out}", highlight=False)
    return card


def _import(
    path: Path | Part, target: Path, reader: Any, options: ImportOptions, show: Callable[[int, int], object]
) -> dict:
    """Import one recording; return its result, and the reason of a refusal."""
    began = time.monotonic()
    target.unlink(missing_ok=True)
    try:
        demonstration = reader.read(path, options)
        check_licence(demonstration.name, demonstration.licence, options)
        if options.outcome == "success" and demonstration.outcome not in ("success", ""):
            raise Refused("outcome", f"{demonstration.outcome}, must be success")
        steps = len(demonstration.stamps)
        episode = to_episode(
            demonstration, PRESETS[options.preset]().points, options.gates, on_step=lambda step: show(step, steps)
        )
        save_episode(target, episode)
    except (InputError, EpisodeError) as error:
        gate = error.gate if isinstance(error, Refused) else "unreadable"
        return {"result": "refused", "gate": gate, "reason": str(error)}
    except (ValueError, TypeError, LookupError) as error:  # one malformed file of many does not end the run
        return {"result": "refused", "gate": "unreadable", "reason": f"{place(path)}: {type(error).__name__}: {error}"}
    meta = episode.meta
    return {
        "result": "kept",
        "steps": len(episode.pose),
        "text": meta["text"],
        "actions": "{pose} pose, {gripper} gripper".format(**meta["actions"]),
        "tracks": meta["tracks"],
        "gates": meta["gates"],
        "licence": meta["licence"],
        "seconds": round(time.monotonic() - began, 1),
    }


def _check_same(path: Path, settings: dict) -> None:
    if not path.exists():
        return
    stored = json.loads(path.read_text())["config"]
    for name, value in settings.items():
        if json.loads(json.dumps(value)) != stored.get(name):
            raise InputError(
                f"{path.parent}: imported with {name} {stored.get(name)!r}, now {value!r}; choose another --out"
            )


def _receipts(log: Path) -> dict[str, dict]:
    """Return the last row of every recording. A line that was cut by a kill is ignored."""
    rows = {}
    for line in log.read_text().splitlines() if log.exists() else ():
        try:
            row = json.loads(line)
            rows[row["name"]] = row
        except (ValueError, KeyError, TypeError):
            continue
    return rows


def _card(settings: dict, rows: list[dict]) -> dict:
    kept = [row for row in rows if row["result"] == "kept"]
    refused = [row for row in rows if row["result"] != "kept"]
    return {
        "config": settings,
        "tried": len(rows),
        "kept": len(kept),
        "steps": sum(row["steps"] for row in kept),
        "texts": {"present": sum(bool(row["text"]) for row in kept), "absent": sum(not row["text"] for row in kept)},
        "actions": dict(Counter(row["actions"] for row in kept)),
        "tracks": dict(Counter(row["tracks"] for row in kept)),
        "licences": dict(Counter(row.get("licence", "") for row in kept)),
        "refused": dict(Counter(row["gate"] for row in refused)),
        "reasons": {row["name"]: row["reason"] for row in refused},
    }


def _write(path: Path, value: dict) -> None:
    part = path.with_suffix(".part")
    part.write_text(json.dumps(value, indent=2) + "\n")
    os.replace(part, path)


def main(argv: list[str] | None = None) -> int:
    """Run the command. Return 0, or 1 if nothing was kept."""
    options = from_words(ImportOptions, sys.argv[1:] if argv is None else argv, "uma import")
    return 0 if import_all(options)["kept"] else 1


if __name__ == "__main__":
    sys.exit(main())
