"""The report as one HTML page without other files."""

from __future__ import annotations

import base64
from html import escape

from uma_train.evaluation.report.tables import Filled

STYLE = (
    "body{font:15px sans-serif;max-width:75em;margin:2em auto;padding:0 1em}"
    "table{border-collapse:collapse;margin:1em 0}td,th{border:1px solid #bbb;padding:.25em .6em;text-align:right}"
    "td:first-child,th:first-child{text-align:left}img{max-width:100%}.note{color:#555}"
)


def html(figures: list[Filled], others: list[tuple[str, str, str]], picture: bytes) -> str:
    """Return the page.

    Args:
        others: (run, number, reason) of the runs in no figure.
        picture: PNG of all figures.
    """
    parts = [
        f"<!doctype html><html lang=en><meta charset=utf-8><title>UMA report</title><style>{STYLE}</style>",
        "<h1>UMA: the paper's numbers and ours</h1>",
        f'<p><img alt="all figures" src="data:image/png;base64,{base64.b64encode(picture).decode()}">',
    ]
    for filled in figures:
        parts += [f"<h2>{escape(filled.figure.title)}</h2>", _table(filled), _sources(filled)]
    parts += ["<h2>Runs in no figure</h2>", _others(others)]
    return "\n".join(parts) + "\n</html>\n"


def _table(filled: Filled) -> str:
    """Return a table with two columns, the paper's and ours, for each column of the figure."""
    cells, unit = filled.figure.cells, {"%": "%", "m2": "m²"}[filled.figure.unit]
    columns = list(dict.fromkeys(c.column for c in cells))
    at = {(c.row, c.column): c for c in cells}
    head = "".join(f"<th>{escape(c)} paper, {unit}<th>{escape(c)} ours, {unit}" for c in columns)
    lines = [f"<p class=note>{escape(filled.figure.note)}", f"<table><tr><th>{head}"]
    for row in dict.fromkeys(c.row for c in cells):
        texts = []
        for column in columns:
            cell = at.get((row, column))
            texts += ["", ""] if cell is None else [filled.paper(cell), filled.text(cell)]
        lines.append(f"<tr><td>{escape(row)}" + "".join(f"<td>{escape(t)}" for t in texts))
    return "\n".join([*lines, "</table>"])


def _sources(filled: Filled) -> str:
    if not filled.ours:
        return ""
    items = "".join(
        f"<li>{escape(key)}: {escape(m.source)}{escape('; ' + m.about if m.about else '')}"
        for key, m in filled.ours.items()
    )
    return f"<details><summary>Sources</summary><ul class=note>{items}</ul></details>"


def _others(others: list[tuple[str, str, str]]) -> str:
    if not others:
        return "<p>None."
    rows = "".join("<tr>" + "".join(f"<td>{escape(t)}" for t in row) for row in others)
    return f"<table><tr><th>Run<th>Number<th>Why{rows}</table>"
