"""`uma curate SOURCE --out FOLDER`: RGB-D video as metric 3D tracks, with receipts, a card, and resumption."""

from __future__ import annotations

import hashlib
import importlib
import json
import os
import sys
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import MISSING, asdict, dataclass
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from uma.model.config import PRESETS
from uma.settings import from_words, setting
from uma.types import InputError
from uma_train.curation.adapters import files
from uma_train.curation.chain import Chain
from uma_train.curation.clip import Clip, clip_of
from uma_train.curation.episodes import episode_of
from uma_train.curation.interchange import load_clip, save_clip
from uma_train.curation.keypoints import Spread
from uma_train.curation.tracks import KINDS, Embedded
from uma_train.data.episode import EpisodeError, save_episode
from uma_train.data.sources.gates import Gates
from uma_train.data.sources.import_options import READERS, ImportOptions

VERSION = 1
"""Of the chain: a change makes every clip again."""
SIMULATION, INTERCHANGE = "simulation", "interchange"
CLIPS, EPISODES, RECEIPTS = "clips", "episodes", "receipts"


@dataclass(frozen=True, kw_only=True)
class CurateOptions:
    """Make metric 3D tracks of RGB-D video. The same command resumes and takes new clips."""

    source: str = setting(MISSING, "a folder of clips, a recording, or the word simulation")
    out: str = setting("data/curated", "folder of the results")
    format: str = setting(INTERCHANGE, f"of the source: {INTERCHANGE}, or a format of `uma import`")
    task: str = setting("insertion", "simulation: its task")
    seeds: str = setting("0:4", "simulation: its scenes, first:end")
    keypoints: int = setting(32, "keypoints on the object", 4, 4096)
    elsewhere: int = setting(8, "keypoints in the rest of the scene", 0, 4096)
    tracker: str = setting("auto", "rigid thing, sheet, or chosen by shape and motion", choices=KINDS)
    depth: str = setting("", "folder of depth and camera results, NAME.npz a clip")
    tracks: str = setting("", "folder of track results, NAME.npz a clip, in place of the tracker")
    model: str = setting("", "the model that made these results, for its licence", choices=("", *files.LICENCES))
    non_commercial: bool = setting(False, "accept results whose licence excludes commercial use")
    episodes: bool = setting(False, "also write training episodes")
    preset: str = setting("small", "model preset that determines the episodes' point counts", choices=tuple(PRESETS))
    retry: bool = setting(False, "try refused clips again")


Items = dict[str, Callable[[], Clip]]


def items(options: CurateOptions) -> Items:
    """Return the source's clips: name -> a function that reads it.

    Raises:
        InputError: the source has none, or an option is malformed.
    """
    if options.source == SIMULATION:
        return _simulated(options.task, options.seeds)
    source = Path(options.source)
    if options.format == INTERCHANGE:
        found = [source] if source.suffix == ".npz" else sorted(source.glob("*.npz"))
        if not found or not all(path.is_file() for path in found):
            raise InputError(f"source: {source}, must be a folder with .npz files, or one, or {SIMULATION}")
        return {path.stem: lambda path=path: load_clip(path) for path in found}  # type: ignore[misc]
    if options.format not in READERS:
        raise InputError(f"format: {options.format!r}, must be one of {', '.join((INTERCHANGE, *READERS))}")
    reader: Any = importlib.import_module(READERS[options.format])
    readable = ImportOptions(format=options.format, source=options.source)
    paths: dict[str, Path] = reader.recordings(options.source)
    return {name: lambda path=path: clip_of(reader.read(path, readable)) for name, path in paths.items()}  # type: ignore[misc]


def _simulated(task: str, seeds: str) -> Items:
    from uma_train.curation.simulated import simulate

    first, _, end = seeds.partition(":")
    if not (first.isdigit() and end.isdigit()) or int(first) >= int(end):
        raise InputError(f"seeds: {seeds!r}, must be FIRST:END with FIRST < END")
    named = {f"{task.replace('/', '-')}-{seed:07d}": seed for seed in range(int(first), int(end))}
    return {name: lambda seed=seed: simulate(task, seed).clip for name, seed in named.items()}  # type: ignore[misc]


