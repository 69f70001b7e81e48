"""Packed episodes: memory-mapped ``.npy`` shards beside an index, for sets larger than memory.

A packed folder holds, for every shard, one file ``00000.<field>.npy`` per field of `uma_train.data.store.ROWS` (plain arrays that any NumPy opens)
and ``index.json``:

* ``version``: 1; ``complete``: false while packing is under way or was interrupted
* ``shards``: for each, field -> [dtype, shape]
* ``episodes``: for each, in order: ``file`` [name, bytes, modification time in ns], ``shard``, ``rows`` (see `COUNTS`) and ``meta``

Shards are written one after the other, each bounded in size, and the index after each of them, always through a temporary file and a rename. A killed
run therefore leaves a shorter but whole index, and the next one goes on behind it; so does one that finds more episodes in the folder than before.
Packed episodes take as much disk as the files they are made from, which are not needed for training any more.
"""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Callable
from pathlib import Path

import numpy as np

from uma_train.data.episode import DTYPES, EpisodeError, list_episodes, load_episode
from uma_train.data.store import COUNTS, ROWS, Store, concatenate, row_counts

VERSION = 1
SHARD_BYTES = 256 * 2**20
"""A shard is closed when it has got this large; packing needs about twice as much memory."""


def _write(path: Path, save: Callable) -> None:
    part = path.with_name(path.name + ".part")
    with open(part, "wb") as f:
        save(f)
    os.replace(part, path)


def _identity(path: Path) -> list:
    stat = path.stat()
    return [path.name, stat.st_size, stat.st_mtime_ns]


def _read_index(folder: Path) -> dict | None:
    path = folder / "index.json"
    if not path.exists():
        return None
    try:
        index = json.loads(path.read_text())
        version = index["version"]
    except (ValueError, KeyError, TypeError) as e:
        raise EpisodeError(f"{path}: not an index of packed episodes: {e}") from e
    if version != VERSION:
        raise EpisodeError(f"{path}: version {version}, this program reads {VERSION}; remove the folder to pack anew")
    return index


def pack(folder: str | Path, out: str | Path, *, shard_bytes: int = SHARD_BYTES, on_episode: Callable[[int, int], None] | None = None) -> bool:
    """Bring ``out`` up to date with the episodes of ``folder``; safe to call from several processes at once, of which one then works.

    Args:
        on_episode: called with (done, in all).

    Returns:
        Whether anything had to be written.

    Raises:
        EpisodeError: no episode, a damaged one, or episodes that cannot stand in one store.
    """
    folder, out = Path(folder), Path(out)
    paths = list_episodes(folder)
    out.mkdir(parents=True, exist_ok=True)
    with open(out / ".lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        files = [_identity(p) for p in paths]
        index = _read_index(out) or {"episodes": []}
        known = [e["file"] for e in index["episodes"]]
        if known == files and index["complete"]:
            return False
        if known != files[: len(known)] or not known:
            index = {"version": VERSION, "complete": False, "shards": [], "episodes": []}
            known = []
            # Before any shard is replaced, so that the index never speaks of files that are no longer its own.
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
        if not index["complete"]:  # killed between the last shard and the end
            index["complete"] = True
            _write(out / "index.json", lambda f: f.write(json.dumps(index).encode()))
        for stale in out.glob("*.npy*"):  # of an earlier, longer packing
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
    """The store of a packed folder, memory-mapped for reading.

    Raises:
        EpisodeError: nothing packed there, packing was interrupted, or a shard does not hold what the index says. Names the file and the reason.
    """
    folder = Path(folder)
    index = _read_index(folder)
    if index is None:
        raise EpisodeError(f"{folder}: no index.json; 'uma pack' writes packed episodes")
    if not index["complete"]:
        raise EpisodeError(f"{folder}: packing was interrupted after {len(index['episodes'])} episodes; run it again, it goes on from there")
    shards = []
    for number, listed in enumerate(index["shards"]):
        shard = {}
        for name in DTYPES:
            path = folder / f"{number:05d}.{name}.npy"
            dtype, shape = listed[name]
            try:
                # An array without rows cannot be mapped.
                array = np.load(path, mmap_mode="r" if np.prod(shape) else None, allow_pickle=False)
            except (OSError, ValueError, EOFError) as e:
                raise EpisodeError(f"{path}: missing or cut short: {e}") from e
            if array.dtype.str != dtype or list(array.shape) != shape:
                raise EpisodeError(f"{path}: holds {array.dtype.str} {list(array.shape)}, the index says {dtype} {shape}")
            # A plain array over the same map: indexing a memmap costs several times as much.
            shard[name] = array.view(np.ndarray)
        shards.append(shard)
    counts = np.array([e["rows"] for e in index["episodes"]], np.int64)
    shard_of = np.array([e["shard"] for e in index["episodes"]], np.int64)
    for number, shard in enumerate(shards):
        total = dict(zip(COUNTS, counts[shard_of == number].sum(0), strict=True))
        for name, kind in ROWS.items():
            if len(shard[name]) != total[kind]:
                raise EpisodeError(f"{folder}/{number:05d}.{name}.npy: {len(shard[name])} rows, its episodes have {total[kind]}")
    return Store(shards, counts, shard_of, [e["meta"] for e in index["episodes"]])


def open_folder(folder: str | Path, **kwargs) -> Store:
    """The store of a folder of episodes or of a packed folder; the former is packed into ``packed/`` inside it when that is missing or stale.

    Keyword arguments are those of `pack`. Raises `EpisodeError` as `pack` and `open_shards` do.
    """
    folder = Path(folder)
    if (folder / "index.json").exists():
        return open_shards(folder)
    try:
        pack(folder, folder / "packed", **kwargs)
    except OSError as e:
        raise EpisodeError(f"{folder / 'packed'}: cannot be written: {e}; pack the folder elsewhere with 'uma pack --out' and train on that") from e
    return open_shards(folder / "packed")
