"""Recorded demonstrations: clean expert labels on states reached under noise and disturbances."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.spatial.transform import Rotation

from uma.geometry import se3
from uma.types import RATE_HZ, Observation
from uma_sim import experts
from uma_sim.experts.interventions import Interventions
from uma_sim.station import Station, Task
from uma_sim.tasks import make_station

OBSERVE_EVERY = 2

TAIL_NOISE = 0.3
"""Fraction of the execution noise after the first success, in tasks whose success must last."""

STILL_M = 0.01
"""Largest motion of a static point in an episode, metres."""

NOISE_M, NOISE_RAD, NOISE_RHO = 0.003, 0.012, 0.85
"""Innovation of the execution noise at scale 1, and its autocorrelation per step.

As in DART, the noise is on the action, not on the label.
"""


@dataclass
class Disturbance:
    """One disturbance of an episode.

    ``kind`` is "drop" (the gripper is forced open in transport), "miss" (it closes beside the object), "closed" (it
    starts closed), or "none".
    """

    kind: str
    offset: np.ndarray
    steps: int
    start: float
    left: int = 0
    is_spent: bool = False

    @classmethod
    def draw(cls, rng: np.random.Generator, probability: float) -> Disturbance:
        kind = str(rng.choice(["drop", "miss", "closed"])) if rng.uniform() < probability else "none"
        angle = rng.uniform(-np.pi, np.pi)
        offset = rng.uniform(0.01, 0.03) * np.array([np.cos(angle), np.sin(angle), 0.0])
        return cls(kind, offset, int(rng.integers(6, 14)), float(rng.uniform(0.03, 0.18)))

    def apply(self, station: Station, T: np.ndarray, grip: float) -> tuple[np.ndarray, float]:
        """Return the executed action in place of ``(T, grip)``."""
        if self.kind == "none" or self.is_spent:
            return T, grip
        if self.kind == "drop":
            if self.left == 0 and station.task.may_drop(station, self.start):
                self.left = self.steps
            if self.left:
                grip = 0.0
                self.left -= 1
                self.is_spent = self.left == 0
        elif self.kind == "miss":
            T_ee, goal = station.ee_pose(), station.task.grasp_pose(station)
            beside = goal[:2, 3] + self.offset[:2]
            near = float(np.linalg.norm(T_ee[:2, 3] - goal[:2, 3])) < 0.06
            if self.left == 0 and near:
                self.left = self.steps + 8
            if self.left:
                T = T.copy()
                T[:2, 3] = beside
                T[2, 3] = max(float(T_ee[2, 3]) - 0.04, float(goal[2, 3]))
                self.left -= 1
                grip = 1.0 if T_ee[2, 3] < goal[2, 3] + 0.012 else 0.0
                self.is_spent = self.left == 0
        return T, grip


def run_demonstration(
    seed: int,
    noise_scale: float | None = None,
    rng: np.random.Generator | None = None,
    *,
    on_observation: Callable[[Observation], Any] | None = None,
    disturbance_probability: float = 0.25,
    max_noise: float = 1.6,
    station: Station | None = None,
    goal: int | None = None,
    interventions: Interventions | None = None,
    **station_kwargs,
) -> dict | None:
    """Run one demonstration in the scene of ``seed``.

    Labels are the expert's clean targets. The executed action is the label plus correlated noise, and possibly one
    disturbance.

    Args:
        noise_scale: of the execution noise; None draws it from 0 to ``max_noise``.
        rng: source of the noise and the disturbance; None derives it from ``seed``.
        on_observation: maps each rendered `Observation` to the stored value; None disables rendering.
        disturbance_probability: of one disturbance in the episode.
        station: an existing station (then ``seed`` is only a name), which the caller closes.
        goal: of the expert; None for the scene's goal.
        interventions: stretches in which a policy acts, in addition to the task's ``max_steps``. Steps within a chunk
            before them are not observed, except the episode's first.
        station_kwargs: passed to `Station`, such as ``task``.

    Returns:
        None if the simulation failed (a value was not finite), else a dict. Arrays with axis T have one row per 15 Hz
        step, and row i holds the state before action i.

        * ``label_pose`` (T, 4, 4): the expert's target T_base_ee; ``label_gripper`` (T,)
        * ``pose`` (T, 4, 4): measured T_base_ee; ``gripper`` (T,): measured; ``joints`` (T, 7): measured, radians
        * ``object_points`` (T, 16, 3): base frame, metres; ``static_points`` (Q, 3): base frame, metres
        * ``stamp`` (T,): seconds
        * ``observations``: the M results of ``on_observation``; ``observation_step`` (M,): their steps
        * ``task``, ``intent`` (the kind of motion), ``text`` (the instruction), ``seed``, ``goal``, ``camera``,
          ``T_base_cam`` (4, 4), ``depth`` (of `uma_sim.station.DEPTHS`)
        * ``noise_scale``, ``disturbance``, ``interventions`` (those that happened)
        * ``verdict``, ``success`` (it lasted as long as the task asks), ``reason``, ``rate_hz``
    """
    rng = np.random.default_rng([seed, 7]) if rng is None else rng
    scale = float(rng.uniform(0.0, max_noise)) if noise_scale is None else float(noise_scale)
    disturbance = Disturbance.draw(rng, disturbance_probability)
    own = station is None
    station = make_station(seed, render=on_observation is not None, **station_kwargs) if station is None else station
    task, goal = station.task, station.scene.goal if goal is None else goal
    expert = experts.expert(task.name, goal)
    if disturbance.kind == "closed":
        station.set_target(station.ee_pose(), 1.0)
        station.advance(0.8)
    still = task.static_points(station)
    rows: dict[str, list] = {
        k: [] for k in ("label_pose", "label_gripper", "pose", "gripper", "joints", "object_points", "stamp")
    }
    observations, observed = [], []
    drift = np.zeros(6)
    after, tail, has_arrived = 0, _tail(seed, task), False
    executed_grip = 0.0
    for i in range(task.max_steps + (interventions.steps if interventions else 0)):
        is_away = interventions is not None and interventions.covers(i)
        if (
            on_observation is not None
            and i % OBSERVE_EVERY == 0
            and (i == 0 or interventions is None or not interventions.reaches(i))
        ):
            observations.append(on_observation(station.observe()))
            observed.append(i)
        T, grip = expert.act(station)
        for key, value in (
            ("label_pose", T),
            ("label_gripper", grip),
            ("pose", station.ee_pose()),
            ("gripper", station.gripper_position()),
            ("joints", station.joint_positions()),
            ("object_points", station.object_points()),
            ("stamp", station.time),
        ):
            rows[key].append(value)
        drift = NOISE_RHO * drift + scale * rng.standard_normal(6) * np.repeat([NOISE_M, NOISE_RAD], 3)
        if is_away:
            executed, executed_grip = interventions.action(station, i, executed_grip)
        else:
            share = _calm(station, grip) * (TAIL_NOISE if task.lasts and has_arrived else 1.0)
            executed, executed_grip = disturbance.apply(station, _disturbed(T, drift, share), grip)
        station.act(executed, executed_grip)
        if not np.isfinite(station.data.qpos).all():
            return None
        verdict, reason = task.outcome(station)
        after = after + 1 if verdict == "success" or (verdict == "wrong_goal" and goal != station.scene.goal) else 0
        has_arrived |= after > 0
        if after >= tail:
            break
    # Exclude points that were pushed aside or fell off the table.
    still = still[np.linalg.norm(task.static_points(station) - still, axis=-1) < STILL_M]
    about = {
        "task": task.name,
        "intent": task.intent(station, goal),
        "static_points": still,
        "text": task.instruction(station, goal),
    }
    if own:
        station.close()
    episode = {key: np.asarray(value) for key, value in rows.items()}
    reached = "success" if goal == station.scene.goal else "wrong_goal"
    return (
        episode
        | about
        | {
            "observation_step": np.array(observed, dtype=np.int64),
            "observations": observations,
            "T_base_cam": station.T_base_cam,
            "camera": station.camera,
            "depth": station.depth,
            "seed": seed,
            "goal": goal,
            "noise_scale": scale,
            "disturbance": disturbance.kind,
            "interventions": []
            if interventions is None
            else [
                [first, min(end, len(rows["stamp"]))]
                for first, end in interventions.stretches
                if first < len(rows["stamp"])
            ],
            "verdict": verdict,
            "success": verdict == reached and after >= task.lasts,
            "reason": reason,
            "rate_hz": RATE_HZ,
        }
    )


def _tail(seed: int, task: Task) -> int:
    """Draw the number of control steps after the success, from the scene's seed alone."""
    low, high = task.tail
    return int(np.random.default_rng([seed, 18]).integers(low, high + 1)) if low < high else low


def _calm(station: Station, grip: float) -> float:
    """Return the fraction of the noise: reduced near the table and the rim, where the task needs precision."""
    low = float(station.ee_pose()[2, 3]) < 0.06
    return 0.35 if low or (grip < 0.5 and station.grasped()) else 1.0


def _disturbed(T: np.ndarray, drift: np.ndarray, share: float) -> np.ndarray:
    R = Rotation.from_rotvec(share * drift[3:]).as_matrix() @ T[:3, :3]
    return se3.make_pose(R, T[:3, 3] + share * drift[:3])
