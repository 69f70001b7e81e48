"""Recorded demonstrations: clean labels of the expert on states that noise and disturbances have led to."""

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
from uma_sim.station import Station
from uma_sim.tasks import make_station

STEPS_AFTER_SUCCESS = 10
OBSERVE_EVERY = 2

STILL_M = 0.01
"""How far a point may move in an episode and still be called one that does not."""

NOISE_M, NOISE_RAD, NOISE_RHO = 0.003, 0.012, 0.85
"""Innovation of the execution noise at scale 1, and how much of it lasts to the next step (DART: noise on the action,
not on the label)."""


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
        """The action that is executed in place of ``(T, grip)``."""
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

    The labels are the expert's clean targets; what is executed is the label plus noise that decays over a few steps,
    and perhaps one disturbance.

    Args:
        noise_scale: of the execution noise; None draws it from 0 to ``max_noise``.
        rng: randomness of the noise and the disturbance; None derives it from ``seed``.
        on_observation: maps each rendered `Observation` to what shall be kept of it; None renders nothing.
        disturbance_probability: of one disturbance in the episode.
        station: run on this station instead of a fresh one (``seed`` then only names it); its ``close`` is left to the
            caller.
        goal: what to aim for; None for the scene's goal.
        interventions: stretches in which a policy acts. They come on top of the task's ``max_steps``, and no step from
            which a chunk would reach into one is observed, save the first of the episode.
        station_kwargs: passed to `Station`, such as ``task``.

    Returns:
        None if the simulation failed (a value was not finite), else a dict of ``(T, ...)`` arrays, one row a 15 Hz
        step:
        ``label_pose`` (T, 4, 4) expert target T_base_ee, ``label_gripper`` (T,), ``pose`` (T, 4, 4) measured T_base_ee,
        ``gripper`` (T,) measured,
        ``object_points`` (T, 16, 3) base frame, ``stamp`` (T,) s; ``static_points`` (Q, 3) base frame;
        ``observation_step`` (M,) indices of the
        steps that were observed and ``observations``, a list of M results of ``on_observation``; ``task``, ``text``
        (the instruction),
        ``T_base_cam`` (4, 4), ``camera``, ``seed``, ``goal``, ``noise_scale``, ``disturbance``, ``interventions``
            (those that
        came about), ``verdict``, ``success`` and ``reason``. Row i holds the state before action i.
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
        k: [] for k in ("label_pose", "label_gripper", "pose", "gripper", "object_points", "stamp")
    }
    observations, observed = [], []
    drift = np.zeros(6)
    after = 0
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
            ("object_points", station.object_points()),
            ("stamp", station.time),
        ):
            rows[key].append(value)
        drift = NOISE_RHO * drift + scale * rng.standard_normal(6) * np.repeat([NOISE_M, NOISE_RAD], 3)
        if is_away:
            executed, executed_grip = interventions.action(station, i, executed_grip)
        else:
            executed, executed_grip = disturbance.apply(station, _disturbed(T, drift, _calm(station, grip)), grip)
        station.act(executed, executed_grip)
        if not np.isfinite(station.data.qpos).all():
            return None
        verdict, reason = task.outcome(station)
        after = after + 1 if verdict == "success" or (verdict == "wrong_goal" and goal != station.scene.goal) else 0
        if after >= STEPS_AFTER_SUCCESS:
            break
    # What was pushed aside, or fell off the table, did move.
    still = still[np.linalg.norm(task.static_points(station) - still, axis=-1) < STILL_M]
    about = {"task": task.name, "static_points": still, "text": task.instruction(station, goal)}
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
            "success": verdict == reached,
            "reason": reason,
            "rate_hz": RATE_HZ,
        }
    )


def _calm(station: Station, grip: float) -> float:
    """Share of the noise that is applied: less near the table and the rim, where centimetres decide and no one would
    err so much."""
    low = float(station.ee_pose()[2, 3]) < 0.06
    return 0.35 if low or (grip < 0.5 and station.grasped()) else 1.0


def _disturbed(T: np.ndarray, drift: np.ndarray, share: float) -> np.ndarray:
    R = Rotation.from_rotvec(share * drift[3:]).as_matrix() @ T[:3, :3]
    return se3.make_pose(R, T[:3, 3] + share * drift[:3])
