"""Queries of the model as token arrays: given values and targets (paper Eq. 1)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from uma.geometry import se3
from uma.model.batches import ee_batch, point_batch
from uma.model.config import ModelConfig
from uma.model.inputs import ACTION_DIM, Normalization, encode_actions
from uma.model.percept import Percept
from uma.policy.modes import Mode
from uma.policy.sampler import ImageInput, Inputs
from uma.types import ActionChunk, Grasp, InputError, KeypointState


@dataclass(frozen=True)
class Task:
    """An encoded task: the tokens c and their source.

    Attributes:
        tokens: ``(M, d)`` float32.
        keypoints: ``(K, 3)`` starts of the reference's keypoints in the camera frame, metres; motion predictions
            concern these points. K is 0 for a text or a stored prompt.
        goals: ``(K, 3)`` their last valid waypoints.
        start: the end effector at o_0; None without an o_0.
    """

    tokens: torch.Tensor
    keypoints: np.ndarray
    goals: np.ndarray
    start: Grasp | None = None

    def zeroed(self) -> Task:
        """Return the task with zero tokens, which carry no task information."""
        return Task(torch.zeros_like(self.tokens), self.keypoints, self.goals, self.start)


@dataclass(frozen=True)
class History:
    """Past states, one period apart; the last entry is one period old.

    Attributes:
        poses: ``(h, 4, 4)`` T_cam_ee.
        gripper: ``(h,)``.
        keypoints: h states of the task's keypoints, or empty without tracking.
    """

    poses: np.ndarray
    gripper: np.ndarray
    keypoints: tuple[KeypointState, ...] = ()


@dataclass(frozen=True)
class Query:
    """One query to the model. Poses and points are in the camera frame.

    Attributes:
        percept: the observation in the policy frame.
        task: the encoded task.
        mode: target tokens, before the given values below.
        chunks: given actions, one chunk per candidate, of equal length; if actions are predicted, a prefix.
        points: ``(H + 1, K, 3)`` given motion from the current step on.
        is_visible: ``(H + 1, K)`` bool, known ``points``; the others are predicted. None = all.
        tracked: current positions of the keypoints.
        history: past states, for models with history.
    """

    percept: Percept
    task: Task
    mode: Mode
    chunks: tuple[ActionChunk, ...] = ()
    points: np.ndarray | None = None
    is_visible: np.ndarray | None = None
    tracked: KeypointState | None = None
    history: History | None = None

    @property
    def keypoints(self) -> int:
        """K, motion tokens per step."""
        return len(self.task.keypoints) if self.mode.has_motion else 0

    @property
    def states(self) -> dict[int, KeypointState]:
        """Given positions of the keypoints by step; 0 is the current step, and past steps are negative."""
        past = self.history.keypoints if self.history is not None else ()
        now = {} if self.tracked is None else {0: self.tracked}
        return {step - len(past): state for step, state in enumerate(past)} | now

    @property
    def carried(self) -> np.ndarray | None:
        """``(4, 4)`` motion of the hand in the policy frame since the grasp and since o_0; None without a grasp."""
        p, since, start = self.percept, self.percept.grasp, self.task.start
        if since is None:
            return None
        if start is not None and start.stamp > since.stamp:
            since = start
        return p.T_frame_ee @ se3.invert(p.T_frame_cam @ since.T_cam_ee)

    def tokens(self, config: ModelConfig, norm: Normalization) -> dict[str, np.ndarray]:
        """Return the arrays of `Inputs` for this query, without points, task and noise."""
        p, K, H = self.percept, self.keypoints, config.horizon
        past = 0 if self.history is None else len(self.history.poses)
        if past not in (0, config.history):
            raise InputError(f"history: {past} steps, this checkpoint accepts 0 or {config.history}")
        T, N = past + 1 + H, max(1, len(self.chunks))
        T_ee, origin = p.T_frame_ee, p.T_frame_ee[:3, 3]
        action = np.zeros((N, T, ACTION_DIM), np.float32)
        if self.history is not None:
            action[:, :past] = encode_actions(
                p.poses(self.history.poses), self.history.gripper, T_ee, norm, states=past
            )
        action[:, past] = encode_actions(T_ee[None], np.array([p.gripper]), T_ee, norm, states=1)[0]
        for n, chunk in enumerate(self.chunks):
            end = past + 1 + len(chunk.poses)
            action[n, past + 1 : end] = encode_actions(p.poses(chunk.poses), chunk.gripper, T_ee, norm)

        def local(points_cam: np.ndarray) -> np.ndarray:
            return (p.positions(points_cam) - origin) / norm.local_scale

        motion, is_known = np.zeros((T, K, 3), np.float32), np.zeros((T, K), bool)
        if self.points is not None:
            is_known[past:] = True if self.is_visible is None else self.is_visible
            motion[past:][is_known[past:]] = local(self.points[is_known[past:]])
        for step, state in self.states.items() if K else ():
            is_known[past + step] = state.is_visible
            motion[past + step, state.is_visible] = local(state.positions[state.is_visible])
        committed = len(self.chunks[0].poses) if self.chunks and self.mode.is_target_action else 0
        given = self.mode.giving(keypoints=bool(self.states), prefix=committed > 0, history=past > 0)
        mask = given.pattern(1, T, K, prefix=committed, history=past, is_known=torch.from_numpy(is_known))
        return {
            "action": action,
            "motion": motion,
            "identity": local(self.task.keypoints[:K]).astype(np.float32),
            "is_target_action": mask.action[0].numpy(),
            "is_target_motion": mask.motion[0].numpy(),
        }


def inputs(
    queries: Sequence[Query], config: ModelConfig, norm: Normalization, noise: tuple[torch.Tensor, torch.Tensor]
) -> Inputs:
    """Stack queries of equal shapes as the sampler's inputs; ``noise`` covers the current step and the chunk."""
    tokens = [q.tokens(config, norm) for q in queries]
    percepts = [q.percept for q in queries]
    arrays = {name: torch.from_numpy(np.stack([t[name] for t in tokens])) for name in tokens[0]}
    past = arrays["motion"].shape[1] - noise[0].shape[1]
    # Past steps are given, so their noise is unused.
    padded = [torch.cat([v.new_zeros(len(v), past, *v.shape[2:]), v], 1) for v in noise]
    return Inputs(
        points=point_batch(percepts) if percepts[0].points is not None else image_input(percepts[0]),
        ee=ee_batch(
            np.stack([p.T_frame_ee for p in percepts]),
            np.array([p.gripper for p in percepts]),
            [q.carried for q in queries] if config.follow or config.carry else (),
        ),
        task=torch.stack([q.task.tokens for q in queries]),
        noise_action=padded[0],
        noise_motion=padded[1],
        **arrays,
    )


def image_input(percept: Percept) -> ImageInput:
    """Return the image of a percept whose cloud the sampler prepares."""
    if (o := percept.observation) is None:
        raise ValueError("observation: None, required for a percept without a cloud")
    c = o.camera
    return ImageInput(
        torch.from_numpy(np.ascontiguousarray(o.depth)),
        torch.from_numpy(np.ascontiguousarray(o.rgb)),
        torch.tensor([c.fx, c.fy, c.cx, c.cy], dtype=torch.float32),
        torch.from_numpy(o.T_cam_ee[:3, 3].astype(np.float32)),
        torch.from_numpy(percept.T_frame_cam.astype(np.float32)),
    )


def end_waypoints(waypoints: Sequence[np.ndarray], is_valid: Sequence[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """Return the first and last valid waypoints of each keypoint, each ``(K, 3)``."""
    valid = [w[v] for w, v in zip(waypoints, is_valid, strict=True)]
    return np.array([w[0] for w in valid]), np.array([w[-1] for w in valid])
