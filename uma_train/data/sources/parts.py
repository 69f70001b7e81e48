"""Recordings that are a file, a folder, or a part of a file, and how a change of them is noticed."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Part:
    """One of many recordings in a file.

    Attributes:
        path: the file.
        name: of the part in it, such as "record 3".
        at: where it begins, in the unit of the format, such as bytes.
    """

    path: Path
    name: str
    at: int = 0


def place(found: Path | Part) -> str:
    """Return where a recording is, for people and for comparison."""
    return f"{found.path.resolve()}#{found.name}" if isinstance(found, Part) else str(found.resolve())


def key_of(found: Path | Part) -> list:
    """Return names, sizes and times of a recording's files: a changed recording is imported again."""
    if isinstance(found, Part):
        return [*key_of(found.path), [found.name, found.at]]
    files = sorted(p for p in found.rglob("*") if p.is_file()) if found.is_dir() else [found]
    return [[p.name, p.stat().st_size, p.stat().st_mtime_ns] for p in files]
