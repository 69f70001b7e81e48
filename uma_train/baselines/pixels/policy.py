"""A pixel system as a policy: images of the observation and the remembered ones, task tokens, sampled actions."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from uma.checkpoint.contract import Contract
from uma.model.batches import point_batch, reference_batch
from uma.model.inputs import ACTION_DIM, decode_actions, encode_actions, reference_arrays
from uma.model.percept import Percept
from uma.policy.agreement import closest, consensus
from uma.policy.query import History, Task
from uma.types import (
    HORIZON,
    ActionChunk,
    InputError,
    KeypointState,
    MotionPrediction,
    Observation,
    Prediction,
    ReferenceMotion,
)
from uma_train.baselines.by_reference import ByReference
from uma_train.baselines.pixels.inputs import PixelBatch, on, resized
from uma_train.baselines.pixels.memory import Memory, Seen
from uma_train.baselines.pixels.model import PixelModel
from uma_train.training.objectives import to_device


class PixelPolicy(ByReference):
    """A `uma.policy.systems.System`. It remembers past images, so observations must come in the order of time.

    Chunks depend on (observations so far, task, seed, sequence) only.
    """

    network: ClassVar[type[PixelModel]]

    def __init__(self, model: PixelModel, contract: Contract, checkpoint_id: str, **settings: Any):
        super().__init__(model, contract, checkpoint_id, **settings)
        self._memory = Memory(model.layout.past, model.layout.every)

    @property
    def predicts_motion(self) -> bool:
        """No: the predicted future is an image."""
        return False

    def encode_task(self, observation: Observation, reference: ReferenceMotion) -> Task:
        """c = h_psi(o_0, x*) (paper Eq. 3). Raises as `Policy.encode_task` does."""
        percept, first, last = self._asked(observation, reference)
        arrays = reference_arrays(percept.reference(reference))
        with torch.no_grad():
            tokens = self.model.encode_task(
                to_device(self.device, point_batch([percept])), to_device(self.device, reference_batch([arrays]))
            )
        return Task(tokens[0].cpu(), first, last)

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
        """Draw an action chunk.

        Raises:
            InputError: ``with_motion`` or a ``prefix``, which this system lacks; or as `Policy.predict`.
        """
        if with_motion or prefix is not None:
            raise self._refused("motion" if with_motion else f"prefix of {len(prefix.poses)} actions")
        start = time.perf_counter()
        percept = self._perceive(observation)
        seen = time.perf_counter()
        drawn = self._draw(observation, percept, task, sequence, self.config.num_samples)
        chunk = self._decoded(self._agreed(drawn), percept, observation, sequence)
        end = time.perf_counter()
        latency = {"points": seen - start, "model": end - seen, "total": end - start}
        return Prediction(chunk, None, {k: 1e3 * v for k, v in latency.items()})

    def predict_candidates(
        self, observation: Observation, task: Task, count: int, *, sequence: int = 0
    ) -> list[ActionChunk]:
        """Draw ``count`` independent chunks. Raises as `Policy.predict_candidates` does."""
        if not 1 <= count <= 256:
            raise InputError(f"candidates: {count}, must be 1 to 256")
        percept = self._perceive(observation)
        drawn = self._draw(observation, percept, task, sequence, count)
        return [self._decoded(a, percept, observation, sequence) for a in drawn]

    def predict_motion(self, observation: Observation, task: Task, chunk: ActionChunk, **_: Any) -> MotionPrediction:
        raise self._refused("motion")

    def predict_motions(
        self, observation: Observation, task: Task, chunks: Sequence[ActionChunk], **_: Any
    ) -> list[MotionPrediction]:
        raise self._refused("motion")

    # -- parts --

    @torch.no_grad()
    def _draw(self, observation: Observation, percept: Percept, task: Task, sequence: int, samples: int) -> Tensor:
        """Sample normalised actions ``(samples, H, 10)``, on the CPU."""
        layout, norm = self.model.layout, self.model.normalization
        image = torch.from_numpy(np.ascontiguousarray(observation.rgb)).permute(2, 0, 1).float() / 255
        seen = Seen(observation.stamp, resized(image[None], layout)[0], observation.T_cam_ee, observation.gripper)
        past = self._memory.add(seen)
        states = encode_actions(
            percept.poses(np.stack([s.T_cam_ee for s in past])),
            np.array([s.gripper for s in past]),
            percept.T_frame_ee,
            norm,
            states=len(past),
        )
        F = layout.future
        batch = PixelBatch(
            torch.stack([s.image for s in past])[None],
            torch.from_numpy(states)[None],
            torch.zeros(1, F, 3, layout.height, layout.width),
            torch.zeros(1, F, dtype=torch.bool),
            torch.zeros(1, HORIZON, ACTION_DIM),
            torch.ones(1, dtype=torch.bool),
            task.tokens[None],
        )
        generator = torch.Generator().manual_seed((self.seed * 1_000_003 + sequence) % (1 << 62))
        drawn = self.model.act(on(self.device, batch), self.config.num_steps, samples, generator)
        return drawn[0].float().cpu()

    def _agreed(self, drawn: Tensor) -> Tensor:
        """Average the closest of ``(S, H, 10)`` samples, as UMA's sampler does."""
        flat = drawn.flatten(1)
        count = max(1, math.ceil(self.config.consensus_fraction * len(drawn)))
        return consensus(flat, closest(flat, count)).view(drawn.shape[1:])

    def _decoded(self, action: Tensor, percept: Percept, observation: Observation, sequence: int) -> ActionChunk:
        poses, gripper = decode_actions(action.numpy(), percept.T_frame_ee, self.model.normalization)
        return self._chunk(percept.poses_cam(poses), gripper, observation, sequence)
