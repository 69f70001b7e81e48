"""Curated clips as training episodes: tracks from the chain, robot state and actions from the clip."""

from __future__ import annotations

import numpy as np

from uma.geometry.point_cloud import farthest_points
from uma.model.config import PointConfig
from uma.types import MAX_KEYPOINTS, InputError
from uma_train.curation.clip import Clip, demonstration_of
from uma_train.data.episode import Episode
from uma_train.data.sources.convert import to_episode
from uma_train.data.sources.gates import Gates

LEAST_SEEN = 0.2
"""Least share of the images in which a kept keypoint is valid."""


def keypoints_of(clip: Clip, count: int = MAX_KEYPOINTS) -> np.ndarray:
    """Return the indices of up to ``count`` tracks on the object, spread in the first image and often valid.

    Raises:
        InputError: the clip has no tracks, or none is valid often enough.
    """
    if clip.coords is None or clip.visibs is None:
        raise InputError(f"{clip.name}: coords are unknown; the chain makes them")
    seen = clip.visibs.mean(0)
    usable = seen >= LEAST_SEEN
    usable &= True if clip.on_object is None else clip.on_object
    index = np.flatnonzero(usable)
    if not len(index):
        raise InputError(f"{clip.name}: the best track is valid in {seen.max():.0%}, must be {LEAST_SEEN:.0%}")
    return index[farthest_points(clip.coords[0, index], count)]


def episode_of(clip: Clip, points: PointConfig, gates: Gates) -> Episode:
    """Return a curated clip as an episode.

    Raises:
        Refused: it does not pass a gate, see `uma_train.data.sources.gates`.
        InputError: it has no usable track.
    """
    return to_episode(demonstration_of(clip, keypoints_of(clip)), points, gates)
