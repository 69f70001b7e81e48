"""What acts in a closed-loop episode: UMA with a task from one of its sources, its controls, and scripts."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np

from uma.sketch.human import human
from uma.types import HORIZON

if TYPE_CHECKING:
    from uma.policy.query import Task
    from uma.policy.systems import System
    from uma.types import ActionChunk, Observation, ReferenceMotion
    from uma_sim.station import Station
    from uma_train.evaluation.benchmark_config import BenchmarkConfig


def reference_of(config: BenchmarkConfig, station: Station, seed: int) -> ReferenceMotion:
    """Sketch the reference motion of the station's scene, with keypoints and a person's noise drawn by ``seed``."""
    from uma_sim.planning import sketches

    exact = sketches.of_scene(station, config.keypoints, config.waypoints, config.pinned, seed)
    if config.sketch == "exact":
        return exact
    return human(exact, station.T_base_cam, np.random.default_rng([seed, 19]), config.sketch)


def actor_of(
    config: BenchmarkConfig, name: str, seed: int, station: Station, first: Observation
) -> Callable[[Observation, int], ActionChunk]:
    """Return a function from (observation, chunk number) to a chunk in the camera frame; ``first`` is o_0.

    Raises:
        InputError: the policy refuses the task.
    """
    from uma.policy.planner import plan
    from uma.policy.prefix import committed
    from uma.types import ActionChunk
    from uma_train.baselines.grasp_and_follow import GraspAndFollow
    from uma_train.execution.driving import policy_of

    if name == "hold_still":
        still = np.repeat(first.T_cam_ee[None], HORIZON, 0)
        return lambda o, n: ActionChunk(still, np.zeros(HORIZON), o.stamp, o.camera.frame, station.ee_frame)
    reference = reference_of(config, station, seed)
    if name == "grasp_and_follow":
        script = GraspAndFollow(first, reference, station.ee_frame, executed=config.execute)
        return script.act
    policy = policy_of(config.checkpoint, config.sampler, config.policy_frame)
    policy.seed = seed
    task = _task(config, name, seed, station, first, policy, reference)
    if name == "uma_mpc":
        return lambda o, n: plan(policy, o, task, reference, num_candidates=config.candidates, sequence=n).chunk
    running: list[ActionChunk] = []

    def act(o: Observation, n: int) -> ActionChunk:
        prefix = committed(running[-1] if running else None, o, config.prefix)
        running[:] = [policy.predict(o, task, sequence=n, with_motion=config.with_motion, prefix=prefix).chunk]
        return running[0]

    return act


def _task(
    config: BenchmarkConfig,
    name: str,
    seed: int,
    station: Station,
    first: Observation,
    policy: System,
    reference: ReferenceMotion,
) -> Task:
    """Return the task tokens of one of UMA's actors."""
    from uma_sim.tasks import make_station

    if name == "uma_prompt":
        return policy.load_prompt(config.prompt, first)
    if name == "uma_text":
        return policy.encode_instruction(station.task.instruction(station, station.scene.goal), first)
    if name == "uma_other_task":
        other = make_station(seed + 500_000, config.task, depth=config.depth, **config.scene_options)
        task = policy.encode_task(other.observe(), reference_of(config, other, seed))
        other.close()
        return task
    task = policy.encode_task(first, reference)
    return task.zeroed() if name == "uma_zeroed" else task
