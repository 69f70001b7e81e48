"""Model predictive control with the policy's own dynamics (paper 3.4, Eq. 6): candidates drawn by control, judged by
predicted motion."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

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


BESIDE = 3.0


def remaining_distance(points: np.ndarray, path: np.ndarray) -> np.ndarray:
    """How far points have to go along a path: what is left of it from the place that suits best, and three times the
    distance to that place.

    The factor keeps a point from being drawn across a bend, over whatever the path was drawn around; on the path itself
    the
    distance is the rest of it.

    Args:
        points: ``(..., 3)`` metres.
        path: ``(T, 3)`` waypoints, metres; one waypoint is a goal alone.

    Returns:
        ``(...)`` metres.
    """
    if len(path) == 1:
        return np.linalg.norm(points - path[-1], axis=-1)
    a, d = path[:-1], np.diff(path, axis=0)
    length = np.linalg.norm(d, axis=1)
    left = np.concatenate([np.cumsum(length[::-1])[::-1][1:], [0.0]])  # from the end of each segment
    # Along a segment the sum of distance and rest is convex, so a fine grid finds its least value closely.
    t = np.linspace(0, 1, 33)[:, None]
    place = a[:, None] + t * d[:, None]  # (segments, 33, 3)
    rest = left[:, None] + (1 - t[:, 0]) * length[:, None]
    return (BESIDE * np.linalg.norm(points[..., None, None, :] - place, axis=-1) + rest).min((-1, -2))


def reference_cost(motion: MotionPrediction, reference: ReferenceMotion) -> float:
    """Mean over the keypoints of the `remaining_distance` at the end of a predicted motion, metres.

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
    return float(np.mean([remaining_distance(motion.points[-1, k], path) for k, path in enumerate(paths)]))


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
