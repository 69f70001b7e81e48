"""Hindsight references: sparse waypoints drawn from an episode's own later motion (paper 3.3, Eq. 2)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from uma.types import MAX_KEYPOINTS, ReferenceMotion


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

    def __post_init__(self) -> None:
        for name, least, most in (("keypoints", 1, MAX_KEYPOINTS), ("waypoints", 2, ReferenceMotion.MAX_WAYPOINTS)):
            low, high = getattr(self, f"min_{name}"), getattr(self, f"max_{name}")
            if not least <= low <= high <= most:
                raise ValueError(f"sampling.min_{name} {low}, max_{name} {high}: must be {least} <= min <= max <= {most}")


def draw_reference(
    tracks: np.ndarray,
    static: np.ndarray,
    start: int,
    frame: str,
    config: ReferenceSampling,
    rng: np.random.Generator,
    is_valid: np.ndarray | None = None,
    is_moving: np.ndarray | None = None,
) -> ReferenceMotion:
    """A sparse reference for the motion after step ``start``.

    Keypoints are drawn among those that are seen at ``start`` and move in the episode; where none does, among those that are seen, and at worst among all.

    Args:
        tracks: ``(S, K, 3)`` metres.
        static: ``(Q, 3)`` points that may be pinned.
        frame: name of the frame of both.
        is_valid: ``(S, K)`` bool, where a track was seen; waypoints elsewhere are marked invalid. None = everywhere.
        is_moving: ``(K,)`` bool. None = all.
    """
    S, K, _ = tracks.shape
    last = S - 1 - int(rng.integers(0, 4)) if rng.random() < config.to_the_end else int(rng.integers(start, S))
    last = max(last, start)
    pool = np.arange(K)
    if is_valid is not None and is_valid[start].any():
        pool = np.flatnonzero(is_valid[start])
    if is_moving is not None and is_moving[pool].any():
        pool = pool[is_moving[pool]]
    span = tracks[start : last + 1]
    middle = span[:, pool].mean(1)
    travelled = np.concatenate([[0.0], np.cumsum(np.linalg.norm(np.diff(middle, axis=0), axis=-1))])
    n = int(rng.integers(config.min_waypoints, config.max_waypoints + 1))
    inner = np.sort(rng.random(max(n - 2, 0)))
    fraction = np.concatenate([[0.0], inner, [1.0]])
    if rng.random() < config.by_distance and travelled[-1] > 0.02:
        steps = np.searchsorted(travelled, fraction * travelled[-1]).clip(0, len(span) - 1)
        steps[0], steps[-1] = 0, len(span) - 1
    else:
        steps = np.round(fraction * (len(span) - 1)).astype(int)
    phase = np.linspace(0, 1, n) if rng.random() < config.even_phase else fraction
    keypoints = rng.choice(pool, min(len(pool), int(rng.integers(config.min_keypoints, config.max_keypoints + 1))), replace=False)
    noise = config.noise_m * rng.random()
    waypoints = [*(span[steps][:, keypoints] + rng.normal(0, noise, (n, len(keypoints), 3))).transpose(1, 0, 2)]
    phases = [phase] * len(waypoints)
    valid = [np.ones(n, bool)] * len(waypoints)
    if is_valid is not None:
        seen = is_valid[start : last + 1][steps][:, keypoints].T
        valid = [v if v.any() else np.arange(n) == 0 for v in seen]
    if len(static) and rng.random() < config.pinned:
        most = min(len(static), MAX_KEYPOINTS - len(waypoints))
        for q in rng.choice(len(static), min(most, int(rng.integers(1, 4))), replace=False):
            waypoints.append(static[q : q + 1])
            phases.append(np.zeros(1))
            valid.append(np.ones(1, bool))
    return ReferenceMotion(tuple(waypoints), tuple(phases), tuple(valid), frame)
