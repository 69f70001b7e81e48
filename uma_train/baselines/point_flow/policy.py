"""The point flow as a policy: its dynamics, and chunks by sampling over them."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from uma.checkpoint.contract import Contract
from uma.model.batches import point_batch
from uma.model.config import ModelConfig
from uma.model.percept import Percept
from uma.policy.query import History, Task
from uma.types import ActionChunk, InputError, KeypointState, MotionPrediction, Observation, Prediction, ReferenceMotion
from uma_train.baselines.by_reference import ByReference
from uma_train.baselines.point_flow.hand import HandMotion
from uma_train.baselines.point_flow.memory import Places
from uma_train.baselines.point_flow.mppi import MppiConfig, improved, offset, perturbations
from uma_train.baselines.point_flow.network import FlowConfig, FlowNetwork, rollout
from uma_train.baselines.point_flow.nominal import Nominal, Stage, left, nominal
from uma_train.training.objectives import to_device

SAMPLES = 8
"""Chunks per iteration, per unit of `SamplerConfig.num_samples`."""

FRESH_S = 2.0
"""Age up to which a chunk starts the search for the next one, seconds."""


@dataclass(frozen=True)
class FlowTask(Task):
    """A task whose goal is the reference itself. ``tokens`` is empty.

    Attributes:
        reference: in the camera frame.
    """

    reference: ReferenceMotion | None = None


class PointFlow(ByReference):
    """A `uma.policy.systems.System`: predicts point flow, and plans over it by MPPI.

    `SamplerConfig.num_steps` is the number of iterations of a search, each of ``8 num_samples`` chunks. The search
    minimises the rest of the reference after the chunk, as `uma.policy.planner` does.

    Before the grasp, the keypoints do not react to the hand, so the dynamics cannot rank chunks. There the chunk leads
    straight to the keypoints' centre (`uma_train.baselines.point_flow.nominal`), without a search. This rule keeps the
    orientation, chooses no grasp and avoids no obstacle. The gripper closes where the measured end effector is within
    2 cm of the centre. At the end of the reference it opens and the hand rests.

    It remembers the keypoints' places and its last chunk. So observations must come in the order of time.
    """

    system, network, settings_type = "point_flow", FlowNetwork, FlowConfig

    def __init__(self, model: FlowNetwork, contract: Contract, checkpoint_id: str, **settings: Any):
        super().__init__(model, contract, checkpoint_id, **settings)
        self._places = Places()
        self._chunks: list[tuple[Task, Stage, ActionChunk]] = []

    @property
    def predicts_motion(self) -> bool:
        return True

    def encode_task(self, observation: Observation, reference: ReferenceMotion) -> FlowTask:
        """Return the task of a reference. Raises as `Policy.encode_task` does."""
        _, first, last = self._asked(observation, reference)
        return FlowTask(torch.zeros(1, 1), first, last, reference=reference)

    def predict(
        self,
        observation: Observation,
        task: Task,
        *,
        sequence: int = 0,
        with_motion: bool = False,
        prefix: ActionChunk | None = None,
        history: History | None = None,
        keypoints: KeypointState | None = None,
    ) -> Prediction:
        """Search an action chunk.

        Args:
            keypoints: current places of the task's keypoints; the others are estimated as `Places` says.

        Raises:
            InputError: a ``prefix``, which this system lacks; a task that is of no reference; or as `Policy.predict`.
        """
        if prefix is not None:
            raise self._refused(f"prefix of {len(prefix.poses)} actions")
        start = time.perf_counter()
        percept = self._perceive(observation)
        points, reference = self._places.at(observation, task, keypoints), _reference(task)
        seen = time.perf_counter()
        first = self._nominal(observation, points, reference)
        is_planned = first.stage == "carry"
        scene = self._scene(percept) if is_planned or with_motion else None

        def moved(poses: np.ndarray) -> np.ndarray:
            assert scene is not None
            return self._moved(percept, scene, poses, first.gripper, points)

        poses = first.poses
        if is_planned:
            rng = np.random.default_rng([self.seed, sequence])
            settings = MppiConfig(samples=SAMPLES * self.config.num_samples, iterations=self.config.num_steps)
            starts = [poses, *self._last(observation, task, first)]
            poses = improved(starts, lambda p: left(moved(p)[:, -1], reference), settings, rng)
        chunk = self._chunk(poses, first.gripper, observation, sequence)
        self._remember(task, first.stage, chunk)
        motion = self._motion(moved(poses[None])[0], observation, task, sequence) if with_motion else None
        end = time.perf_counter()
        latency = {"points": seen - start, "model": end - seen, "total": end - start}
        return Prediction(chunk, motion, {k: 1e3 * v for k, v in latency.items()})

    def predict_candidates(
        self, observation: Observation, task: Task, count: int, *, sequence: int = 0
    ) -> list[ActionChunk]:
        """Draw ``count`` chunks around the nominal one, without a search. Raises as `Policy.predict_candidates`."""
        if not 1 <= count <= 256:
            raise InputError(f"candidates: {count}, must be 1 to 256")
        self._perceive(observation)
        first = self._nominal(observation, self._places.at(observation, task), _reference(task))
        drawn = perturbations(count, len(first.poses), MppiConfig(), np.random.default_rng([self.seed, sequence]))
        return [self._chunk(p, first.gripper, observation, sequence) for p in offset(first.poses, drawn)]

    def predict_motion(
        self,
        observation: Observation,
        task: Task,
        chunk: ActionChunk,
        *,
        sequence: int = 0,
        keypoints: KeypointState | None = None,
    ) -> MotionPrediction:
        """Predict the keypoints' motion under a chunk. Raises as `predict_motions` does."""
        return self.predict_motions(observation, task, [chunk], sequence=sequence, keypoints=keypoints)[0]

    def predict_motions(
        self,
        observation: Observation,
        task: Task,
        chunks: Sequence[ActionChunk],
        *,
        sequence: int = 0,
        keypoints: KeypointState | None = None,
        history: History | None = None,
    ) -> list[MotionPrediction]:
        """Predict the keypoints' motion under each of several chunks. Raises as `Policy.predict_motions` does."""
        if not len(task.keypoints):
            raise InputError("keypoints: 0, motion prediction needs a task from a reference motion")
        for chunk in chunks:
            if len(chunk.poses) != self.contract.horizon:
                raise InputError(f"chunk: {len(chunk.poses)} actions, must be {self.contract.horizon}")
            if chunk.frame != observation.camera.frame:
                raise InputError(f"chunk frame '{chunk.frame}': must be the camera's, '{observation.camera.frame}'")
        percept = self._perceive(observation)
        points = self._places.at(observation, task, keypoints)
        poses, gripper = np.stack([c.poses for c in chunks]), np.stack([c.gripper for c in chunks])
        moved = self._moved(percept, self._scene(percept), poses, gripper, points)
        return [self._motion(m, observation, task, sequence) for m in moved]

    # -- parts --

    @property
    def _encoder(self) -> ModelConfig:
        return self.model.config.uma

    @torch.no_grad()
    def _scene(self, percept: Percept) -> torch.Tensor:
        pose = torch.from_numpy(percept.T_frame_ee[None].astype(np.float32)).to(self.device)
        return self.model.encode(to_device(self.device, point_batch([percept])), pose)

    @torch.no_grad()
    def _moved(
        self, percept: Percept, scene: torch.Tensor, poses: np.ndarray, gripper: np.ndarray, points: np.ndarray
    ) -> np.ndarray:
        """Return places ``(N, H, K, 3)`` of ``points`` ``(K, 3)`` under chunks ``(N, H, 4, 4)``, in the camera frame.

        Args:
            gripper: ``(H,)`` of all chunks, or ``(N, H)``.
        """
        N, H = poses.shape[:2]
        now, origin = percept.T_frame_ee, percept.T_frame_ee[:3, 3]
        placed = np.concatenate([np.repeat(now[None, None], N, 0), percept.poses(poses)], 1)
        placed[..., :3, 3] -= origin
        opening = np.concatenate([np.full((N, 1), percept.gripper), np.broadcast_to(gripper, (N, H))], 1)
        hand = HandMotion(*(torch.from_numpy(v.astype(np.float32)).to(self.device) for v in (placed, opening)))
        asked = torch.from_numpy((percept.positions(points) - origin).astype(np.float32)).to(self.device)
        keys = torch.ones(N, len(points), dtype=torch.bool, device=self.device)
        moved = rollout(self.model, scene, hand, asked.expand(N, -1, -1), keys)
        return percept.positions_cam(moved.cpu().numpy().astype(np.float64) + origin)

    def _nominal(self, observation: Observation, points: np.ndarray, reference: ReferenceMotion) -> Nominal:
        return nominal(observation.T_cam_ee, observation.gripper, points, reference, self.contract.horizon)

    def _last(self, observation: Observation, task: Task, first: Nominal) -> list[np.ndarray]:
        """Return the last chunk from now on, its end held, if it is of the same task and stage."""
        for of, stage, chunk in reversed(self._chunks):
            age = observation.stamp - chunk.stamp
            shift = round(age * chunk.rate_hz)
            if of is task and stage == first.stage and 0 < age < FRESH_S and shift < len(chunk.poses):
                return [chunk.poses[np.minimum(np.arange(len(chunk.poses)) + shift, len(chunk.poses) - 1)]]
        return []

    def _remember(self, task: Task, stage: Stage, chunk: ActionChunk) -> None:
        """Keep the chunks of the last two observations, so that the same observation again gives the same chunk."""
        earlier = [entry for entry in self._chunks if entry[2].stamp < chunk.stamp]
        self._chunks = [*earlier[-1:], (task, stage, chunk)]

    def _motion(self, points: np.ndarray, observation: Observation, task: Task, sequence: int) -> MotionPrediction:
        error = float(np.linalg.norm(points[-1] - task.goals, axis=-1).mean())
        rate = self.contract.rate_hz
        return MotionPrediction(points, observation.stamp, observation.camera.frame, rate, sequence, error)


def _reference(task: Task) -> ReferenceMotion:
    reference = task.reference if isinstance(task, FlowTask) else None
    if reference is None:
        raise InputError("task: without a reference, must be encoded by this system")
    return reference
