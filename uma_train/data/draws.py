"""What is drawn per scene of a simulated data set. Each draw depends on the scene's seed only."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Literal

import numpy as np

from uma.types import RATE_HZ
from uma_train.data.simulate_config import EXECUTED

if TYPE_CHECKING:
    from uma_sim.experts.interventions import Interventions
    from uma_sim.station import Station
    from uma_train.data.simulate_config import SimulateConfig


def has_actions(config: SimulateConfig, seed: int) -> bool:
    """Whether the episode of a scene keeps its actions.

    The draw depends on the scene only, so resuming does not change it.
    """
    return bool(np.random.default_rng([seed, 11]).random() >= config.without_actions)


def interventions(config: SimulateConfig, seed: int, station: Station) -> tuple[Interventions | None, str]:
    """Draw the interventions of a scene's episode, and their driver: "policy", "wander", or "expert" for none."""
    from uma_sim.experts.interventions import (
        ATTEMPT,
        ATTEMPTS,
        FIRST,
        LENGTH,
        MOST,
        SOON,
        WANDER,
        Interventions,
        wander,
    )

    rng = np.random.default_rng([seed, 13])
    if config.policy and rng.random() < config.policy_share:
        length, most = (ATTEMPT, ATTEMPTS) if config.policy_attempts else (LENGTH, MOST)
        return Interventions.draw(rng, driven(config, seed, station, rng), SOON, length, most), "policy"
    rng = np.random.default_rng([seed, 15])
    if rng.random() < config.wander:
        return Interventions.draw(rng, wander(rng), FIRST, WANDER, 2), "wander"
    return None, "expert"


def driven(
    config: SimulateConfig, seed: int, station: Station, rng: np.random.Generator
) -> Callable[[Station, float], list[tuple[np.ndarray, float]]]:
    """Return a function that predicts the next actions with the policy."""
    from uma_train.execution.driving import DelayedExecutor, policy_of, station_actions

    policy = policy_of(config.policy)
    policy.seed = seed
    reference = station.task.plan_reference(station, rng, int(rng.integers(3, 9)), int(rng.integers(2, 7)))
    task = policy.encode_task(station.observe(), reference)
    delayed = DelayedExecutor(int(np.random.default_rng([seed, 16]).integers(0, config.policy_delay + 1)), EXECUTED)

    def act(station: Station, grip: float) -> list[tuple[np.ndarray, float]]:
        chunk = policy.predict(station.observe(), task, sequence=round(station.time * RATE_HZ)).chunk
        return delayed.next(station_actions(chunk, station.T_base_cam), (station.ee_pose(), grip), station.time)

    return act


def camera_pose(config: SimulateConfig, seed: int) -> np.ndarray | None:
    """Return the ``(4, 4)`` camera pose of a scene, or None for its own."""
    from uma_sim.scene import camera_around, random_camera

    if config.camera == "scene":
        return None
    rng = np.random.default_rng([seed, 14])
    if config.camera == "nominal" or rng.random() < config.nominal_share:
        return random_camera(rng)
    return camera_around(rng)


def depth_kind(config: SimulateConfig, seed: int) -> Literal["model", "stereo"]:
    """Draw the kind of depth of a scene's episode, see `uma_sim.station.DEPTHS`."""
    return "stereo" if np.random.default_rng([seed, 22]).random() < config.stereo_share else "model"
