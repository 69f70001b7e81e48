"""The policy: predicts action chunks from observations with a checkpoint. Stateless between calls, reproducible."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from uma.checkpoint.bundle import Bundle, built, load_bundle
from uma.checkpoint.folder import Stored
from uma.checkpoint.prompt import Prompt, PromptError, load_prompt
from uma.model.batches import point_batch, reference_batch
from uma.model.inputs import ACTION_DIM, PointSet, decode_actions, reference_arrays
from uma.model.percept import Percept, perceive, unprepared
from uma.policy import plausible
from uma.policy.modes import MODES
from uma.policy.query import History, Query, Task, end_waypoints, inputs
from uma.policy.sampler import Sampler, Samples
from uma.policy.sampling import SamplerConfig
from uma.types import (
    ActionChunk,
    Grasp,
    InputError,
    KeypointState,
    MotionPrediction,
    Observation,
    Prediction,
    ReferenceMotion,
)

__all__ = ["History", "Policy", "SamplerConfig", "Task"]


class Policy:
    """UMA at deployment (paper 3.4). Every prediction depends on (observation, task, seed, sequence) only.

    Inputs and predictions are in the camera frame. The model works in the bundle's policy frame (`uma.model.frame`).

    Args:
        bundle: the checkpoint.
        seed: of the flow's initial noise.
        sampler: configuration of the sampler. Keyword arguments with the names of `SamplerConfig` override it.
    """

    def __init__(self, bundle: Bundle, *, seed: int = 0, sampler: SamplerConfig | None = None, **settings: Any):
        self.bundle, self.model, self.contract, self.seed = bundle, bundle.model, bundle.contract, seed
        self.config = replace(sampler or SamplerConfig(), **settings)

    @classmethod
    def load(cls, path: str | Path, *, threads: int | None = None, **settings: Any) -> Policy:
        """Load a bundle.

        Args:
            threads: torch's thread count in this process; None = unchanged.
            settings: arguments of the constructor.

        Raises:
            BundleError: see `load_bundle`.
        """
        if threads:
            torch.set_num_threads(threads)
        return cls(load_bundle(path), **settings)

    @classmethod
    def of(cls, stored: Stored, **settings: Any) -> Policy:
        """Build the policy from a bundle's files.

        Raises:
            BundleError: the weights do not fit the configuration.
        """
        return cls(built(stored), **settings)

    def twin(self, **settings: Any) -> Policy:
        """Return a policy with the same weights and contract, and other ``settings`` of the constructor."""
        twin = type(self)(self.bundle, **settings)
        twin.contract = self.contract
        return twin

    @property
    def config(self) -> SamplerConfig:
        """The sampler's configuration. A change takes effect with the next prediction."""
        return self._config

    @config.setter
    def config(self, config: SamplerConfig) -> None:
        old = getattr(self, "_config", None)
        self._config = config
        if old is None or (old.device, old.precision, old.compile) != (config.device, config.precision, config.compile):
            self._sampler = Sampler(self.model, config)
        self._sampler.config = config

    @property
    def checkpoint_id(self) -> str:
        """First digits of the weights' SHA-256."""
        return self.bundle.checkpoint_id

    # -- tasks: three sources of the same M tokens --

    def encode_task(self, observation: Observation, reference: ReferenceMotion) -> Task:
        """c = h_psi(o_0, x*) (paper Eq. 3).

        Args:
            observation: o_0, the scene at the time of the reference.
            reference: in the same camera frame.

        Raises:
            InputError: the reference is in another frame, has too many keypoints or starts away from every visible
                point; the observation is implausible (`uma.policy.plausible`), or the policy frame is unknown.
        """
        plausible.check_reference(reference, observation, self.contract.max_keypoints)
        percept = self.perceive(observation, prepare=True)
        first, last = end_waypoints(reference.waypoints, reference.is_valid)
        plausible.check_starts(first, percept.positions_cam(percept.cloud.xyz.astype(np.float64)))
        arrays = reference_arrays(percept.reference(reference))
        tokens = self._sampler.encode_task(point_batch([percept]), reference_batch([arrays]))[0]
        return Task(tokens, first, last, Grasp(observation.T_cam_ee, observation.stamp))

    @property
    def predicts_motion(self) -> bool:
        """Whether this checkpoint predicts object motion."""
        return True

    @property
    def takes_instructions(self) -> bool:
        """Whether this checkpoint has a language encoder."""
        return self.model.language_encoder is not None

    @torch.no_grad()
    def encode_instruction(self, text: str, observation: Observation | None = None) -> Task:
        """c = h_omega(text) (paper D.1), or h_omega(text, o_0) for a checkpoint with ``language.scene``.

        Args:
            observation: o_0, the scene that the text speaks of.

        Raises:
            InputError: this checkpoint has no language encoder, the text is empty or too long, or the checkpoint needs
                an observation and there is none, or an implausible one.
        """
        if not self.takes_instructions:
            raise InputError(
                f"instruction {text[:80]!r}: this checkpoint ({self.checkpoint_id}) has no language encoder; "
                "send a reference motion instead"
            )
        points = None
        if self.model.grounding is not None:
            if observation is None:
                raise InputError(f"instruction {text[:80]!r}: no image yet, this checkpoint needs one")
            points = point_batch([self.perceive(observation, prepare=True)])
        tokens = self._sampler.encode_instruction(text, points)[0]
        return Task(tokens, np.zeros((0, 3)), np.zeros((0, 3)))

    def check_prompt(self, path: str | Path) -> Prompt:
        """Read a prompt file of `uma adapt`.

        Raises:
            InputError: not a prompt, or one for other weights.
        """
        try:
            prompt = load_prompt(path)
        except PromptError as e:
            raise InputError(str(e)) from e
        if prompt.checkpoint_id != self.checkpoint_id:
            raise InputError(f"prompt {path}: made for checkpoint {prompt.checkpoint_id}, this is {self.checkpoint_id}")
        config = self.model.config
        if prompt.tokens.shape != (config.task_tokens, config.task_width):
            raise InputError(
                f"prompt {path}: tokens of shape {tuple(prompt.tokens.shape)}, must be "
                f"{(config.task_tokens, config.task_width)}"
            )
        if prompt.in_scene and self.model.grounding is None:
            raise InputError(f"prompt {path}: needs a scene, this checkpoint has no language.scene")
        return prompt

    @torch.no_grad()
    def load_prompt(self, path: str | Path, observation: Observation | None = None) -> Task:
        """Load a task from a prompt file of `uma adapt` for this checkpoint (paper Eq. 7).

        Args:
            observation: o_0, the scene that the prompt is used in. Prompts that began at a text need it if the
                checkpoint has ``language.scene``.

        Raises:
            InputError: see `check_prompt`; or there is no observation, or an implausible one, where one is needed.
        """
        prompt = self.check_prompt(path)
        tokens = prompt.tokens
        if prompt.in_scene:
            if observation is None:
                raise InputError(f"prompt {path}: no image yet, this prompt needs one")
            points = point_batch([self.perceive(observation, prepare=True)])
            tokens = self._sampler.in_scene(tokens, points)[0]
        return Task(tokens, np.zeros((0, 3)), np.zeros((0, 3)))

    # -- the modes -----------------------------------------------------------------------------------------------------

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
        """Draw an action chunk (control, paper Eq. 5), with its object motion if ``with_motion`` (joint).

        Args:
            observation: o_t.
            sequence: counter that varies the noise; equal values give equal predictions.
            prefix: committed actions in the camera frame at this chunk's times; the model receives them as given, and
                the chunk starts with them.
            history: past states, for checkpoints with history.
            keypoints: current positions of the task's keypoints, for ``with_motion``.

        Raises:
            InputError: the image shows no scene, the prefix fills the chunk, or another input does not fit.
        """
        start = time.perf_counter()
        committed = 0 if prefix is None else len(prefix.poses)
        if committed >= self.contract.horizon:
            raise InputError(f"prefix: {committed} actions, must be fewer than the chunk's {self.contract.horizon}")
        K = len(task.keypoints) if with_motion else 0
        tracked = None if keypoints is None or not K else keypoints.checked(K)
        percept = self.perceive(observation)
        seen = time.perf_counter()
        given = () if prefix is None else (prefix,)
        query = Query(percept, task, MODES["joint" if K else "control"], given, tracked=tracked, history=history)
        samples = self._draw([query], sequence)
        chunk = self._chunk(samples.action[0, 0], percept, observation, sequence, prefix)
        motion = self._motion(samples.motion[0, 0], percept, observation, task, sequence) if K else None
        end = time.perf_counter()
        latency = {"points": seen - start, "model": end - seen, "total": end - start}
        return Prediction(chunk, motion, {k: 1e3 * v for k, v in latency.items()})

    def predict_batch(
        self, observations: Sequence[Observation], tasks: Sequence[Task], *, sequence: int = 0
    ) -> list[ActionChunk]:
        """Draw the chunks of several observations, each with its task, in one batch (control).

        Raises:
            InputError: the numbers of observations and tasks differ or are 0, or as `predict`.
        """
        if len(observations) != len(tasks) or not len(tasks):
            raise InputError(f"observations: {len(observations)} for {len(tasks)} tasks, must be equal and at least 1")
        queries = [
            Query(self.perceive(o, prepare=True), t, MODES["control"]) for o, t in zip(observations, tasks, strict=True)
        ]
        action = self._draw(queries, sequence).action
        return [
            self._chunk(a[0], q.percept, o, sequence, None)
            for a, q, o in zip(action, queries, observations, strict=True)
        ]

    def predict_candidates(
        self, observation: Observation, task: Task, count: int, *, sequence: int = 0
    ) -> list[ActionChunk]:
        """Draw ``count`` independent chunks in control mode, in one batch.

        Raises:
            InputError: ``count`` is not 1 to 256, or the image shows no scene.
        """
        if not 1 <= count <= 256:
            raise InputError(f"candidates: {count}, must be 1 to 256")
        percept = self.perceive(observation)
        drawn = self._draw([Query(percept, task, MODES["control"])], sequence, samples=count).all_actions[0, 0]
        return [self._chunk(a, percept, observation, sequence, None) for a in drawn]

    def predict_motion(
        self,
        observation: Observation,
        task: Task,
        chunk: ActionChunk,
        *,
        sequence: int = 0,
        keypoints: KeypointState | None = None,
    ) -> MotionPrediction:
        """Predict the object motion of a chunk (dynamics, paper Eq. 6). Raises as `predict_motions` does."""
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
        """Predict the object motion of each of several chunks, in one batch and from the same noise.

        Args:
            keypoints: current positions of the task's keypoints; None = the model infers them from the cloud.
            history: past states, for checkpoints with history.

        Raises:
            InputError: the task has no keypoints, a chunk's length or frame does not fit, or the image shows no scene.
        """
        K = len(task.keypoints)
        if not K:
            raise InputError("keypoints: 0, motion prediction needs a task from a reference motion")
        for chunk in chunks:
            if len(chunk.poses) != self.contract.horizon:
                raise InputError(f"chunk: {len(chunk.poses)} actions, must be {self.contract.horizon}")
            if chunk.frame != observation.camera.frame:
                raise InputError(f"chunk frame '{chunk.frame}': must be the camera's, '{observation.camera.frame}'")
        percept = self.perceive(observation)
        tracked = None if keypoints is None else keypoints.checked(K)
        query = Query(percept, task, MODES["dynamics"], tuple(chunks), tracked=tracked, history=history)
        return [self._motion(m, percept, observation, task, sequence) for m in self._draw([query], sequence).motion[0]]

    def predict_actions(
        self,
        observation: Observation,
        task: Task,
        points: np.ndarray,
        *,
        sequence: int = 0,
        is_visible: np.ndarray | None = None,
    ) -> ActionChunk:
        """Predict the chunk that moves the task's keypoints along ``points`` (inverse): actions from given motion.

        Args:
            points: ``(H + 1, K, 3)`` metres in the camera frame: keypoint positions now and at the chunk's steps.
            is_visible: ``(H + 1, K)`` bool, known positions; the others are predicted too. None = all.

        Raises:
            InputError: ``points`` or ``is_visible`` has another shape, a known point is not finite, or the image shows
                no scene.
        """
        points = np.asarray(points, np.float64)
        shape = (self.contract.horizon + 1, len(task.keypoints), 3)
        seen = np.ones(shape[:2], bool) if is_visible is None else np.asarray(is_visible, bool)
        if seen.shape != shape[:2]:
            raise InputError(f"is_visible: shape {seen.shape}, must be {shape[:2]}")
        if points.shape != shape or not len(task.keypoints) or not np.isfinite(points[seen]).all():
            raise InputError(f"points: shape {points.shape}, must be finite and {shape} with at least one keypoint")
        percept = self.perceive(observation)
        query = Query(percept, task, MODES["inverse"], points=points, is_visible=seen)
        return self._chunk(self._draw([query], sequence).action[0, 0], percept, observation, sequence, None)

    def warm_up(self, keypoints: int = 0, *, action_target: bool = True) -> None:
        """Predict once from dummy inputs of one shape: compiles it and captures its CUDA graph.

        Args:
            keypoints: motion tokens per step.
            action_target: False for dynamics.
        """
        c, config = self.contract, self.model.config
        N = config.points.total
        cloud = PointSet(
            np.random.default_rng(0).normal(0, 0.2, (N, 3)).astype(np.float32),
            np.zeros((N, 3), np.uint8),
            np.zeros(N, np.float32),
        )
        image = (
            np.zeros((config.image.height, config.image.width, 3), np.uint8) if config.image.kind != "none" else None
        )
        percept = Percept(
            cloud, np.eye(4), np.eye(4), 0.0, "", image, None if image is None else np.zeros((N, 2), np.float32)
        )
        task = Task(
            torch.zeros(config.task_tokens, config.task_width), np.zeros((keypoints, 3)), np.zeros((keypoints, 3))
        )
        still = ActionChunk(np.repeat(np.eye(4)[None], c.horizon, 0), np.zeros(c.horizon), 0.0, "camera", c.ee_frame)
        mode = MODES["joint" if action_target else "dynamics"]
        self._draw([Query(percept, task, mode, () if action_target else (still,))], 0)

    # -- from an observation to tokens and back --

    def perceive(self, observation: Observation, *, prepare: bool = False) -> Percept:
        """Return the observation in the policy frame.

        Args:
            prepare: draw the cloud here even if the sampler could do so on its device.

        Raises:
            InputError: as `uma.model.percept.perceive`, or the observation is implausible.
        """
        plausible.check_depth(observation)
        plausible.check_end_effector(observation)
        frame = self.contract.policy_frame
        if self._sampler.prepares_images and not prepare and frame.kind != "table":
            return unprepared(observation, frame)
        return perceive(observation, self.model.config, self.contract.policy_frame)

    def _draw(self, queries: Sequence[Query], sequence: int, samples: int = 0) -> Samples:
        """Sample the queries, ``samples`` per candidate (0 = as configured), and return the steps of the chunk."""
        S, H = samples or self.config.num_samples, self.contract.horizon
        K = queries[0].keypoints
        generator = torch.Generator().manual_seed((self.seed * 1_000_003 + sequence) % (1 << 62))
        # Candidates share their noise, so that they differ only by their actions.
        noise = (
            torch.randn(S, H + 1, ACTION_DIM, generator=generator),
            torch.randn(S, H + 1, K, 3, generator=generator),
        )
        drawn = self._sampler(inputs(queries, self.model.config, self.model.normalization, noise))
        return Samples(drawn.action[:, :, -H:], drawn.motion[:, :, -H:], drawn.all_actions[:, :, :, -H:])

    def _chunk(
        self,
        action: torch.Tensor,
        percept: Percept,
        observation: Observation,
        sequence: int,
        prefix: ActionChunk | None,
    ) -> ActionChunk:
        poses, gripper = decode_actions(action.numpy(), percept.T_frame_ee, self.model.normalization)
        poses = percept.poses_cam(poses)
        committed = 0 if prefix is None else len(prefix.poses)
        if prefix is not None:
            poses[:committed], gripper[:committed] = prefix.poses, prefix.gripper
        c = self.contract
        return ActionChunk(
            poses,
            gripper,
            observation.stamp,
            observation.camera.frame,
            c.ee_frame,
            c.rate_hz,
            sequence,
            committed,
            c.policy_frame.kind,
        )

    def _motion(
        self, motion: torch.Tensor, percept: Percept, observation: Observation, task: Task, sequence: int
    ) -> MotionPrediction:
        points = percept.positions_cam(
            motion.double().numpy() * self.model.normalization.local_scale + percept.T_frame_ee[:3, 3]
        )
        error = float(np.linalg.norm(points[-1] - task.goals, axis=-1).mean())
        return MotionPrediction(
            points, observation.stamp, observation.camera.frame, self.contract.rate_hz, sequence, error
        )
