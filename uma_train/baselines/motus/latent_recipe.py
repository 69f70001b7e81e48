"""The training of the latent actions, and the loading of trained ones."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from uma.model.inputs import Normalization
from uma_train.baselines.motus.flow import flow_fields
from uma_train.baselines.motus.latents import LatentActions, LatentConfig, chunk_of, increments
from uma_train.baselines.pixels.frozen import frozen
from uma_train.baselines.pixels.inputs import resized
from uma_train.data.batch import Batch, Clip
from uma_train.data.clips import Layout
from uma_train.data.mixtures import Mixture
from uma_train.training.config import TrainConfig

NAME = "latent_actions"


def part(batch: Batch, drawn: tuple[int, ...], wanted: tuple[int, ...]) -> Batch:
    """Return a batch with the images of the steps ``wanted`` alone, of those that were ``drawn``."""
    if batch.clip is None:
        raise ValueError("clip: None, the batch must be drawn with the images' steps")
    index = [drawn.index(s) for s in wanted]
    return replace(batch, clip=Clip(batch.clip.images[:, index], batch.clip.is_seen[:, index]))


def fields_of(batch: Batch, layout: Layout) -> tuple[Tensor, Tensor]:
    """Return the flow ``(B, n, 2, h, w)`` of a batch whose clip has the steps of `LatentConfig.steps`.

    The second value ``(B, n)`` bool is True where both images were seen, or the episode had ended: nothing moves then.
    It is False for episodes without images.
    """
    assert batch.clip is not None
    seen = batch.clip.is_seen
    return flow_fields(resized(batch.clip.images, layout)), seen[:, :1].expand(-1, seen.shape[1] - 1)


def now_and_chunk(batch: Batch) -> tuple[Tensor, Tensor]:
    """Return the current state ``(B, 10)`` and the actions ``(B, H, 10)`` of a batch without history."""
    return batch.grid.action[:, 0], batch.grid.action[:, 1:]


def frozen_latents(path: str, layout: Layout) -> LatentActions:
    """Load trained latent actions for the images of ``layout``. Raises as `frozen` does."""
    return frozen(path, layout, field="latents", system=NAME, settings=LatentConfig, network=LatentActions)


@torch.no_grad()
def latent_chunk(model: LatentActions, flow: Tensor) -> Tensor:
    """Return chunks of latent actions ``(B, H, 10)`` of flow ``(B, n, 2, h, w)``, from a state of zeros.

    A video has no measured state, so that all sources start alike.
    """
    codes = model.encode(flow.to(next(model.parameters()).device))
    return chunk_of(codes, torch.zeros_like(codes[:, 0]), model.config.stride)


class LatentRecipe:
    """Trains latent actions on the flow of all windows, with the increments of the windows that have actions.

    The paper mixes 90 % without labels and 10 % with labels: the weights of `TrainConfig.data` set the shares.
    """

    def __init__(self, config: TrainConfig, norm: Normalization):
        p, m = config.pixels, config.motus
        self.norm = norm
        self.settings = LatentConfig(p.layout, m.stride, p.channels, m.token, m.supervision, m.kl)
        self.model = LatentActions(self.settings, norm)
        self.head = nn.Module()

    def blocks(self) -> list[nn.Module]:
        return []

    def trained(self) -> list[nn.Parameter]:
        return list(self.model.parameters())

    def options(self, rng: np.random.Generator) -> dict[str, Any]:
        return {"keypoints": 0, "history": 0, "clip": self.settings.steps}

    def _inputs(self, batch: Batch) -> tuple[Tensor, Tensor, Tensor]:
        """Return fields ``(n, 2, h, w)``, increments ``(n, 10)``, and which have labels ``(n,)``."""
        flow, is_seen = fields_of(batch, self.settings.layout)
        assert batch.grid.is_supervised_action is not None
        now, chunk = now_and_chunk(batch)
        wanted = increments(chunk, now, self.settings.stride)
        has = (batch.grid.is_supervised_action[:, None] & is_seen).flatten()
        device = next(self.model.parameters()).device
        return flow.flatten(0, 1).to(device), wanted.flatten(0, 1).to(device), has.to(device)

    def losses(self, batch: Batch, generator: torch.Generator) -> dict[str, Tensor]:
        return self.model.losses(*self._inputs(batch), generator)

    def copy(self) -> LatentActions:
        return LatentActions(self.settings, self.norm)

    @torch.no_grad()
    def validate(self, model: nn.Module, held_out: Mixture, size: int) -> tuple[dict[str, Any], str]:
        assert isinstance(model, LatentActions)
        options = self.options(np.random.default_rng(0))
        batch = held_out.draw(size, norm=self.norm, rng=np.random.default_rng(0), **options)
        flow, wanted, has = (v.cpu() for v in self._inputs(batch))
        code = model.encode(flow)
        left = float(
            (model.decode(code) - flow).square().mean() / (flow - flow.mean(0)).square().mean().clamp_min(1e-9)
        )
        spread = (wanted[has] - wanted[has].mean(0)).square().sum().clamp_min(1e-9) if has.any() else torch.ones(())
        explained = 1 - float((code - wanted)[has].square().sum() / spread)
        line = f"flow unexplained {100 * left:.0f} %, R2 of the increments {explained:.2f}"
        return {"flow_unexplained": left, "action_r2": explained}, line
