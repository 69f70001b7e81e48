"""Model predictive path integral control: chunks around a nominal one, averaged by their costs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.spatial.transform import Rotation

from uma.settings import within

Cost = Callable[[np.ndarray], np.ndarray]
"""``(N, H, 4, 4)`` poses -> ``(N,)`` costs, metres."""


@dataclass(frozen=True)
class MppiConfig:
    """
    Attributes:
        samples: chunks per iteration.
        iterations: rounds of sampling and averaging.
        knots: places in time at which a perturbation is drawn; it is linear between them and 0 now.
        position_m, rotation_rad: standard deviations at a knot, per axis.
        temperature_m: difference of costs at which a weight falls by e, metres.
    """

    samples: int = 64
    iterations: int = 2
    knots: int = 4
    position_m: float = 0.02
    rotation_rad: float = 0.1
    temperature_m: float = 0.003

    def __post_init__(self) -> None:
        counts = {"samples": (2, 4096), "iterations": (1, 1000), "knots": (1, 64)}
        within(self, counts | {"position_m": (0, 1), "rotation_rad": (0, 3), "temperature_m": (1e-6, 10)})


def perturbations(count: int, horizon: int, config: MppiConfig, rng: np.random.Generator) -> np.ndarray:
    """Draw smooth offsets ``(count, H, 6)``: positions in metres, and rotation vectors."""
    scale = np.repeat([config.position_m, config.rotation_rad], 3)
    at_knots = scale * rng.standard_normal((count, config.knots, 6))
    at_knots = np.concatenate([np.zeros((count, 1, 6)), at_knots], 1)
    at = np.arange(1, horizon + 1) * config.knots / horizon
    low = np.minimum(at.astype(int), config.knots - 1)
    share = (at - low)[:, None]
    return (1 - share) * at_knots[:, low] + share * at_knots[:, low + 1]


def offset(poses: np.ndarray, by: np.ndarray) -> np.ndarray:
    """Move poses ``(H, 4, 4)`` by offsets ``(N, H, 6)`` along the frame's axes -> ``(N, H, 4, 4)``.

    Rotations are about each pose's own origin.
    """
    out = np.repeat(poses[None], len(by), 0)
    out[..., :3, 3] += by[..., :3]
    turns = Rotation.from_rotvec(by[..., 3:].reshape(-1, 3)).as_matrix().reshape(*by.shape[:2], 3, 3)
    out[..., :3, :3] = turns @ out[..., :3, :3]
    return out


def improved(starts: Sequence[np.ndarray], cost: Cost, config: MppiConfig, rng: np.random.Generator) -> np.ndarray:
    """Return poses ``(H, 4, 4)`` whose cost is at most that of every chunk of ``starts``, each ``(H, 4, 4)``.

    The search begins at the best of them. Each iteration averages its samples with weights exp(-cost / temperature).
    The result is the last average, or the best chunk seen if that is better.
    """
    costs = cost(np.stack(starts))
    best, least = starts[int(costs.argmin())], float(costs.min())
    centre, mean = best, np.zeros((len(best), 6))
    for _ in range(config.iterations):
        by = mean + perturbations(config.samples, len(mean), config, rng)
        candidates = offset(centre, by)
        costs = cost(candidates)
        if costs.min() < least:
            best, least = candidates[int(costs.argmin())], float(costs.min())
        weights = np.exp(-(costs - costs.min()) / config.temperature_m)
        mean = np.einsum("n,nhc->hc", weights / weights.sum(), by)
    average = offset(centre, mean[None])
    return average[0] if float(cost(average)[0]) <= least else best
