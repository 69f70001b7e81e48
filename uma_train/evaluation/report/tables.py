"""The report as tables: the paper's cells, more of ours, and what stands beside them."""

from __future__ import annotations

from dataclasses import dataclass

from uma_train.evaluation.report.paper import FIGURES, Cell, Figure
from uma_train.evaluation.report.placing import Measured, Placed

NOT_RUN = "not run"


@dataclass(frozen=True)
class Filled:
    """A figure with our numbers.

    Attributes:
        figure: with the paper's cells first, then those that are ours alone.
        ours: key -> measurement, of the cells that were run.
        partial: key -> what an average lacks.
    """

    figure: Figure
    ours: dict[str, Measured]
    partial: dict[str, str]

    def text(self, cell: Cell) -> str:
        """Return our number of a cell, or that it was not run."""
        found = self.ours.get(cell.key)
        if found is None:
            lacks = self.partial.get(cell.key)
            return f"{NOT_RUN} ({lacks})" if lacks else NOT_RUN
        if self.figure.unit != "%":
            return f"{found.value:.3g} (n = {found.count})"
        limits = "" if found.low is None or found.high is None else f"{found.low:.0f} to {found.high:.0f}, "
        return f"{found.value:.1f} ({limits}n = {found.count})"

    def paper(self, cell: Cell) -> str:
        """Return the paper's number of a cell."""
        return "" if cell.paper is None else f"{cell.paper:g}"


def filled(placed: Placed) -> list[Filled]:
    """Return every figure of the paper with our numbers, and our rows that it has not."""
    out = []
    for figure in FIGURES:
        known = {cell.key for cell in figure.cells}
        keys = [key for key in placed.cells if key.startswith(f"{figure.key}/")]
        more = tuple(_own(key) for key in keys if key not in known)
        whole = Figure(figure.key, figure.title, figure.unit, figure.note, (*figure.cells, *more))
        partial = {key: text for key, text in placed.partial.items() if key in known}
        out.append(Filled(whole, {key: placed.cells[key] for key in keys}, partial))
    return out


def _own(key: str) -> Cell:
    """Name a cell without a number in the paper by its key."""
    start, row, *column = key.split("/")
    name = " ".join(column)
    if start == "scaling" and name in ("50", "100"):
        name += " % of the data"
    return Cell(key, row, f"{name} supervision" if start == "few_shot" else name)
