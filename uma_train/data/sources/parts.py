"""Recordings that are a file, a folder, or a part of a file: their names, and how a change of them is noticed."""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import dataclass
from pathlib import Path

RESERVED = "card", "index"
"""Files NAME.json in a folder of episodes that belong to no recording."""


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


def key_of(found: Path | Part) -> str:
    """Return a hash of names, sizes and times of a recording's files: a changed recording is imported again."""
    return _digest(_facts(found))


def _facts(found: Path | Part) -> list:
    if isinstance(found, Part):
        return [*_facts(found.path), [found.name, found.at]]
    files = sorted(p for p in found.rglob("*") if p.is_file()) if found.is_dir() else [found]
    return [[p.name, p.stat().st_size, p.stat().st_mtime_ns] for p in files]


def file_name(name: str) -> str:
    """Return a recording's name as that of its files. Other characters than letters, digits and _ . - are replaced."""
    safe = re.sub(r"[^A-Za-z0-9_.-]|^[.-]", "_", name)[:180]
    return name if safe == name and name not in RESERVED else f"{safe}-{_digest(name)}"


def _digest(value: object) -> str:
    return hashlib.sha256(json.dumps(value).encode()).hexdigest()[:16]
