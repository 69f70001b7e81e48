"""The curation chain: replaceable stages from a clip to a clip with tracks."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace

import numpy as np

from uma.types import InputError
from uma_train.curation.camera import KnownOrOdometry
from uma_train.curation.clip import Clip
from uma_train.curation.keypoints import Spread
from uma_train.curation.scale import KnownScale
from uma_train.curation.segment import PlaneAndMotion
from uma_train.curation.stages import CameraStage, HandStage, MaskStage, QueryStage, ScaleStage, TrackStage
from uma_train.curation.tracks import Embedded

LEAST_VALID = 0.3
"""Least share of valid point-steps on the object."""
LEAST_STATIC = 0.5
"""Least share of the points elsewhere that are seen again at the end, unless covered: they hold the camera's poses."""


@dataclass(frozen=True)
class Chain:
    """Stages, by default without weights. What a clip knows already is not made again; no hands are looked for."""

    camera: CameraStage = field(default_factory=KnownOrOdometry)
    scale: ScaleStage = field(default_factory=KnownScale)
    mask: MaskStage = field(default_factory=PlaneAndMotion)
    queries: QueryStage = field(default_factory=Spread)
    tracks: TrackStage = field(default_factory=Embedded)
    hands: HandStage | None = None

    @property
    def names(self) -> dict[str, str]:
        """Name of every stage."""
        own = {stage: getattr(self, stage).name for stage in ("camera", "scale", "mask", "queries", "tracks")}
        return own if self.hands is None else {**own, "hands": self.hands.name}

    def __call__(self, clip: Clip, on_stage: Callable[[str], object] = lambda name: None) -> tuple[Clip, dict]:
        """Return the clip with tracks, and facts for its receipt.

        Args:
            on_stage: called with the name of each stage as it starts.

        Raises:
            InputError: a stage refuses the clip, or the tracks do not pass `check`.
        """
        on_stage("camera")
        clip = self.camera(clip)
        on_stage("scale")
        clip = clip if clip.is_metric else self.scale(clip)
        if self.hands is not None and clip.hand is None and clip.robot is None:
            on_stage("hands")
            clip = self.hands(clip)
        on_stage("mask")
        if clip.is_object is None:
            clip = replace(clip, is_object=self.mask(clip))
        on_stage("queries")
        clip = clip if clip.query is not None else self.queries(clip)
        kind = "given"
        if clip.coords is None or clip.visibs is None:
            on_stage("tracks")
            found = self.tracks(clip)
            kind, clip = found.kind, replace(clip, coords=found.coords, visibs=found.visibs)
        return clip, {"tracker": kind, **check(clip)}


def check(clip: Clip) -> dict[str, float]:
    """Return shares and distances of a clip's tracks.

    Raises:
        InputError: too few are valid; the message has the limit.
    """
    assert clip.coords is not None and clip.visibs is not None
    on = np.ones(clip.visibs.shape[1], bool) if clip.on_object is None else clip.on_object
    valid = float(clip.visibs[:, on].mean()) if on.any() else 0.0
    if valid < LEAST_VALID:
        raise InputError(f"{clip.name}: {valid:.0%} of the object's points are valid, must be {LEAST_VALID:.0%}")
    if (~on).any():
        ever = clip.visibs[len(clip.visibs) // 2 :, ~on].any(0).mean()
        if ever < LEAST_STATIC:
            raise InputError(f"{clip.name}: {ever:.0%} of the static points are seen again, must be {LEAST_STATIC:.0%}")
    way = np.linalg.norm(clip.coords[:, on] - clip.coords[0, on], axis=-1)
    moved = float(np.where(clip.visibs[:, on], way, 0.0).max())
    return {"points": int(on.sum()), "valid": round(valid, 3), "moved_m": round(moved, 3)}
