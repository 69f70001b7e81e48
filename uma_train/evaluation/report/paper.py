"""The numbers of the UMA paper (arXiv 2606.16917), each under the key of the measurement that belongs beside it."""

from __future__ import annotations

from dataclasses import dataclass

TASKS = ("insertion", "sweeping", "folding")


@dataclass(frozen=True)
class Cell:
    """One number of the paper, or the place of one of ours that it has not.

    Attributes:
        key: of the measurement.
        row, column: where it stands in the table; ``column`` is empty in a table of one column.
        paper: the paper's number; None if it has none.
    """

    key: str
    row: str
    column: str = ""
    paper: float | None = None


@dataclass(frozen=True)
class Figure:
    """A table or figure of the paper.

    Attributes:
        key: start of the keys of its cells.
        unit: of all numbers: "%" or "m2".
        note: what the paper's numbers are, and what ours are.
    """

    key: str
    title: str
    unit: str
    note: str
    cells: tuple[Cell, ...]


def _by_task(rows: dict[str, tuple[str, tuple[float, ...]]]) -> tuple[Cell, ...]:
    return tuple(
        Cell(f"zero_shot/{key}/{task}", row, task, value)
        for key, (row, values) in rows.items()
        for task, value in zip((*TASKS, "average"), values, strict=True)
    )


REAL = "The paper's runs are on a real robot, 20 trials per task. Ours are on the simulated station."

FIGURES = (
    Figure(
        "dynamics",
        "Table 1: dynamics",
        "m2",
        "Mean squared error of motion over 10 steps of 16 keypoints. The paper's is of real tasks. Ours is of held-out "
        "windows, with the present keypoints given, and counts keypoints that move. Our PointWorld is `point_flow`.",
        (
            Cell("dynamics/point_flow", "PointWorld", paper=0.054),
            Cell("dynamics/uma_without_sim", "UMA w/o sim", paper=0.208),
            Cell("dynamics/uma_without_human", "UMA w/o human", paper=0.044),
            Cell("dynamics/uma", "UMA", paper=0.042),
        ),
    ),
    Figure(
        "zero_shot",
        "Fig. 3: zero-shot",
        "%",
        f"{REAL} Values by task are read off the paper's bars, averages are printed.",
        _by_task(
            {
                "uva": ("UVA", (50, 35, 40, 41.7)),
                "coil": ("COIL", (60, 70, 55, 61.7)),
                "uma_without_sim": ("UMA w/o sim", (70, 60, 70, 66.7)),
                "uma_without_human": ("UMA w/o human", (80, 90, 65, 78.3)),
                "uma": ("UMA", (85, 90, 75, 83.3)),
            }
        ),
    ),
    Figure(
        "few_shot",
        "Fig. 4: few-shot, average of three tasks",
        "%",
        f"{REAL} The paper has 25 demonstrations per task. Ours are runs of the policy `uma_prompt`.",
        (
            Cell("few_shot/pi05/action", "π0.5", "action supervision", 45.0),
            Cell("few_shot/uva/action", "UVA", "action supervision", 50.0),
            Cell("few_shot/uma_without_contrastive/action", "UMA w/o contrastive", "action supervision", 20.0),
            Cell("few_shot/uma/action", "UMA", "action supervision", 66.7),
            Cell("few_shot/uva/motion", "UVA", "motion supervision", 31.7),
            Cell("few_shot/uma_without_contrastive/motion", "UMA w/o contrastive", "motion supervision", 20.0),
            Cell("few_shot/uma/motion", "UMA", "motion supervision", 56.7),
        ),
    ),
    Figure(
        "failures",
        "Fig. 5: failures",
        "%",
        "Share of all failures of UMA in Fig. 3. Ours: grasping is no_grasp and wrong_grasp, refused counts as "
        "neither, all else is execution.",
        (
            Cell("failures/execution", "execution", paper=82.0),
            Cell("failures/grasping", "grasping", paper=18.0),
        ),
    ),
    Figure(
        "ablation",
        "Fig. 6: design ablation, average of simulated tasks",
        "%",
        "The paper's tasks and ours are both simulated, but not the same. The paper's values are read off its bars.",
        (
            Cell("ablation/dense_attention", "dense attention", paper=53.0),
            Cell("ablation/action_only", "action only", paper=69.0),
            Cell("ablation/separate_heads", "separate heads", paper=77.0),
            Cell("ablation/uma", "UMA", paper=81.0),
        ),
    ),
    Figure(
        "scaling",
        "Fig. 11: data and size, average of three simulated tasks",
        "%",
        "Ours are runs of UMA by preset. 100 % is the preset's run with the most training episodes, and 50 % one with "
        "45 to 55 % of them.",
        (
            Cell("scaling/paper_150m/50", "150 M", "50 % of the data", 51.0),
            Cell("scaling/paper_300m/50", "300 M", "50 % of the data", 63.7),
            Cell("scaling/paper_600m/50", "600 M", "50 % of the data", 66.3),
            Cell("scaling/paper_150m/100", "150 M", "100 % of the data", 64.7),
            Cell("scaling/paper_300m/100", "300 M", "100 % of the data", 76.7),
            Cell("scaling/paper_600m/100", "600 M", "100 % of the data", 81.0),
        ),
    ),
)
