"""`uma curate SOURCE --out FOLDER`: RGB-D video as metric 3D tracks, with receipts, a card, and resumption."""

from __future__ import annotations

import hashlib
import importlib
import json
import sys
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from uma.model.config import PRESETS
from uma.settings import from_words
from uma.types import InputError
from uma_train.curation.adapters.licences import LICENCES, inherited
from uma_train.curation.adapters.results import path_of
from uma_train.curation.chain import Chain
from uma_train.curation.chosen import chain_of
from uma_train.curation.clip import Clip, clip_of
from uma_train.curation.episodes import episode_of
from uma_train.curation.interchange import load_clip, save_clip
from uma_train.curation.options import FORMATS, INTERCHANGE, SIMULATION, CurateOptions
from uma_train.data.episode import EpisodeError, save_episode
from uma_train.data.sources.gates import Gates
from uma_train.data.sources.human.licence import check_licence
from uma_train.data.sources.import_options import READERS, ImportOptions
from uma_train.data.sources.parts import Part, key_of
from uma_train.jobs.receipts import ELSEWHERE, locked, write_json

VERSION = 1
"""Of the chain: a change makes every clip again."""
CLIPS, EPISODES, RECEIPTS = "clips", "episodes", "receipts"


@dataclass(frozen=True)
class Item:
    """A clip of the source.

    Attributes:
        read: reads it.
        facts: JSON values that change with the clip, such as sizes and times of its files.
    """

    read: Callable[[], Clip]
    facts: str | list


Items = dict[str, Item]


def items(options: CurateOptions) -> Items:
    """Return the source's clips by name.

    Raises:
        InputError: the source has none, an option is malformed, or the source's licence is not accepted.
    """
    if options.source == SIMULATION:
        return _simulated(options.task, options.seeds)
    source = Path(options.source)
    if options.format == INTERCHANGE:
        found = [source] if source.suffix == ".npz" else sorted(source.glob("*.npz"))
        if not found or not all(path.is_file() for path in found):
            raise InputError(f"source: {source}, must be a folder with .npz files, or one, or {SIMULATION}")
        return {path.stem: Item(partial(load_clip, path), key_of(path)) for path in found}
    if options.format not in FORMATS:
        why = ", holds no depth" if options.format in READERS else ""
        raise InputError(f"format: {options.format!r}{why}, must be one of {', '.join(FORMATS)}")
    reader: Any = importlib.import_module(READERS[options.format])
    readable = ImportOptions(format=options.format, source=options.source, accept_licence=options.accept_licence)
    if licence := getattr(reader, "SET_LICENCE", ""):
        check_licence(options.format, licence, readable)

    def read(path: Path | Part) -> Clip:
        demonstration = reader.read(path, readable)
        check_licence(demonstration.name, demonstration.licence, readable)
        return clip_of(demonstration)

    paths: dict[str, Path | Part] = reader.recordings(options.source)
    return {name: Item(partial(read, path), key_of(path)) for name, path in paths.items()}


def _simulated(task: str, seeds: str) -> Items:
    from uma_train.curation.simulated import simulate

    first, _, end = seeds.partition(":")
    if not (first.isdigit() and end.isdigit()) or int(first) >= int(end):
        raise InputError(f"seeds: {seeds!r}, must be FIRST:END with FIRST < END")

    def read(seed: int) -> Clip:
        return simulate(task, seed).clip

    wanted = range(int(first), int(end))
    return {f"{task.replace('/', '-')}-{seed:07d}": Item(partial(read, seed), [seed]) for seed in wanted}


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
        for name, item in found.items():

            def show(stage: str, name: str = name) -> None:
                progress.update(shown, description=f"{name}: {stage}")

            row = _due(out, name, item, chain, options, show)
            rows.append(row)
            progress.update(shown, advance=1, description=f"{name}: {row['result']}")
    rows = [_receipt(out / RECEIPTS / f"{row['name']}.json") or row for row in rows]  # also what another run did
    card = _card(options, chain, rows)
    write_json(out / "card.json", card)
    for row in rows:
        if row["result"] != "kept":
            console.print(f"  {row['name']}: {row['reason']}", highlight=False, markup=False)
    console.print(f"{card['kept']} of {card['tried']} clips kept in {out}", highlight=False)
    return card


