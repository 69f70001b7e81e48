"""The systems whose checkpoints can act: a table, and the interface that each has. The bundle names its system."""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from uma.types import InputError

if TYPE_CHECKING:
    from uma.checkpoint.contract import Contract
    from uma.checkpoint.folder import Stored
    from uma.policy.query import History, Task
    from uma.policy.sampling import SamplerConfig
    from uma.types import (
        ActionChunk,
        KeypointState,
        MotionPrediction,
        Observation,
        Prediction,
        ReferenceMotion,
    )

SYSTEMS: dict[str, str] = {
    "uma": "uma.policy.policy:Policy",
    "coil": "uma_train.baselines.coil:Coil",
    "uva": "uma_train.baselines.uva.system:Uva",
    "uwm": "uma_train.baselines.uwm.system:Uwm",
    "motus": "uma_train.baselines.motus.system:Motus",
    "point_flow": "uma_train.baselines.point_flow.policy:PointFlow",
}
"""name -> 'module:class' of a `System`. A module is imported only when a checkpoint of its system is loaded."""


class System(Protocol):
    """What a checkpoint does for the node, the benchmark and a replay; as `uma.policy.Policy`, which is one.

    Inputs and predictions are in the camera frame. A system raises `InputError` for a mode that it lacks.

    Attributes:
        contract: of the checkpoint. A deployment may replace it, to name its own end-effector frame.
        config: sampler configuration. A change takes effect with the next prediction.
        seed: of the initial noise.
    """

    contract: Contract
    config: SamplerConfig
    seed: int

    @classmethod
    def of(cls, stored: Stored, **settings: Any) -> System:
        """Build the system from a bundle's files; ``settings`` are fields of `SamplerConfig`, and ``seed``.

        Raises:
            BundleError: the weights do not fit the configuration.
        """
        ...

    def twin(self, **settings: Any) -> System:
        """Return a system with the same weights and other settings."""
        ...

    @property
    def checkpoint_id(self) -> str: ...

    @property
    def predicts_motion(self) -> bool: ...

    @property
    def takes_instructions(self) -> bool: ...

    def encode_task(self, observation: Observation, reference: ReferenceMotion) -> Task: ...

    def encode_instruction(self, text: str, observation: Observation | None = None) -> Task: ...

    def check_prompt(self, path: str | Path) -> object: ...

    def load_prompt(self, path: str | Path, observation: Observation | None = None) -> Task: ...

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
    ) -> Prediction: ...

    def predict_candidates(
        self, observation: Observation, task: Task, count: int, *, sequence: int = 0
    ) -> list[ActionChunk]: ...

    def predict_motion(
        self,
        observation: Observation,
        task: Task,
        chunk: ActionChunk,
        *,
        sequence: int = 0,
        keypoints: KeypointState | None = None,
    ) -> MotionPrediction: ...

    def predict_motions(
        self,
        observation: Observation,
        task: Task,
        chunks: Sequence[ActionChunk],
        *,
        sequence: int = 0,
        keypoints: KeypointState | None = None,
        history: History | None = None,
    ) -> list[MotionPrediction]: ...

    def warm_up(self, keypoints: int = 0, *, action_target: bool = True) -> None: ...


def load_system(path: str | Path, *, system: str = "", threads: int | None = None, **settings: Any) -> System:
    """Load a checkpoint of any system.

    Args:
        system: the required system; empty = any.
        threads: torch's thread count in this process; None = unchanged.
        settings: fields of `SamplerConfig`, and ``seed``.

    Raises:
        BundleError: as `read_bundle`, the system is unknown, or the weights do not fit.
        InputError: the checkpoint is of another system.
    """
    import torch

    from uma.checkpoint.folder import BundleError, read_bundle

    stored = read_bundle(path)
    if system and stored.system != system:
        raise InputError(f"system '{system}': checkpoint {path} is of system '{stored.system}'")
    if stored.system not in SYSTEMS:
        raise BundleError(f"checkpoint {path}: system '{stored.system}', must be one of {', '.join(SYSTEMS)}")
    if threads:
        torch.set_num_threads(threads)
    module, _, name = SYSTEMS[stored.system].partition(":")
    kind: type[System] = getattr(importlib.import_module(module), name)
    return kind.of(stored, **settings)
