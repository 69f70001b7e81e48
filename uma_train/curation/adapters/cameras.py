"""Depth, intrinsics, poses and metric scale of Depth Anything 3, MapAnything or MegaSaM, from their files."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from uma.geometry import se3
from uma.types import InputError
from uma_train.curation.adapters.results import Results, first, path_of, read, scalar
from uma_train.curation.clip import Clip
from uma_train.curation.scale import MetricReference, scaled

METRIC = ("mapanything", "mapanything-apache")
"""Models whose depth is in metres."""
CANONICAL_PX = 300.0
"""Focal length at which the depth of Depth Anything 3's metric model is in metres."""


@dataclass(frozen=True)
class CameraFiles(Results):
    """Depth, intrinsics and poses.

    Keys, of which the first one present counts: ``depths``, ``depth``, ``depth_z`` (T, h, w) or (T, h, w, 1);
    ``intrinsics``, ``intrinsic``, ``K``; ``cam_c2w``, ``camera_poses`` (T, 4, 4) camera to world, or ``extrinsics``
    (T, 3 or 4, 4) world to camera. Results of another size are brought to the clip's. What the clip knows stays.
    """

    def __call__(self, clip: Clip) -> Clip:
        """Return the clip with these; they are metric only if the model's are, see `ScaleFiles`.

        Raises:
            InputError: no file, or a field of the wrong shape.
        """
        import cv2

        arrays, path = read(self.folder, clip.name)
        T, H, W = clip.video.shape[:3]
        depths = first(arrays, ("depths", "depth", "depth_z"), path)
        if depths is not None and depths.ndim == 4 and depths.shape[-1] == 1:
            depths = depths[..., 0]
        if depths is None or depths.ndim != 3 or len(depths) != T:
            raise InputError(f"{path}: depths: shape {getattr(depths, 'shape', None)}, must be ({T}, h, w)")
        h, w = depths.shape[1:]
        out: dict[str, Any] = {}
        if clip.depths is None:
            big = [cv2.resize(d.astype(np.float32), (W, H), interpolation=cv2.INTER_NEAREST) for d in depths]
            value = np.stack(big)
            out["depths"] = np.where(np.isfinite(value) & (value > 0), value, np.float32(np.nan))
            told = scalar(arrays, "is_metric", path)
            out["is_metric"] = self.model in METRIC if told is None else bool(told)
        K = first(arrays, ("intrinsics", "intrinsic", "K"), path)
        if clip.intrinsics is None and K is not None:
            if K.shape not in ((3, 3), (T, 3, 3)):
                raise InputError(f"{path}: intrinsics: shape {K.shape}, must be ({T}, 3, 3) or (3, 3)")
            K = np.array(np.broadcast_to(K, (T, 3, 3)), np.float64)
            scale = np.array([W / w, H / h])
            K[:, [0, 1], [0, 1]] *= scale
            K[:, :2, 2] = (K[:, :2, 2] + 0.5) * scale - 0.5
            out["intrinsics"] = K
        if clip.extrinsics is None:
            out["extrinsics"] = _poses(arrays, path, T)
        return replace(clip, **out)


def _poses(arrays: dict[str, np.ndarray], path: Path, T: int) -> np.ndarray:
    inverse = first(arrays, ("cam_c2w", "camera_poses"), path)
    given = first(arrays, ("extrinsics",), path) if inverse is None else inverse
    if given is None or given.shape not in ((T, 3, 4), (T, 4, 4)):
        raise InputError(f"{path}: extrinsics: shape {getattr(given, 'shape', None)}, must be ({T}, 4, 4)")
    pose = np.tile(np.eye(4), (T, 1, 1))
    pose[:, :3] = given[:, :3]
    return se3.invert(pose) if inverse is not None else pose


@dataclass(frozen=True)
class ScaleFiles(Results):
    """Metric scale of the same folder.

    It is in ``NAME.metric.npz``, or else in the file of the clip: ``metric_depth`` (h, w) of the first image, metres,
    or ``scale``, a factor. A result of Depth Anything 3's metric model may be
    ``NAME.metric/exports/mini_npz/results.npz``; its ``depth`` times the focal length over `CANONICAL_PX` is metric.
    """

    def __call__(self, clip: Clip) -> Clip:
        """Return the clip in metres.

        Raises:
            InputError: neither is there, or too few pixels have both depths.
        """
        own = f"{clip.name}.metric"
        is_own = path_of(self.folder, own) is not None
        arrays, path = read(self.folder, own if is_own else clip.name)
        metric = first(arrays, ("metric_depth",), path)
        if metric is None and is_own and (depth := first(arrays, ("depth",), path)) is not None:
            metric = _canonical(depth, clip, path)
        if metric is not None:
            return MetricReference(_like(metric, clip, path))(clip)
        factor = scalar(arrays, "scale", path)
        if factor is None or not (np.isfinite(factor) and factor > 0):
            raise InputError(f"{path}: metric_depth or scale > 0 is required: depth has no unit")
        return scaled(clip, factor)


def _canonical(depth: np.ndarray, clip: Clip, path: Path) -> np.ndarray:
    image = depth[0] if depth.ndim == 3 else depth
    if image.ndim != 2:
        raise InputError(f"{path}: depth: shape {depth.shape}, must be (h, w) or (T, h, w)")
    focal = clip.camera(0).fx * image.shape[-1] / clip.video.shape[2]
    return image * (focal / CANONICAL_PX)


def _like(depth: np.ndarray, clip: Clip, path: Path) -> np.ndarray:
    import cv2

    if depth.ndim != 2:
        raise InputError(f"{path}: metric_depth: shape {depth.shape}, must be (h, w)")
    H, W = clip.video.shape[1:3]
    return cv2.resize(depth.astype(np.float32), (W, H), interpolation=cv2.INTER_NEAREST)
