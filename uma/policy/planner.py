"""Model predictive control with the policy's own dynamics (paper 3.4, Eq. 6).

Control mode draws candidate chunks, and dynamics mode predicts the motion of each.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from uma.geometry import polyline
from uma.policy.query import Task
from uma.policy.systems import System
from uma.types import ActionChunk, InputError, KeypointState, MotionPrediction, Observation, ReferenceMotion


@dataclass(frozen=True)
class Plan:
    """The best candidate.

    Attributes:
        chunk: the actions.
        motion: their predicted object motion.
        costs: ``(N,)`` metres, of all candidates in the order drawn.
    """

    chunk: ActionChunk
    motion: MotionPrediction
    costs: np.ndarray


def reference_cost(motion: MotionPrediction, reference: ReferenceMotion) -> float:
    """Return the mean over keypoints of `polyline.remaining` at the end of a predicted motion, metres.

    Raises:
        InputError: numbers of keypoints or frames differ.
    """
    if motion.points.shape[1] != len(reference.waypoints):
        raise InputError(
            f"keypoints: the prediction has {motion.points.shape[1]}, the reference {len(reference.waypoints)}"
        )
    if motion.frame != reference.frame:
        raise InputError(f"reference frame '{reference.frame}': must be the prediction's, '{motion.frame}'")
    paths = [w[v] for w, v in zip(reference.waypoints, reference.is_valid, strict=True)]
    return float(np.mean([polyline.remaining(motion.points[-1, k], path) for k, path in enumerate(paths)]))


def plan(
    policy: System,
    observation: Observation,
    task: Task,
    reference: ReferenceMotion,
    *,
    num_candidates: int = 8,
    sequence: int = 0,
    candidates: list[ActionChunk] | None = None,
    keypoints: KeypointState | None = None,
) -> Plan:
    """Draw candidates, predict their motions, and return the one that gets farthest along the reference.

    Args:
        reference: the source of ``task``, in the camera frame.
        num_candidates: chunks drawn in control mode.
        candidates: chunks to evaluate instead.
        keypoints: current positions of the task's keypoints.

    Raises:
        InputError: no candidates, or as `System.predict_candidates` and `System.predict_motions`.
    """
    chunks = (
        policy.predict_candidates(observation, task, num_candidates, sequence=sequence)
        if candidates is None
        else candidates
    )
    if not chunks:
        raise InputError("candidates: none given, at least 1 required")
    motions = policy.predict_motions(observation, task, chunks, sequence=sequence, keypoints=keypoints)
    costs = np.array([reference_cost(m, reference) for m in motions])
    best = int(costs.argmin())
    return Plan(chunks[best], motions[best], costs)
