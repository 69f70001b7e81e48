"""Hindsight references: sparse waypoints drawn from an episode's own later motion (paper 3.3, Eq. 2)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from uma.model.inputs import ReferenceArrays, reference_arrays
from uma.types import ReferenceMotion


@dataclass(frozen=True)
class ReferenceSampling:
    """How references are drawn.

    Attributes:
        min_keypoints, max_keypoints, min_waypoints, max_waypoints: ranges, drawn uniformly.
        to_the_end: share whose last waypoint lies in the episode's last steps.
        by_distance: share whose waypoints are spread over the distance travelled rather than over time: most of an
            episode's time the object lies still.
        even_phase: share whose phases are the ranks, as of a person who gave none.
        pinned: share that also holds 1 to 3 static points of a second object.
        noise_m: standard deviation of the waypoints' error, drawn up to this for each reference, metres.
    """

    min_keypoints: int = 3
    max_keypoints: int = 8
    min_waypoints: int = 2
    max_waypoints: int = 6
    to_the_end: float = 0.85
    by_distance: float = 0.75
    even_phase: float = 0.7
    pinned: float = 0.15
    noise_m: float = 0.003


def draw_reference(tracks: np.ndarray, static: np.ndarray, start: int, frame: str, config: ReferenceSampling, rng: np.random.Generator) -> ReferenceMotion:
    """A sparse reference for the motion after step ``start``.

    Args:
        tracks: ``(S, K, 3)`` metres.
        static: ``(Q, 3)`` points that may be pinned.
        frame: name of the frame of both.
    """
    S, K, _ = tracks.shape
    last = S - 1 - int(rng.integers(0, 4)) if rng.random() < config.to_the_end else int(rng.integers(start, S))
    last = max(last, start)
    span = tracks[start : last + 1]
    travelled = np.concatenate([[0.0], np.cumsum(np.linalg.norm(np.diff(span.mean(1), axis=0), axis=-1))])
    n = int(rng.integers(config.min_waypoints, config.max_waypoints + 1))
    inner = np.sort(rng.random(max(n - 2, 0)))
    fraction = np.concatenate([[0.0], inner, [1.0]])
    if rng.random() < config.by_distance and travelled[-1] > 0.02:
        steps = np.searchsorted(travelled, fraction * travelled[-1]).clip(0, len(span) - 1)
        steps[0], steps[-1] = 0, len(span) - 1
    else:
        steps = np.round(fraction * (len(span) - 1)).astype(int)
    phase = np.linspace(0, 1, n) if rng.random() < config.even_phase else fraction
    keypoints = rng.choice(K, min(K, int(rng.integers(config.min_keypoints, config.max_keypoints + 1))), replace=False)
    noise = config.noise_m * rng.random()
    waypoints = [span[steps, k] + rng.normal(0, noise, (n, 3)) for k in keypoints]
    phases = [phase] * len(waypoints)
    if len(static) and rng.random() < config.pinned:
        for q in rng.choice(len(static), min(len(static), int(rng.integers(1, 4))), replace=False):
            waypoints.append(static[q : q + 1])
            phases.append(np.zeros(1))
    return ReferenceMotion(tuple(waypoints), tuple(phases), frame=frame)


def draw_reference_arrays(tracks: np.ndarray, static: np.ndarray, start: int, config: ReferenceSampling, rng: np.random.Generator) -> ReferenceArrays:
    """`draw_reference` as padded model inputs, through the function that deployment uses."""
    return reference_arrays(draw_reference(tracks, static, start, "camera", config, rng))
