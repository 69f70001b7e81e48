"""The results of a comparison as a picture."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from uma_train.data.optional import needed


def plot(result: dict[str, Any], path: Path) -> None:
    """Draw success with intervals, latency with passes, and the error of dynamics of every system into a PNG file."""
    needed("matplotlib", "demo").use("Agg")
    from matplotlib import pyplot as plt

    systems = result["systems"]
    names = [s["system"] for s in systems]
    figure, axes = plt.subplots(1, 3, figsize=(15, 4.2), width_ratios=(2, 1, 1))
    _success(axes[0], systems)
    ms = [s["latency"]["median_ms"] for s in systems]
    axes[1].bar(names, ms, color="tab:green")
    axes[1].errorbar(
        names, ms, [[0] * len(ms), [s["latency"]["p95_ms"] - m for s, m in zip(systems, ms)]], fmt="none", ecolor="k"
    )
    for i, s in enumerate(systems):
        axes[1].annotate(f"{s['latency']['passes'][0]:g}", (i, s["latency"]["p95_ms"]), ha="center", va="bottom")
    axes[1].set(title="latency of a chunk, median to p95;\nabove: passes", ylabel="ms")
    _dynamics(axes[2], systems)
    for axis in axes[1:]:
        axis.tick_params(axis="x", rotation=30)
    figure.tight_layout()
    part = path.with_name(path.name + ".part")
    figure.savefig(part, dpi=90, format="png")
    plt.close(figure)
    part.replace(path)


def _success(axis: Any, systems: list[dict[str, Any]]) -> None:
    tasks = list(systems[0]["closed_loop"])
    axis.set(title="success, with 95 % intervals", ylabel="%", ylim=(0, 100))
    if not tasks:
        axis.text(0.5, 0.5, "no scenes", ha="center", transform=axis.transAxes)
        return
    width = 0.8 / len(systems)
    for i, s in enumerate(systems):
        rows = [s["closed_loop"][t] for t in tasks]
        share = np.array([100 * r["success"] / r["episodes"] for r in rows])
        low, high = (np.array([100 * r[k] for r in rows]) for k in ("low", "high"))
        x = np.arange(len(tasks)) + (i - (len(systems) - 1) / 2) * width
        axis.bar(x, share, width, label=s["system"])
        axis.errorbar(
            x, share, [np.maximum(share - low, 0), np.maximum(high - share, 0)], fmt="none", ecolor="k", capsize=2
        )
    axis.set_xticks(range(len(tasks)), tasks)
    axis.legend(fontsize="small")


def _dynamics(axis: Any, systems: list[dict[str, Any]]) -> None:
    """Show each error relative to that of a still scene, because motion and images have no common unit."""
    shown: dict[str, float] = {}
    for s in systems:
        motion, pixels = s["errors"]["dynamics"], s["errors"]["pixels"]
        if motion is not None and motion["motion_still_mm"]:
            shown[f"{s['system']}, motion"] = (motion["motion_mm"] or np.nan) / motion["motion_still_mm"]
        if pixels is not None and pixels["latent_mse_still"]:
            shown[f"{s['system']}, latents"] = (pixels["latent_mse"] or np.nan) / pixels["latent_mse_still"]
    axis.bar(list(shown), list(shown.values()), color="tab:purple")
    axis.axhline(1, color="k", linewidth=0.8)
    axis.set(title="dynamics: error relative to\na still scene's (below 1 is better)")
