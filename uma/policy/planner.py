"""Model predictive control with the policy's own dynamics (paper 3.4, Eq. 6): candidates drawn by control, judged by
predicted motion."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from uma.geometry import polyline
from uma.policy.policy import Policy, Task
from uma.types import ActionChunk, InputError, KeypointState, MotionPrediction, Observation, ReferenceMotion


@dataclass(frozen=True)
class Plan:
    """The best candidate.

    Attributes:
        chunk: the actions.
        motion: what they are predicted to do.
        costs: ``(N,)`` metres, of all candidates in the order drawn.
    """

    chunk: ActionChunk
    motion: MotionPrediction
    costs: np.ndarray


def reference_cost(motion: MotionPrediction, reference: ReferenceMotion) -> float:
    """Mean over the keypoints of the `polyline.remaining` distance at the end of a predicted motion, metres.

    Raises:
        InputError: another number of keypoints or another frame.
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
    policy: Policy,
    observation: Observation,
    task: Task,
    reference: ReferenceMotion,
    *,
    num_candidates: int = 8,
    sequence: int = 0,
    candidates: list[ActionChunk] | None = None,
    keypoints: KeypointState | None = None,
) -> Plan:
    """Draw candidates, predict what each would do, and return the one whose motion gets farthest along the reference.

    Args:
        reference: what ``task`` was encoded from, in the camera frame.
        num_candidates: chunks drawn in control mode.
        candidates: chunks of another origin to judge instead.
        keypoints: where the task's keypoints are now.

    Raises:
        InputError: no candidates, or as `Policy.predict_candidates` and `Policy.predict_motions`.
    """
    chunks = (
        policy.predict_candidates(observation, task, num_candidates, sequence=sequence)
        if candidates is None
        else candidates
    )
    if not chunks:
        raise InputError("candidates: none given, at least 1 is needed")
    motions = policy.predict_motions(observation, task, chunks, sequence=sequence, keypoints=keypoints)
    costs = np.array([reference_cost(m, reference) for m in motions])
    best = int(costs.argmin())
    return Plan(chunks[best], motions[best], costs)
