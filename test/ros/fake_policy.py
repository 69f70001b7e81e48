"""A policy node with a fake in the place of the model: it moves the end effector toward the reference's first keypoint, straight down the list."""

from __future__ import annotations

import sys
import time
from dataclasses import dataclass

import numpy as np

from uma.geometry.se3 import clip_step
from uma.types import ActionChunk, InputError, MotionPrediction, Prediction
from uma_ros.nodes import policy


@dataclass(frozen=True)
class Contract:
    rate_hz: float = 15.0
    horizon: int = 16
    max_keypoints: int = 16
    ee_frame: str = "robotiq_2f85_tcp"


class FakePolicy:
    """Deterministic in (observation, task, sequence), like the real one."""

    contract = Contract()
    checkpoint_id = "fake"

    def encode_task(self, observation, reference):
        if len(reference.waypoints) > self.contract.max_keypoints:
            raise InputError(f"keypoints: {len(reference.waypoints)} given, this checkpoint takes at most {self.contract.max_keypoints}")
        return reference

    def predict(self, observation, task, *, sequence=0):
        time.sleep(0.03)
        goal = observation.T_cam_ee.copy()
        goal[:3, 3] = np.mean([w[-1] for w in task.waypoints], axis=0)
        poses, pose = [], observation.T_cam_ee
        for _ in range(self.contract.horizon):
            pose = clip_step(pose, goal, 0.015, 0.05)
            poses.append(pose)
        chunk = ActionChunk(np.array(poses), np.zeros(16), observation.stamp, observation.camera.frame, self.contract.ee_frame, 15.0, sequence)
        return Prediction(chunk, None, {"flow": 30.0, "total": 30.0})

    def predict_motion(self, observation, task, chunk, *, sequence=0):
        if len(chunk.poses) != self.contract.horizon:
            raise InputError(f"chunk: {len(chunk.poses)} actions, must be {self.contract.horizon}")
        points = chunk.poses[:, None, :3, 3] + np.zeros((1, len(task.waypoints), 3))
        return MotionPrediction(points, observation.stamp, observation.camera.frame, 15.0, sequence, 0.0)


if __name__ == "__main__":
    sys.exit(policy.main(lambda settings: (FakePolicy(), FakePolicy())))
