"""What the policies of the other systems share: a task is a reference motion, and a chunk comes from an observation."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np
from torch import nn

from uma.checkpoint.contract import Contract
from uma.checkpoint.folder import BundleError, Stored
from uma.checkpoint.typed import from_json
from uma.model.config import ModelConfig
from uma.model.percept import Percept, perceive
from uma.policy import plausible
from uma.policy.query import Task, end_waypoints
from uma.policy.sampler import torch_device
from uma.policy.sampling import SamplerConfig
from uma.types import ActionChunk, InputError, Observation, ReferenceMotion


class ByReference:
    """The common part of a `uma.policy.systems.System` that takes neither instructions nor prompts.

    A system defines ``system``, its name, and ``network`` and ``settings_type``, the classes of its network and of the
    network's configuration.
    """

    system: ClassVar[str]
    network: ClassVar[Any]
    settings_type: ClassVar[type]

    def __init__(
        self,
        model: nn.Module,
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
        self.model: Any = model.eval().to(self.device)

    @classmethod
    def of(cls, stored: Stored, **settings: Any) -> Self:
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

    def twin(self, **settings: Any) -> Self:
        """Return a policy of the same weights with an empty memory."""
        return type(self)(self.model, self.contract, self.checkpoint_id, **settings)

    def warm_up(self, keypoints: int = 0, *, action_target: bool = True) -> None:
        """Nothing to prepare."""

    # -- what it does not take --

    @property
    def takes_instructions(self) -> bool:
        return False

    def encode_instruction(self, text: str, observation: Observation | None = None) -> Task:
        raise self._refused(f"instruction {text[:80]!r}")

    def check_prompt(self, path: str | Path) -> object:
        raise self._refused(f"prompt {path}")

    def load_prompt(self, path: str | Path, observation: Observation | None = None) -> Task:
        raise self._refused(f"prompt {path}")

    def _refused(self, what: str) -> InputError:
        return InputError(
            f"{what}: checkpoint {self.checkpoint_id} is of system '{self.system}', which has no such mode"
        )

    # -- parts --

    @property
    def _encoder(self) -> ModelConfig:
        """Sizes of the observation's encoder."""
        return self.model.encoder_config

    def _perceive(self, observation: Observation) -> Percept:
        plausible.check_depth(observation)
        plausible.check_end_effector(observation)
        return perceive(observation, self._encoder, self.contract.policy_frame)

    def _asked(self, observation: Observation, reference: ReferenceMotion) -> tuple[Percept, np.ndarray, np.ndarray]:
        """Check a reference. Return the percept, and first and last waypoints ``(K, 3)`` in the camera frame.

        Raises:
            InputError: as `Policy.encode_task`.
        """
        plausible.check_reference(reference, observation, self.contract.max_keypoints)
        percept = self._perceive(observation)
        first, last = end_waypoints(reference.waypoints, reference.is_valid)
        plausible.check_starts(first, percept.positions_cam(percept.cloud.xyz.astype(np.float64)))
        return percept, first, last

    def _chunk(self, poses: np.ndarray, gripper: np.ndarray, observation: Observation, sequence: int) -> ActionChunk:
        """Return the chunk of poses ``(H, 4, 4)`` in the camera frame."""
        c, frame = self.contract, observation.camera.frame
        kind = c.policy_frame.kind
        return ActionChunk(poses, gripper, observation.stamp, frame, c.ee_frame, c.rate_hz, sequence, 0, kind)
