"""Packed episodes: memory-mapped ``.npy`` shards with an index, for data sets larger than memory.

A packed folder holds one plain NumPy file ``00000.<field>.npy`` per shard and field of `uma_train.data.store.ROWS`, and
``index.json``:

* ``version``: 3; ``complete``: false during packing or after an interruption
* ``shards``: for each, field -> [dtype, shape]
* ``episodes``: for each, in order: ``file`` [name, bytes, modification time in ns], ``shard``, ``rows`` (see `COUNTS`)
  and ``meta``

Shards are written one after another, each of bounded size, and the index after each, through a temporary file and a
rename. So a killed run leaves a shorter but valid index, and the next run continues there. New episodes in the folder
are appended in the same way. Packed episodes need as much disk as their sources, and training does not need the
sources.
"""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Callable
from dataclasses import MISSING, dataclass
from pathlib import Path

import numpy as np

from uma.checkpoint.npy_head import npy_head
from uma.settings import setting
from uma_train.data.episode import DTYPES, EpisodeError, list_episodes, load_episode
from uma_train.data.store import COUNTS, ROWS, Store, concatenate, row_counts

VERSION = 3
TAILS = {
    "xyz": (0, 3),
    "rgb": (0, 3),
    "height": (0,),
    "pose": (4, 4),
    "target_pose": (4, 4),
    "joints": (7,),
    "tracks": (3,),
    "static": (3,),
    "plan": (3,),
    "images": (0, 0, 3),
}
"""Shape of one row of each field; 0 = any length."""
SHARD_BYTES = 256 * 2**20
"""Size at which a shard is closed, bytes; packing needs about twice as much memory."""


@dataclass(frozen=True)
class PackOptions:
    """Pack a folder of episodes into memory-mapped shards; the same command resumes."""

    folder: str = setting(MISSING, "folder of episodes")
    out: str = setting("", "folder of the shards; empty: FOLDER/packed, which training finds and updates by itself")


def _write(path: Path, save: Callable) -> None:
    part = path.with_name(path.name + ".part")
    with open(part, "wb") as f:
        save(f)
    os.replace(part, path)


def _identity(path: Path) -> list:
    stat = path.stat()
    return [path.name, stat.st_size, stat.st_mtime_ns]


def _read_index(folder: Path, older: bool = True) -> dict | None:
    """Return the index; None if there is none or, with ``older`` False, one of an earlier version."""
    path = folder / "index.json"
    if not path.exists():
        return None
    try:
        index = json.loads(path.read_text("utf-8"))
        version = index["version"]
    except (ValueError, KeyError, TypeError) as e:
        raise EpisodeError(f"{path}: not an index of packed episodes: {e}") from e
    except RecursionError as e:
        raise EpisodeError(f"{path}: not an index of packed episodes: nested too deep") from e
    if not older and _is_count(version) and version < VERSION:
        return None
    if version != VERSION:
        raise EpisodeError(
            f"{path}: version {version!r:.40}, this program reads {VERSION}; remove the folder to pack again"
        )
    _check_index(index, path)
    return index