def _due(out: Path, name: str, item: Item, chain: Chain, options: CurateOptions, show: Callable) -> dict:
    """Curate a clip unless its receipt is of this key, or another run is at it; return the receipt."""
    receipt, key = out / RECEIPTS / f"{name}.json", _key(options, chain, name, item.facts)
    with locked(out / RECEIPTS, name) as is_mine:
        if not is_mine:
            return {"name": name, "result": ELSEWHERE, "reason": "another run is at it"}
        row = _receipt(receipt)
        is_refused = row.get("result") == "refused"
        is_made = is_refused or all(path.exists() for path in _results(out, name, options))
        if row.get("key") != key or not is_made or (options.retry and is_refused):
            row = {"name": name, "key": key, **_one(out, name, item.read, chain, options, show)}
            write_json(receipt, row)
    return row


def _one(out: Path, name: str, read: Callable, chain: Chain, options: CurateOptions, show: Callable) -> dict:
    """Curate one clip; return its result, and the reason of a refusal.

    Raises:
        OSError: the results cannot be written, such as on a full disk.
    """
    began = time.monotonic()
    for path in _results(out, name, options):
        path.unlink(missing_ok=True)
    try:
        show("reading")
        clip, facts = chain(read(), show)
        if limits := inherited(options.models):
            clip = replace(clip, licence="; ".join(filter(None, (clip.licence, limits))))
        episode = episode_of(clip, PRESETS[options.preset]().points, Gates()) if options.episodes else None
    except (InputError, EpisodeError) as error:
        return {"result": "refused", "reason": str(error)}
    except (OSError, ValueError, TypeError, LookupError) as error:  # one malformed clip of many does not end the run
        return {"result": "refused", "reason": f"{name}: {type(error).__name__}: {error}"}
    show("writing")
    save_clip(out / CLIPS / f"{name}.npz", clip)
    if episode is not None:
        save_episode(out / EPISODES / f"{name}.npz", episode)
    licence = {"licence": clip.licence, "images": len(clip.video)}
    return {"result": "kept", **facts, **licence, "seconds": round(time.monotonic() - began, 1)}


def _results(out: Path, name: str, options: CurateOptions) -> list[Path]:
    return [out / folder / f"{name}.npz" for folder in ((CLIPS, EPISODES) if options.episodes else (CLIPS,))]


def _key(options: CurateOptions, chain: Chain, name: str, clip: str | list) -> str:
    """Return a hash of what determines a result: a changed clip, option or result of a model makes it again."""
    facts = {"version": VERSION, "source": options.source, "clip": clip, "stages": chain.names}
    for key, folder in options.results.items():
        found = [path_of(folder, name), path_of(folder, f"{name}.metric"), Path(folder) / name]
        facts[key] = [folder, [key_of(path) for path in found if path is not None and path.exists()]]
    facts |= {"format": options.format, "accept_licence": options.accept_licence}
    facts |= {"preset": options.preset if options.episodes else ""}
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
        "tried": sum(row["result"] != ELSEWHERE for row in rows),
        "kept": len(kept),
        "images": sum(row["images"] for row in kept),
        "trackers": dict(Counter(row["tracker"] for row in kept)),
        "licences": dict(Counter(row["licence"] or "own" for row in kept)),
        "models": {model: LICENCES[model] for model in options.models},
        "reasons": {row["name"]: row["reason"] for row in rows if row["result"] != "kept"},
    }


def main(argv: list[str] | None = None) -> int:
    """Run the command. Return 0, or 1 if over 20 % of the clips were refused."""
    options = from_words(CurateOptions, sys.argv[1:] if argv is None else argv, "uma curate")
    card = curate(options)
    return 0 if card["kept"] >= 0.8 * card["tried"] else 1


if __name__ == "__main__":
    sys.exit(main())
