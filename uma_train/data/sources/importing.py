"""`uma import FORMAT SOURCE --out FOLDER`: recordings as episodes, with gates, a card, and resumption."""

from __future__ import annotations

import importlib
import json
import sys
from collections import Counter
from dataclasses import asdict
from pathlib import Path
from typing import Any

from rich.console import Console

from uma.settings import from_words
from uma.types import InputError
from uma_train.data.episode import save_episode
from uma_train.data.sources.human.licence import check_licence
from uma_train.data.sources.import_options import READ, READERS, SAME, ImportOptions
from uma_train.data.sources.one_import import UNREADABLE, OneImport
from uma_train.data.sources.parts import Part, file_name, key_of, place
from uma_train.jobs.mapping import exit_code
from uma_train.jobs.receipts import CARD, OK, REFUSED, Receipt, job_key, read_receipts, write_json

LOG = "recordings.jsonl"
"""The log of earlier versions, in place of receipts."""


def import_all(options: ImportOptions, console: Console | None = None) -> dict[str, int]:
    """Import every recording of a source that is due, and write ``card.json``.

    Returns:
        The counts of `uma_train.jobs.mapping.map`.

    Raises:
        InputError: the source has no recording, or the folder holds episodes of other settings (`SAME`), of other
            recordings with the same names, or of an earlier version.
    """
    console, out = console or Console(), Path(options.out)
    if not Path(options.source).exists():
        raise InputError(f"source: {options.source}, must be an existing file or folder")
    reader: Any = importlib.import_module(READERS[options.format])
    if licence := getattr(reader, "SET_LICENCE", ""):
        console.print(f"{options.format}: {check_licence(options.format, licence, options)}", highlight=False)
    recordings: dict[str, Path | Part] = reader.recordings(options.source)
    found = {file_name(name): recording for name, recording in recordings.items()}
    same = (*SAME, *getattr(reader, "SAME", ()))
    settings = {**{name: getattr(options, name) for name in same}, "gates": asdict(options.gates)}
    before, path = read_receipts(out), out / f"{CARD}.json"
    _check_same(out, settings)
    _check_sources(out, before, found)
    out.mkdir(parents=True, exist_ok=True)
    write_json(path, _card(settings, before))
    counts = options.map(
        OneImport(READERS[options.format], options, found),
        [{"id": name, "source": place(where), "files": key_of(where)} for name, where in found.items()],
        out,
        job_key([settings, {name: getattr(options, name) for name in (*READ, "accept_licence")}]),
        save=save_episode,
        name="recordings",
        card=lambda: _card(settings, read_receipts(out)),
        console=console,
    )
    card = json.loads(path.read_text())
    for name, reason in card["reasons"].items():
        console.print(f"  {name}: {reason}", highlight=False, markup=False)
    console.print(f"{card['kept']} of {card['tried']} recordings kept in {out}", highlight=False)
    return counts


def _check_same(out: Path, settings: dict) -> None:
    if (out / LOG).exists():
        raise InputError(f"{out}: its {LOG} is of an earlier version, which is not continued; choose another --out")
    path = out / f"{CARD}.json"
    if not path.exists():
        return
    stored = json.loads(path.read_text()).get("config", {})
    for name, value in settings.items():
        if json.loads(json.dumps(value)) != stored.get(name):
            raise InputError(f"{out}: imported with {name} {stored.get(name)!r}, now {value!r}; choose another --out")


def _check_sources(out: Path, receipts: list[Receipt], found: dict[str, Path | Part]) -> None:
    for name, before in ((r.id, r.item.get("source")) for r in receipts if r.id in found):
        now = place(found[name])
        if before != now:
            raise InputError(f"{out}: {name} was imported from {before}, now {now}; choose another --out")


def _card(settings: dict, receipts: list[Receipt]) -> dict:
    kept = [receipt.notes for receipt in receipts if receipt.result == OK]
    others = [receipt for receipt in receipts if receipt.result != OK]
    return {
        "config": settings,
        "tried": len(receipts),
        "kept": len(kept),
        "steps": sum(notes["steps"] for notes in kept),
        "texts": {"present": sum(bool(n["text"]) for n in kept), "absent": sum(not n["text"] for n in kept)},
        "actions": dict(Counter(notes["actions"] for notes in kept)),
        "tracks": dict(Counter(notes["tracks"] for notes in kept)),
        "licences": dict(Counter(notes["licence"] for notes in kept)),
        "refused": dict(Counter(_gate(receipt) for receipt in others)),
        "reasons": {receipt.id: receipt.reason for receipt in others},
    }


def _gate(receipt: Receipt) -> str:
    """Return the gate that refused a recording; the result of one that failed or died."""
    return receipt.notes.get("gate") or UNREADABLE if receipt.result == REFUSED else receipt.result


def main(argv: list[str] | None = None) -> int:
    """Run the command. Return the code of `uma_train.jobs.mapping.exit_code`."""
    options = from_words(ImportOptions, sys.argv[1:] if argv is None else argv, "uma import")
    return exit_code(import_all(options))


if __name__ == "__main__":
    sys.exit(main())