def _check_index(index: dict, path: Path) -> None:
    """Raise `EpisodeError` unless every required field of an index exists and has the right type."""
    shards, episodes = index.get("shards"), index.get("episodes")
    if not isinstance(shards, list) or not isinstance(episodes, list) or not isinstance(index.get("complete"), bool):
        raise EpisodeError(f"{path}: must have the lists shards and episodes, and complete, true or false")
    for i, listed in enumerate(shards):
        for name in DTYPES:
            kind = listed.get(name) if isinstance(listed, dict) else None
            fits = (
                isinstance(kind, list)
                and len(kind) == 2
                and isinstance(kind[0], str)
                and isinstance(kind[1], list)
                and 1 <= len(kind[1]) <= 4
            )
            tail = TAILS.get(name, ())
            if (
                not fits
                or not all(_is_count(n) for n in kind[1])
                or len(kind[1]) != 1 + len(tail)
                or any(t and n != t for n, t in zip(kind[1][1:], tail))
            ):
                raise EpisodeError(
                    f"{path}: shards[{i}].{name}: {kind!r:.80}, must be a dtype and the shape "
                    f"{('N', *(t or 'any' for t in tail))}"
                )
            if kind[0] != np.dtype(DTYPES[name]).str:
                raise EpisodeError(f"{path}: shards[{i}].{name}: {kind[0]!r:.40}, must be {np.dtype(DTYPES[name]).str}")
    for i, e in enumerate(episodes):
        fits = (
            isinstance(e, dict)
            and isinstance(e.get("rows"), list)
            and len(e["rows"]) == len(COUNTS)
            and all(_is_count(n) for n in e["rows"])
        )
        if (
            not fits
            or not isinstance(e.get("file"), list)
            or not _is_count(e.get("shard"))
            or e["shard"] >= len(shards)
        ):
            raise EpisodeError(
                f"{path}: episodes[{i}]: must have file, shard (below {len(shards)}) and rows, {len(COUNTS)} counts"
            )
        if e["rows"][COUNTS.index("tracks")] != e["rows"][COUNTS.index("steps")] * e["rows"][COUNTS.index("keypoints")]:
            raise EpisodeError(f"{path}: episodes[{i}].rows: {e['rows']}, the tracks must be steps x keypoints")
        meta = e.get("meta")
        if (
            not isinstance(meta, dict)
            or not {"has_actions", "has_robot", "camera"} <= set(meta)
            or not isinstance(meta["camera"], dict | None)
        ):
            raise EpisodeError(f"{path}: episodes[{i}].meta: {meta!r:.80}, must have has_actions, has_robot and camera")


