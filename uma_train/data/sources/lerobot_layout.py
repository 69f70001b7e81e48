"""Where a LeRobot data set keeps its episodes: versions 2.1 and 3.0."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from uma.types import InputError
from uma_train.data.optional import needed

VERSIONS = "v2.1", "v3.0"
INFO = Path("meta") / "info.json"
PLACES = ("episode_index", "length", "dataset_from_index", "dataset_to_index", "data/chunk_index", "data/file_index")


@dataclass(frozen=True)
class Place:
    """One episode.

    Attributes:
        index: its number, which may occur twice.
        data: parquet file.
        first, last: range of the column ``index``; None if the file is the episode's own.
        length: rows.
        videos: feature -> file and the time of its first frame in it, seconds.
    """

    index: int
    data: Path
    first: int | None
    last: int | None
    length: int
    videos: dict[str, tuple[Path, float]]


@contextmanager
def parquet(path: Path) -> Iterator[Any]:
    """Yield `pyarrow.parquet`; damage and missing columns become `InputError` with the file's name."""
    pyarrow = needed("pyarrow")
    if not path.is_file():
        raise InputError(f"{path}: no such file")
    try:
        yield needed("pyarrow.parquet")
    except InputError:
        raise
    except (pyarrow.ArrowException, OSError, KeyError) as error:
        raise InputError(f"{path}: damaged, or lacks a column: {error}") from error


def root_of(path: Path) -> Path:
    """Return the folder of a data set, of itself or of a file in it.

    Raises:
        InputError: there is none.
    """
    path = path.resolve()
    for folder in (path, *path.parents):
        if (folder / INFO).is_file():
            return folder
    raise InputError(f"source: {path}: neither a LeRobot data set nor in one ({INFO})")


@cache
def info(root: Path) -> dict[str, Any]:
    """Return ``meta/info.json``.

    Raises:
        InputError: it is not JSON, of another version, or lacks a key.
    """
    try:
        found = json.loads((root / INFO).read_text())
    except ValueError as error:
        raise InputError(f"{root / INFO}: not JSON: {error}") from error
    lacking = [k for k in ("codebase_version", "data_path", "video_path", "features") if not found.get(k)]
    if lacking:
        raise InputError(f"{root / INFO}: lacks {', '.join(lacking)}")
    if found["codebase_version"] not in VERSIONS:
        raise InputError(f"codebase_version: {found['codebase_version']}, must be one of {', '.join(VERSIONS)}")
    return found


def _path(root: Path, pattern: str, **numbers: Any) -> Path:
    """Return a file of the data set.

    Raises:
        InputError: the pattern names another number, or a file outside of the data set.
    """
    try:
        path = (root / pattern.format(**numbers)).resolve()
    except (KeyError, IndexError, ValueError, AttributeError) as error:
        raise InputError(f"{INFO}: path {pattern!r}: {error}") from error
    if not path.is_relative_to(root):
        raise InputError(f"{INFO}: path {pattern!r}: outside of the data set")
    return path


@cache
def places(root: Path) -> tuple[Place, ...]:
    """Return the episodes in the order of their data.

    Raises:
        InputError: the metadata is damaged or lacks a key.
    """
    about = info(root)
    keys = [name for name, feature in about["features"].items() if feature.get("dtype") == "video"]
    return tuple(_of_v21(root, about, keys) if about["codebase_version"] == "v2.1" else _of_v30(root, about, keys))


def _of_v21(root: Path, about: dict[str, Any], keys: list[str]) -> Iterator[Place]:
    path = root / "meta" / "episodes.jsonl"
    if not path.is_file():
        raise InputError(f"{path}: no such file")
    size = int(about.get("chunks_size") or 1000)
    for number, line in enumerate(path.read_text().splitlines(), 1):
        try:
            row = json.loads(line)
            i, length = int(row["episode_index"]), int(row["length"])
        except (ValueError, KeyError, TypeError) as error:
            raise InputError(f"{path}: line {number}: {error!r}") from error
        at = {"episode_index": i, "episode_chunk": i // size}
        videos = {key: (_path(root, about["video_path"], video_key=key, **at), 0.0) for key in keys}
        yield Place(i, _path(root, about["data_path"], **at), None, None, length, videos)


def _of_v30(root: Path, about: dict[str, Any], keys: list[str]) -> Iterator[Place]:
    files = sorted((root / "meta" / "episodes").rglob("*.parquet"))
    if not files:
        raise InputError(f"{root / 'meta' / 'episodes'}: no *.parquet")
    parts = ("chunk_index", "file_index", "from_timestamp")
    for file in files:
        with parquet(file) as pq:
            names = [*PLACES, *(f"videos/{key}/{part}" for key in keys for part in parts)]
            table = pq.read_table(file, columns=names).to_pydict()
            columns = [table[name] for name in names]
        for values in zip(*columns):
            row = dict(zip(names, values))
            at = {part: row[f"data/{part}"] for part in parts[:2]}
            videos = {}
            for key in keys:
                chunk, number, begin = (row[f"videos/{key}/{part}"] for part in parts)
                video = _path(root, about["video_path"], video_key=key, chunk_index=chunk, file_index=number)
                videos[key] = video, float(begin)
            first, last = row["dataset_from_index"], row["dataset_to_index"]
            if last - first != row["length"]:
                raise InputError(
                    f"{file}: episode {row['episode_index']}: rows {first} to {last}, length {row['length']}"
                )
            data = _path(root, about["data_path"], **at)
            yield Place(row["episode_index"], data, first, last, row["length"], videos)


def columns(place: Place, names: list[str]) -> dict[str, Any]:
    """Return the named columns of an episode that its file has: arrays of numbers, lists of texts.

    Raises:
        InputError: the file is damaged, or has another number of rows.
    """
    with parquet(place.data) as pq:
        known = [name for name in names if name in pq.read_schema(place.data).names]
        rows = None
        if place.first is not None:
            rows = [("index", ">=", place.first), ("index", "<", place.last)]
        table = pq.read_table(place.data, columns=known, filters=rows)
    if table.num_rows != place.length:
        raise InputError(f"{place.data}: {table.num_rows} rows of episode {place.index}, must be {place.length}")
    lists = {name: table[name].to_pylist() for name in known}
    try:
        return {k: v if v and isinstance(v[0], str) else np.asarray(v, np.float64) for k, v in lists.items()}
    except (ValueError, TypeError) as error:
        raise InputError(f"{place.data}: a row of another length or without a value: {error}") from error
