"""JSON files of a study: written atomically, and read again only if they are of the same checkpoint and settings."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any


def write_json(path: Path, value: Any) -> None:
    """Write JSON atomically. NaN and infinity become null."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(path.name + ".part")
    part.write_text(json.dumps(plain(value), indent=2, allow_nan=False) + "\n")
    os.replace(part, path)


def plain(value: Any) -> Any:
    """Return a value as JSON has it: lists for tuples, and null for numbers that are not finite."""
    if isinstance(value, dict):
        return {str(k): plain(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(v) for v in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def kept(path: Path, key: dict[str, Any], measure: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """Return the measurement stored in ``path``, or measure and store it.

    Args:
        key: what the measurement depends on. A stored one with another key counts as none, as does a damaged one.
    """
    wanted = plain(key)
    try:
        stored = json.loads(path.read_text())
        if isinstance(stored, dict) and stored.get("key") == wanted:
            found: dict[str, Any] = stored["found"]
            return found
    except (OSError, ValueError, KeyError):
        pass
    found = plain(measure())
    write_json(path, {"key": wanted, "found": found})
    return found
