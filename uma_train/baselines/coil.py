"""COIL: a motion-conditioned flow-matching policy that predicts actions alone, without object motion.

It has UMA's encoders and denoiser, so that the two differ in their targets only: no motion tokens, no contrastive term.
Unlike COIL (arXiv 2512.05953), it does not get tracked keypoints at every step, as UMA does not, and its attention is
UMA's.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
from torch import nn

from uma.model.inputs import Normalization
from uma.model.masks import MaskMix
from uma.policy.policy import Policy
from uma.types import InputError
from uma_train.data.mixtures import Mixture
from uma_train.training.config import TrainConfig
from uma_train.training.recipe import UmaRecipe
from uma_train.training.validation import ROWS, validate

CONTROL = MaskMix(control=1.0, joint=0.0, dynamics=0.0, inverse=0.0, random=0.0)


class Coil(Policy):
    """A policy without predicted motion."""

    @property
    def predicts_motion(self) -> bool:
        return False

    def predict(self, *args: Any, with_motion: bool = False, **options: Any) -> Any:
        """As `Policy.predict`.

        Raises:
            InputError: ``with_motion``.
        """
        if with_motion:
            raise self._refused("motion")
        return super().predict(*args, **options)

    def predict_motions(self, *args: Any, **options: Any) -> Any:
        raise self._refused("motion")

    def predict_actions(self, *args: Any, **options: Any) -> Any:
        raise self._refused("actions from motion")

    def _refused(self, what: str) -> InputError:
        return InputError(f"{what}: checkpoint {self.checkpoint_id} is of system 'coil', which predicts actions alone")


class CoilRecipe(UmaRecipe):
    """UMA's control regime alone, without the contrastive term."""

    def __init__(self, config: TrainConfig, norm: Normalization):
        super().__init__(config, norm)
        masks = replace(CONTROL, prefix=config.objective.masks.prefix, max_prefix=config.objective.masks.max_prefix)
        self.objective = replace(config.objective, motion_weight=0.0, contrastive_weight=0.0, masks=masks)

    def options(self, rng: np.random.Generator) -> dict[str, Any]:
        return {**super().options(rng), "keypoints": 0}

    def validate(self, model: nn.Module, held_out: Mixture, size: int) -> tuple[dict[str, Any], str]:
        errors = validate(model, held_out, size=size, rows={"control": ROWS["control"]})["control"]
        start, middle, end = errors.position_mm
        line = (
            f"control {start:.1f}/{middle:.1f}/{end:.1f} mm at steps 0/7/15, {errors.rotation_deg[0]:.1f} deg, "
            f"gripper {100 * errors.gripper:.1f} %"
        )
        return {"control": errors.__dict__}, line
