"""The report's figures on one page."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from uma_train.evaluation.report.tables import NOT_RUN, Filled

PAPER_COLOUR, OUR_COLOUR = "0.7", "tab:blue"


def draw(figures: list[Filled]) -> Any:
    """Return a matplotlib figure of one A3 page: bars of the paper beside ours, and "not run" where there is none."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    page, axes = plt.subplots(3, 2, figsize=(16.5, 11.7))
    for axis, filled in zip(axes.flat, figures, strict=True):
        _bars(axis, filled)
    page.suptitle("UMA: the paper's numbers (grey) and ours (blue, 95 % intervals)")
    page.tight_layout()
    return page


def _bars(axis: Any, filled: Filled) -> None:
    cells = filled.figure.cells
    for x, cell in enumerate(cells):
        ours = filled.ours.get(cell.key)
        if cell.paper is not None:
            axis.bar(x - 0.2, cell.paper, 0.4, color=PAPER_COLOUR)
        if ours is not None:
            axis.bar(x + 0.2, ours.value, 0.4, color=OUR_COLOUR)
            if ours.low is not None and ours.high is not None:
                limits = [[max(0.0, ours.value - ours.low)], [max(0.0, ours.high - ours.value)]]
                axis.errorbar(x + 0.2, ours.value, limits, fmt="none", ecolor="k", capsize=2)
        else:
            axis.annotate(
                NOT_RUN,
                (x + 0.2, 0.02),
                xycoords=("data", "axes fraction"),
                rotation=90,
                ha="center",
                va="bottom",
                fontsize=7,
            )
    axis.set_xticks(range(len(cells)), [f"{c.row}\n{c.column}" for c in cells], fontsize=6, rotation=60)
    axis.set_title(filled.figure.title, fontsize=10)
    if filled.figure.unit == "%":
        axis.set(ylabel="%", ylim=(0, 100))
    else:
        axis.set(ylabel="m²", yscale="log")


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
