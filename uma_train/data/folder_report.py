"""What a folder beside or without episodes is: a job's card, and clips of `uma curate`."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path

from uma.checkpoint.npy_head import npy_head
from uma_train.data.episode import EpisodeError

CARD = "card.json"
EPISODES, CLIPS = "episodes", "clips"
"""Folders that `uma curate` writes."""
SHOWN = 5


def shapes(path: Path) -> dict[str, tuple[int, ...]]:
    """Return the shapes of the arrays in an ``.npz`` file by name, from their heads alone.

    Raises:
        EpisodeError: damaged.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            found = {}
            for name in archive.namelist():
                with archive.open(name) as member:
                    found[name.removesuffix(".npy")] = npy_head(member)[0]
            return found
    except Exception as error:  # zipfile and zlib raise their own kinds on a truncated file
        raise EpisodeError(f"{path}: damaged: {type(error).__name__}: {error}") from error


def is_clip(path: Path) -> bool:
    """Return whether a file is a clip of `uma curate` rather than an episode."""
    found = shapes(path)
    return "video" in found and "pose" not in found


def clip_line(path: Path) -> str:
    """Return what a clip holds.

    Raises:
        EpisodeError: damaged.
    """
    found = shapes(path)
    T, H, W = found["video"][:3]
    points = f"{found['query'][0]} queries" if "query" in found else "no queries"
    tracked = "tracked" if "coords" in found else "not tracked"
    depth = "with depth" if "depths" in found else "without depth"
    return f"clip       {path}: {T} images of {W}x{H} {depth}, {points}, {tracked}; no training episode"


def card_lines(folder: Path) -> list[str]:
    """Return the counts and the first reasons of a job's card; nothing without a readable one."""
    try:
        card = json.loads((folder / CARD).read_text())
    except (OSError, ValueError):
        return []
    if not isinstance(card, dict):
        return []
    counts = card.get("counts") if isinstance(card.get("counts"), dict) else {}
    words = [f"{counts[name]} {name}" for name in counts if counts[name]]
    words = words or [f"{card[name]} {name}" for name in ("tried", "kept") if isinstance(card.get(name), int)]
    lines = [f"card       {folder / CARD}: {', '.join(words) or 'no counts'}"]
    reasons = card.get("reasons") if isinstance(card.get("reasons"), dict) else {}
    lines += [f"  {name}: {reason}" for name, reason in list(reasons.items())[:SHOWN]]
    return lines + ([f"  and {len(reasons) - SHOWN} more"] if len(reasons) > SHOWN else [])


def episodes_in(folder: Path) -> Path | None:
    """Return the folder of the episodes: itself, or that which `uma curate` made in it; None without episodes."""
    if (folder / "index.json").exists():
        return folder
    for at in (folder, folder / EPISODES):
        if any(not is_clip(path) for path in sorted(at.glob("*.npz"))[:1]):
            return at
    return None


def other_lines(folder: Path) -> list[str]:
    """Return what a folder without episodes holds.

    Raises:
        EpisodeError: nothing of a known kind, or a damaged file.
    """
    at = folder / CLIPS if (folder / CLIPS).is_dir() else folder
    clips = sorted(at.glob("*.npz"))
    lines = [f"{folder}: {len(clips)} clips of 'uma curate', no training episode"] if clips else []
    lines += [clip_line(path) for path in clips[:SHOWN]]
    lines += card_lines(folder)
    if not lines:
        receipts = [
            p for at in (folder, folder / "receipts") for p in at.glob("*.json") if '"result"' in p.read_text()[:4096]
        ]
        if not receipts:
            raise EpisodeError(f"{folder}: no episode (*.npz); record some with 'uma simulate'")
        lines = [f"{folder}: {len(receipts)} receipts of a job, no training episode"]
    return lines
