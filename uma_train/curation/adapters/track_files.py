"""Tracks of other models from their files: 3D ones, or 2D ones that depth lifts."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from uma.types import InputError
from uma_train.curation.adapters.results import Results, first, read
from uma_train.curation.clip import Clip
from uma_train.curation.stages import Tracked
from uma_train.curation.views import View

SAME_M = 0.005
"""Largest distance between a query of the file and the clip's, metres."""


@dataclass(frozen=True)
class TrackFiles(Results):
    """Tracks of TAPIP3D, or of a 2D tracker such as TAPNext++ or CoTracker3.

    Keys of 3D tracks: ``coords`` (T, N, 3) world, ``visibs`` (T, N). Keys of 2D tracks: ``tracks`` or ``pred_tracks``
    (T, N, 2) pixels (u, v), ``visibility``, ``visible`` or ``pred_visibility`` (T, N), and ``image_size`` (w, h) if the
    pixels are not those of the clip. A first axis of length 1, the batch, is left out.

    The file's queries are the clip's, in their order; ``query`` or ``query_points`` (N, 4) of the file is compared.
    """

    def __call__(self, clip: Clip) -> Tracked:
        """Return the tracks.

        Raises:
            InputError: no file, no queries or other ones, or a field of the wrong shape.
        """
        arrays, path = read(self.folder, clip.name)
        if clip.query is None:
            raise InputError(f"{clip.name}: query is unknown; the query stage makes it")
        T, N = len(clip.video), len(clip.query)
        is_flat = "coords" not in arrays
        x = first(arrays, ("tracks", "pred_tracks") if is_flat else ("coords",), path)
        seen = first(arrays, ("visibs", "visibility", "visible", "pred_visibility"), path)
        x = _shaped("tracks" if is_flat else "coords", x, (T, N, 2 if is_flat else 3), path)
        visible = _shaped("visibs", seen, (T, N), path) > 0.5
        _check_queries(first(arrays, ("query", "query_points"), path), clip.query, path)
        if is_flat:
            tracks = x.astype(np.float64)
            if (size := first(arrays, ("image_size",), path)) is not None:
                factor = np.array(clip.video.shape[2:0:-1]) / _shaped("image_size", size, (2,), path)
                tracks = (tracks + 0.5) * factor - 0.5
            return Tracked(*lifted(clip, tracks, visible), f"lift-{self.model}")
        if not np.isfinite(x).all():
            raise InputError(f"{path}: coords: holds a value that is not finite")
        return Tracked(x.astype(np.float32), visible, self.model)


def _shaped(key: str, value: np.ndarray | None, shape: tuple[int, ...], path: Path) -> np.ndarray:
    if value is not None and value.shape == (1, *shape):
        value = value[0]
    if value is None or value.shape != shape:
        raise InputError(f"{path}: {key}: shape {getattr(value, 'shape', None)}, must be {shape}")
    return value


def _check_queries(given: np.ndarray | None, own: np.ndarray, path: Path) -> None:
    if given is None or given.shape[-1:] != (4,):
        return
    given = _shaped("query", given, own.shape, path)
    off = float(np.linalg.norm(given[:, 1:] - own[:, 1:], axis=1).max())
    if not off <= SAME_M or (given[:, 0] != own[:, 0]).any():
        raise InputError(f"{path}: query: {off:.3f} m from the clip's, limit {SAME_M} m in the same image")


def lifted(clip: Clip, tracks: np.ndarray, visible: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return 2D tracks ``(T, N, 2)`` lifted by depth: ``(T, N, 3)`` world and ``(T, N)`` valid.

    Without depth a point keeps its last place and is not valid.
    """
    assert clip.query is not None
    out = np.tile(clip.query[:, 1:], (len(tracks), 1, 1)).astype(np.float32)
    valid = visible & np.isfinite(tracks).all(-1)
    for t in range(len(tracks)):
        points, ok = View(clip, t).lifted(np.nan_to_num(tracks[t], nan=-1.0))
        valid[t] &= ok
        out[t] = np.where(valid[t, :, None], points, out[max(t - 1, 0)])
    return out, valid
