"""`uma report`: reads folders of stored runs, and writes ``report.html`` and ``report.pdf``."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from uma.settings import from_words, setting
from uma.types import InputError
from uma_train.evaluation.report.drawing import close, draw, save_pdf, save_png
from uma_train.evaluation.report.html import html
from uma_train.evaluation.report.placing import Placed, place
from uma_train.evaluation.report.reading import files, read
from uma_train.evaluation.report.tables import filled


@dataclass(frozen=True)
class ReportOptions:
    """Write the paper's tables and figures with the numbers of stored runs beside the paper's."""

    runs: list[str] = setting(["runs"], "folders with results, searched at any depth")
    out: str = setting("runs/report", "folder of report.html and report.pdf")


def report(runs: tuple[str, ...], out: Path) -> Placed:
    """Write the report of all results below the folders ``runs``, and return the placed measurements.

    Raises:
        InputError: a folder does not exist, or a result is broken; nothing is written then.
    """
    placed = place(record for path in files(runs) for record in read(path))
    figures = filled(placed)
    if out.exists() and not out.is_dir():
        raise InputError(f"out: {out}: a file, must be a folder")
    out.mkdir(parents=True, exist_ok=True)
    page, picture = draw(figures), out / "report.png"
    try:
        save_pdf(page, out / "report.pdf")
        save_png(page, picture)
    finally:
        close(page)
    part = out / "report.html.part"
    part.write_text(html(figures, placed.others, picture.read_bytes()), encoding="utf-8")
    os.replace(part, out / "report.html")
    picture.unlink()
    return placed


def main(argv: list[str]) -> int:
    """Run the command. Return 0."""
    options = from_words(ReportOptions, argv, "uma report")
    placed = report(tuple(options.runs), Path(options.out))
    print(
        f"{options.out}: report.html, report.pdf; {len(placed.cells)} numbers, {len(placed.others)} runs in no figure"
    )
    return 0
