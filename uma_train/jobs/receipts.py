"""Receipts: what became of each item, beside its output, and when an item has to be done again."""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import os
import re
import socket
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

from uma.types import InputError

OK, FAILED, DIED, REFUSED, ELSEWHERE = "ok", "failed", "died", "refused", "elsewhere"
"""Results: done; an error in the function; the worker ended or was too slow; a bad input; another run is at it."""
CARD = "card"
LOCK = ".lock"
Item = Mapping[str, Any]
"""JSON values, with the item's name in "id"."""


@dataclass(frozen=True)
class Receipt:
    """What became of an item.

    Attributes:
        id: the item's name.
        result: `OK`, `FAILED`, `DIED` or `REFUSED`; `ELSEWHERE` is never written.
        key: of the job and the item, see `item_key`.
        reason: of any other result than ok.
        seconds: duration.
        host: of the worker.
        notes: JSON values that the function adds.
        item: the item's values when it was done.
    """

    id: str
    result: str
    key: str
    reason: str = ""
    seconds: float = 0.0
    host: str = field(default_factory=socket.gethostname)
    notes: Mapping[str, Any] = field(default_factory=dict)
    item: Item = field(default_factory=dict)


def job_key(config: Any, files: Iterable[str | Path] = (), version: str = "") -> str:
    """Return the key of a job: another configuration, version of the code, or content of the files changes it.

    Args:
        config: JSON values.
        files: such as weights.
    """
    digest = hashlib.sha256(json.dumps([config, version], sort_keys=True).encode())
    for file in files:
        with open(file, "rb") as f:
            digest.update(hashlib.file_digest(f, "sha256").digest())
    return digest.hexdigest()[:16]


def item_key(key: str, item: Item) -> str:
    """Return the key of one item of a job: its values count, such as sizes and times of its files."""
    return hashlib.sha256(json.dumps([key, dict(item)], sort_keys=True).encode()).hexdigest()[:16]


def check_items(items: Sequence[Item]) -> None:
    """Raise `InputError` for a missing, repeated or unusable name of an item."""
    seen = set()
    for i, item in enumerate(items):
        name = item.get("id")
        if not isinstance(name, str) or not re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,199}", name) or name == CARD:
            raise InputError(f"item {i}: id {name!r}, must be letters, digits, _ . - (1 to 200), and not {CARD!r}")
        if name in seen:
            raise InputError(f"item {i}: id {name!r} occurs twice, must be unique")
        seen.add(name)
        try:
            json.dumps(dict(item))
        except (TypeError, ValueError) as error:
            raise InputError(f"item {i}: {name}: {error}, must hold JSON values") from error


def receipt_path(out: Path, name: str) -> Path:
    return out / f"{name}.json"


def read_receipt(out: Path, name: str) -> Receipt | None:
    """Return an item's receipt; None without one, or if it is unreadable."""
    try:
        value = json.loads(receipt_path(out, name).read_text())
        return Receipt(**{f.name: value[f.name] for f in fields(Receipt) if f.name in value})
    except (OSError, ValueError, TypeError):
        return None


def read_receipts(out: Path) -> list[Receipt]:
    """Return all receipts of a folder, also of items of earlier calls."""
    names = sorted(path.stem for path in out.glob("*.json") if path.stem != CARD)
    return [receipt for name in names if (receipt := read_receipt(out, name)) is not None]


def write_json(path: Path, value: Any) -> None:
    """Write through a temporary file and a rename."""
    part = path.with_name(f"{path.name}.{os.getpid()}.part")
    part.write_text(json.dumps(value, indent=2) + "\n")
    os.replace(part, path)


def write_receipt(out: Path, receipt: Receipt) -> None:
    """Write a receipt atomically."""
    write_json(receipt_path(out, receipt.id), asdict(receipt))


def is_due(receipt: Receipt | None, key: str, output: Path, retry_failed: bool) -> bool:
    """Return whether an item has to be done.

    Args:
        key: of the item now.
        output: where its output belongs.
        retry_failed: also what failed or was refused with the same key.
    """
    if receipt is None or receipt.key != key or receipt.result == DIED:
        return True
    return not output.exists() if receipt.result == OK else retry_failed


@contextlib.contextmanager
def locked(out: Path, name: str) -> Iterator[bool]:
    """Yield whether this process alone has an item. The lock ends with the process.

    One byte of the file `LOCK` stands for an item, so that no file per item is left.
    """
    offset = int.from_bytes(hashlib.sha256(name.encode()).digest()[:7], "big")
    with open(out / LOCK, "a+b") as f:
        try:
            fcntl.lockf(f, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, offset)
        except (BlockingIOError, PermissionError):
            yield False
            return
        yield True