def _is_count(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 2**40


def pack(
    folder: str | Path,
    out: str | Path,
    *,
    shard_bytes: int = SHARD_BYTES,
    on_episode: Callable[[int, int], None] | None = None,
) -> bool:
    """Update ``out`` with the episodes of ``folder``. Concurrent processes are safe; one of them packs.

    Args:
        on_episode: called with (done, total).

    Returns:
        Whether anything was written.

    Raises:
        EpisodeError: no episode, a damaged one, or episodes that do not fit one store.
    """
    folder, out = Path(folder), Path(out)
    paths = list_episodes(folder)
    out.mkdir(parents=True, exist_ok=True)
    with open(out / ".lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        files = [_identity(p) for p in paths]
        index = _read_index(out, older=False) or {"episodes": []}
        known = [e["file"] for e in index["episodes"]]
        if known == files and index["complete"]:
            return False
        if known != files[: len(known)] or not known:
            index = {"version": VERSION, "complete": False, "shards": [], "episodes": []}
            known = []
            # Before any shard is replaced, so that the index never lists foreign files.
            _write(out / "index.json", lambda f: f.write(json.dumps(index).encode()))
        index["complete"] = False
        pending, size = [], 0
        for i, path in enumerate(paths[len(known) :], len(known)):
            episode = load_episode(path)
            pending.append((episode, files[i]))
            size += sum(getattr(episode, name).nbytes for name in DTYPES)
            if size >= shard_bytes or i == len(paths) - 1:
                _add_shard(out, index, pending, is_last=i == len(paths) - 1)
                pending, size = [], 0
            if on_episode:
                on_episode(i + 1, len(paths))
        if not index["complete"]:  # a previous run was killed after its last shard
            index["complete"] = True
            _write(out / "index.json", lambda f: f.write(json.dumps(index).encode()))
        for stale in out.glob("*.npy*"):  # of an earlier, longer index
            if stale.suffix == ".part" or int(stale.name.split(".")[0]) >= len(index["shards"]):
                stale.unlink()
    return True


def _add_shard(out: Path, index: dict, pending: list, is_last: bool) -> None:
    number = len(index["shards"])
    try:
        shard = concatenate([e for e, _ in pending])
    except EpisodeError as e:
        raise EpisodeError(f"{pending[0][1][0]} to {pending[-1][1][0]}: {e}") from e
    for name, array in shard.items():
        _write(out / f"{number:05d}.{name}.npy", lambda f, a=array: np.save(f, a))
    index["shards"].append({name: [array.dtype.str, list(array.shape)] for name, array in shard.items()})
    index["episodes"] += [{"file": file, "shard": number, "rows": row_counts(e), "meta": e.meta} for e, file in pending]
    index["complete"] = is_last
    _write(out / "index.json", lambda f: f.write(json.dumps(index).encode()))


def open_shards(folder: str | Path) -> Store:
    """Open a packed folder, memory-mapped for reading.

    Raises:
        EpisodeError: no index, an interrupted packing, or a shard that does not match the index. The message names the
            file and the reason.
    """
    folder = Path(folder)
    index = _read_index(folder)
    if index is None:
        raise EpisodeError(f"{folder}: no index.json; 'uma pack' writes packed episodes")
    if not index["complete"]:
        raise EpisodeError(
            f"{folder}: packing was interrupted after {len(index['episodes'])} episodes; run it again to continue"
        )
    if not index["episodes"] or not index["shards"]:
        raise EpisodeError(f"{folder}: 0 packed episodes, at least 1 required")
    shards = []
    for number, listed in enumerate(index["shards"]):
        shard = {}
        for name in DTYPES:
            path = folder / f"{number:05d}.{name}.npy"
            dtype, shape = listed[name]
            try:
                array = _mapped(path)
            except Exception as e:  # an .npy header is a Python literal and may raise anything
                raise EpisodeError(f"{path}: missing or cut short: {e}") from e
            if array.dtype.str != dtype or list(array.shape) != shape:
                raise EpisodeError(
                    f"{path}: holds {array.dtype.str} {list(array.shape)}, the index lists {dtype} {shape}"
                )
            # A plain array over the same map, because indexing a memmap is slow.
            shard[name] = array.view(np.ndarray)
        shards.append(shard)
    counts = np.array([e["rows"] for e in index["episodes"]], np.int64)
    shard_of = np.array([e["shard"] for e in index["episodes"]], np.int64)
    for number, shard in enumerate(shards):
        total = dict(zip(COUNTS, counts[shard_of == number].sum(0), strict=True))
        for name, kind in ROWS.items():
            if len(shard[name]) != total[kind]:
                raise EpisodeError(
                    f"{folder}/{number:05d}.{name}.npy: {len(shard[name])} rows, its episodes have {total[kind]}"
                )
    return Store(shards, counts, shard_of, [e["meta"] for e in index["episodes"]])


def _mapped(path: Path) -> np.ndarray:
    """Return the memory-mapped array of an ``.npy`` file; an empty array cannot be mapped and is created."""
    with open(path, "rb") as f:
        shape, dtype = npy_head(f)
    if 0 in shape:
        return np.zeros(shape, dtype)
    return np.load(path, mmap_mode="r", allow_pickle=False)


def open_folder(folder: str | Path, **kwargs) -> Store:
    """Open a folder of episodes or a packed folder. Episodes are packed into ``packed/`` if that is missing or stale.

    Keyword arguments are those of `pack`.

    Raises:
        EpisodeError: as `pack` and `open_shards`, or the folder is not writable.
    """
    folder = Path(folder)
    if (folder / "index.json").exists():
        return open_shards(folder)
    try:
        pack(folder, folder / "packed", **kwargs)
    except OSError as e:
        raise EpisodeError(
            f"{folder / 'packed'}: cannot be written: {e}; pack the folder elsewhere with 'uma pack --out' "
            "and train on that"
        ) from e
    return open_shards(folder / "packed")
