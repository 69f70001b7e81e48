"""The results of a comparison as a Markdown page."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from uma_train.evaluation.outcomes import CLASSES

NONE = "no such mode"

Result = dict[str, Any]
"""The content of ``compare.json``, or a system's part of it."""


def page(result: Result) -> str:
    """Return the page of a comparison."""
    config, systems = result["config"], result["systems"]
    train, first = config["train"], systems[0]
    parts = [
        "# Systems compared",
        f"Data: {' '.join(train['data'])}. Every system: {first['step']} optimiser steps of {first['batch_size']} "
        f"windows, seed {first['seed']}. Trained parameters within {100 * config['tolerance']:g} % of "
        f"{first['system']}'s.",
    ]
    if config["episodes"]:
        last = config["first_seed"] + config["episodes"] - 1
        parts.append(f"Scenes {config['first_seed']} to {last} of each task, the same for all.")
        if config["max_steps"]:
            parts.append(f"Time limit: {config['max_steps']} control steps, not the tasks' own.")
    if result["unequal"]:
        parts.append("**Not equal:** " + "; ".join(result["unequal"]) + ".")
    parts += ["## Systems", _systems(systems)]
    parts.append("![Success, latency and errors](compare.png)")
    if config["episodes"]:
        parts += ["## Success", _success(systems), _SUCCESS]
        parts += ["## Failures, all tasks together", _failures(systems)]
    parts += ["## Latency of a chunk", _latency(systems), _LATENCY]
    parts += ["## Dynamics: motion under given actions", _dynamics(systems), _DYNAMICS]
    parts += ["## Dynamics: images under given actions", _pixels(systems), _PIXELS]
    parts += ["## Actions", _actions(systems), _ACTIONS]
    return "\n\n".join(parts) + "\n"


_SUCCESS = (
    "Intervals are Wilson's, 95 %. Better (+) and worse (-) count scenes with another outcome than the first system's. "
    "The sign test is on their split."
)
_LATENCY = "Passes are of the transformer, and of the diffusion heads. All samples of a prediction share a pass."
_DYNAMICS = (
    "Squared error per coordinate over 10 steps and up to 16 keypoints, as in the paper. Keypoints are seen at the "
    "start and move. Present keypoints are given, except in the last column."
)
_PIXELS = (
    "Mean squared errors of future images, of values in 0 to 1, and of their latents, of deviation about 1. Errors of "
    "motion are of another unit. 'Still' repeats the present image. 'Other' takes another window's actions. "
    "'Tokeniser' is the true image through the tokeniser."
)
_ACTIONS = (
    "Mean position error over a chunk, one sample. The inverse mode gets the true future: motion of the keypoints in "
    "UMA, images in the pixel systems."
)


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a Markdown table; all columns but the first are right-aligned."""
    lines = ["| " + " | ".join(head) + " |", "|" + "|".join(["---", *["--:"] * (len(head) - 1)]) + "|"]
    return "\n".join([*lines, *("| " + " | ".join(row) + " |" for row in rows)])


def success(row: Result) -> str:
    """Return the count and the interval of a benchmark."""
    return f"{row['success']}/{row['episodes']} ({100 * row['low']:.0f} to {100 * row['high']:.0f} %)"


def _systems(systems: list[Result]) -> str:
    rows = (
        (
            f"`{s['system']}`",
            f"{s['parameters'] / 1e6:.2f} M",
            f"{s['frozen'] / 1e6:.2f} M" if s["frozen"] else "",
            f"{100 * (s['parameters'] / systems[0]['parameters'] - 1):+.1f} %",
            "" if s["seconds"] is None else f"{s['seconds'] / 60:.1f}",
            s["checkpoint_id"],
        )
        for s in systems
    )
    return table(("System", "Trained", "Frozen", "Against the first", "Minutes of training", "Checkpoint"), rows)


def _success(systems: list[Result]) -> str:
    tasks = list(systems[0]["closed_loop"])
    rows = []
    for number, s in enumerate(systems):
        cells = [
            success(s["closed_loop"][t])
            + (
                f"; +{s['closed_loop'][t]['better']} -{s['closed_loop'][t]['worse']}, "
                f"p = {s['closed_loop'][t]['sign_test']:.2g}"
                if number
                else ""
            )
            for t in tasks
        ]
        rows.append((f"`{s['system']}`", *cells))
    return table(("System", *tasks), rows)


def _failures(systems: list[Result]) -> str:
    def total(s: Result, name: str) -> str:
        return str(sum(row[name] for row in s["closed_loop"].values()))

    rows = ((f"`{s['system']}`", *(total(s, name) for name in ("episodes", "success", *CLASSES))) for s in systems)
    return table(("System", "Scenes", "Success", *(name.replace("_", " ") for name in CLASSES)), rows)


def _latency(systems: list[Result]) -> str:
    def spread(values: list[float]) -> str:
        return f"{values[0]:g}" if values[0] == values[1] else f"{values[0]:g}, at most {values[1]:g}"

    rows = (
        (
            f"`{s['system']}`",
            f"{x['median_ms']:.0f}",
            f"{x['p95_ms']:.0f}",
            spread(x["passes"]),
            spread(x["head_passes"]),
            str(x["samples"]),
            f"{x['machine']}, {x['threads']} thread(s)",
        )
        for s in systems
        for x in (s["latency"],)
    )
    return table(("System", "Median, ms", "p95, ms", "Passes", "Head passes", "Samples", "Machine"), rows)


def _dynamics(systems: list[Result]) -> str:
    rows = []
    for s in systems:
        d, alone = s["errors"]["dynamics"], s["errors"]["dynamics_alone"]
        if d is None:
            rows.append((f"`{s['system']}`", NONE, "", "", "", ""))
            continue
        cells = [_number(d[k], "{:.1f}") for k in ("motion_mm", "motion_still_mm", "motion_rigid_mm")]
        infers = "" if alone is None else _number(alone["motion_mse_m2"], "{:.2e}")
        rows.append((f"`{s['system']}`", _number(d["motion_mse_m2"], "{:.2e}"), *cells, infers))
    head = ("MSE, m²", "Mean, mm", "If still, mm", "If with the hand, mm", "MSE without given keypoints, m²")
    return table(("System", *head), rows)


def _pixels(systems: list[Result]) -> str:
    rows = []
    names = [f"{kind}_mse{of}" for kind in ("latent", "pixel") for of in ("", "_still", "_other")]
    for s in systems:
        e = s["errors"]["pixels"]
        if e is not None:
            rows.append((f"`{s['system']}`", *(_number(e[n], "{:.4f}") for n in [*names, "pixel_mse_tokeniser"])))
    head = ("Latents", "still", "other", "Pixels", "still", "other", "tokeniser")
    return table(("System", *head), rows) if rows else "No system predicts images."


def _actions(systems: list[Result]) -> str:
    rows = []
    for s in systems:
        modes = [s["errors"][mode] for mode in ("control", "inverse")]
        cells = [NONE if e is None else _number(e["mean_position_mm"], "{:.1f} mm") for e in modes]
        rows.append((f"`{s['system']}`", *cells))
    return table(("System", "Policy", "Inverse"), rows)


def _number(value: float | None, form: str) -> str:
    return "not defined" if value is None else form.format(value)
