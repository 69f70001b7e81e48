"""A policy node with a fake in the place of the model: it moves the end effector to the mean of the reference's last
waypoints.

The checkpoint named "words" also takes instructions and prompts: then the end effector goes up."""

from __future__ import annotations

import os
import time
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from uma.geometry.se3 import clip_step
from uma.policy.sampling import SamplerConfig
from uma.types import ActionChunk, InputError, MotionPrediction, Prediction
from uma_ros.nodes import policy
from uma_ros.runtime.node import leave
from uma_ros.runtime.robot import robot

SLOW = os.environ.get("UMA_TEST_SLOW", "")
"""While this file is there, a chunk takes a second."""
GRIP = os.environ.get("UMA_TEST_GRIP", "")
"""While this file is there, the gripper is to close."""


@dataclass(frozen=True)
class Contract:
    rate_hz: float = 15.0
    horizon: int = 16
    max_keypoints: int = 16
    ee_frame: str = "robotiq_2f85_tcp"


@dataclass(frozen=True)
class FakeTask:
    keypoints: np.ndarray
    goals: np.ndarray


NO_MOTION = FakeTask(np.zeros((0, 3)), np.zeros((0, 3)))


class FakePolicy:
    """Deterministic in (observation, task, sequence), like the real one."""

    contract = Contract()
    checkpoint_id = "fake"
    predicts_motion = True

    def __init__(self, settings=None):
        self.config = SamplerConfig()
        self.contract = replace(self.contract, ee_frame=robot().frame_of(self.contract.ee_frame))
        self.takes_instructions = settings is not None and settings.checkpoint == "words"

    def encode_task(self, observation, reference):
        if len(reference.waypoints) > self.contract.max_keypoints:
            raise InputError(
                f"keypoints: {len(reference.waypoints)} given, this checkpoint accepts at most "
                f"{self.contract.max_keypoints}"
            )
        return FakeTask(np.array([w[0] for w in reference.waypoints]), np.array([w[-1] for w in reference.waypoints]))

    def encode_instruction(self, text, observation=None):
        assert self.takes_instructions
        if len(text) > 200:
            raise InputError(f"instruction: {len(text)} characters, at most 200")
        return NO_MOTION

    def check_prompt(self, path):
        if Path(path).read_text() != "a prompt":
            raise InputError(f"prompt {path}: damaged")

    def load_prompt(self, path, observation=None):
        self.check_prompt(path)
        return NO_MOTION

    def predict(self, observation, task, *, sequence=0, prefix=None):
        time.sleep(1.0 if SLOW and Path(SLOW).exists() else 0.03)
        goal = observation.T_cam_ee.copy()
        goal[:3, 3] = task.goals.mean(0) if len(task.goals) else goal[:3, 3] + [0.0, -0.1, 0.0]
        poses = [] if prefix is None else list(prefix.poses)
        pose, given = poses[-1] if poses else observation.T_cam_ee, len(poses)
        for _ in range(self.contract.horizon - given):
            pose = clip_step(pose, goal, 0.015, 0.05)
            poses.append(pose)
        grip = np.full(16, float(bool(GRIP) and Path(GRIP).exists()))
        chunk = ActionChunk(
            np.array(poses),
            grip,
            observation.stamp,
            observation.camera.frame,
            self.contract.ee_frame,
            15.0,
            sequence,
            given,
        )
        return Prediction(chunk, None, {"flow": 30.0, "total": 30.0})

    def predict_candidates(self, observation, task, count, *, sequence=0):
        """Chunks that stop after a part of the way; the last one goes all of it."""
        chunk = self.predict(observation, task, sequence=sequence).chunk
        stops = np.linspace(0, len(chunk.poses) - 1, count).astype(int)
        return [replace(chunk, poses=chunk.poses[np.minimum(np.arange(len(chunk.poses)), i)]) for i in stops]

    def predict_motions(self, observation, task, chunks, *, sequence=0, keypoints=None):
        return [self.predict_motion(observation, task, c, sequence=sequence, keypoints=keypoints) for c in chunks]

    def predict_motion(self, observation, task, chunk, *, sequence=0, keypoints=None):
        assert len(task.keypoints)
        if len(chunk.poses) != self.contract.horizon:
            raise InputError(f"chunk: {len(chunk.poses)} actions, must be {self.contract.horizon}")
        points = chunk.poses[:, None, :3, 3] + np.zeros((1, len(task.keypoints), 3))
        return MotionPrediction(points, observation.stamp, observation.camera.frame, 15.0, sequence, 0.0)


if __name__ == "__main__":
    leave(policy.main(lambda settings: (FakePolicy(settings), FakePolicy(settings))))
