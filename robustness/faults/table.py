"""The runs of `robustness.faults` as a table with one row per fault."""

from __future__ import annotations

import numpy as np
from rich.table import Table

from robustness.faults.bench import is_safe

HEADINGS = (
    "fault",
    "runs",
    "at rest (s): median",
    "worst",
    "peak (m/s): arm",
    "target",
    "safe",
    "recovered",
    "reason of the controller; report of another node",
)


def lines(rows: dict[str, list[dict]]) -> list[tuple[str, ...]]:
    """Return the rows under `HEADINGS`. A run without measurements counts as neither safe nor recovered."""
    out = []
    for name, runs in rows.items():
        rest, *peaks = (
            np.array([r[key] for r in runs if np.isfinite(r.get(key, np.nan))])
            for key in ("rest_s", "peak", "commanded")
        )
        when = (
            ("continues", "")
            if not runs[-1]["must_rest"]
            else (f"{np.median(rest):.2f}", f"{rest.max():.2f}")
            if len(rest)
            else ("", "")
        )
        words = "; ".join(w for w in (runs[-1]["said"] or runs[-1]["refused"], runs[-1]["told"]) if w)
        counts = (str(sum(map(is_safe, runs))), str(sum(r["recovered"] for r in runs)))
        out.append(
            (name, str(len(runs)), *when, *(f"{peak.max():.2f}" if len(peak) else "" for peak in peaks), *counts, words)
        )
    return out


def for_people(rows: dict[str, list[dict]], title: str) -> Table:
    table = Table(*HEADINGS, title=title)
    for line in lines(rows):
        table.add_row(*line)
    return table


def markdown(rows: dict[str, list[dict]]) -> str:
    """Return the table as Markdown for the documentation."""
    return "\n".join(
        f"| {' | '.join(text.replace('|', '/') for text in line)} |"
        for line in (HEADINGS, ("---",) * len(HEADINGS), *lines(rows))
    )
