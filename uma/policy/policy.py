"""The policy: a checkpoint answers observations with action chunks. Stateless between calls and reproducible."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from uma.checkpoint.bundle import Bundle, load_bundle
from uma.checkpoint.prompt import PromptError, load_prompt
from uma.model import flow
from uma.model.inputs import ACTION_DIM, decode_actions, encode_actions, point_set, reference_arrays
from uma.model.masks import pattern
from uma.model.uma import TokenGrid
from uma.policy.agreement import closest
from uma.policy.tensors import ee_batch, point_batch, reference_batch
from uma.types import ActionChunk, InputError, MotionPrediction, Observation, Prediction, ReferenceMotion


@dataclass(frozen=True)
class Task:
    """An encoded task: the tokens c and what they were made from.

    Attributes:
        tokens: ``(M, d)`` float32.
        keypoints: ``(K, 3)`` starts of the reference's keypoints in the camera frame, metres: which points a motion prediction is about.
            K is 0 where the task came as text or as a stored prompt.
        goals: ``(K, 3)`` their last valid waypoints.
    """

    tokens: torch.Tensor
    keypoints: np.ndarray
    goals: np.ndarray

    def zeroed(self) -> Task:
        """The task with its tokens zeroed: what the policy does when it is told nothing."""
        return Task(torch.zeros_like(self.tokens), self.keypoints, self.goals)


@dataclass(frozen=True)
class History:
    """Where the end effector was: ``poses`` ``(h, 4, 4)`` = T_cam_ee and ``gripper`` ``(h,)``, a period apart, the last one a period ago."""

    poses: np.ndarray
    gripper: np.ndarray


class Policy:
    """UMA at deployment (paper 3.4). Every answer is a function of (observation, task, seed, sequence) alone.

    An inference mode is a mask: each method says which tokens are given and asks the one sampler for the rest.

    Args:
        bundle: the checkpoint.
        seed: of the flow's starting noise.
        num_steps: steps of the flow.
        num_samples: chunks drawn.
        agreeing: share of them that is averaged, at least one: those that lie closest together (`uma.policy.agreement`).
        method: "euler" or "heun", which evaluates the model twice a step.
    """

    def __init__(self, bundle: Bundle, *, seed: int = 0, num_steps: int = 8, num_samples: int = 8, agreeing: float = 0.5, method: str = "euler"):
        if not 1 <= num_steps <= 200:
            raise InputError(f"num_steps: {num_steps}, must be 1 to 200")
        if not 1 <= num_samples <= 64:
            raise InputError(f"num_samples: {num_samples}, must be 1 to 64")
        if not 0 < agreeing <= 1:
            raise InputError(f"agreeing: {agreeing}, must be more than 0 and at most 1")
        if method not in flow.METHODS:
            raise InputError(f"method: {method!r}, must be one of {flow.METHODS}")
        self.bundle, self.model, self.contract = bundle, bundle.model, bundle.contract
        self.seed, self.num_steps, self.num_samples, self.agreeing, self.method = seed, num_steps, num_samples, agreeing, method

    @classmethod
    def load(
        cls,
        path: str | Path,
        *,
        seed: int = 0,
        num_steps: int = 8,
        num_samples: int = 8,
        agreeing: float = 0.5,
        method: str = "euler",
        threads: int | None = None,
    ) -> Policy:
        """Load a bundle; ``threads`` sets torch's thread count for this process.

        Raises:
            BundleError: see `load_bundle`.
        """
        if threads:
            torch.set_num_threads(threads)
        return cls(load_bundle(path), seed=seed, num_steps=num_steps, num_samples=num_samples, agreeing=agreeing, method=method)

    @property
    def checkpoint_id(self) -> str:
        """Head of the weights' SHA-256."""
        return self.bundle.checkpoint_id

    # -- tasks: three sources of the same M tokens ----------------------------------------------------------------------------

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
        tokens = self.model.encode_task(self._points(observation), reference_batch([reference_arrays(reference)]))[0]
        first = np.array([w[v][0] for w, v in zip(reference.waypoints, reference.is_valid, strict=True)])
        last = np.array([w[v][-1] for w, v in zip(reference.waypoints, reference.is_valid, strict=True)])
        return Task(tokens, first, last)

    @property
    def takes_instructions(self) -> bool:
        """Whether this checkpoint has a language encoder."""
        return self.model.language_encoder is not None

    @torch.no_grad()
    def encode_instruction(self, text: str) -> Task:
        """c = h_omega(text) (paper D.1). It does not depend on the scene.

        Raises:
            InputError: this checkpoint has no language encoder, or the text is empty or too long.
        """
        if not self.takes_instructions:
            raise InputError(f"instruction {text[:80]!r}: this checkpoint ({self.checkpoint_id}) has no language encoder; give it a reference motion")
        return Task(self.model.encode_instruction([text])[0], np.zeros((0, 3)), np.zeros((0, 3)))

    def load_prompt(self, path: str | Path) -> Task:
        """A task from a prompt file that `uma adapt` wrote for this checkpoint (paper Eq. 7).

        Raises:
            InputError: no prompt, or one for other weights.
        """
        try:
            prompt = load_prompt(path)
        except PromptError as e:
            raise InputError(str(e)) from e
        if prompt.checkpoint_id != self.checkpoint_id:
            raise InputError(f"prompt {path}: made for checkpoint {prompt.checkpoint_id}, this is {self.checkpoint_id}")
        config = self.model.config
        if prompt.tokens.shape != (config.task_tokens, config.width):
            raise InputError(f"prompt {path}: tokens of shape {tuple(prompt.tokens.shape)}, must be {(config.task_tokens, config.width)}")
        return Task(prompt.tokens, np.zeros((0, 3)), np.zeros((0, 3)))

    # -- the modes ------------------------------------------------------------------------------------------------------------

    def predict(
        self,
        observation: Observation,
        task: Task,
        *,
        sequence: int = 0,
        with_motion: bool = False,
        prefix: ActionChunk | None = None,
        history: History | None = None,
    ) -> Prediction:
        """Draw an action chunk (control, paper Eq. 5), with the object motion it goes with if ``with_motion`` (joint).

        Args:
            observation: o_t.
            sequence: counter that varies the noise; the same one gives the same answer.
            prefix: actions already committed, in the camera frame and at this chunk's times; they are given to the model
                and come first in the chunk.
            history: for checkpoints that take one.

        Raises:
            InputError: the image shows no scene, the prefix is longer than a chunk, or the history has another length than the checkpoint's.
        """
        committed = 0 if prefix is None else len(prefix.poses)
        if committed >= self.contract.horizon:
            raise InputError(f"prefix: {committed} actions, must be fewer than the chunk's {self.contract.horizon}")
        K = len(task.keypoints) if with_motion else 0
        given = [] if prefix is None else [prefix]
        action, motion, latency = self._run(observation, task, sequence, K, action_target=True, motion_target=True, given=given, history=history)
        kept = self._agreeing(action[0])
        chunk = self._chunk(action[0][kept].mean(0), observation, sequence, prefix)
        return Prediction(chunk, self._motion(motion[0][kept].mean(0), observation, task, sequence) if with_motion and K else None, latency)

    def predict_candidates(self, observation: Observation, task: Task, count: int, *, sequence: int = 0) -> list[ActionChunk]:
        """``count`` chunks drawn independently in control mode, in one batch.

        Raises:
            InputError: ``count`` is not 1 to 256, or the image shows no scene.
        """
        if not 1 <= count <= 256:
            raise InputError(f"candidates: {count}, must be 1 to 256")
        action, _, _ = self._run(observation, task, sequence, 0, action_target=True, motion_target=True, samples=count)
        return [self._chunk(a, observation, sequence, None) for a in action[0]]

    def predict_motion(self, observation: Observation, task: Task, chunk: ActionChunk, *, sequence: int = 0) -> MotionPrediction:
        """The motion that a chunk would cause from here (dynamics, paper Eq. 6). Raises as `predict_motions` does."""
        return self.predict_motions(observation, task, [chunk], sequence=sequence)[0]

    def predict_motions(self, observation: Observation, task: Task, chunks: Sequence[ActionChunk], *, sequence: int = 0) -> list[MotionPrediction]:
        """The motion that each of several chunks would cause, in one batch and from the same noise.

        Raises:
            InputError: the task has no keypoints, a chunk has another length or frame than this checkpoint's, or the image shows no scene.
        """
        if not len(task.keypoints):
            raise InputError("keypoints: 0, a motion is predicted of the keypoints of a reference motion and this task came without")
        for chunk in chunks:
            if len(chunk.poses) != self.contract.horizon:
                raise InputError(f"chunk: {len(chunk.poses)} actions, must be {self.contract.horizon}")
            if chunk.frame != observation.camera.frame:
                raise InputError(f"chunk frame '{chunk.frame}': must be the camera's, '{observation.camera.frame}'")
        _, motion, _ = self._run(observation, task, sequence, len(task.keypoints), action_target=False, motion_target=True, given=chunks)
        return [self._motion(m.mean(0), observation, task, sequence) for m in motion]

    def predict_actions(self, observation: Observation, task: Task, points: np.ndarray, *, sequence: int = 0) -> ActionChunk:
        """The chunk that moves the task's keypoints along ``points`` (inverse): given motion, predicted actions.

        Args:
            points: ``(H + 1, K, 3)`` metres in the camera frame: where the keypoints are now and at the steps of the chunk.

        Raises:
            InputError: ``points`` has another shape or is not finite, or the image shows no scene.
        """
        points = np.asarray(points, np.float64)
        shape = (self.contract.horizon + 1, len(task.keypoints), 3)
        if points.shape != shape or not len(task.keypoints) or not np.isfinite(points).all():
            raise InputError(f"points: shape {points.shape}, must be finite and {shape} with at least one keypoint")
        action, _, _ = self._run(observation, task, sequence, shape[1], action_target=True, motion_target=False, points=points)
        return self._chunk(action[0][self._agreeing(action[0])].mean(0), observation, sequence, None)

    def _agreeing(self, action: np.ndarray) -> np.ndarray:
        return closest(action, math.ceil(self.agreeing * len(action)))

    # -- the sampler ----------------------------------------------------------------------------------------------------------

    def _points(self, observation: Observation):
        return point_batch([point_set(observation, self.model.config.points)], [observation] if self.model.config.image.kind != "none" else None)

    def _chunk(self, action: np.ndarray, observation: Observation, sequence: int, prefix: ActionChunk | None) -> ActionChunk:
        poses, gripper = decode_actions(action, observation.T_cam_ee, self.model.normalization)
        committed = 0 if prefix is None else len(prefix.poses)
        if prefix is not None:
            poses[:committed], gripper[:committed] = prefix.poses, prefix.gripper
        return ActionChunk(poses, gripper, observation.stamp, observation.camera.frame, self.contract.ee_frame, self.contract.rate_hz, sequence, committed)

    def _motion(self, motion: np.ndarray, observation: Observation, task: Task, sequence: int) -> MotionPrediction:
        points = motion * self.model.normalization.local_scale + observation.T_cam_ee[:3, 3]
        error = float(np.linalg.norm(points[-1] - task.goals, axis=-1).mean())
        return MotionPrediction(points, observation.stamp, observation.camera.frame, self.contract.rate_hz, sequence, error)

    @torch.no_grad()
    def _run(
        self,
        observation: Observation,
        task: Task,
        sequence: int,
        K: int,
        *,
        action_target: bool,
        motion_target: bool,
        given: Sequence[ActionChunk] = (),
        points: np.ndarray | None = None,
        history: History | None = None,
        samples: int = 0,
    ) -> tuple[np.ndarray, np.ndarray, dict[str, float]]:
        """Sample the targets of a mask.

        Args:
            K: motion tokens a step.
            given: one chunk of given actions per candidate, all of one length; none = one candidate.
            points: given motion, as in `predict_actions`.
            samples: draws per candidate; 0 = `num_samples`.

        Returns:
            Normalised actions ``(N, S, H, 10)`` and motion ``(N, S, H, K, 3)`` of N candidates, and milliseconds by stage.
        """
        start = time.perf_counter()
        norm, H = self.model.normalization, self.contract.horizon
        cloud = self._points(observation)
        t_points = time.perf_counter()
        T_cam_ee = observation.T_cam_ee
        cache = self.model.prepare_context(cloud, ee_batch(T_cam_ee[None], np.array([observation.gripper])), task.tokens[None])
        N, S = max(1, len(given)), samples or self.num_samples
        cache = [[(k.expand(N * S, -1, -1, -1), v.expand(N * S, -1, -1, -1)) for k, v in block] for block in cache]
        t_context = time.perf_counter()

        past = 0 if history is None else len(history.poses)
        if past not in (0, self.model.config.history):
            raise InputError(f"history: {past} steps, this checkpoint takes {self.model.config.history}")
        prefix = len(given[0].poses) if given else 0
        T = past + 1 + H
        action = np.zeros((N, T, ACTION_DIM), np.float32)
        if history is not None:
            action[:, :past] = encode_actions(history.poses, history.gripper, T_cam_ee, norm, states=past)
        action[:, past] = encode_actions(T_cam_ee[None], np.array([observation.gripper]), T_cam_ee, norm, states=1)[0]
        for n, chunk in enumerate(given):
            action[n, past + 1 : past + 1 + prefix] = encode_actions(chunk.poses, chunk.gripper, T_cam_ee, norm)
        motion = np.zeros((T, K, 3), np.float32)
        if points is not None:
            motion[past:] = (points - T_cam_ee[:3, 3]) / norm.local_scale
        identity = torch.from_numpy(((task.keypoints[:K] - T_cam_ee[:3, 3]) / norm.local_scale).astype(np.float32))
        rows = N * S
        grid = TokenGrid(
            torch.from_numpy(action).repeat_interleave(S, 0), torch.from_numpy(motion).expand(rows, -1, -1, -1), identity.expand(rows, -1, -1),
            torch.ones(rows, K, dtype=torch.bool),
        )  # fmt: skip
        mask = pattern(rows, T, K, action_target=action_target, motion_target=motion_target, prefix=prefix if action_target else 0, history=past)
        generator = torch.Generator().manual_seed((self.seed * 1_000_003 + sequence) % (1 << 62))
        noise = (torch.randn(S, H + 1, ACTION_DIM, generator=generator), torch.randn(S, H + 1, K, 3, generator=generator))
        # Candidates share their noise, so that they differ by what they are and not by luck. The past is given: its noise is never used.
        noise = tuple(torch.cat([v.new_zeros(S, past, *v.shape[2:]), v], 1).repeat(N, *[1] * (v.dim() - 1)) for v in noise)
        a, x = self.model.sample(grid, mask, cache, noise, self.num_steps, self.method)
        result = (v.unflatten(0, (N, S)).numpy()[:, :, past + 1 :] for v in (a, x))
        end = time.perf_counter()
        latency = {"points": t_points - start, "context": t_context - t_points, "flow": end - t_context, "total": end - start}
        return *result, {k: 1e3 * v for k, v in latency.items()}
