"""How closed-loop episodes end: results, failure classes, and their table."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from rich.console import Console
from rich.table import Table
from scipy.stats import binomtest


@dataclass(frozen=True)
class EpisodeResult:
    """The result of one episode.

    Attributes:
        outcome: one of
            success;
            wrong_goal;
            no_grasp;
            wrong_grasp: another object was grasped, and the task's object never;
            time_out: the object was still held (except a tool that stays in hand);
            imprecise: the object ended near the end of the reference;
            lost: the object was released or dropped elsewhere;
            refused: the policy refused the task, see ``reason``.
        grasped: whether the object was in the gripper at any time.
        seconds: simulated time to success.
        reason: explanation by the task.
        left: fraction of the reference path that remained at the end, as a mean over keypoints; 1 = as at the start.
    """

    policy: str
    seed: int
    outcome: str
    grasped: bool
    seconds: float
    reason: str
    left: float = math.nan


NEAR = 1 / 3
"""Largest remaining fraction of an imprecise result; above, it is lost."""

CLASSES = ("wrong_goal", "imprecise", "lost", "wrong_grasp", "no_grasp", "time_out", "refused")


def failure_class(taken: bool, mistaken: bool, reason: str, left: float) -> str:
    """Classify an episode that ended without a verdict, see `EpisodeResult.outcome`."""
    if not taken:
        return "wrong_grasp" if mistaken else "no_grasp"
    return "time_out" if reason == "held" else "imprecise" if left < NEAR else "lost"


def summarize(results: list[EpisodeResult]) -> list[dict]:
    """Return one row per policy: counts, interval, failure classes, median seconds to success."""
    rows = []
    for name in dict.fromkeys(r.policy for r in results):
        mine = [r for r in results if r.policy == name]
        wins = [r for r in mine if r.outcome == "success"]
        low, high = binomtest(len(wins), len(mine)).proportion_ci(method="wilson")
        classes = {k: sum(r.outcome == k for r in mine) for k in CLASSES}
        rows.append(
            {
                "policy": name,
                "episodes": len(mine),
                "success": len(wins),
                "low": low,
                "high": high,
                "grasp": sum(r.grasped for r in mine),
                "seconds": float(np.median([r.seconds for r in wins])) if wins else math.nan,
                **classes,
            }
        )
    return rows


def print_table(rows: list[dict], console: Console) -> None:
    """Print the rows of `summarize` as a table."""
    table = Table()
    for heading in (
        "policy",
        "success",
        "95 % interval",
        "grasp",
        "wrong goal",
        "imprecise",
        "lost",
        "wrong grasp",
        "no grasp",
        "time out",
        "refused",
        "s to success",
    ):
        table.add_column(heading, no_wrap=True)
    for r in rows:
        n = r["episodes"]
        table.add_row(
            r["policy"],
            f"{r['success']}/{n} = {100 * r['success'] / n:.0f} %",
            f"{100 * r['low']:.0f} to {100 * r['high']:.0f} %",
            f"{100 * r['grasp'] / n:.0f} %",
            *(str(r[k]) for k in CLASSES),
            f"{r['seconds']:.1f}" if r["success"] else "",
        )
    console.print(table)
