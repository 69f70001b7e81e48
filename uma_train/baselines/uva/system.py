"""UVA as a system: its training, and its checkpoints as policies."""

from __future__ import annotations

from dataclasses import replace

from uma_train.baselines.pixels.policy import PixelPolicy
from uma_train.baselines.pixels.recipe import PixelRecipe
from uma_train.baselines.uva.masks import MODES, VIDEO_ONLY
from uma_train.baselines.uva.network import UvaConfig, UvaNetwork


class Uva(PixelPolicy):
    """Chunks by one pass of the transformer and the action head."""

    system, network, settings_type = "uva", UvaNetwork, UvaConfig


class UvaRecipe(PixelRecipe):
    """All five modes, evenly drawn; with `PixelChoice.video_only` the mode video alone."""

    network = UvaNetwork

    def settings(self) -> UvaConfig:
        p = self.config.pixels
        return UvaConfig(
            p.layout,
            replace(self.config.model_config(), width=p.width, heads=p.heads),
            self.tokeniser_config(),
            p.width,
            p.layers,
            p.heads,
            p.head_width,
            p.head_layers,
            p.diffusion_steps,
            p.inference_steps,
            (VIDEO_ONLY,) if p.video_only else tuple(MODES),
        )
