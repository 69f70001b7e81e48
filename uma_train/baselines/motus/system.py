"""Motus as a system: its training in three stages, and its checkpoints as policies."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from uma.checkpoint.typed import from_json
from uma.model.inputs import Normalization
from uma.types import InputError
from uma_train.baselines.motus.config import MotusConfig
from uma_train.baselines.motus.latent_recipe import fields_of, frozen_latents, latent_chunk, part
from uma_train.baselines.motus.network import MotusNetwork
from uma_train.baselines.pixels.inputs import PixelBatch
from uma_train.baselines.pixels.model import PixelModel
from uma_train.baselines.pixels.policy import PixelPolicy
from uma_train.baselines.pixels.recipe import PixelRecipe
from uma_train.data.batch import Batch
from uma_train.data.mixtures import Mixture
from uma_train.training.config import TrainConfig


class Motus(PixelPolicy):
    """Chunks by Euler steps of all three experts, in the mode of `MotusConfig.acting`."""

    system, network, settings_type = "motus", MotusNetwork, MotusConfig


class MotusRecipe(PixelRecipe):
    """Stage "video" without the action expert, "latent" with latent actions for the chunk, and "action".

    A later stage continues with the weights of ``init``.
    """

    network = MotusNetwork
    model: MotusNetwork

    def __init__(self, config: TrainConfig, norm: Normalization):
        self.stage = config.motus.stage
        if config.pixels.video_only:
            raise InputError("pixels.video_only: True, must be False for Motus; motus.stage says what is trained")
        if self.stage == "latent" and not config.motus.latents:
            raise InputError("motus.latents: empty, must be a bundle of `uma train --system latent_actions`")
        if self.stage != "latent" and config.motus.latents:
            raise InputError(f"motus.latents: {config.motus.latents}, must be empty in the stage {self.stage!r}")
        super().__init__(config, norm)
        self.latents = frozen_latents(config.motus.latents, self.model.layout) if config.motus.latents else None

    def settings(self) -> MotusConfig:
        if self.stored is not None:
            return from_json(MotusConfig, self.stored.model, "config.model")
        p, m = self.config.pixels, self.config.motus
        return MotusConfig(
            layout=p.layout,
            uma=replace(self.config.model_config(), width=p.width, heads=p.heads),
            tokeniser=self.tokeniser_config(),
            width=p.width,
            action_width=m.action_width,
            task_width=m.task_width,
            layers=p.layers,
            heads=p.heads,
            patch=m.patch,
            flow_times=p.diffusion_steps,
            inference_steps=p.inference_steps,
            acting=m.acting,
        )

    def trained(self) -> list[nn.Parameter]:
        """Leave out the action expert in the first stage, so that weight decay does not reach it."""
        without = {id(p) for p in self.model.of_expert("action")} if self.stage == "video" else set()
        return [p for p in super().trained() if id(p) not in without]

    def options(self, rng: np.random.Generator) -> dict[str, Any]:
        return {**super().options(rng), "clip": self._drawn()}

    def _drawn(self) -> tuple[int, ...]:
        dense = self.latents.config.steps if self.latents is not None else ()
        return tuple(sorted({*self.model.layout.steps, *dense}))

    def _inputs(self, model: PixelModel, batch: Batch, keep: Tensor | None = None) -> PixelBatch:
        return super()._inputs(model, part(batch, self._drawn(), model.layout.steps), keep)

    def losses(self, batch: Batch, generator: torch.Generator) -> dict[str, Tensor]:
        keep = torch.rand(len(batch.grid.action), generator=generator) >= self.config.objective.task_dropout
        return self.model.losses(self._staged(self._inputs(self.model, batch, keep), batch), generator, self.stage)

    def _staged(self, inputs: PixelBatch, batch: Batch) -> PixelBatch:
        """In the stage "latent", put the latent actions of the dense images in the place of the actions."""
        if self.latents is None:
            return inputs
        dense = part(batch, self._drawn(), self.latents.config.steps)
        flow, is_seen = fields_of(dense, self.model.layout)
        device = inputs.past.device
        return replace(inputs, action=latent_chunk(self.latents, flow).to(device), has_action=is_seen[:, 0].to(device))

    @torch.no_grad()
    def validate(self, model: nn.Module, held_out: Mixture, size: int) -> tuple[dict[str, Any], str]:
        """As `PixelRecipe.validate`; the stages before the last have losses alone."""
        if self.stage == "action":
            return super().validate(model, held_out, size)
        assert isinstance(model, MotusNetwork)
        options = self.options(np.random.default_rng(0))
        batch = held_out.draw(size, norm=self.norm, rng=np.random.default_rng(0), **options)
        inputs = self._staged(self._inputs(model, batch), batch)
        out = model.losses(inputs, torch.Generator().manual_seed(0), self.stage)
        losses = {k: float(v) for k, v in out.items()}
        return {"losses": losses}, f"losses: video {losses['video']:.3f}, latent actions {losses['action']:.3f}"
