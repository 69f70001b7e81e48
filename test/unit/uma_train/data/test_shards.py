"""Packed episodes: shards of bounded size, packing that is cut off, damaged and older ones."""

import json
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch
from rigid_episodes import NORM, assert_equal, episode, same

from uma_train.data import shards
from uma_train.data.episode import EpisodeError, save_episode
from uma_train.data.store import Store
from uma_train.data.windows import Windows


@pytest.fixture
def folder(tmp_path):
    """Seven episodes that differ in steps, tracks and images, and what they are."""
    made = [episode(i, S=20 + 2 * i, K=5 + i, shots=i % 3) for i in range(7)]
    for i, e in enumerate(made):
        save_episode(tmp_path / f"{i}.npz", e)
    return tmp_path, made


def test_shards_hold_the_same_episodes_in_bounded_size(folder):
    path, made = folder
    store = shards.open_folder(path, shard_bytes=20_000)
    assert len(store.shards) > 2 and len(store) == 7
    assert all(same(a, b) for a, b in zip(store, made, strict=True))
    assert isinstance(store.shards[0]["xyz"].base, np.memmap) and not store.shards[0]["xyz"].flags.writeable
    assert all(same(a, b) for a, b in zip(Store.of(made), made, strict=True))


def test_packing_goes_on_after_a_kill_and_behind_what_is_there(folder, monkeypatch):
    path, made = folder
    out = path / "packed"
    save = np.save

    def dies(file, array):
        if "00001.tracks" in file.name:  # in the middle of the second shard
            raise KeyboardInterrupt
        save(file, array)

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(np, "save", dies)
        shards.pack(path, out, shard_bytes=20_000)
    with pytest.raises(EpisodeError, match="interrupted after"):
        shards.open_shards(out)
    first = (out / "00000.xyz.npy").stat().st_mtime_ns
    assert shards.pack(path, out, shard_bytes=20_000)
    assert (out / "00000.xyz.npy").stat().st_mtime_ns == first  # not made again
    assert all(same(a, b) for a, b in zip(shards.open_shards(out), made, strict=True)) and not list(out.glob("*.part"))
    assert not shards.pack(path, out)  # nothing to do
    save_episode(path / "9.npz", episode(9))
    assert shards.pack(path, out) and (out / "00000.xyz.npy").stat().st_mtime_ns == first
    assert len(shards.open_shards(out)) == 8
    save_episode(path / "0.npz", episode(50))  # changed: stale from the first on
    (path / "9.npz").unlink()
    assert shards.pack(path, out, shard_bytes=10**9)
    store = shards.open_shards(out)
    assert store[0].meta["seed"] == 50 and len(store) == 7 and len(list(out.glob("*.xyz.npy"))) == 1


def test_one_of_several_processes_packs(folder):
    path, made = folder
    with ThreadPoolExecutor(3) as pool:
        worked = list(pool.map(lambda _: shards.pack(path, path / "packed", shard_bytes=20_000), range(3)))
    assert sorted(worked) == [False, False, True]
    assert all(same(a, b) for a, b in zip(shards.open_shards(path / "packed"), made, strict=True))


@pytest.mark.parametrize("how", ["cut", "gone", "other", "version", "rows"])
def test_damaged_shards_are_refused_by_name(folder, how):
    path, _ = folder
    shards.pack(path, path / "packed")
    file, index = path / "packed" / "00000.tracks.npy", path / "packed" / "index.json"
    listed = json.loads(index.read_text())
    if how == "cut":
        file.write_bytes(file.read_bytes()[:-100])
    elif how == "gone":
        file.unlink()
    elif how == "other":
        np.save(file, np.load(file).astype(np.float64))
    elif how == "version":
        index.write_text(json.dumps(listed | {"version": 7}))
    else:
        listed["episodes"].pop()
        index.write_text(json.dumps(listed))
    with pytest.raises(
        EpisodeError, match="version 7" if how == "version" else "rows" if how == "rows" else "00000.tracks.npy"
    ):
        shards.open_shards(path / "packed")


def test_what_an_earlier_version_packed_is_packed_anew(folder):
    path, made = folder
    shards.pack(path, path / "packed")
    index = path / "packed" / "index.json"
    index.write_text(json.dumps(json.loads(index.read_text()) | {"version": 1}))
    with pytest.raises(EpisodeError, match="version 1, this program reads 3"):
        shards.open_shards(path / "packed")
    assert len(shards.open_folder(path)) == len(made) and json.loads(index.read_text())["version"] == 3


def test_read_only_folder_names_the_remedy(folder, monkeypatch):
    path, _ = folder

    def refuse(*_):
        raise PermissionError("read-only")

    monkeypatch.setattr(np, "save", refuse)
    with pytest.raises(EpisodeError, match="read-only.*uma pack"):
        shards.open_folder(path)


def test_episodes_of_different_clouds_cannot_be_packed_together(tmp_path):
    save_episode(tmp_path / "a.npz", episode(0, N=48))
    save_episode(tmp_path / "b.npz", episode(1, N=64))
    with pytest.raises(EpisodeError, match=r"a.npz to b.npz: .*\[48, 64\]"):
        shards.open_folder(tmp_path)


@pytest.mark.parametrize(
    "arguments", [{}, {"history": 3, "vary_keypoints": True}, {"with_image": True, "windows_per_task": 2}]
)
def test_memory_and_shards_give_the_same_batch(folder, arguments):
    path, made = folder
    a = Windows(made).draw(12, 6, NORM, np.random.default_rng(3), **arguments)
    for size in (20_000, 10**9):
        shards.pack(path, path / str(size), shard_bytes=size)
        assert_equal(
            a, Windows(shards.open_shards(path / str(size))).draw(12, 6, NORM, np.random.default_rng(3), **arguments)
        )
    other = Windows(made).draw(12, 6, NORM, np.random.default_rng(4), **arguments)
    assert not torch.equal(a.points.xyz, other.points.xyz)
