"""A pixel system as a policy: images of the observation and the remembered ones, task tokens, sampled actions."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from uma.checkpoint.contract import Contract
from uma.checkpoint.folder import BundleError, Stored
from uma.checkpoint.typed import from_json
from uma.model.batches import point_batch, reference_batch
from uma.model.inputs import ACTION_DIM, decode_actions, encode_actions, reference_arrays
from uma.model.percept import Percept, perceive
from uma.policy import plausible
from uma.policy.agreement import closest, consensus
from uma.policy.query import History, Task, end_waypoints
from uma.policy.sampler import torch_device
from uma.policy.sampling import SamplerConfig
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
from uma_train.baselines.pixels.inputs import PixelBatch, on, resized
from uma_train.baselines.pixels.memory import Memory, Seen
from uma_train.baselines.pixels.model import PixelModel
from uma_train.training.objectives import to_device


class PixelPolicy:
    """A `uma.policy.systems.System`. It remembers past images, so observations must come in the order of time.

    Chunks depend on (observations so far, task, seed, sequence) only. A system defines ``system``, its name, and
    ``network`` and ``settings_type``, the classes of its network and of the network's configuration.
    """

    system: ClassVar[str]
    network: ClassVar[type[PixelModel]]
    settings_type: ClassVar[type]

    def __init__(
        self,
        model: PixelModel,
        contract: Contract,
        checkpoint_id: str,
        *,
        seed: int = 0,
        sampler: SamplerConfig | None = None,
        **settings: Any,
    ):
        self.contract, self.checkpoint_id, self.seed = contract, checkpoint_id, seed
        self.config = replace(sampler or SamplerConfig(), **settings)
        self.device = torch_device(self.config.device)
        self.model = model.eval().to(self.device)
        layout = model.layout
        self._memory = Memory(layout.past, layout.every)

    @classmethod
    def of(cls, stored: Stored, **settings: Any) -> PixelPolicy:
        """Build the policy from a bundle's files.

        Raises:
            BundleError: the weights do not fit the configuration.
        """
        try:
            model = cls.network(from_json(cls.settings_type, stored.model, "config.model"), stored.normalization)
            model.load_state_dict(stored.weights(), strict=True)
        except (ValueError, RuntimeError) as e:
            raise e if isinstance(e, BundleError) else BundleError(f"checkpoint {stored.path}: {e}") from e
        return cls(model, stored.contract, stored.checkpoint_id, **settings)

    def twin(self, **settings: Any) -> PixelPolicy:
        return type(self)(self.model, self.contract, self.checkpoint_id, **settings)

    @property
    def predicts_motion(self) -> bool:
        """No: the predicted future is an image."""
        return False

    @property
    def takes_instructions(self) -> bool:
        return False

    # -- tasks --

    def encode_task(self, observation: Observation, reference: ReferenceMotion) -> Task:
        """c = h_psi(o_0, x*) (paper Eq. 3). Raises as `Policy.encode_task` does."""
        plausible.check_reference(reference, observation, self.contract.max_keypoints)
        percept = self._perceive(observation)
        first, last = end_waypoints(reference.waypoints, reference.is_valid)
        plausible.check_starts(first, percept.positions_cam(percept.cloud.xyz.astype(np.float64)))
        arrays = reference_arrays(percept.reference(reference))
        with torch.no_grad():
            tokens = self.model.encode_task(
                to_device(self.device, point_batch([percept])), to_device(self.device, reference_batch([arrays]))
            )
        return Task(tokens[0].cpu(), first, last)

    def encode_instruction(self, text: str, observation: Observation | None = None) -> Task:
        raise self._refused(f"instruction {text[:80]!r}")

    def check_prompt(self, path: str | Path) -> object:
        raise self._refused(f"prompt {path}")

    def load_prompt(self, path: str | Path, observation: Observation | None = None) -> Task:
        raise self._refused(f"prompt {path}")

    # -- predictions --

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
        chunk = self._chunk(self._agreed(drawn), percept, observation, sequence)
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
        return [self._chunk(a, percept, observation, sequence) for a in drawn]

    def predict_motion(self, observation: Observation, task: Task, chunk: ActionChunk, **_: Any) -> MotionPrediction:
        raise self._refused("motion")

    def predict_motions(
        self, observation: Observation, task: Task, chunks: Sequence[ActionChunk], **_: Any
    ) -> list[MotionPrediction]:
        raise self._refused("motion")

    def warm_up(self, keypoints: int = 0, *, action_target: bool = True) -> None:
        """Nothing to prepare."""

    # -- parts --

    def _perceive(self, observation: Observation) -> Percept:
        plausible.check_depth(observation)
        plausible.check_end_effector(observation)
        return perceive(observation, self.model.encoder_config, self.contract.policy_frame)

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

    def _chunk(self, action: Tensor, percept: Percept, observation: Observation, sequence: int) -> ActionChunk:
        poses, gripper = decode_actions(action.numpy(), percept.T_frame_ee, self.model.normalization)
        c = self.contract
        return ActionChunk(
            percept.poses_cam(poses),
            gripper,
            observation.stamp,
            observation.camera.frame,
            c.ee_frame,
            c.rate_hz,
            sequence,
            0,
            c.policy_frame.kind,
        )

    def _refused(self, what: str) -> InputError:
        return InputError(
            f"{what}: checkpoint {self.checkpoint_id} is of system '{self.system}', which has no such mode"
        )
