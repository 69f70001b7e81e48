"""A look ahead: one chunk and its object motion for a task that is not executed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from uma.types import ActionChunk, MotionPrediction, Observation
from uma_ros.messages.frame_buffer import Frame
from uma_ros.policy.tasks import GivenTask, Lookup


@dataclass(frozen=True)
class Preview:
    """What the policy would do first.

    Attributes:
        frame: the frame that it starts from.
        chunk: in the camera frame.
        motion: of the chunk; None for a task without keypoints, or a system without predicted motion.
    """

    frame: Frame
    chunk: ActionChunk
    motion: MotionPrediction | None


def preview(
    policies: tuple[Any, Any], frame: Frame, observation: Observation, lookup: Lookup, given: GivenTask
) -> Preview:
    """Encode a task, and predict its first chunk and the chunk's object motion.

    Args:
        policies: the policy for chunks and the policy for predicted motion.
        observation: of the frame.

    Raises:
        InputError: the task is refused.
    """
    policy, motion_policy = policies
    task = given.encode(policy, observation, lookup, frame.rgb.header.stamp).task
    prediction = policy.predict(observation, task, sequence=0)
    motion = prediction.motion
    if motion is None and policy.predicts_motion and len(task.keypoints):
        motion = motion_policy.predict_motion(observation, task, prediction.chunk, sequence=0)
    return Preview(frame, prediction.chunk, motion)
