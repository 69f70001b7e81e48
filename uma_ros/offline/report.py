"""Report on a recording: contact sheet, plot of reference and executed motion, summary."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
from PIL import Image as Picture
from PIL import ImageDraw

from uma.control.session import State
from uma.geometry.camera import project
from uma.types import InputError
from uma_ros.messages.convert import rgb_from
from uma_ros.offline.recording import TOPICS, Recording, executed_keypoints, read_images
from uma_ros.runtime.topics import Topics

BLUE, ORANGE = (30, 110, 255), (255, 140, 0)


def _pixels(points: np.ndarray, recording: Recording, scale: float) -> list[tuple[float, float]]:
    return [
        (float(u * scale), float(v * scale)) for u, v in project(points, recording.camera) if np.isfinite([u, v]).all()
    ]


def contact_sheet(
    bag: str | Path, recording: Recording, path: str | Path, columns: int = 4, rows: int = 3, topics: Topics = TOPICS
) -> None:
    """Draw camera images at chunks spread over the recording.

    Blue lines with dots are the reference and its waypoints, orange lines the predicted motion.

    Raises:
        InputError: the recording contains no chunk.
    """
    if not recording.chunks:
        raise InputError("the bag contains no chunk to draw")
    picks = np.unique(np.linspace(0, len(recording.chunks) - 1, columns * rows).round().astype(int))
    chosen = [recording.chunks[i] for i in picks]
    images = read_images(bag, {stamp for stamp, _ in chosen}, topics)
    scale, tiles = 1.5, []
    start = chosen[0][1].stamp
    for stamp, chunk in chosen:
        if stamp not in images:
            continue
        rgb = rgb_from(images[stamp])
        tile = Picture.fromarray(rgb).resize(
            (int(rgb.shape[1] * scale), int(rgb.shape[0] * scale)), Picture.Resampling.BICUBIC
        )
        draw = ImageDraw.Draw(tile)
        for reference in [r for s, r in recording.references if s <= stamp][-1:]:
            for w, v in zip(reference.waypoints, reference.is_valid):
                line = _pixels(w[v], recording, scale)
                draw.line(line, fill=BLUE, width=1)
                for u, v_ in line:
                    draw.ellipse((u - 2, v_ - 2, u + 2, v_ + 2), outline=BLUE)
        motion = recording.motions.get((chunk.sequence, stamp))
        if motion is not None:
            for k in range(motion.points.shape[1]):
                draw.line(_pixels(motion.points[:, k], recording, scale), fill=ORANGE, width=2)
        draw.rectangle((0, 0, 150, 14), fill=(0, 0, 0))
        draw.text((4, 2), f"chunk {chunk.sequence}   {chunk.stamp - start:5.2f} s", fill=(255, 255, 255))
        tiles.append(tile)
    width, height = tiles[0].size
    rows = -(-len(tiles) // columns)
    sheet = Picture.new(
        "RGB", (columns * width + (columns - 1) * 4, rows * height + (rows - 1) * 4 + 22), (255, 255, 255)
    )
    for i, tile in enumerate(tiles):
        sheet.paste(tile, ((i % columns) * (width + 4), (i // columns) * (height + 4)))
    ImageDraw.Draw(sheet).text(
        (6, sheet.height - 17), "blue: reference motion   orange: motion predicted with the chunk", fill=(0, 0, 0)
    )
    sheet.save(path)


def motion_plot(recording: Recording, path: str | Path) -> dict[str, float]:
    """Plot reference and executed object motion from above and from the front, and the remaining distance over time.

    Returns:
        distance_m: mean distance of the keypoints to their last waypoints at the end; closest_m: its minimum.
    """
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    times, executed, waypoints = executed_keypoints(recording)
    left = np.linalg.norm(executed - np.stack([w[-1] for w in waypoints]), axis=-1).mean(1)
    t = times - times[0]
    figure, axes = plt.subplots(1, 3, figsize=(15, 4.6))
    for axis, (a, b), title in ((axes[0], (0, 1), "from above"), (axes[1], (1, 2), "from the front")):
        for k, w in enumerate(waypoints):
            axis.plot(w[:, a], w[:, b], "o--", color="tab:blue", lw=1, ms=4, label="reference" if k == 0 else None)
            axis.plot(
                executed[:, k, a], executed[:, k, b], color="tab:green", lw=1, label="executed" if k == 0 else None
            )
            axis.plot(*executed[-1, k, [a, b]], "s", color="tab:green", ms=4)
        axis.set(xlabel=f"{'xyz'[a]} (m, base frame)", ylabel=f"{'xyz'[b]} (m)", title=title, aspect="equal")
        axis.legend(loc="best")
    axes[2].plot(t, left * 100, color="tab:green")
    axes[2].set(
        xlabel="time since the start of the task (s)",
        ylabel="distance to the end of the reference (cm)",
        ylim=(0, None),
    )
    axes[2].set_title(f"at the end {left[-1] * 100:.1f} cm")
    axes[2].grid(alpha=0.3)
    figure.tight_layout()
    figure.savefig(path, dpi=90)
    plt.close(figure)
    return {"distance_m": round(float(left[-1]), 4), "closest_m": round(float(left.min()), 4)}


def tracking(recording: Recording) -> dict[str, float]:
    """Return percentiles of the distance between executed actions and the measured end effector, mm."""
    errors = action_errors(recording)
    if not len(errors):
        return {}
    return {
        "ee_error_p50_mm": round(float(np.median(errors)) * 1e3, 1),
        "ee_error_p95_mm": round(float(np.percentile(errors, 95)) * 1e3, 1),
    }


def action_errors(recording: Recording) -> np.ndarray:
    """Return the distance of each executed action to the measured end effector at its due time, metres."""
    times, poses = recording.ee
    errors = []
    for (_, chunk), (_, following) in zip(recording.chunks, [*recording.chunks[1:], (0, None)]):
        if not len(times):
            break
        T_base_cam = recording.frames.lookup(recording.robot.base_frame, chunk.frame)
        tool = recording.frames.lookup(recording.robot.flange_frame, chunk.ee_frame)
        end = following.stamp + 0.1 if following is not None else chunk.stamp + 0.5
        for due, T in zip(chunk.due(), chunk.poses):
            if chunk.stamp + 0.15 < due <= min(end, times[-1]):
                measured = poses[int(np.searchsorted(times, due)) - 1] @ tool
                errors.append(np.linalg.norm((T_base_cam @ T)[:3, 3] - measured[:3, 3]))
    return np.array(errors)


def summarise(recording: Recording) -> dict:
    """Return the summary of a recording: outcome, latency, rates, tracking, counts of the nodes, states."""
    latency = {}
    for stage, values in recording.latency.items():
        warm = values[1:] or values
        latency[stage] = {f"p{q}": round(float(np.percentile(warm, q)), 1) for q in (50, 95, 99)}
    summary: dict = {"outcome": recording.outcome, "chunks": len(recording.chunks), "latency_ms": latency}
    stamps = np.array([c.stamp for _, c in recording.chunks])
    rates = {}
    if len(stamps) > 1:
        rates["chunks_hz"] = round((len(stamps) - 1) / (stamps[-1] - stamps[0]), 2)
        rates["action_hz"] = recording.chunks[-1][1].rate_hz
    if len(recording.targets) > 1:
        rates["targets_hz"] = round(
            (len(recording.targets) - 1) / max(recording.targets[-1] - recording.targets[0], 1e-9), 1
        )
    if len(recording.ee[0]) > 1:
        rates["robot_state_hz"] = round((len(recording.ee[0]) - 1) / (recording.ee[0][-1] - recording.ee[0][0]), 1)
    summary["rates"] = rates
    summary["tracking"] = tracking(recording)
    keep = ("overruns", "refused", "rate_hz", "interval_p99_ms", "real_time_factor")
    summary["nodes"] = {
        node: {k: v for k, v in values.items() if k in keep or k.startswith(("limited", "held", "passed"))}
        for node, values in recording.diagnostics.items()
    }
    summary["states"] = [
        f"{t - recording.states[0][0]:.2f} s {node}: {State(state).name} ({reason})"
        for t, node, state, reason in recording.states
    ]
    summary["checkpoint_id"] = recording.configuration.get("policy", {}).get("checkpoint_id", "")
    return summary


def _cm(summary: dict, key: str) -> str:
    return f"{summary[key] * 100:.1f} cm" if key in summary else "unknown"


def write_summary(summary: dict, folder: Path) -> None:
    """Write summary.json and summary.md."""
    (folder / "summary.json").write_text(json.dumps(summary, indent=2) + "\n")
    outcome, latency = summary.get("outcome") or {}, summary.get("latency_ms", {}).get("total", {})
    rows = [
        ("result", f"**{summary['result']}**: {summary['why']}"),
        ("stack", summary["stack"]),
        ("scene", f"seed {outcome.get('seed', '?')}"),
        ("checkpoint", summary.get("checkpoint_id", "")),
        ("time", f"{summary.get('seconds', float('nan')):.1f} s simulated"),
        (
            "object to the end of the reference",
            f"{_cm(summary, 'distance_m')} at the end, {_cm(summary, 'closest_m')} at best",
        ),
        ("chunks", str(summary["chunks"])),
        (
            "latency of a chunk",
            f"p50 {latency.get('p50', '?')} ms, p95 {latency.get('p95', '?')} ms, p99 {latency.get('p99', '?')} ms",
        ),
        ("rates", ", ".join(f"{k} {v}" for k, v in summary["rates"].items())),
        ("measured end effector against the due action", ", ".join(f"{k} {v}" for k, v in summary["tracking"].items())),
    ]
    rows += [
        (f"node {name}", ", ".join(f"{k} {v}" for k, v in values.items()) or "-")
        for name, values in summary["nodes"].items()
    ]
    lines = [
        f"# One simulated {outcome.get('task', 'insertion')} over ROS 2",
        "",
        "| | |",
        "|---|---|",
        *(f"| {a} | {b} |" for a, b in rows),
        "",
        "States:",
        "",
    ]
    lines += [f"- {line}" for line in summary["states"]]
    (folder / "summary.md").write_text("\n".join(lines) + "\n")
