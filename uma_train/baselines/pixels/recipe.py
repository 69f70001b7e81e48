"""The training of a pixel system by the loop that trains UMA."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor, nn

from uma.checkpoint.folder import read_bundle
from uma.checkpoint.typed import from_json
from uma.geometry import se3
from uma.model.inputs import Normalization, decode_actions
from uma.types import InputError
from uma_train.baselines.pixels.inputs import PixelBatch, on, pixel_batch
from uma_train.baselines.pixels.model import PixelModel
from uma_train.baselines.pixels.tokeniser import TokeniserConfig, frozen_tokeniser
from uma_train.data.batch import Batch
from uma_train.data.mixtures import Mixture
from uma_train.training.config import TrainConfig
from uma_train.training.objectives import to_device
from uma_train.training.validation import NUM_STEPS, SHOWN


class PixelRecipe:
    """Draws images with the windows, and encodes the task.

    A system defines ``network``, the class of its network, and `settings`. The tokeniser's weights are those of
    `PixelChoice.tokeniser`, or of ``init`` with all others.
    """

    network: ClassVar[type[PixelModel]]

    def __init__(self, config: TrainConfig, norm: Normalization):
        self.config, self.norm = config, norm
        self.stored = read_bundle(config.init) if config.init else None
        if self.stored is not None:
            if self.stored.system != config.system:
                raise InputError(f"init {config.init}: of system '{self.stored.system}', must be of '{config.system}'")
            self.norm = self.stored.normalization
        elif not config.pixels.tokeniser:
            raise InputError("pixels.tokeniser: empty, must be a bundle of `uma train --system tokeniser`")
        self.model = self.build()
        if self.stored is not None:
            self.model.load_state_dict(self.stored.weights(), strict=True)
        self.head = nn.Module()

    def settings(self) -> Any:
        """Return the network's configuration."""
        raise NotImplementedError

    def tokeniser_config(self) -> TokeniserConfig:
        """Return the configuration of the chosen tokeniser."""
        if self.stored is not None:
            return from_json(TokeniserConfig, self.stored.model["tokeniser"], "config.model.tokeniser")
        return frozen_tokeniser(self.config.pixels.tokeniser, self.config.pixels.layout).config

    def build(self) -> PixelModel:
        """Return a network with new weights and the trained tokeniser."""
        model = self.network(self.settings(), self.norm)
        if self.stored is None:
            trained = frozen_tokeniser(self.config.pixels.tokeniser, self.config.pixels.layout)
            model.tokeniser.load_state_dict(trained.state_dict())
        return model

    def blocks(self) -> list[nn.Module]:
        return self.model.blocks()

    def trained(self) -> list[nn.Parameter]:
        return [p for p in self.model.parameters() if p.requires_grad]

    def options(self, rng: np.random.Generator) -> dict[str, Any]:
        layout = self.model.layout
        return {"keypoints": 0, "history": layout.history, "clip": layout.steps}

    def losses(self, batch: Batch, generator: torch.Generator) -> dict[str, Tensor]:
        keep = torch.rand(len(batch.grid.action), generator=generator) >= self.config.objective.task_dropout
        return self.model.losses(self._inputs(self.model, batch, keep), generator)

    def _inputs(self, model: PixelModel, batch: Batch, keep: Tensor | None = None) -> PixelBatch:
        """Return the system's inputs; ``keep`` ``(B,)`` bool, False = zeroed task tokens."""
        device = next(model.parameters()).device
        task = model.encode_task(to_device(device, batch.initial_points), to_device(device, batch.reference))
        task = task.repeat_interleave(batch.windows_per_task, 0)
        if keep is not None:
            task = task * keep.to(device, task.dtype)[:, None, None]
        return on(device, pixel_batch(batch, model.layout, task))

    def copy(self) -> PixelModel:
        return self.build()

    @torch.no_grad()
    def validate(self, model: nn.Module, held_out: Mixture, size: int) -> tuple[dict[str, Any], str]:
        assert isinstance(model, PixelModel)
        batch = held_out.draw(
            size, norm=self.norm, rng=np.random.default_rng(0), **self.options(np.random.default_rng(0))
        )
        inputs = self._inputs(model, batch)
        losses = {k: float(v) for k, v in model.losses(inputs, torch.Generator().manual_seed(0)).items()}
        drawn = model.act(inputs, NUM_STEPS, 1, torch.Generator().manual_seed(0))[:, 0]
        errors = action_errors(drawn, inputs, batch, self.norm)
        start, middle, end = errors["position_mm"]
        line = f"control {start:.1f}/{middle:.1f}/{end:.1f} mm at steps 0/7/15, gripper {100 * errors['gripper']:.1f} %"
        return {"control": errors, "losses": losses}, line


def action_errors(drawn: Tensor, inputs: PixelBatch, batch: Batch, norm: Normalization) -> dict[str, Any]:
    """Return the errors of normalised actions ``(B, H, 10)``, over windows with actions.

    ``position_mm`` and ``rotation_deg`` are means at steps 0, 7 and 15, ``mean_position_mm`` over all steps, and
    ``gripper`` is the fraction of steps on the wrong side of one half.
    """
    apart, turned, wrong = [], [], []
    for i in np.flatnonzero(inputs.has_action.cpu().numpy()):
        poses, grip = decode_actions(drawn[i].cpu().numpy(), batch.T_cam_ee[i], norm)
        wanted, closed = decode_actions(inputs.action[i].cpu().numpy(), batch.T_cam_ee[i], norm)
        apart.append(np.linalg.norm(poses[:, :3, 3] - wanted[:, :3, 3], axis=-1))
        turned.append([se3.rotation_angle(a[:3, :3], b[:3, :3]) for a, b in zip(poses, wanted, strict=True)])
        wrong.append((grip > 0.5) != (closed > 0.5))
    position, rotation = 1e3 * np.mean(apart, 0), np.degrees(np.mean(turned, 0))
    return {
        "position_mm": [float(position[s]) for s in SHOWN],
        "rotation_deg": [float(rotation[s]) for s in SHOWN],
        "mean_position_mm": float(position.mean()),
        "gripper": float(np.mean(wrong)),
    }
