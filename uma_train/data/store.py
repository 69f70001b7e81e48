"""A store of many episodes as flat arrays, in memory or memory-mapped, for gathering windows.

A shard holds the fields of some episodes, each concatenated along one axis of rows. So a batch takes a few gathers for
any number of episodes. A row is a frame, a step, a step of a keypoint, a keypoint, a static point or an image (see
`ROWS`).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import fields

import numpy as np

from uma_train.data.episode import DTYPES, FRAME_FIELDS, STEP_FIELDS, TRACK_FIELDS, Episode, EpisodeError

Shard = dict[str, np.ndarray]

COUNTS = ("frames", "steps", "tracks", "keypoints", "static", "images", "plan")
"""Kinds of rows; ``tracks`` has steps x keypoints, ``plan`` has waypoints x keypoints."""

ROWS: dict[str, str] = {
    **dict.fromkeys(FRAME_FIELDS, "frames"),
    **dict.fromkeys(STEP_FIELDS, "steps"),
    **dict.fromkeys(TRACK_FIELDS, "tracks"),
    **{"track_moving": "keypoints", "static": "static", "images": "images", "image_frame": "images", "plan": "plan"},
}
"""Kind of row of each field."""


def row_counts(episode: Episode) -> list[int]:
    """Return the rows of an episode per kind of `COUNTS`."""
    S, K = episode.track_valid.shape
    return [len(episode.xyz), S, S * K, K, len(episode.static), len(episode.images), len(episode.plan) * K]


def concatenate(episodes: Sequence[Episode]) -> Shard:
    """Concatenate episodes into one shard.

    Raises:
        EpisodeError: they differ in points per frame or in image size.
    """
    points = {e.xyz.shape[1] for e in episodes}
    sizes = {e.images.shape[1:3] for e in episodes if len(e.images)}
    if len(points) > 1 or len(sizes) > 1:
        raise EpisodeError(
            f"episodes of one store differ: points per frame {sorted(points)}, image sizes {sorted(sizes)}; "
            "must be equal"
        )
    empty = np.zeros((0, *(next(iter(sizes)) if sizes else (1, 1)), 3), np.uint8)
    images = [e.images for e in episodes if len(e.images)] or [empty]
    flat = {
        "tracks": lambda e: e.tracks.reshape(-1, 3),
        "track_valid": lambda e: e.track_valid.reshape(-1),
        "plan": lambda e: e.plan.reshape(-1, 3),
    }
    return {
        name: np.concatenate(
            images if name == "images" else [flat[name](e) if name in flat else getattr(e, name) for e in episodes]
        )
        for name in DTYPES
    }


class Store(Sequence[Episode]):
    """Episodes in shards. An item is an `Episode` whose arrays are views of its shard.

    Args:
        shards: the shards, in the episodes' order.
        counts: ``(E, 7)`` rows of each episode by kind, see `COUNTS`.
        shard_of: ``(E,)`` shard of each episode.
        metas: ``meta`` of each episode.

    Attributes:
        first: kind -> ``(E,)`` first row of each episode in its shard; ``count``: kind -> ``(E,)`` rows.
        points: N; image_size: ``(h, w)``, or None if no episode has an image.
        intrinsics: ``(E, 6)`` fx, fy, cx, cy, width, height; NaN where unknown.
    """

    def __init__(self, shards: list[Shard], counts: np.ndarray, shard_of: np.ndarray, metas: list[dict]):
        self.shards, self.shard_of, self.metas = shards, shard_of, metas
        starts = np.concatenate(
            [np.cumsum(counts[shard_of == s], 0) - counts[shard_of == s] for s in range(len(shards))]
        )
        self.count = {kind: counts[:, i] for i, kind in enumerate(COUNTS)}
        self.first = {kind: starts[:, i] for i, kind in enumerate(COUNTS)}
        points = {s["xyz"].shape[1] for s in shards}
        sizes = {s["images"].shape[1:3] for s in shards if len(s["images"])}
        if len(points) > 1 or len(sizes) > 1:
            raise EpisodeError(
                f"shards of one store differ: points per frame {sorted(points)}, image sizes "
                f"{sorted(sizes)}; must be equal"
            )
        self.points, self.image_size = points.pop(), sizes.pop() if sizes else None
        self.has_actions, self.has_robot = (np.array([m[k] for m in metas]) for k in ("has_actions", "has_robot"))
        cameras = [m["camera"] or {} for m in metas]
        self.intrinsics = np.array(
            [[c.get(k, np.nan) for k in ("fx", "fy", "cx", "cy", "width", "height")] for c in cameras], np.float32
        )

    @classmethod
    def of(cls, episodes: Sequence[Episode]) -> Store:
        """Build a store in memory."""
        counts = np.array([row_counts(e) for e in episodes], np.int64)
        return cls([concatenate(episodes)], counts, np.zeros(len(episodes), np.int64), [e.meta for e in episodes])

    def __len__(self) -> int:
        return len(self.metas)

    def __getitem__(self, i: int) -> Episode:
        if not -len(self) <= i < len(self):
            raise IndexError(f"episode {i} of {len(self)}")
        i = i % len(self)
        K = int(self.count["keypoints"][i])
        arrays = {name: self.rows(name, i) for name in DTYPES}
        for name in (*TRACK_FIELDS, "plan"):
            arrays[name] = arrays[name].reshape(-1, K, *arrays[name].shape[1:])
        return Episode(meta=self.metas[i], **{f.name: arrays[f.name] for f in fields(Episode) if f.name != "meta"})

    def rows(self, name: str, i: int) -> np.ndarray:
        """Return the rows of a field that belong to episode ``i``, as a view."""
        kind = ROWS[name]
        a = int(self.first[kind][i])
        return self.shards[self.shard_of[i]][name][a : a + int(self.count[kind][i])]

    def take(self, name: str, episode: np.ndarray, row: np.ndarray) -> np.ndarray:
        """Gather rows of a field; ``row`` ``(B, ...)`` counts from the start of each ``episode`` ``(B,)``."""
        first, shard = self.first[ROWS[name]][episode], self.shard_of[episode]
        row = row + first.reshape(-1, *(1,) * (row.ndim - 1))
        if len(self.shards) == 1:
            return self.shards[0][name][row]
        tail = self.shards[0][name].shape[1:] if name != "images" else (*self.image_size, 3)
        out = np.empty((*row.shape, *tail), DTYPES[name])
        for s in np.unique(shard):
            mine = shard == s
            out[mine] = self.shards[s][name][row[mine]]
        return out


class Members(Sequence[Episode]):
    """A subset of a store's episodes, in order."""

    def __init__(self, store: Store, index: np.ndarray):
        self.store, self.index = store, index

    def __len__(self) -> int:
        return len(self.index)

    def __getitem__(self, i: int) -> Episode:
        return self.store[int(self.index[i])]

    def __iter__(self) -> Iterator[Episode]:
        return (self.store[int(i)] for i in self.index)
