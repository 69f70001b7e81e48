"""The report's figures on one page."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from uma_train.data.optional import needed
from uma_train.evaluation.report.tables import NOT_RUN, Filled

SMALL: dict[str, Any] = {"ha": "center", "va": "bottom", "fontsize": 6}
PAPER_COLOUR, OUR_COLOUR = "0.7", "tab:blue"


def draw(figures: list[Filled]) -> Any:
    """Return a matplotlib figure of one A3 page: bars of the paper beside ours, and "not run" where there is none."""
    needed("matplotlib", "demo").use("Agg")
    from matplotlib import pyplot as plt

    page, axes = plt.subplots(3, 2, figsize=(16.5, 11.7))
    for axis, filled in zip(axes.flat, figures, strict=True):
        _bars(axis, filled)
    page.suptitle("UMA: the paper's numbers (grey) and ours (blue, 95 % intervals)")
    page.tight_layout()
    return page


def _bars(axis: Any, filled: Filled) -> None:
    is_share, cells = filled.figure.unit == "%", filled.figure.cells
    values = []
    for x, cell in enumerate(cells):
        ours = filled.ours.get(cell.key)
        if cell.paper is not None:
            axis.bar(x - 0.2, cell.paper, 0.4, color=PAPER_COLOUR)
            _number(axis, x - 0.2, cell.paper, cell.paper)
            values.append(cell.paper)
        if ours is None:
            axis.annotate(NOT_RUN, (x + 0.2, 0.02), xycoords=("data", "axes fraction"), rotation=90, **SMALL)
            continue
        axis.bar(x + 0.2, ours.value, 0.4, color=OUR_COLOUR)
        values.append(ours.value)
        top = ours.value
        if ours.low is not None and ours.high is not None:
            top = max(ours.value, ours.high)
            limits = [[max(0.0, ours.value - ours.low)], [top - ours.value]]
            axis.errorbar(x + 0.2, ours.value, limits, fmt="none", ecolor="k", capsize=2)
        _number(axis, x + 0.2, top, ours.value)
    axis.set_xticks(range(len(cells)), [f"{c.row}\n{c.column}" for c in cells], fontsize=6, rotation=45, ha="right")
    axis.set_title(filled.figure.title, fontsize=10)
    if is_share:
        axis.set(ylabel="%", ylim=(0, 108))
    else:
        axis.set(ylabel="m²", yscale="log", ylim=(min(values) / 5, 2 * max(values)))


def _number(axis: Any, x: float, y: float, value: float) -> None:
    axis.annotate(f"{value:.3g}", (x, y), **SMALL)


def save_pdf(page: Any, path: Path) -> None:
    """Write the page as PDF, atomically."""
    _save(page, path, "pdf")


def save_png(page: Any, path: Path) -> None:
    """Write the page as PNG, atomically."""
    _save(page, path, "png")


def _save(page: Any, path: Path, kind: str) -> None:
    part = path.with_name(path.name + ".part")
    page.savefig(part, format=kind, dpi=90)
    part.replace(path)


def close(page: Any) -> None:
    """Free the page's memory."""
    from matplotlib import pyplot as plt

    plt.close(page)
