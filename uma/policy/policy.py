"""The policy: a checkpoint answers observations with action chunks. Stateless between calls and reproducible."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from uma.checkpoint.bundle import Bundle, load_bundle
from uma.model.inputs import ACTION_DIM, decode_actions, encode_actions, point_set, reference_arrays
from uma.model.masks import pattern
from uma.model.uma import TokenGrid
from uma.policy.tensors import ee_batch, point_batch, reference_batch
from uma.types import ActionChunk, InputError, MotionPrediction, Observation, Prediction, ReferenceMotion


@dataclass(frozen=True)
class Task:
    """An encoded task: the tokens c and what they were made from.

    Attributes:
        tokens: ``(M, d)`` float32.
        keypoints: ``(K, 3)`` starts of the reference's keypoints in the camera frame, metres: which points a motion prediction is about.
        goals: ``(K, 3)`` their last valid waypoints.
    """

    tokens: torch.Tensor
    keypoints: np.ndarray
    goals: np.ndarray

    def zeroed(self) -> Task:
        """The task with its tokens zeroed: what the policy does when it is told nothing."""
        return Task(torch.zeros_like(self.tokens), self.keypoints, self.goals)


class Policy:
    """UMA at deployment (paper 3.4). Every answer is a function of (observation, task, seed, sequence) alone.

    Args:
        bundle: the checkpoint.
        seed: of the flow's starting noise.
        num_steps: Euler steps.
        num_samples: chunks drawn and averaged; the average is steadier than one draw near contact.
    """

    def __init__(self, bundle: Bundle, *, seed: int = 0, num_steps: int = 8, num_samples: int = 4):
        if not 1 <= num_steps <= 200:
            raise InputError(f"num_steps: {num_steps}, must be 1 to 200")
        if not 1 <= num_samples <= 64:
            raise InputError(f"num_samples: {num_samples}, must be 1 to 64")
        self.bundle, self.model, self.contract = bundle, bundle.model, bundle.contract
        self.seed, self.num_steps, self.num_samples = seed, num_steps, num_samples

    @classmethod
    def load(cls, path: str | Path, *, seed: int = 0, num_steps: int = 8, num_samples: int = 4, threads: int | None = None) -> Policy:
        """Load a bundle; ``threads`` sets torch's thread count for this process.

        Raises:
            BundleError: see `load_bundle`.
        """
        if threads:
            torch.set_num_threads(threads)
        return cls(load_bundle(path), seed=seed, num_steps=num_steps, num_samples=num_samples)

    @property
    def checkpoint_id(self) -> str:
        """Head of the weights' SHA-256."""
        return self.bundle.checkpoint_id

    @torch.no_grad()
    def encode_task(self, observation: Observation, reference: ReferenceMotion) -> Task:
        """c = h_psi(o_0, x*) (paper Eq. 3).

        Args:
            observation: o_0, the scene as it was when the reference was given.
            reference: in the same camera frame.

        Raises:
            InputError: the reference is in another frame, has too many keypoints, or the image shows no scene.
        """
        if reference.frame != observation.camera.frame:
            raise InputError(f"reference frame '{reference.frame}': must be the camera's, '{observation.camera.frame}'")
        K = len(reference.waypoints)
        if K > self.contract.max_keypoints:
            raise InputError(f"keypoints: {K} given, this checkpoint takes at most {self.contract.max_keypoints}")
        points = point_batch([point_set(observation, self.model.config.points)])
        tokens = self.model.encode_task(points, reference_batch([reference_arrays(reference)]))[0]
        first = np.array([w[v][0] for w, v in zip(reference.waypoints, reference.is_valid, strict=True)])
        last = np.array([w[v][-1] for w, v in zip(reference.waypoints, reference.is_valid, strict=True)])
        return Task(tokens, first, last)

    def predict(self, observation: Observation, task: Task, *, sequence: int = 0, with_motion: bool = False, prefix: ActionChunk | None = None) -> Prediction:
        """Draw an action chunk (paper Eq. 5), with the object motion it goes with if ``with_motion`` (joint mode).

        Args:
            observation: o_t.
            sequence: counter that varies the noise; the same one gives the same answer.
            prefix: actions already committed, in the camera frame and at this chunk's times; they are given to the model
                and come first in the chunk.

        Raises:
            InputError: the image shows no scene, or the prefix is longer than a chunk.
        """
        committed = 0 if prefix is None else len(prefix.poses)
        if committed >= self.contract.horizon:
            raise InputError(f"prefix: {committed} actions, must be fewer than the chunk's {self.contract.horizon}")
        K = len(task.keypoints) if with_motion else 0
        action, motion, latency = self._run(observation, task, sequence, K, action_target=True, motion_target=True, given=prefix)
        poses, gripper = decode_actions(action, observation.T_cam_ee, self.model.normalization)
        if prefix is not None:
            poses[:committed], gripper[:committed] = prefix.poses, prefix.gripper
        chunk = ActionChunk(poses, gripper, observation.stamp, observation.camera.frame, self.contract.ee_frame, self.contract.rate_hz, sequence, committed)
        return Prediction(chunk, self._motion(motion, observation, task, sequence) if with_motion else None, latency)

    def predict_motion(self, observation: Observation, task: Task, chunk: ActionChunk, *, sequence: int = 0) -> MotionPrediction:
        """The motion that a chunk would cause from here (dynamics mode, paper Eq. 6).

        Raises:
            InputError: the chunk has another length or frame than this checkpoint's, or the image shows no scene.
        """
        if len(chunk.poses) != self.contract.horizon:
            raise InputError(f"chunk: {len(chunk.poses)} actions, must be {self.contract.horizon}")
        if chunk.frame != observation.camera.frame:
            raise InputError(f"chunk frame '{chunk.frame}': must be the camera's, '{observation.camera.frame}'")
        _, motion, _ = self._run(observation, task, sequence, len(task.keypoints), action_target=False, motion_target=True, given=chunk)
        return self._motion(motion, observation, task, sequence)

    def _motion(self, motion: np.ndarray, observation: Observation, task: Task, sequence: int) -> MotionPrediction:
        points = motion[1:] * self.model.normalization.local_scale + observation.T_cam_ee[:3, 3]
        error = float(np.linalg.norm(points[-1] - task.goals, axis=-1).mean())
        return MotionPrediction(points, observation.stamp, observation.camera.frame, self.contract.rate_hz, sequence, error)

    @torch.no_grad()
    def _run(
        self, observation: Observation, task: Task, sequence: int, K: int, *, action_target: bool, motion_target: bool, given: ActionChunk | None
    ) -> tuple[np.ndarray, np.ndarray, dict[str, float]]:
        """Normalised actions ``(H, 10)`` and motion ``(T, K, 3)``, averaged over the samples, and milliseconds by stage."""
        start = time.perf_counter()
        norm, H = self.model.normalization, self.contract.horizon
        points = point_batch([point_set(observation, self.model.config.points)])
        t_points = time.perf_counter()
        T_cam_ee = observation.T_cam_ee
        ee = ee_batch(T_cam_ee[None], np.array([observation.gripper]))
        cache = self.model.prepare_context(points, ee, task.tokens[None])
        S = self.num_samples
        cache = [[(k.expand(S, -1, -1, -1), v.expand(S, -1, -1, -1)) for k, v in block] for block in cache]
        t_context = time.perf_counter()

        action = np.zeros((H + 1, ACTION_DIM), np.float32)
        action[0] = encode_actions(T_cam_ee[None], np.array([observation.gripper]), T_cam_ee, norm)[0]
        prefix = 0
        if given is not None:
            prefix = len(given.poses)
            action[1 : 1 + prefix] = encode_actions(given.poses, given.gripper, T_cam_ee, norm)
        identity = torch.from_numpy(((task.keypoints[:K] - T_cam_ee[:3, 3]) / norm.local_scale).astype(np.float32))
        grid = TokenGrid(
            torch.from_numpy(action).expand(S, -1, -1), torch.zeros(S, H + 1, K, 3), identity.expand(S, -1, -1), torch.ones(S, K, dtype=torch.bool)
        )
        mask = pattern(S, H + 1, K, action_target=action_target, motion_target=motion_target, prefix=prefix if action_target else 0)
        generator = torch.Generator().manual_seed((self.seed * 1_000_003 + sequence) % (1 << 62))
        noise = (torch.randn(S, H + 1, ACTION_DIM, generator=generator), torch.randn(S, H + 1, K, 3, generator=generator))
        a, x = self.model.sample(grid, mask, cache, noise, self.num_steps)
        result = a.mean(0).numpy()[1:], x.mean(0).numpy()
        end = time.perf_counter()
        latency = {"points": t_points - start, "context": t_context - t_points, "flow": end - t_context, "total": end - start}
        return *result, {k: 1e3 * v for k, v in latency.items()}
