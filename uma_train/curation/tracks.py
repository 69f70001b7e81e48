"""The tracking stage without weights: one rigid thing, or a sheet if it is flat, broad and does not move as one."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from uma.types import InputError
from uma_train.curation import cloth, rigid
from uma_train.curation.clip import Clip
from uma_train.curation.mesh import mesh_of
from uma_train.curation.stages import Tracked
from uma_train.curation.views import View

KINDS = ("auto", "rigid", "cloth")
FLAT_M, BROAD_M = 0.003, 0.035
"""A sheet deviates less from a plane than the one, and spreads more in both directions than the other; root mean
squares."""
TOGETHER = 0.95
"""A thing moves as one if this share of its surface agrees with one motion in 9 of 10 images."""
STATIC_M = 0.012


@dataclass(frozen=True)
class Embedded:
    """The tracker without weights.

    Attributes:
        kind: of `KINDS`.
    """

    kind: str = "auto"

    @property
    def name(self) -> str:
        """As `Stage.name`."""
        return f"embedded-{self.kind}-1"

    def __call__(self, clip: Clip) -> Tracked:
        """Track the queries of the first image. Queries off the object are static points.

        Raises:
            InputError: the clip has no mask or queries, or queries of a later image.
        """
        if clip.is_object is None or clip.query is None:
            raise InputError(f"{clip.name}: is_object and query are required; the stages before make them")
        if (clip.query[:, 0] != 0).any():
            raise InputError(f"{clip.name}: query in image {clip.query[:, 0].max():g}, must be in the first, 0")
        on = np.ones(len(clip.query), bool) if clip.on_object is None else clip.on_object
        points = clip.query[:, 1:].astype(np.float64)
        kind, coords, valid = self._object(clip, points[on])
        shape = len(clip.video), len(points)
        out, seen = np.empty((*shape, 3), np.float32), np.zeros(shape, bool)
        out[:, on], seen[:, on] = coords, valid
        out[:, ~on], seen[:, ~on] = points[~on], _static(clip, points[~on])
        return Tracked(out, seen, kind)

    def _object(self, clip: Clip, points: np.ndarray) -> tuple[str, np.ndarray, np.ndarray]:
        assert clip.is_object is not None
        is_sheet = self.kind == "cloth"
        if self.kind != "cloth":
            coords, valid, agrees = rigid.track(clip, clip.is_object, points)
            apart = float(np.nanpercentile(agrees, 10)) < TOGETHER
            is_sheet = self.kind == "auto" and apart and sheetlike(clip, clip.is_object)
        if is_sheet:
            return ("cloth", *cloth.track(clip, clip.is_object, points))
        return "rigid", coords, valid


def sheetlike(clip: Clip, mask: np.ndarray) -> bool:
    """Return whether a mask's surface is flat and broad in the first image."""
    x = mesh_of(View(clip, 0), mask).rest
    size = np.linalg.svd(x - x.mean(0), compute_uv=False) / np.sqrt(len(x))
    return bool(size[2] < FLAT_M and size[1] > BROAD_M)


def _static(clip: Clip, points: np.ndarray) -> np.ndarray:
    seen = np.zeros((len(clip.video), len(points)), bool)
    for t in range(len(clip.video)):
        view = View(clip, t)
        uv, z = view.project(points)
        seen[t] = view.inside(uv) & (np.abs(view.at(view.depth, uv) - z) < STATIC_M)
    return seen
