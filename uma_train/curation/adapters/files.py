"""Results of other models as files: depth and camera, 2D tracks with a depth lift, and 3D tracks.

One ``NAME.npz`` a clip, read without pickle. Their code runs elsewhere; only its output is read here.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np

from uma.geometry import se3
from uma.types import InputError
from uma_train.curation.clip import Clip
from uma_train.curation.interchange import load_arrays
from uma_train.curation.scale import MetricReference, scaled
from uma_train.curation.stages import Tracked
from uma_train.curation.views import View


@dataclass(frozen=True)
class Licence:
    """Terms of a model's weights, which its results may inherit.

    Attributes:
        text: as its makers state it.
        is_commercial: whether commercial use is allowed.
    """

    text: str
    is_commercial: bool


LICENCES = MappingProxyType(
    {
        "tapip3d": Licence("Apache-2.0", True),
        "tapnext": Licence("Apache-2.0", True),
        "cotracker3": Licence("CC BY-NC 4.0", False),
        "depth-anything-3-small": Licence("Apache-2.0", True),
        "depth-anything-3-base": Licence("Apache-2.0", True),
        "depth-anything-3-large": Licence("CC BY-NC 4.0", False),
        "mapanything": Licence("CC BY-NC 4.0", False),
        "mapanything-apache": Licence("Apache-2.0", True),
        "megasam": Licence("Apache-2.0; with UniDepth CC BY-NC 4.0", False),
        "own": Licence("the user's own", True),
    }
)
"""Models whose results are accepted."""


def accept(model: str, non_commercial: bool) -> str:
    """Return a line with the licence of a model.

    Raises:
        InputError: unknown model, or a licence without commercial use that was not accepted.
    """
    if model not in LICENCES:
        raise InputError(f"model: {model!r}, must be one of {', '.join(LICENCES)}")
    licence = LICENCES[model]
    if not licence.is_commercial and not non_commercial:
        raise InputError(f"model: {model} is {licence.text}; --non-commercial accepts that")
    return f"{model}: {licence.text}"


def _read(folder: str, name: str) -> dict[str, np.ndarray]:
    path = Path(folder) / f"{name}.npz"
    if not path.is_file():
        raise InputError(f"{path}: absent, required for the clip {name}")
    try:
        return load_arrays(path)
    except InputError as error:
        raise InputError(f"{path}: {error}") from error


def _first(arrays: dict[str, np.ndarray], names: tuple[str, ...], path: str) -> np.ndarray | None:
    found = [arrays[name] for name in names if name in arrays]
    if found and found[0].dtype.kind not in "fiub":
        raise InputError(f"{path}: {names[0]}: {found[0].dtype}, must be numbers")
    return found[0] if found else None


@dataclass(frozen=True)
class CameraFiles:
    """Depth, intrinsics and poses of Depth Anything 3, MapAnything or MegaSaM.

    Keys, of which the first one present counts: ``depths``, ``depth`` (T, h, w); ``intrinsics``, ``intrinsic``, ``K``;
    ``extrinsics`` (T, 3 or 4, 4) world to camera, or ``cam_c2w``, ``camera_poses`` camera to world. Results of another
    size are brought to the clip's. What the clip knows stays.

    Attributes:
        folder, model: where, and what made them.
    """

    folder: str
    model: str

    @property
    def name(self) -> str:
        """As `Stage.name`."""
        return f"files-{self.model}"

    def __call__(self, clip: Clip) -> Clip:
        """Return the clip with these; they are metric only if the model's are, see `ScaleFiles`.

        Raises:
            InputError: no file, or a field of the wrong shape.
        """
        import cv2

        arrays, path = _read(self.folder, clip.name), f"{self.folder}/{clip.name}.npz"
        T, H, W = clip.video.shape[:3]
        depths = _first(arrays, ("depths", "depth"), path)
        if depths is None or depths.ndim != 3 or len(depths) != T:
            raise InputError(f"{path}: depths: shape {getattr(depths, 'shape', None)}, must be ({T}, h, w)")
        h, w = depths.shape[1:]
        out: dict[str, Any] = {}
        if clip.depths is None:
            big = [cv2.resize(d.astype(np.float32), (W, H), interpolation=cv2.INTER_NEAREST) for d in depths]
            value = np.stack(big)
            out["depths"] = np.where(np.isfinite(value) & (value > 0), value, np.float32(np.nan))
            out["is_metric"] = bool(arrays["is_metric"]) if "is_metric" in arrays else False
        K = _first(arrays, ("intrinsics", "intrinsic", "K"), path)
        if clip.intrinsics is None and K is not None:
            K = np.array(np.broadcast_to(K, (T, 3, 3)) if K.ndim == 2 else K, np.float64)
            scale = np.array([W / w, H / h])
            K[:, [0, 1], [0, 1]] *= scale
            K[:, :2, 2] = (K[:, :2, 2] + 0.5) * scale - 0.5
            out["intrinsics"] = K
        if clip.extrinsics is None:
            out["extrinsics"] = _poses(arrays, path, T)
        return replace(clip, **out)


def _poses(arrays: dict[str, np.ndarray], path: str, T: int) -> np.ndarray:
    inverse = _first(arrays, ("cam_c2w", "camera_poses"), path)
    given = _first(arrays, ("extrinsics",), path) if inverse is None else inverse
    if given is None or given.shape not in ((T, 3, 4), (T, 4, 4)):
        raise InputError(f"{path}: extrinsics: shape {getattr(given, 'shape', None)}, must be ({T}, 4, 4)")
    pose = np.tile(np.eye(4), (T, 1, 1))
    pose[:, :3] = given[:, :3]
    return se3.invert(pose) if inverse is not None else pose


@dataclass(frozen=True)
class ScaleFiles:
    """Metric scale of the same files: ``metric_depth`` (h, w) of the first image, or ``scale``, a factor.

    Attributes:
        folder, model: where, and what made them.
    """

    folder: str
    model: str

    @property
    def name(self) -> str:
        """As `Stage.name`."""
        return f"files-{self.model}"

    def __call__(self, clip: Clip) -> Clip:
        """Return the clip in metres.

        Raises:
            InputError: neither is there, or too few pixels have both depths.
        """
        import cv2

        arrays = _read(self.folder, clip.name)
        H, W = clip.video.shape[1:3]
        if "metric_depth" in arrays:
            depth = cv2.resize(arrays["metric_depth"].astype(np.float32), (W, H), interpolation=cv2.INTER_NEAREST)
            return MetricReference(depth)(clip)
        factor = float(arrays["scale"]) if "scale" in arrays and arrays["scale"].size == 1 else 0.0
        if not (np.isfinite(factor) and factor > 0):
            raise InputError(f"{self.folder}/{clip.name}.npz: metric_depth or scale > 0 is required: depth has no unit")
        return scaled(clip, factor)


@dataclass(frozen=True)
class TrackFiles:
    """Tracks of TAPIP3D (``coords`` (T, N, 3) world, ``visibs`` (T, N)), or of a 2D tracker such as TAPNext++ or
    CoTracker3 (``tracks`` (T, N, 2) pixels (u, v) of the clip's images, ``visibility`` (T, N)), which depth lifts.

    The file's queries are the clip's, in their order.

    Attributes:
        folder, model: where, and what made them.
    """

    folder: str
    model: str

    @property
    def name(self) -> str:
        """As `Stage.name`."""
        return f"files-{self.model}"

    def __call__(self, clip: Clip) -> Tracked:
        """Return the tracks.

        Raises:
            InputError: no file, no queries, or a field of the wrong shape.
        """
        arrays, path = _read(self.folder, clip.name), f"{self.folder}/{clip.name}.npz"
        if clip.query is None:
            raise InputError(f"{clip.name}: query is unknown; the query stage makes it")
        T, N = len(clip.video), len(clip.query)
        is_flat = "coords" not in arrays
        x = _first(arrays, ("tracks",) if is_flat else ("coords",), path)
        seen = _first(arrays, ("visibs", "visibility", "visible"), path)
        for key, value, shape in (
            ("tracks" if is_flat else "coords", x, (T, N, 2 if is_flat else 3)),
            ("visibs", seen, (T, N)),
        ):
            if value is None or value.shape != shape:
                raise InputError(f"{path}: {key}: shape {getattr(value, 'shape', None)}, must be {shape}")
        assert x is not None and seen is not None
        visible = seen > 0.5
        if is_flat:
            return Tracked(*lifted(clip, x.astype(np.float64), visible), f"lift-{self.model}")
        if not np.isfinite(x).all():
            raise InputError(f"{path}: coords: holds a value that is not finite")
        return Tracked(x.astype(np.float32), visible, self.model)


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
