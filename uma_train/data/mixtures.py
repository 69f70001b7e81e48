"""Mixtures of several episode sources in one batch (paper 3.3, A.3); each source supervises the tokens that it has."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, fields, replace
from itertools import chain
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from uma.model.encoders import EndEffectorBatch, PointBatch, ReferenceBatch
from uma.model.frame import PolicyFrame
from uma.model.inputs import Normalization
from uma.model.uma import TokenGrid
from uma_train.data.batch import Batch, Clip
from uma_train.data.episode import Episode, EpisodeError
from uma_train.data.hindsight import ReferenceSampling
from uma_train.data.shards import open_folder
from uma_train.data.transforms import Transforms, transform
from uma_train.data.windows import Request, Windows, task_seeds

KINDS = ("robot", "human", "sim")
"""Kinds of sources (paper A.3): a real robot, a person without a robot, and the simulated robot."""


def kind_of(meta: dict) -> str:
    """Return the one of `KINDS` of an episode. A simulated person counts as human."""
    if not meta["has_robot"]:
        return "human"
    return "sim" if meta.get("source") == "uma_sim" else "robot"


@dataclass(frozen=True)
class Source:
    """A folder of episodes, packed or not, and its sampling weight relative to other sources."""

    folder: str
    weight: float = 1.0

    def __post_init__(self) -> None:
        if not (np.isfinite(self.weight) and self.weight > 0):
            raise ValueError(f"source {self.folder}: weight {self.weight}, must be > 0")


def parse_sources(words: Sequence[str]) -> tuple[Source, ...]:
    """Parse sources from words ``FOLDER`` or ``FOLDER=WEIGHT``. The default weight is 1, for balanced sources (paper
    A.3).

    Raises:
        ValueError: no word, a duplicate folder, or a weight that is not a positive number.
    """
    sources = []
    for word in words:
        folder, equals, weight = word.rpartition("=") if "=" in word else (word, "", "1")
        try:
            sources.append(Source(folder, float(weight)))
        except ValueError as e:
            raise ValueError(f"source {word!r}: must be FOLDER or FOLDER=WEIGHT with a weight > 0") from e
    if not sources:
        raise ValueError("sources: none, at least one folder of episodes required")
    names = [str(Path(s.folder)) for s in sources]
    if doubled := [n for n in names if names.count(n) > 1]:
        raise ValueError(f"source {doubled[0]!r}: given twice, must be unique")
    return tuple(sources)


class Mixture:
    """Windows of several sources as one data set.

    Each task of a batch comes from source i with probability ``weights[i] / sum(weights)``. Frame numbers run through
    the sources in order.

    Args:
        transforms: augmentation of the batches.

    Raises:
        EpisodeError: sources differ in points per frame or in image size.
    """

    def __init__(
        self,
        windows: Sequence[Windows],
        weights: Sequence[float] | None = None,
        *,
        transforms: Transforms | None = None,
    ):
        self.windows = list(windows)
        w = np.ones(len(self.windows)) if weights is None else np.asarray(weights, float)
        self.probability = w / w.sum()
        self.transforms = transforms or Transforms()
        points = {v.store.points for v in self.windows}
        sizes = {v.store.image_size for v in self.windows} - {None}
        if len(points) > 1 or len(sizes) > 1:
            raise EpisodeError(
                f"sources differ: points per frame {sorted(points)}, image sizes {sorted(sizes)}; must be equal"
            )
        self.image_size = sizes.pop() if sizes else None
        for v in self.windows:
            v.image_size = self.image_size
        self.ends = np.cumsum([len(v) for v in self.windows])

    def __len__(self) -> int:
        return int(self.ends[-1])

    @property
    def starts(self) -> np.ndarray:
        """``(E,)`` number of the first frame of every episode."""
        return np.concatenate([v.starts + end - len(v) for v, end in zip(self.windows, self.ends, strict=True)])

    @property
    def episodes(self) -> Sequence[Episode]:
        """The episodes of all sources, one after another."""
        return Chained([v.episodes for v in self.windows])

    def draw(
        self,
        size: int,
        keypoints: int,
        norm: Normalization,
        rng: np.random.Generator,
        frames: np.ndarray | None = None,
        windows_per_task: int = 1,
        *,
        history: int = 0,
        vary_keypoints: bool = False,
        with_image: bool = False,
        clip: tuple[int, ...] = (),
        share: tuple[int, int] = (0, 1),
    ) -> Batch:
        """Draw as `Windows.draw`, over all sources, and transform. Sources without images get zero images."""
        w = windows_per_task
        request = Request(keypoints, norm, w, history, vary_keypoints, with_image, tuple(clip))
        groups = None if frames is None else np.asarray(frames).reshape(-1, w)
        tasks = size // w if groups is None else len(groups)
        seeds, part = task_seeds(rng, tasks, share)
        source = (
            rng.choice(len(self.windows), tasks, p=self.probability)
            if groups is None
            else np.searchsorted(self.ends, groups[:, 0], "right")
        )
        seeds, source = seeds[part], source[part]
        groups = (
            None if groups is None else groups[part] - (self.ends - [len(v) for v in self.windows])[source][:, None]
        )
        of = [np.flatnonzero(source == i) for i in range(len(self.windows))]
        batches = [
            self.windows[i].draw_tasks(seeds[t], request, None if groups is None else groups[t])
            for i, t in enumerate(of)
            if len(t)
        ]
        batch = batches[0] if len(batches) == 1 else collate(batches, np.concatenate(of).argsort())
        return transform(batch, self.transforms, norm, seeds)


class Chained(Sequence[Episode]):
    """A concatenation of episode sequences."""

    def __init__(self, parts: Sequence[Sequence[Episode]]):
        self.parts = parts
        self.ends = np.cumsum([len(p) for p in parts])

    def __len__(self) -> int:
        return int(self.ends[-1])

    def __getitem__(self, i: int) -> Episode:
        part = int(np.searchsorted(self.ends, i, "right"))
        return self.parts[part][i - (int(self.ends[part - 1]) if part else 0)]

    def __iter__(self) -> Iterator[Episode]:
        return chain.from_iterable(self.parts)


def collate(batches: Sequence[Batch], order: np.ndarray) -> Batch:
    """Concatenate batches and reorder their tasks by ``order``; references are padded to the longest."""
    w = batches[0].windows_per_task
    rows = (order[:, None] * w + np.arange(w)).reshape(-1)
    length = max(b.reference.is_valid.shape[1] for b in batches)

    def joined(values: list[Tensor | None], index: np.ndarray) -> Tensor | None:
        return None if values[0] is None else torch.cat(values)[torch.from_numpy(index)]

    def gather(kind: type, get: Callable, index: np.ndarray):
        parts = [get(b) for b in batches]
        return kind(*(joined([getattr(p, f.name) for p in parts], index) for f in fields(kind)))

    def padded(reference: ReferenceBatch) -> ReferenceBatch:
        grow = length - reference.is_valid.shape[1]
        return ReferenceBatch(
            *(
                torch.cat([v, v.new_zeros(len(v), grow, *v.shape[2:])], 1)
                for v in (getattr(reference, f.name) for f in fields(reference))
            )
        )

    text = [t for b in batches for t in b.text]
    return Batch(
        gather(PointBatch, lambda b: b.points, rows),
        gather(EndEffectorBatch, lambda b: b.ee, rows),
        gather(PointBatch, lambda b: b.initial_points, order),
        gather(ReferenceBatch, lambda b: padded(b.reference), order),
        gather(TokenGrid, lambda b: b.grid, rows),
        np.concatenate([b.T_cam_ee for b in batches])[rows],
        w,
        tuple(text[i] for i in order),
        joined([b.is_moving for b in batches], rows),
        None if batches[0].clip is None else gather(Clip, lambda b: b.clip, rows),
    )


def open_sources(
    sources: Sequence[Source],
    held_out: int,
    *,
    sampling: ReferenceSampling | None = None,
    transforms: Transforms | None = None,
    first_is_initial: float = 0.75,
    key_window_fraction: float = 0.0,
    frame: PolicyFrame | None = None,
    siblings: float = 0.0,
    without: Sequence[str] = (),
) -> tuple[Mixture, Mixture]:
    """Open the training and validation windows of some sources.

    The last ``held_out`` episodes of every source are held out, or a fifth if that is fewer, and at least one.
    Validation has no augmentation. Its o_0 is the episode's first frame, its references run to the end without pinned
    points, and its windows are uniform. ``first_is_initial``, ``key_window_fraction`` and
    ``siblings`` apply to training only, see `Windows`.

    Args:
        without: of `KINDS`; sources of these kinds are left out of training, and stay in validation.

    Raises:
        EpisodeError: as `open_folder`, a source has fewer than 2 episodes or some of several kinds, none is of a kind
            to leave out, or none is left.
    """
    sampling = sampling or ReferenceSampling()
    training, validation, weights, present = [], [], [], set()
    for source in sources:
        store = open_folder(source.folder)
        if len(store) < 2:
            raise EpisodeError(f"{source.folder}: {len(store)} episode, at least 2 required (one is held out)")
        kinds = sorted({kind_of(meta) for meta in store.metas})
        if without and len(kinds) > 1:
            raise EpisodeError(f"{source.folder}: episodes of the kinds {', '.join(kinds)}, must be of one kind")
        present |= set(kinds)
        cut = len(store) - min(held_out, len(store) // 5 or 1)
        if kinds[0] not in without:
            weights.append(source.weight)
            training.append(
                Windows(
                    store,
                    first_is_initial=first_is_initial,
                    sampling=sampling,
                    members=range(cut),
                    key_window_fraction=key_window_fraction,
                    frame=frame,
                    siblings=siblings,
                )
            )
        quiet = replace(sampling, pinned=0.0, to_the_end=1.0, human=0.0)
        validation.append(
            Windows(store, first_is_initial=1.0, sampling=quiet, members=range(cut, len(store)), frame=frame)
        )
    if absent := [kind for kind in without if kind not in present]:
        raise EpisodeError(f"without {absent[0]}: no source is of this kind, must be of {', '.join(sorted(present))}")
    if not training:
        raise EpisodeError(f"sources: all are of the kinds left out ({', '.join(without)}), must be at least one other")
    return Mixture(training, weights, transforms=transforms), Mixture(validation, [s.weight for s in sources])


def open_all(
    sources: Sequence[Source],
    *,
    sampling: ReferenceSampling | None = None,
    first_is_initial: float = 0.75,
    frame: PolicyFrame | None = None,
) -> Mixture:
    """Open the windows of all episodes of some sources, without held-out episodes or augmentation.

    Raises:
        EpisodeError: as `open_folder`.
    """
    windows = [
        Windows(open_folder(s.folder), sampling=sampling, first_is_initial=first_is_initial, frame=frame)
        for s in sources
    ]
    return Mixture(windows, [s.weight for s in sources])
