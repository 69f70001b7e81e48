"""The metric scale of a clip whose depth and poses are known up to one factor (paper B.1, stage 2)."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from uma.types import InputError
from uma_train.curation.clip import Clip

LEAST_PX = 200


@dataclass(frozen=True)
class KnownScale:
    """Leaves a metric clip as it is.

    Attributes:
        name: as `Stage.name`.
    """

    name: str = "known"

    def __call__(self, clip: Clip) -> Clip:
        """Return the clip.

        Raises:
            InputError: it is not metric.
        """
        if not clip.is_metric:
            raise InputError(f"{clip.name}: depth is known up to scale; give metric depth of one image, or a factor")
        return clip


@dataclass(frozen=True)
class MetricReference:
    """Scales a clip by metric depth of one image: the median of the ratios.

    Attributes:
        depth: ``(H, W)`` metres, NaN or 0 where unknown.
        image: its index.
        name: as `Stage.name`.
    """

    depth: np.ndarray
    image: int = 0
    name: str = "metric-reference"

    def __call__(self, clip: Clip) -> Clip:
        """Return the clip in metres.

        Raises:
            InputError: images of different sizes, or too few pixels with both depths.
        """
        own = clip.depth(self.image)
        if own.shape != self.depth.shape:
            raise InputError(f"metric depth: shape {self.depth.shape}, must be {own.shape}")
        with np.errstate(invalid="ignore"):
            both = (own > 0) & (self.depth > 0)
        if both.sum() < LEAST_PX:
            raise InputError(f"metric depth: {both.sum()} pixels with both depths, must be at least {LEAST_PX}")
        return scaled(clip, float(np.median(self.depth[both] / own[both])))


def scaled(clip: Clip, factor: float) -> Clip:
    """Return a clip with depths and camera positions times a factor."""
    depths = None if clip.depths is None else (clip.depths * factor).astype(np.float32)
    extrinsics = None if clip.extrinsics is None else clip.extrinsics.copy()
    if extrinsics is not None:
        extrinsics[:, :3, 3] *= factor
    return replace(clip, depths=depths, extrinsics=extrinsics, is_metric=True)