def curate(options: CurateOptions, console: Console | None = None) -> dict:
    """Curate every clip of a source, and write ``card.json``.

    Returns:
        The card.

    Raises:
        InputError: the source has no clip, an option is malformed, or the licence of results is not accepted.
    """
    console, out = console or Console(), Path(options.out)
    found, chain = items(options), chain_of(options, console)
    for folder in (CLIPS, RECEIPTS, *([EPISODES] if options.episodes else [])):
        (out / folder).mkdir(parents=True, exist_ok=True)
    key = _key(options, chain)
    bar = (
        TextColumn("clips"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("{task.description}"),
    )
    rows = []
    with Progress(*bar, console=console) as progress:
        shown = progress.add_task("", total=len(found))
        for name, read in found.items():
            receipt = out / RECEIPTS / f"{name}.json"
            row = _receipt(receipt)
            is_done = row.get("key") == key and (row["result"] == "refused" or _made(out, name, options))
            if not is_done or (options.retry and row["result"] == "refused"):

                def show(stage: str, name: str = name) -> None:
                    progress.update(shown, description=f"{name}: {stage}")

                row = {"name": name, "key": key, **_one(out, name, read, chain, options, show)}
                _write(receipt, row)
            rows.append(row)
            progress.update(shown, advance=1, description=f"{name}: {row['result']}")
    card = _card(options, chain, rows)
    _write(out / "card.json", card)
    for row in rows:
        if row["result"] != "kept":
            console.print(f"  {row['name']}: {row['reason']}", highlight=False, markup=False)
    console.print(f"{card['kept']} of {card['tried']} clips kept in {out}", highlight=False)
    return card


def chain_of(options: CurateOptions, console: Console) -> Chain:
    """Return the chain of the options; prints the licence of results that are taken from files.

    Raises:
        InputError: results without their model, or a licence that is not accepted.
    """
    stages: dict[str, Any] = {
        "queries": Spread(options.keypoints, options.elsewhere),
        "tracks": Embedded(options.tracker),
    }
    if options.depth or options.tracks:
        if not options.model:
            raise InputError("model: required with --depth or --tracks, for the licence of the results")
        console.print(files.accept(options.model, options.non_commercial), highlight=False)
    if options.depth:
        stages["camera"] = files.CameraFiles(options.depth, options.model)
        stages["scale"] = files.ScaleFiles(options.depth, options.model)
    if options.tracks:
        stages["tracks"] = files.TrackFiles(options.tracks, options.model)
    return Chain(**stages)


def _one(out: Path, name: str, read: Callable, chain: Chain, options: CurateOptions, show: Callable) -> dict:
    """Curate one clip; return its result, and the reason of a refusal."""
    began = time.monotonic()
    try:
        show("reading")
        clip, facts = chain(read(), show)
        show("writing")
        save_clip(out / CLIPS / f"{name}.npz", clip)
        if options.episodes:
            save_episode(out / EPISODES / f"{name}.npz", episode_of(clip, PRESETS[options.preset]().points, Gates()))
    except (InputError, EpisodeError, FileNotFoundError) as error:
        for folder in (CLIPS, EPISODES):
            (out / folder / f"{name}.npz").unlink(missing_ok=True)
        return {"result": "refused", "reason": str(error)}
    licence = {"licence": clip.licence, "images": len(clip.video)}
    return {"result": "kept", **facts, **licence, "seconds": round(time.monotonic() - began, 1)}


def _made(out: Path, name: str, options: CurateOptions) -> bool:
    folders = (CLIPS, EPISODES) if options.episodes else (CLIPS,)
    return all((out / folder / f"{name}.npz").exists() for folder in folders)


def _key(options: CurateOptions, chain: Chain) -> str:
    """Return a hash of what determines a result besides the clip: a changed key makes it again."""
    facts = {"version": VERSION, "source": options.source, "stages": chain.names, "depth": options.depth}
    facts |= {"tracks": options.tracks, "preset": options.preset if options.episodes else ""}
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()[:16]


def _receipt(path: Path) -> dict:
    try:
        row = json.loads(path.read_text())
        return row if isinstance(row, dict) and "result" in row else {}
    except (OSError, ValueError):
        return {}


def _card(options: CurateOptions, chain: Chain, rows: list[dict]) -> dict:
    kept = [row for row in rows if row["result"] == "kept"]
    return {
        "config": asdict(options),
        "stages": chain.names,
        "tried": len(rows),
        "kept": len(kept),
        "images": sum(row["images"] for row in kept),
        "trackers": dict(Counter(row["tracker"] for row in kept)),
        "licences": dict(Counter(row["licence"] or "own" for row in kept)),
        "results_licence": files.LICENCES[options.model].text if options.model else "",
        "reasons": {row["name"]: row["reason"] for row in rows if row["result"] != "kept"},
    }


def _write(path: Path, value: dict) -> None:
    part = path.with_suffix(".part")
    part.write_text(json.dumps(value, indent=2) + "\n")
    os.replace(part, path)


def main(argv: list[str] | None = None) -> int:
    """Run the command. Return 0, or 1 if over 20 % of the clips were refused."""
    options = from_words(CurateOptions, sys.argv[1:] if argv is None else argv, "uma curate")
    card = curate(options)
    return 0 if card["kept"] >= 0.8 * card["tried"] else 1


if __name__ == "__main__":
    sys.exit(main())
