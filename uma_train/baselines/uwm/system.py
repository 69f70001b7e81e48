"""UWM as a system: its training, and its checkpoints as policies."""

from __future__ import annotations

from dataclasses import replace

from uma.types import InputError
from uma_train.baselines.pixels.policy import PixelPolicy
from uma_train.baselines.pixels.recipe import PixelRecipe
from uma_train.baselines.uwm.network import UwmConfig, UwmNetwork


class Uwm(PixelPolicy):
    """Chunks by the denoising of actions, with the images' step at T."""

    system, network, settings_type = "uwm", UwmNetwork, UwmConfig


class UwmRecipe(PixelRecipe):
    """Both losses with equal weight, and independent noise steps."""

    network = UwmNetwork

    def settings(self) -> UwmConfig:
        p = self.config.pixels
        if p.video_only:
            raise InputError(
                "pixels.video_only: True, must be False for UWM; leave out the actions in the data instead"
            )
        return UwmConfig(
            layout=p.layout,
            uma=replace(self.config.model_config(), width=p.width, heads=p.heads),
            tokeniser=self.tokeniser_config(),
            width=p.width,
            layers=p.layers,
            heads=p.heads,
            diffusion_steps=p.diffusion_steps,
            inference_steps=p.inference_steps,
        )
